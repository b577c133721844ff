/* SPDX-License-Identifier: Apache-2.0 */
/* weft round replay: the published version once more, from the coordinator's data directory. */
#include "cli.h"

#include "agg/agg.h"
#include "base/file.h"
#include "config/server.h"
#include "crypto/hash.h"
#include "store/models.h"
#include "store/queries.h"
#include "store/spool.h"
#include "update/codec.h"
#include "wire/messages.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Parameters that are looked at together. */
enum { WINDOW = WEFT_CODEC_MAX_BLOCK_VALUES };

typedef struct replay {
    cli *c;
    weft_store *store;
    weft_spool *spool;
    uint64_t job_id;
    weft_job_def def;
    bool has_def;
    weft_round_row round;
    weft_sum *sum;
    uint64_t n_params;
    uint32_t missing; /* updates that are not there */
    json_t *findings; /* strings */
    float *block;     /* [WINDOW] */
    float *next;      /* [WINDOW] */
    weft_hash *hash;
    weft_hash *base_hash;
    uint8_t version[WEFT_DIGEST_BYTES]; /* computed */
    cli_progress progress;
    uint64_t done; /* bytes of updates */
    uint64_t total;
} replay;

static void find(replay *r, const char *text)
{
    (void)json_array_append_new(r->findings, json_string(text)); /* without memory: one less */
}

/* ---- what is on record ----------------------------------------------------------------------- */

static weft_status take_job(void *arg, weft_job_row *row, weft_view definition, weft_err *err)
{
    replay *r = arg;
    weft_arena arena;
    weft_msg_submit_job_request msg;
    weft_wire_arena_init(&arena, WEFT_MSG_SUBMIT_JOB_REQUEST, &weft_alloc_std);
    weft_status status =
        weft_msg_submit_job_request_decode(&msg, definition.data, definition.size, &arena, err);
    if (status == WEFT_OK) {
        status = weft_job_def_copy(&r->def, msg.job, &weft_alloc_std, err);
        r->has_def = status == WEFT_OK;
    }
    r->job_id = row->job_id;
    weft_arena_done(&arena);
    return status;
}

static weft_status take_round(void *arg, const weft_round_row *row, weft_err *err)
{
    (void)err;
    ((replay *)arg)->round = *row;
    return WEFT_OK;
}

static weft_status open_records(replay *r, weft_err *err)
{
    static weft_server_config config;
    char path[PATH_MAX];
    weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    uint64_t number = 0;
    if (!cli_parse_u64(&number, r->c->argument[1], 1, UINT32_MAX)) {
        return cli_usage(r->c, err, "'%.60s' is no round: 1, 2, ...", r->c->argument[1]);
    }
    const char *file = cli_value(r->c, "config");
    WEFT_TRY(
        weft_server_config_load(&config, file ? file : "weftd/weftd.yaml", &weft_alloc_std, err));
    options.must_exist = true;
    options.read_only = true;
    WEFT_TRY(weft_store_open(&r->store, config.data_dir, &options, &weft_alloc_std, err));
    WEFT_TRY(weft_store_job_by_name(r->store, r->c->argument[0], take_job, r, err));
    WEFT_TRY(weft_store_round(r->store, r->job_id, (uint32_t)number, 0, take_round, r, err));
    if (!r->round.has_version) {
        WEFT_FAIL(err, WEFT_E_STATE, "round %u of job %s has published no version", r->round.round,
                  r->c->argument[0]);
    }
    WEFT_TRY(weft_path_join(path, sizeof path, config.data_dir, "spool", err));
    weft_err why = WEFT_ERR_INIT;
    const weft_status status = weft_spool_open_to_look(&r->spool, path, &weft_alloc_std, &why);
    if (status != WEFT_OK && status != WEFT_E_NOTFOUND) { /* a backup has none */
        *err = why;
        return status;
    }
    return WEFT_OK;
}

/* ---- the sum --------------------------------------------------------------------------------- */

static weft_status add_values(replay *r, const weft_view *update, uint64_t n_examples,
                              weft_err *err)
{
    for (uint64_t first = 0; first < r->n_params; first += WINDOW) {
        const uint64_t left = r->n_params - first;
        const size_t n = left < WINDOW ? (size_t)left : WINDOW;
        WEFT_TRY(weft_codec_f32.decode(r->block, n, update->data + first * sizeof(float),
                                       n * sizeof(float), err));
        weft_sum_add_range(r->sum, r->block, first, n, n_examples);
    }
    return weft_sum_count(r->sum, n_examples, err);
}

static weft_status add_update(replay *r, const weft_assignment_row *row, const weft_view *update,
                              weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    char text[320];
    WEFT_TRY(weft_sha256(digest, update->data, update->size, err));
    if (memcmp(digest, row->update_digest, sizeof digest) != 0) {
        (void)snprintf(text, sizeof text,
                       "spool/%llu.upd does not have the digest of the receipt that %s got for "
                       "round %u: its bytes were changed",
                       (unsigned long long)row->assignment_id, row->client, row->round); /* fits */
        find(r, text);
        return WEFT_OK;
    }
    if (update->size != r->n_params * sizeof(float)) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the update of %s has %zu bytes, want %llu", row->client,
                  update->size, (unsigned long long)(r->n_params * sizeof(float)));
    }
    return add_values(r, update, row->n_examples, err);
}

static bool in_the_sum(const weft_assignment_row *row)
{
    return row->state == WEFT_ASSIGNMENT_ACCEPTED && row->task == WEFT_TASK_TRAIN;
}

static weft_status fold(void *arg, const weft_assignment_row *row, weft_err *err)
{
    replay *r = arg;
    weft_view update = {NULL, 0};
    weft_err why = WEFT_ERR_INIT;
    if (!in_the_sum(row)) {
        return WEFT_OK;
    }
    weft_status status = weft_spool_map(&update, r->spool, row->assignment_id, &why);
    if (status == WEFT_E_NOTFOUND) {
        r->missing++;
        return WEFT_OK;
    }
    if (status != WEFT_OK) {
        *err = why;
        return status;
    }
    status = add_update(r, row, &update, err);
    weft_spool_unmap(&update);
    r->done += row->bytes;
    cli_progress_bytes(&r->progress, "replay", r->done, r->total);
    return status;
}

/* ---- the next version ------------------------------------------------------------------------ */

static weft_status next_window(replay *r, uint64_t first, size_t n, weft_err *err)
{
    const size_t size = n * sizeof(float);
    WEFT_TRY(
        weft_store_model_read(r->store, r->round.base, first * sizeof(float), r->block, size, err));
    WEFT_TRY(weft_hash_add(r->base_hash, r->block, size, err));
    WEFT_TRY(
        weft_aggregator_find("fedavg")->finish_range(r->next, r->block, r->sum, first, n, err));
    return weft_hash_add(r->hash, r->next, size, err);
}

static weft_status make_next(replay *r, weft_err *err)
{
    uint8_t base[WEFT_DIGEST_BYTES];
    for (uint64_t first = 0; first < r->n_params; first += WINDOW) {
        const uint64_t left = r->n_params - first;
        WEFT_TRY(next_window(r, first, left < WINDOW ? (size_t)left : WINDOW, err));
    }
    WEFT_TRY(weft_hash_finish(base, r->base_hash, err));
    WEFT_TRY(weft_hash_finish(r->version, r->hash, err));
    if (memcmp(base, r->round.base, sizeof base) != 0) {
        find(r, "the version that the round began with does not have its digest: models.db is "
                "damaged");
    } else if (memcmp(r->version, r->round.version, sizeof r->version) != 0) {
        find(r, "these updates do not give the version that the round published");
    }
    return WEFT_OK;
}

static weft_status compute(replay *r, weft_err *err)
{
    uint64_t bytes = 0;
    WEFT_TRY(weft_store_model_size(r->store, r->round.base, &bytes, err));
    r->n_params = bytes / sizeof(float);
    r->total = bytes * r->round.accepted;
    r->block = weft_array(&weft_alloc_std, WINDOW, sizeof *r->block);
    r->next = weft_array(&weft_alloc_std, WINDOW, sizeof *r->next);
    if (!r->block || !r->next) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to replay a round");
    }
    WEFT_TRY(weft_hash_new(&r->hash, &weft_alloc_std, err));
    WEFT_TRY(weft_hash_new(&r->base_hash, &weft_alloc_std, err));
    WEFT_TRY(weft_sum_new(&r->sum, r->n_params, weft_job_def_cohort(&r->def), r->def.max_examples,
                          r->def.clip_norm, &weft_alloc_std, err));
    WEFT_TRY(weft_store_assignments(r->store, r->job_id, r->round.round, r->round.attempt, fold, r,
                                    err));
    return r->missing == 0 && json_array_size(r->findings) == 0 ? make_next(r, err) : WEFT_OK;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

static const char *explain_missing(const replay *r, char *text, size_t size)
{
    if (r->def.secure_aggregation) {
        (void)snprintf(text, size,
                       "the job aggregates securely: nobody but its client ever held an update");
    } else if (r->def.keep_updates == 0) {
        (void)snprintf(text, size, "the job keeps no updates: aggregation.keep_updates is 0");
    } else {
        (void)snprintf(text, size,
                       "%u of %u updates are not there: the job keeps those of its last %u rounds",
                       r->missing, r->round.accepted, r->def.keep_updates);
    }
    return text;
}

static weft_status print_verdict(replay *r, const char *verdict, const char *why, weft_err *err)
{
    char published[2 * WEFT_DIGEST_BYTES + 1];
    weft_hex_encode(published, r->round.version, WEFT_DIGEST_BYTES);
    if (!cli_is_text(r->c)) {
        return cli_print_json(r->c,
                              json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:O}", "job",
                                        r->c->argument[0], "round", (json_int_t)r->round.round,
                                        "accepted", (json_int_t)r->round.accepted, "version",
                                        published, "verdict", verdict, "reason", why, "findings",
                                        r->findings),
                              err);
    }
    for (size_t i = 0; i < json_array_size(r->findings); i++) {
        printf("%s\n", json_string_value(json_array_get(r->findings, i)));
    }
    printf("round %u of job %s: %s%s%s\n", r->round.round, r->c->argument[0], verdict,
           *why ? ": " : "", why);
    return WEFT_OK;
}

static weft_status judge(replay *r, weft_err *err)
{
    char text[160];
    if (json_array_size(r->findings) > 0) {
        r->c->exit_status = CLI_FAILED;
        return print_verdict(r, "differs", "", err);
    }
    if (r->missing > 0) {
        r->c->exit_status = CLI_NOT_KEPT;
        return print_verdict(r, "not kept", explain_missing(r, text, sizeof text), err);
    }
    (void)snprintf(text, sizeof text, "%u updates with %llu examples give the published version",
                   r->round.accepted, (unsigned long long)r->round.n_examples); /* fits */
    return print_verdict(r, "equal", text, err);
}

weft_status cli_round_replay(cli *c, weft_err *err)
{
    replay r = {.c = c, .findings = json_array()};
    cli_progress_init(&r.progress);
    weft_status status = open_records(&r, err);
    if (status == WEFT_OK && (r.def.secure_aggregation || !r.spool)) {
        r.missing = r.round.accepted;
    } else if (status == WEFT_OK) {
        status = compute(&r, err);
    }
    cli_progress_end(&r.progress);
    if (status == WEFT_OK) {
        status = judge(&r, err);
    }
    weft_sum_free(r.sum);
    weft_hash_free(r.base_hash);
    weft_hash_free(r.hash);
    weft_free(&weft_alloc_std, r.next);
    weft_free(&weft_alloc_std, r.block);
    if (r.has_def) {
        weft_job_def_done(&r.def, &weft_alloc_std);
    }
    weft_spool_close(r.spool);
    weft_store_close(r.store);
    json_decref(r.findings);
    return status;
}

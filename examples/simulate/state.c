/* SPDX-License-Identifier: Apache-2.0 */
/* A simulation's memory between runs. Owner thread. */
#include "state.h"

#include "base/file.h"
#include "config/job.h"
#include "crypto/hash.h"
#include "weights/weights.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const weft_alloc *const memory = &weft_alloc_std;

enum { MAX_STATE_BYTES = 1 << 28 };

/* ---- which simulation ------------------------------------------------------------------------ */

static weft_status hash_data(weft_hash *hash, const weft_data *d, weft_err *err)
{
    const size_t values = (size_t)d->n * d->n_features;
    if (d->u8) {
        WEFT_TRY(weft_hash_add(hash, d->u8, values, err));
    }
    if (d->f32) {
        WEFT_TRY(weft_hash_add(hash, d->f32, values * sizeof *d->f32, err));
    }
    if (d->classes) {
        WEFT_TRY(weft_hash_add(hash, d->classes, d->n * sizeof *d->classes, err));
    }
    return d->values ? weft_hash_add(hash, d->values, d->n * sizeof *d->values, err) : WEFT_OK;
}

static weft_status hash_job(weft_hash *hash, const weft_job_def *def, weft_err *err)
{
    weft_job_def endless = *def; /* texts stay the other's */
    endless.rounds = 1;
    endless.target_metric[0] = '\0';
    endless.target_value = 0.0;
    endless.patience = 0;
    weft_buf text;
    weft_buf_init(&text, memory, WEFT_MAX_YAML_BYTES);
    weft_status status = weft_job_yaml_print(&endless, &text, err);
    if (status == WEFT_OK) {
        status = weft_hash_add(hash, text.data, text.size, err);
    }
    weft_buf_done(&text);
    return status;
}

static weft_status hash_world(weft_hash *hash, const sim_world *w, double dropout,
                              const float *init, weft_err *err)
{
    if (init) {
        WEFT_TRY(weft_hash_add(hash, init, (size_t)w->layout->n_params * sizeof *init, err));
    }
    const weft_partition *p = w->parts;
    WEFT_TRY(hash_job(hash, &w->def, err));
    WEFT_TRY(weft_hash_add(hash, &dropout, sizeof dropout, err));
    WEFT_TRY(weft_hash_add(hash, p->start, ((size_t)p->n_parts + 1) * sizeof *p->start, err));
    WEFT_TRY(weft_hash_add(hash, p->index, (size_t)p->start[p->n_parts] * sizeof *p->index, err));
    WEFT_TRY(hash_data(hash, w->train, err));
    return w->test ? hash_data(hash, w->test, err) : WEFT_OK;
}

weft_status sim_state_fingerprint(char ret[65], const sim_world *world, double dropout,
                                  const float *init, weft_err *err)
{
    weft_hash *hash = NULL;
    uint8_t digest[WEFT_SHA256_BYTES];
    WEFT_TRY(weft_hash_new(&hash, memory, err));
    weft_status status = hash_world(hash, world, dropout, init, err);
    if (status == WEFT_OK) {
        status = weft_hash_finish(digest, hash, err);
    }
    weft_hash_free(hash);
    WEFT_TRY(status);
    weft_hex_encode(ret, digest, sizeof digest);
    return WEFT_OK;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static weft_status print_state(weft_buf *out, const char *fingerprint, const sim_start *mark,
                               const char *digest, const sim_report *report, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err,
                           "{\"fingerprint\":\"%s\",\"rounds_done\":%" PRIu32
                           ",\"next_assignment\":%" PRIu64 ",\"digest\":\"%s\"",
                           fingerprint, mark->rounds_done, mark->next_assignment, digest));
    if (mark->has_best) {
        WEFT_TRY(weft_buf_addf(out, err, ",\"best\":%.17g,\"evals_since_best\":%" PRIu32,
                               mark->best, mark->evals_since_best));
    }
    WEFT_TRY(weft_buf_addf(out, err, ",\"curve\":["));
    for (size_t i = 0; i < report->n; i++) {
        WEFT_TRY(weft_buf_addf(out, err, "%s\n", i > 0 ? "," : ""));
        WEFT_TRY(sim_point_print(&report->points[i], out, err));
    }
    return weft_buf_addf(out, err, "]}\n");
}

static weft_status model_path(char *out, size_t out_size, const char *dir, uint32_t round,
                              weft_err *err)
{
    char name[32];
    (void)snprintf(name, sizeof name, "model-%" PRIu32 ".safetensors", round % 2); /* fits */
    return weft_path_join(out, out_size, dir, name, err);
}

weft_status sim_state_save(const char *dir, const char *fingerprint, const sim_world *world,
                           const sim_start *mark, const float *weights, const uint8_t *digest,
                           const sim_report *report, weft_err *err)
{
    char path[PATH_MAX];
    weft_weights_meta meta = {.round = mark->rounds_done};
    memcpy(meta.job, world->def.name, sizeof meta.job);
    weft_hex_encode(meta.digest, digest, WEFT_DIGEST_BYTES);
    WEFT_TRY(weft_dir_make(dir, 0755, err));
    WEFT_TRY(model_path(path, sizeof path, dir, mark->rounds_done, err));
    WEFT_TRY(weft_weights_save(path, world->spec, world->layout, weights, &meta, memory, err));
    WEFT_TRY(weft_path_join(path, sizeof path, dir, "state.json", err));
    weft_buf text;
    weft_buf_init(&text, memory, MAX_STATE_BYTES);
    weft_status status = print_state(&text, fingerprint, mark, meta.digest, report, err);
    if (status == WEFT_OK) {
        status = weft_file_write(path, text.data, text.size, 0644, err);
    }
    weft_buf_done(&text);
    return status;
}

/* ---- loading --------------------------------------------------------------------------------- */

static double real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static uint64_t whole(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    const json_int_t n = json_is_integer(value) ? json_integer_value(value) : 0;
    return n > 0 ? (uint64_t)n : 0;
}

static weft_status load_curve(const json_t *curve, sim_report *report, weft_err *err)
{
    size_t i = 0;
    const json_t *p = NULL;
    json_array_foreach(curve, i, p)
    {
        const sim_point point = {.round = (uint32_t)whole(p, "round"),
                                 .clients = (uint32_t)whole(p, "clients"),
                                 .examples = whole(p, "examples"),
                                 .train_loss = real(p, "train_loss"),
                                 .train_accuracy = real(p, "train_accuracy"),
                                 .test_loss = real(p, "test_loss"),
                                 .test_accuracy = real(p, "test_accuracy"),
                                 .seconds = real(p, "seconds")};
        WEFT_TRY(sim_report_load(report, &point, err));
    }
    return WEFT_OK;
}

static weft_status load_weights(float **ret, const char *dir, const sim_world *world,
                                uint32_t round, const char *digest, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(model_path(path, sizeof path, dir, round, err));
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    float *weights = NULL;
    uint8_t found[WEFT_SHA256_BYTES];
    char hex[2 * WEFT_SHA256_BYTES + 1] = {0};
    WEFT_TRY(weft_weights_load(path, world->spec, &spec, &layout, &weights, NULL, memory, err));
    weft_status status =
        weft_sha256(found, weights, (size_t)layout->n_params * sizeof *weights, err);
    if (status == WEFT_OK) {
        weft_hex_encode(hex, found, sizeof found);
        if (strcmp(hex, digest) != 0) {
            status = weft_err_set(err, WEFT_E_FORMAT, 0, __FILE__, __LINE__,
                                  "%.160s is not the model of round %" PRIu32, path, round);
        }
    }
    weft_layout_free(layout);
    weft_spec_free(spec);
    if (status != WEFT_OK) {
        weft_free(memory, weights);
        return status;
    }
    weft_free(memory, *ret);
    *ret = weights;
    return WEFT_OK;
}

static weft_status load(const json_t *root, const char *dir, const char *fingerprint,
                        const sim_world *world, sim_start *start, float **ret_weights,
                        sim_report *report, weft_err *err)
{
    const char *other = json_string_value(json_object_get(root, "fingerprint"));
    const char *digest = json_string_value(json_object_get(root, "digest"));
    const uint32_t rounds = (uint32_t)whole(root, "rounds_done");
    if (!other || !digest || rounds == 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.160s/state.json is not a simulation's state", dir);
    }
    if (strcmp(other, fingerprint) != 0) {
        WEFT_FAIL(
            err, WEFT_E_CONFLICT,
            "%.120s holds the state of another simulation (data, job, seed or clients differ): "
            "choose another --state",
            dir);
    }
    WEFT_TRY(load_weights(ret_weights, dir, world, rounds, digest, err));
    start->rounds_done = rounds;
    start->next_assignment = whole(root, "next_assignment");
    start->has_best = json_object_get(root, "best") != NULL;
    start->best = start->has_best ? real(root, "best") : 0.0;
    start->evals_since_best = (uint32_t)whole(root, "evals_since_best");
    return load_curve(json_object_get(root, "curve"), report, err);
}

weft_status sim_state_load(const char *dir, const char *fingerprint, const sim_world *world,
                           sim_start *start, float **ret_weights, sim_report *report, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, dir, "state.json", err));
    weft_buf text;
    weft_buf_init(&text, memory, MAX_STATE_BYTES);
    weft_err quiet = WEFT_ERR_INIT;
    weft_status status = weft_file_read(&text, path, &quiet);
    if (status == WEFT_E_NOTFOUND) {
        weft_buf_done(&text);
        return WEFT_OK;
    }
    if (status != WEFT_OK) {
        weft_buf_done(&text);
        WEFT_FAIL(err, status, "%s", quiet.msg);
    }
    json_t *root = json_loadb((const char *)text.data, text.size, 0, NULL);
    status = load(root, dir, fingerprint, world, start, ret_weights, report, err);
    json_decref(root);
    weft_buf_done(&text);
    return status;
}

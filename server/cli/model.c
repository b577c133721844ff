/* SPDX-License-Identifier: Apache-2.0 */
/* weft model: list, show, release, rollback, and how a model is named on the command line. */
#include "cli/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_ROWS = 200, MIN_PREFIX_DIGITS = 6 };

/* ---- references ----------------------------------------------------------------------------- */

/* JOB, JOB@ROUND, or hexadecimal digits of a digest */
typedef struct reference {
    char job[WEFT_MAX_NAME_BYTES + 1];
    uint32_t round;                         /* 0: the current version */
    char digits[2 * WEFT_DIGEST_BYTES + 1]; /* "": cannot be a digest */
} reference;

static bool all_hex(const char *text)
{
    return text[strspn(text, "0123456789abcdefABCDEF")] == '\0';
}

static weft_status parse_reference(cli *c, reference *ret, const char *text, weft_err *err)
{
    memset(ret, 0, sizeof *ret);
    const char *at = strchr(text, '@');
    const size_t n = at ? (size_t)(at - text) : strlen(text);
    uint64_t round = 0;
    if (!at && n >= MIN_PREFIX_DIGITS && n < sizeof ret->digits && all_hex(text)) {
        for (size_t i = 0; i < n; i++) {
            ret->digits[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i]);
        }
    }
    if (n <= WEFT_MAX_NAME_BYTES) {
        memcpy(ret->job, text, n);
    }
    if ((!*ret->job && !*ret->digits) || (at && !cli_parse_u64(&round, at + 1, 1, UINT32_MAX))) {
        return cli_usage(c, err,
                         "'%.80s' names no model: JOB, JOB@ROUND, or a digest's first %d or "
                         "more digits",
                         text, MIN_PREFIX_DIGITS);
    }
    ret->round = (uint32_t)round;
    return WEFT_OK;
}

static weft_status list_models(cli *c, const weft_msg_list_models_request *request,
                               weft_msg_list_models_reply *ret, cli_reply *reply, weft_err *err)
{
    return cli_call(c, WEFT_METHOD_LIST_MODELS, WEFT_MSG_LIST_MODELS_REQUEST, request,
                    WEFT_MSG_LIST_MODELS_REPLY, ret, reply, err);
}

/* The one model that a request for one model names. */
static weft_status get_one(cli *c, const weft_msg_list_models_request *request, const char *text,
                           weft_msg_model_info *ret, cli_reply *reply, weft_err *err)
{
    weft_msg_list_models_reply answer = {0};
    WEFT_TRY(list_models(c, request, &answer, reply, err));
    if (answer.n_models != 1) {
        cli_reply_done(reply);
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no model %.80s: weft model list shows all", text);
    }
    *ret = answer.models[0];
    return WEFT_OK;
}

/* The digest that begins with these digits, when there is exactly one. */
static weft_status find_prefix(cli *c, const char *digits, uint8_t ret[WEFT_DIGEST_BYTES],
                               weft_err *err)
{
    size_t found = 0;
    size_t page = 0;
    uint32_t skip = 0;
    do {
        const weft_msg_list_models_request request = {.job = "", .limit = PAGE_ROWS, .skip = skip};
        weft_msg_list_models_reply answer = {0};
        cli_reply reply;
        WEFT_TRY(list_models(c, &request, &answer, &reply, err));
        page = answer.n_models;
        for (size_t i = 0; i < page; i++) {
            char hex[2 * WEFT_DIGEST_BYTES + 1];
            const uint8_t *digest = answer.models[i].digest.data;
            weft_hex_encode(hex, digest, WEFT_DIGEST_BYTES);
            if (strncmp(hex, digits, strlen(digits)) == 0 &&
                (found == 0 || memcmp(ret, digest, WEFT_DIGEST_BYTES) != 0)) {
                memcpy(ret, digest, WEFT_DIGEST_BYTES);
                found++;
            }
        }
        skip += (uint32_t)page;
        cli_reply_done(&reply);
    } while (page > 0);
    if (found != 1) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND,
                  "%s model's digest begins with %s: weft model list shows all",
                  found == 0 ? "no" : "more than one", digits);
    }
    return WEFT_OK;
}

static weft_status find_digits(cli *c, const char *digits, weft_msg_model_info *ret,
                               cli_reply *reply, weft_err *err)
{
    uint8_t digest[WEFT_DIGEST_BYTES];
    if (!weft_hex_decode(digest, sizeof digest, digits, strlen(digits))) {
        WEFT_TRY(find_prefix(c, digits, digest, err));
    }
    const weft_msg_list_models_request request = {.job = "", .digest = {digest, sizeof digest}};
    return get_one(c, &request, digits, ret, reply, err);
}

/* The current version of a job: its digest comes with the job. */
static weft_status find_current(cli *c, const char *job, weft_msg_model_info *ret, cli_reply *reply,
                                weft_err *err)
{
    const weft_msg_get_job_request request = {.job = job};
    weft_msg_get_job_reply answer;
    cli_reply job_reply;
    WEFT_TRY(cli_call(c, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REQUEST, &request,
                      WEFT_MSG_GET_JOB_REPLY, &answer, &job_reply, err));
    weft_status status = WEFT_OK;
    if (!answer.job || answer.job->current_version.size == 0) {
        status = weft_err_set(err, WEFT_E_STATE, 0, __FILE__, __LINE__,
                              "job %.64s has no model yet", job);
    } else {
        const weft_msg_list_models_request one = {.job = "", .digest = answer.job->current_version};
        status = get_one(c, &one, job, ret, reply, err);
    }
    cli_reply_done(&job_reply);
    return status;
}

weft_status cli_find_model(cli *c, const char *text, bool released, weft_msg_model_info *ret,
                           cli_reply *reply, weft_err *err)
{
    reference ref;
    WEFT_TRY(parse_reference(c, &ref, text, err));
    if (strlen(ref.digits) == sizeof ref.digits - 1) {
        return find_digits(c, ref.digits, ret, reply, err);
    }
    weft_err inner = WEFT_ERR_INIT;
    weft_status status = WEFT_OK;
    if (ref.round > 0 || released) {
        const weft_msg_list_models_request request = {
            .job = ref.job, .round = ref.round, .released = released};
        status = get_one(c, &request, text, ret, reply, &inner);
    } else {
        status = find_current(c, ref.job, ret, reply, &inner);
    }
    if (status == WEFT_E_NOTFOUND && *ref.digits && !released) { /* no such job: a digest then */
        return find_digits(c, ref.digits, ret, reply, err);
    }
    if (status != WEFT_OK) {
        WEFT_FAIL(err, status, "%s", inner.msg);
    }
    return WEFT_OK;
}

static bool given(const char *text)
{
    return text && *text;
}

/* ---- list and show -------------------------------------------------------------------------- */

static weft_status add_model(cli_table *t, const weft_msg_model_info *m, weft_err *err)
{
    if (!cli_is_text(t->c)) {
        return cli_table_object(t, cli_json_model(m, false), err);
    }
    char digest[CLI_TEXT_BYTES];
    char round[CLI_TEXT_BYTES];
    char bytes[CLI_TEXT_BYTES];
    char created[CLI_TEXT_BYTES];
    char tags[WEFT_MAX_NAME_BYTES + 32];
    char metrics[200];
    (void)snprintf(round, sizeof round, "%u", m->round);
    (void)snprintf(tags, sizeof tags, "%s%s%s%s", m->current ? "current" : "",
                   m->current && m->released ? ", " : "", m->released ? "released " : "",
                   m->released ? m->release_name : ""); /* cut at worst */
    const char *const cells[] = {cli_digest(digest, m->digest),
                                 given(m->job) ? m->job : "(imported)",
                                 round,
                                 cli_size(bytes, m->bytes),
                                 cli_time(created, m->created_unix_ms),
                                 tags,
                                 cli_metrics(metrics, sizeof metrics, &m->metrics)};
    return cli_table_row(t, cells, err);
}

static weft_status list_all(cli *c, cli_table *t, const char *job, weft_err *err)
{
    uint32_t skip = 0;
    for (;;) {
        const weft_msg_list_models_request request = {.job = job, .limit = PAGE_ROWS, .skip = skip};
        weft_msg_list_models_reply answer = {0};
        cli_reply reply;
        WEFT_TRY(list_models(c, &request, &answer, &reply, err));
        weft_status status = WEFT_OK;
        for (size_t i = 0; status == WEFT_OK && i < answer.n_models; i++) {
            status = add_model(t, &answer.models[i], err);
        }
        const size_t page = answer.n_models;
        cli_reply_done(&reply);
        WEFT_TRY(status);
        if (page == 0) {
            return WEFT_OK;
        }
        skip += (uint32_t)page;
    }
}

static weft_status run_list(cli *c, weft_err *err)
{
    static const char *const heads[] = {"DIGEST",  "JOB", "ROUND", "SIZE",
                                        "CREATED", "TAG", "RESULT"};
    cli_table t;
    cli_table_init(&t, c, heads, 7);
    const weft_status status = list_all(c, &t, c->n_arguments > 0 ? c->argument[0] : "", err);
    if (status != WEFT_OK) {
        cli_table_done(&t);
        return status;
    }
    return cli_table_end(&t, "no models yet", err);
}

static weft_status print_model(cli *c, const weft_msg_model_info *m, weft_err *err)
{
    if (!cli_is_text(c)) {
        return cli_print_json(c, cli_json_model(m, true), err);
    }
    char hex[2 * WEFT_DIGEST_BYTES + 1];
    char text[CLI_TEXT_BYTES];
    char metrics[400];
    weft_hex_encode(hex, m->digest.data, WEFT_DIGEST_BYTES);
    cli_field("model", "%s", hex);
    cli_field("size", "%s", cli_size(text, m->bytes));
    if (given(m->job)) {
        cli_field("from", "job %s, round %u%s", m->job, m->round,
                  m->current ? ": its current version" : "");
    } else {
        cli_field("from", "an import");
    }
    if (m->parent.size > 0) {
        cli_field("parent", "%s", cli_digest(text, m->parent));
    }
    cli_field("created", "%s", cli_time(text, m->created_unix_ms));
    if (m->released) {
        cli_field("released", "as %s", m->release_name);
    }
    if (m->metrics.n > 0) {
        cli_field("result", "%s", cli_metrics(metrics, sizeof metrics, &m->metrics));
    }
    if (given(m->model_spec)) {
        printf("\n%s", m->model_spec);
    }
    if (given(m->data_schema)) {
        printf("\n%s", m->data_schema);
    }
    return WEFT_OK;
}

static weft_status run_show(cli *c, weft_err *err)
{
    weft_msg_model_info model = {0};
    cli_reply reply;
    WEFT_TRY(
        cli_find_model(c, c->argument[0], cli_value(c, "released") != NULL, &model, &reply, err));
    const weft_status status = print_model(c, &model, err);
    cli_reply_done(&reply);
    return status;
}

/* ---- release and rollback ------------------------------------------------------------------- */

/* name: of a release; NULL: made from job and round; "" for a rollback */
static weft_status tag(cli *c, const char *verb, const char *job, const char *reference_text,
                       const char *name, weft_err *err)
{
    weft_msg_model_info model = {0};
    weft_msg_model_info answer = {0};
    cli_reply found;
    cli_reply reply;
    char made[WEFT_MAX_NAME_BYTES + 1];
    WEFT_TRY(cli_find_model(c, reference_text, false, &model, &found, err));
    if (!name) {
        (void)snprintf(made, sizeof made, "%.50s-%u", given(model.job) ? model.job : "imported",
                       model.round); /* fits: 50 + 11 */
        name = made;
    }
    const weft_msg_tag_model_request request = {.verb = verb,
                                                .job = *job ? job : model.job,
                                                .digest = model.digest,
                                                .round = 0,
                                                .name = name};
    weft_status status = cli_call(c, WEFT_METHOD_TAG_MODEL, WEFT_MSG_TAG_MODEL_REQUEST, &request,
                                  WEFT_MSG_MODEL_INFO, &answer, &reply, err);
    if (status == WEFT_OK) {
        char digest[CLI_TEXT_BYTES];
        if (!cli_is_text(c)) {
            status = cli_print_json(c, cli_json_model(&answer, false), err);
        } else if (*name) {
            printf("%s is released as %s\n", cli_digest(digest, answer.digest), name);
        } else {
            printf("job %s goes on from %s\n", request.job, cli_digest(digest, answer.digest));
        }
        cli_reply_done(&reply);
    }
    cli_reply_done(&found);
    return status;
}

static weft_status run_release(cli *c, weft_err *err)
{
    return tag(c, "release", "", c->argument[0], c->n_arguments > 1 ? c->argument[1] : NULL, err);
}

/* JOB@ROUND alone, or JOB and any model */
static weft_status run_rollback(cli *c, weft_err *err)
{
    reference ref;
    const char *model = c->argument[c->n_arguments - 1];
    WEFT_TRY(parse_reference(c, &ref, c->argument[0], err));
    if (c->n_arguments == 1 && ref.round == 0) {
        return cli_usage(c, err, "to which version? weft model rollback %.64s@ROUND, or a digest",
                         ref.job);
    }
    return tag(c, "rollback", ref.job, model, "", err);
}

static const cli_option show_options[] = {
    {"released", 0, NULL, "the job's released version instead of its current one"},
    {0},
};
static const cli_option export_options[] = {
    {"output", 'o', "FILE", "FILE.safetensors or FILE.npz; default JOB.safetensors"},
    {"released", 0, NULL, "the job's released version instead of its current one"},
    {"force", 'f', NULL, "replace the file where it exists"},
    {0},
};
static const cli_option import_options[] = {
    {"spec", 0, "FILE", "the model spec, where the file does not hold one"},
    {"schema", 0, "FILE", "the data schema that belongs to it"},
    {0},
};
static const cli_option predict_options[] = {
    {"data", 0, "PATH", "an IDX, CSV or NPY data set, or digits:SEED:N; needed"},
    {"schema", 0, "FILE", "of a CSV"},
    {"train", 0, NULL, "use the training part of the data instead of the test part"},
    {"limit", 0, "N", "examples that are printed; default 10"},
    {0},
};
static const char naming[] =
    "MODEL is JOB (its current version), JOB@ROUND, or the first 6 or more "
    "digits of a digest.";

const cli_verb cli_model_verbs[] = {
    {"model", "list", "[JOB]", 0, 1, "all models, newest first", NULL, NULL, run_list},
    {"model", "show", "MODEL", 1, 1, "one model, its spec and schema", naming, show_options,
     run_show},
    {"model", "export", "MODEL", 1, 1, "write a model as safetensors or NPZ", naming,
     export_options, cli_model_export},
    {"model", "import", "FILE", 1, 1, "store the weights of a file, to start jobs from",
     "Reads .safetensors and .npz; prints the digest for a job file's init.version, or for\n"
     "weft job submit --from. Takes as much room as the model in $TMPDIR, or in /var/tmp.",
     import_options, cli_model_import},
    {"model", "predict", "FILE", 1, 1, "use an exported model on data of this machine",
     "No coordinator is asked. Says the accuracy, or the mean squared error, where the data are\n"
     "labelled.",
     predict_options, cli_model_predict},
    {"model", "release", "MODEL [NAME]", 1, 2, "mark a version as the one to use", naming, NULL,
     run_release},
    {"model", "rollback", "JOB@ROUND | JOB MODEL", 1, 2, "let a job go on from an older version",
     naming, NULL, run_rollback},
    {0},
};

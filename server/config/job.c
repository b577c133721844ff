/* SPDX-License-Identifier: Apache-2.0 */
/* Job files: the table of their fields, and what can only be checked at the end. */
#include "config/job.h"

#include "config/yaml.h"
#include "data/number.h"
#include "data/schema.h"
#include "data/stats.h"
#include "model/spec.h"

#include <stdio.h>
#include <string.h>

#define SECOND_MS 1000.0
#define DAY_MS    86400000.0
#define WEEK_MS   604800000.0

/* ---- blocks of text -------------------------------------------------------------------------- */

/* "line N: ..." of a block's parser, with the line that the file has there. */
static weft_status block_error(const weft_yaml_scalar *at, weft_status code, const char *msg,
                               weft_err *err)
{
    const bool has_line = at->first_line && strncmp(msg, "line ", 5) == 0;
    const size_t digits = has_line ? strspn(msg + 5, "0123456789") : 0;
    uint32_t line = 0;
    if (weft_number_parse_u32(&line, msg + 5 * (size_t)has_line, digits, WEFT_MAX_YAML_BYTES) &&
        strncmp(msg + 5 + digits, ": ", 2) == 0) {
        weft_yaml_scalar there = *at;
        there.line = at->first_line + line - (line > 0);
        return weft_yaml_fail(&there, code, err, "%s", msg + 5 + digits + 2);
    }
    return weft_yaml_fail(at, code, err, "%s", msg);
}

/* Keep a canonical text; an earlier one cannot be there: duplicates are refused. */
static weft_status keep_text(char **at, const weft_buf *text, const weft_yaml_scalar *s,
                             weft_err *err)
{
    *at = weft_string_copy(s->alloc, text->size ? (const char *)text->data : "", text->size);
    return *at ? WEFT_OK : weft_yaml_fail(s, WEFT_E_NOMEM, err, "no memory");
}

static weft_status parse_model(void *base, const weft_yaml_scalar *s, weft_err *err)
{
    weft_job_def *def = base;
    weft_spec *spec = NULL;
    weft_err detail = WEFT_ERR_INIT;
    weft_status status = weft_spec_parse(&spec, s->text, s->size, s->alloc, &detail);
    if (status != WEFT_OK) {
        return block_error(s, status, detail.msg, err);
    }
    weft_buf text;
    weft_buf_init(&text, s->alloc, WEFT_MAX_SPEC_BYTES);
    status = weft_spec_print(spec, &text, err);
    if (status == WEFT_OK) {
        status = keep_text(&def->model_spec, &text, s, err);
    }
    weft_buf_done(&text);
    weft_spec_free(spec);
    return status;
}

static weft_status parse_data(void *base, const weft_yaml_scalar *s, weft_err *err)
{
    weft_job_def *def = base;
    weft_schema *schema = NULL;
    weft_err detail = WEFT_ERR_INIT;
    weft_status status = weft_schema_parse(&schema, s->text, s->size, s->alloc, &detail);
    if (status != WEFT_OK) {
        return block_error(s, status, detail.msg, err);
    }
    weft_buf text;
    weft_buf_init(&text, s->alloc, WEFT_MAX_SCHEMA_BYTES);
    status = weft_schema_print(schema, &text, err);
    if (status == WEFT_OK) {
        status = keep_text(&def->data_schema, &text, s, err);
    }
    weft_buf_done(&text);
    weft_schema_free(schema);
    return status;
}

/* ---- other values ---------------------------------------------------------------------------- */

static weft_status parse_version(void *base, const weft_yaml_scalar *s, weft_err *err)
{
    weft_job_def *def = base;
    if (!weft_hex_decode(def->init_version, sizeof def->init_version, s->text, s->size)) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err,
                              "\"%.70s\" is not a version: its SHA-256 as 64 hexadecimal digits",
                              s->text);
    }
    def->has_init_version = true;
    return WEFT_OK;
}

static weft_status parse_eval_data(void *base, const weft_yaml_scalar *s, weft_err *err)
{
    weft_job_def *def = base;
    if (s->size == 0 || s->size > 1023 || strlen(s->text) != s->size || strpbrk(s->text, "\r\n")) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err,
                              "a path on the coordinator's machine is expected, 1 to 1023 bytes");
    }
    def->eval_data = weft_string_copy(s->alloc, s->text, s->size);
    return def->eval_data ? WEFT_OK : weft_yaml_fail(s, WEFT_E_NOMEM, err, "no memory");
}

/* ---- the table ------------------------------------------------------------------------------- */

#define AT(field) .offset = offsetof(weft_job_def, field)

static const weft_yaml_word optimizers[] = {
    {"sgd", WEFT_OPTIMIZER_SGD}, {"adam", WEFT_OPTIMIZER_ADAM}, {NULL, 0}};
static const weft_yaml_word tasks[] = {
    {"train", WEFT_TASK_TRAIN}, {"stats", WEFT_TASK_STATS}, {NULL, 0}};
static const weft_yaml_word methods[] = {{"fedavg", WEFT_AGGREGATION_FEDAVG}, {NULL, 0}};
static const weft_yaml_word durabilities[] = {
    {"update", WEFT_DURABILITY_UPDATE}, {"round", WEFT_DURABILITY_ROUND}, {NULL, 0}};
static const weft_yaml_word adversaries[] = {
    {"curious", WEFT_ADVERSARY_CURIOUS}, {"active", WEFT_ADVERSARY_ACTIVE}, {NULL, 0}};
static const weft_yaml_word numerics[] = {
    {"fast", WEFT_NUMERICS_FAST}, {"portable", WEFT_NUMERICS_PORTABLE}, {NULL, 0}};
static const weft_yaml_word schedules[] = {{"constant", WEFT_SCHEDULE_CONSTANT},
                                           {"step", WEFT_SCHEDULE_STEP},
                                           {"cosine", WEFT_SCHEDULE_COSINE},
                                           {NULL, 0}};
static const weft_yaml_word batch_words[] = {{"all", 0}, {NULL, 0}};

static const weft_yaml_field train_fields[] = {
    {.name = "optimizer", .type = WEFT_YAML_CHOICE, AT(plan.optimizer), .words = optimizers},
    {.name = "learning_rate",
     .type = WEFT_YAML_DOUBLE,
     AT(plan.learning_rate),
     .max = 1000,
     .above_min = true},
    {.name = "momentum", .type = WEFT_YAML_DOUBLE, AT(plan.momentum), .max = 1, .below_max = true},
    {.name = "weight_decay", .type = WEFT_YAML_DOUBLE, AT(plan.weight_decay), .max = 1},
    {.name = "beta1", .type = WEFT_YAML_DOUBLE, AT(plan.beta1), .max = 1, .below_max = true},
    {.name = "beta2", .type = WEFT_YAML_DOUBLE, AT(plan.beta2), .max = 1, .below_max = true},
    {.name = "epsilon", .type = WEFT_YAML_DOUBLE, AT(plan.epsilon), .max = 1, .above_min = true},
    {.name = "batch_size",
     .type = WEFT_YAML_U32,
     AT(plan.batch_size),
     .min = 1,
     .max = 65536,
     .words = batch_words},
    {.name = "epochs", .type = WEFT_YAML_U32, AT(plan.epochs), .min = 1, .max = 10000},
    {.name = "seed", .type = WEFT_YAML_U64, AT(plan.seed)},
    {.name = "prox_mu", .type = WEFT_YAML_DOUBLE, AT(plan.prox_mu), .max = 1000},
    {.name = "numerics", .type = WEFT_YAML_CHOICE, AT(plan.numerics), .words = numerics},
    {.name = "schedule", .type = WEFT_YAML_CHOICE, AT(plan.schedule), .words = schedules},
    {.name = "schedule_rounds",
     .type = WEFT_YAML_U32,
     AT(plan.schedule_rounds),
     .min = 1,
     .max = 1000000},
    {.name = "schedule_factor", .type = WEFT_YAML_DOUBLE, AT(plan.schedule_factor), .max = 1},
    {.name = "warmup_rounds", .type = WEFT_YAML_DOUBLE, AT(plan.warmup_rounds), .max = 1000000},
    {.name = "clip_gradient", .type = WEFT_YAML_DOUBLE, AT(plan.clip_gradient), .max = 1000000},
    {.name = "early_stop", .type = WEFT_YAML_U32, AT(plan.early_stop), .max = 10000},
    {.name = "augment_shift", .type = WEFT_YAML_U32, AT(plan.augment_shift), .max = 1024},
    {.name = "augment_crop", .type = WEFT_YAML_U32, AT(plan.augment_crop), .max = 1024},
    {.name = "augment_flip", .type = WEFT_YAML_BOOL, AT(plan.augment_flip)},
    {0},
};

static const weft_yaml_field round_fields[] = {
    {.name = "target", .type = WEFT_YAML_U32, AT(target), .min = 1, .max = WEFT_MAX_COHORT},
    {.name = "minimum", .type = WEFT_YAML_U32, AT(minimum), .min = 1, .max = WEFT_MAX_COHORT},
    {.name = "over_selection", .type = WEFT_YAML_DOUBLE, AT(over_selection), .min = 1, .max = 4},
    {.name = "deadline",
     .type = WEFT_YAML_DURATION,
     AT(deadline_ms),
     .min = SECOND_MS,
     .max = WEEK_MS},
    {.name = "lease", .type = WEFT_YAML_DURATION, AT(lease_ms), .min = SECOND_MS, .max = WEEK_MS},
    {.name = "max_attempts", .type = WEFT_YAML_U32, AT(max_attempts), .min = 1, .max = 1000},
    {.name = "backoff", .type = WEFT_YAML_DURATION, AT(backoff_ms), .max = WEEK_MS},
    {.name = "selection_window",
     .type = WEFT_YAML_DURATION,
     AT(selection_window_ms),
     .max = WEEK_MS},
    {0},
};

static const weft_yaml_field aggregation_fields[] = {
    {.name = "method", .type = WEFT_YAML_CHOICE, AT(aggregation), .words = methods},
    {.name = "clip_norm", .type = WEFT_YAML_DOUBLE, AT(clip_norm), .max = 1e6, .above_min = true},
    {.name = "max_examples",
     .type = WEFT_YAML_U64,
     AT(max_examples),
     .min = 1,
     .max = (double)WEFT_MAX_EXAMPLES},
    {.name = "durability", .type = WEFT_YAML_CHOICE, AT(durability), .words = durabilities},
    {.name = "keep_updates",
     .type = WEFT_YAML_U32,
     AT(keep_updates),
     .max = (double)WEFT_MAX_KEEP_UPDATES},
    {.name = "secure", .type = WEFT_YAML_BOOL, AT(secure_aggregation)},
    {0},
};

static const weft_yaml_field secure_fields[] = {
    {.name = "adversary", .type = WEFT_YAML_CHOICE, AT(secure.adversary), .words = adversaries},
    {.name = "gamma", .type = WEFT_YAML_DOUBLE, AT(secure.gamma), .max = 0.9},
    {.name = "delta", .type = WEFT_YAML_DOUBLE, AT(secure.delta), .max = 0.9},
    {.name = "min_colluders",
     .type = WEFT_YAML_U32,
     AT(secure.min_colluders),
     .max = WEFT_MAX_COHORT},
    {.name = "phase_deadline",
     .type = WEFT_YAML_DURATION,
     AT(secure.phase_deadline_ms),
     .min = SECOND_MS,
     .max = DAY_MS},
    {0},
};

static const weft_yaml_field evaluation_fields[] = {
    {.name = "clients", .type = WEFT_YAML_U32, AT(eval_clients), .max = WEFT_MAX_COHORT},
    {.name = "every", .type = WEFT_YAML_U32, AT(eval_every), .min = 1, .max = 1000000},
    {.name = "deadline",
     .type = WEFT_YAML_DURATION,
     AT(eval_deadline_ms),
     .min = SECOND_MS,
     .max = WEEK_MS},
    {.name = "data", .type = WEFT_YAML_CUSTOM, .parse = parse_eval_data},
    {0},
};

static const weft_yaml_field target_fields[] = {
    {.name = "metric",
     .type = WEFT_YAML_STRING,
     .required = true,
     AT(target_metric),
     .min = 1,
     .max = WEFT_MAX_METRIC_NAME_BYTES},
    {.name = "value", .type = WEFT_YAML_DOUBLE, .required = true, AT(target_value)},
    {0},
};

static const weft_yaml_field stop_fields[] = {
    {.name = "rounds", .type = WEFT_YAML_U32, AT(rounds), .min = 1, .max = 1000000},
    {.name = "target", .type = WEFT_YAML_SECTION, .fields = target_fields},
    {.name = "patience", .type = WEFT_YAML_U32, AT(patience)},
    {0},
};

static const weft_yaml_field init_fields[] = {
    {.name = "seed", .type = WEFT_YAML_U64, AT(init_seed)},
    {.name = "version", .type = WEFT_YAML_CUSTOM, .parse = parse_version},
    {0},
};

static const weft_yaml_field job_fields[] = {
    {.name = "name", .type = WEFT_YAML_NAME, .required = true, AT(name)},
    {.name = "dataset", .type = WEFT_YAML_NAME, .required = true, AT(dataset)},
    {.name = "task", .type = WEFT_YAML_CHOICE, AT(task), .words = tasks},
    {.name = "model", .type = WEFT_YAML_CUSTOM, .parse = parse_model},
    {.name = "data", .type = WEFT_YAML_CUSTOM, .parse = parse_data},
    {.name = "train", .type = WEFT_YAML_SECTION, .fields = train_fields},
    {.name = "round", .type = WEFT_YAML_SECTION, .fields = round_fields},
    {.name = "aggregation", .type = WEFT_YAML_SECTION, .fields = aggregation_fields},
    {.name = "secure", .type = WEFT_YAML_SECTION, .fields = secure_fields},
    {.name = "evaluation", .type = WEFT_YAML_SECTION, .fields = evaluation_fields},
    {.name = "stop", .type = WEFT_YAML_SECTION, .fields = stop_fields},
    {.name = "init", .type = WEFT_YAML_SECTION, .fields = init_fields},
    {.name = "seed", .type = WEFT_YAML_U64, AT(seed)},
    {0},
};

/* ---- the whole ------------------------------------------------------------------------------- */

typedef struct job_file {
    const char *file;
    const weft_alloc *alloc;
    weft_yaml_lines lines;
} job_file;

/* A failure of the definition as a whole, in the line of the field that its message begins with. */
static weft_status whole_error(const job_file *j, weft_status code, const char *msg, weft_err *err)
{
    static const char *const prefixes[] = {"", "train.", "aggregation.", "round."};
    char word[WEFT_YAML_MAX_PATH_BYTES + 1] = "";
    const size_t n = strspn(msg, "abcdefghijklmnopqrstuvwxyz0123456789_.");
    memcpy(word, msg, n < sizeof word ? n : sizeof word - 1);
    char *ms = strstr(word, "_ms");
    if (ms) {
        *ms = '\0';
    }
    uint32_t line = 0;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes && line == 0; i++) {
        char path[80];
        (void)snprintf(path, sizeof path, "%s%s", prefixes[i], word); /* fits */
        line = weft_yaml_line_of(&j->lines, path);
    }
    char *dot = strchr(word, '.');
    if (line == 0 && dot) {
        *dot = '\0';
        line = weft_yaml_line_of(&j->lines, word);
    }
    return weft_err_set(err, code, 0, __FILE__, __LINE__, "%.80s:%u: %s", j->file,
                        (unsigned)(line ? line : 1), msg);
}

/* Defaults that give way to what the file says. */
static void fit_defaults(const job_file *j, weft_job_def *def)
{
    if (!weft_yaml_line_of(&j->lines, "round.minimum") && def->minimum > def->target) {
        def->minimum = def->target;
    }
    if (!weft_yaml_line_of(&j->lines, "round.lease") && def->lease_ms > def->deadline_ms) {
        def->lease_ms = def->deadline_ms;
    }
    if (def->task == WEFT_TASK_STATS && !weft_yaml_line_of(&j->lines, "stop.rounds")) {
        def->rounds = 1;
    }
}

/* What a schedule needs, and what there is none for. A cosine lasts as long as the job. */
static weft_status fit_schedule(const job_file *j, weft_job_def *def, weft_err *err)
{
    static const char *const parts[] = {"schedule_rounds", "schedule_factor"};
    weft_plan *plan = &def->plan;
    const bool has_rounds = weft_yaml_line_of(&j->lines, "train.schedule_rounds") != 0;
    const bool has_factor = weft_yaml_line_of(&j->lines, "train.schedule_factor") != 0;
    if (plan->schedule == WEFT_SCHEDULE_CONSTANT && (has_rounds || has_factor)) {
        char msg[80];
        (void)snprintf(msg, sizeof msg, "%s: there is no schedule: say schedule: step or cosine",
                       parts[!has_rounds]); /* fits */
        return whole_error(j, WEFT_E_INVALID, msg, err);
    }
    if (plan->schedule == WEFT_SCHEDULE_STEP && !has_rounds) {
        return whole_error(j, WEFT_E_INVALID,
                           "schedule: step needs schedule_rounds, the rounds between two steps",
                           err);
    }
    if (plan->schedule == WEFT_SCHEDULE_STEP && !has_factor) {
        plan->schedule_factor = 0.1;
    }
    if (plan->schedule == WEFT_SCHEDULE_COSINE && !has_rounds) {
        plan->schedule_rounds = def->rounds;
    }
    return WEFT_OK;
}

static weft_status fill_stats(const job_file *j, weft_job_def *def, const weft_schema *schema,
                              weft_err *err)
{
    weft_buf spec;
    weft_buf_init(&spec, j->alloc, WEFT_MAX_SPEC_BYTES);
    weft_status status = weft_stats_spec(&spec, schema, err);
    if (status == WEFT_OK) {
        def->model_spec = weft_string_copy(j->alloc, (const char *)spec.data, spec.size);
        status = def->model_spec ? WEFT_OK
                                 : weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                                                "no memory for a stats job");
    }
    weft_buf_done(&spec);
    if (!weft_yaml_line_of(&j->lines, "aggregation.clip_norm")) {
        def->clip_norm = weft_stats_norm(schema);
    }
    return status;
}

/* The model takes what the schema makes of a line. */
static weft_status check_fit(const job_file *j, const weft_spec *spec, const weft_schema *schema,
                             weft_err *err)
{
    char msg[128];
    const uint64_t inputs = (uint64_t)spec->input.h * spec->input.w * spec->input.c;
    const uint32_t classes = weft_schema_classes(schema);
    if (spec->n_layers == 0) {
        return WEFT_OK; /* plain tensors: the trainer's business */
    }
    if (inputs != schema->n_features) {
        (void)snprintf(msg, sizeof msg, "model: input %llu, but the data block makes %u features",
                       (unsigned long long)inputs, (unsigned)schema->n_features); /* fits */
        return whole_error(j, WEFT_E_INVALID, msg, err);
    }
    const weft_shape out = spec->layers[spec->n_layers - 1].out;
    if (spec->loss == WEFT_LOSS_SOFTMAX_CE && classes > 0 && out.c != classes) {
        (void)snprintf(msg, sizeof msg,
                       "model: %u outputs, but the data block's target has %u classes",
                       (unsigned)out.c, (unsigned)classes); /* fits */
        return whole_error(j, WEFT_E_INVALID, msg, err);
    }
    return WEFT_OK;
}

static weft_status with_schema(const job_file *j, weft_job_def *def, const weft_schema *schema,
                               weft_err *err)
{
    if (def->task == WEFT_TASK_STATS && !def->model_spec) {
        return fill_stats(j, def, schema, err);
    }
    if (def->task == WEFT_TASK_STATS || !def->model_spec) {
        return WEFT_OK;
    }
    weft_spec *spec = NULL;
    WEFT_TRY(weft_spec_parse(&spec, def->model_spec, strlen(def->model_spec), j->alloc, err));
    const weft_status status = check_fit(j, spec, schema, err);
    weft_spec_free(spec);
    return status;
}

static weft_status finish(const job_file *j, weft_job_def *def, weft_err *err)
{
    fit_defaults(j, def);
    WEFT_TRY(fit_schedule(j, def, err));
    if (def->has_init_version && weft_yaml_line_of(&j->lines, "init.seed")) {
        return whole_error(j, WEFT_E_INVALID, "init.version: give it or init.seed, not both", err);
    }
    if (def->data_schema) {
        weft_schema *schema = NULL;
        WEFT_TRY(
            weft_schema_parse(&schema, def->data_schema, strlen(def->data_schema), j->alloc, err));
        const weft_status status = with_schema(j, def, schema, err);
        weft_schema_free(schema);
        WEFT_TRY(status);
    }
    if (!def->model_spec && def->task != WEFT_TASK_STATS) {
        return whole_error(j, WEFT_E_INVALID, "model: is missing", err);
    }
    if (def->task == WEFT_TASK_STATS && !def->data_schema) {
        return whole_error(j, WEFT_E_INVALID, "data: is missing, a stats job needs it", err);
    }
    weft_err detail = WEFT_ERR_INIT;
    const weft_status status = weft_job_def_check(def, j->alloc, &detail);
    return status == WEFT_OK ? WEFT_OK : whole_error(j, status, detail.msg, err);
}

weft_status weft_job_yaml_parse(weft_job_def *out, const char *file, const char *text, size_t size,
                                const weft_alloc *a, weft_err *err)
{
    job_file j = {.file = file, .alloc = a};
    weft_job_def def;
    weft_job_def_init(&def);
    weft_status status = weft_yaml_parse(&def, &j.lines, job_fields, file, text, size, a, err);
    if (status == WEFT_OK) {
        status = finish(&j, &def, err);
    }
    if (status != WEFT_OK) {
        weft_job_def_done(&def, a);
        return status;
    }
    *out = def;
    return WEFT_OK;
}

weft_status weft_job_yaml_load(weft_job_def *out, const char *path, const weft_alloc *a,
                               weft_err *err)
{
    weft_buf text;
    WEFT_TRY(weft_yaml_load(&text, path, a, err));
    const weft_status status =
        weft_job_yaml_parse(out, path, text.size ? (const char *)text.data : "", text.size, a, err);
    weft_buf_done(&text);
    return status;
}

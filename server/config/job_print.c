/* SPDX-License-Identifier: Apache-2.0 */
/* Job definitions as YAML, every field written out: parse(print(def)) equals def. */
#include "config/job.h"

#include "config/yaml.h"

#include <inttypes.h>
#include <string.h>

static weft_status add_number(weft_buf *out, const char *name, double v, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "  %s: ", name));
    WEFT_TRY(weft_yaml_print_number(out, v, err));
    return weft_buf_add(out, "\n", 1, err);
}

static weft_status add_duration(weft_buf *out, const char *name, uint64_t ms, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "  %s: ", name));
    WEFT_TRY(weft_yaml_print_duration(out, ms, err));
    return weft_buf_add(out, "\n", 1, err);
}

/* A literal block; canonical texts are lines that each end, and no line begins with a blank. */
static weft_status add_block(weft_buf *out, const char *name, const char *text, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "%s: |\n", name));
    while (*text) {
        const size_t n = strcspn(text, "\n");
        WEFT_TRY(weft_buf_add(out, "  ", 2, err));
        WEFT_TRY(weft_buf_add(out, text, n, err));
        WEFT_TRY(weft_buf_add(out, "\n", 1, err));
        text += n + (text[n] == '\n');
    }
    return WEFT_OK;
}

static weft_status add_head(const weft_job_def *def, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "name: \"%s\"\ndataset: \"%s\"\ntask: %s\n", def->name,
                           def->dataset, def->task == WEFT_TASK_STATS ? "stats" : "train"));
    WEFT_TRY(add_block(out, "model", def->model_spec, err));
    return def->data_schema ? add_block(out, "data", def->data_schema, err) : WEFT_OK;
}

static weft_status add_numbers(weft_buf *out, const char *const *names, const double *values,
                               size_t n, weft_err *err)
{
    for (size_t i = 0; i < n; i++) {
        WEFT_TRY(add_number(out, names[i], values[i], err));
    }
    return WEFT_OK;
}

static weft_status add_schedule(const weft_plan *p, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "  schedule: %s\n", weft_schedule_name(p->schedule)));
    if (p->schedule != WEFT_SCHEDULE_CONSTANT) {
        WEFT_TRY(weft_buf_addf(out, err, "  schedule_rounds: %" PRIu32 "\n", p->schedule_rounds));
        WEFT_TRY(add_number(out, "schedule_factor", p->schedule_factor, err));
    }
    WEFT_TRY(add_number(out, "warmup_rounds", p->warmup_rounds, err));
    WEFT_TRY(add_number(out, "clip_gradient", p->clip_gradient, err));
    return weft_buf_addf(out, err, "  early_stop: %" PRIu32 "\n", p->early_stop);
}

static weft_status add_train(const weft_plan *p, weft_buf *out, weft_err *err)
{
    static const char *const names[] = {"learning_rate", "momentum", "weight_decay", "beta1",
                                        "beta2",         "epsilon",  "prox_mu"};
    const double values[] = {p->learning_rate, p->momentum, p->weight_decay, p->beta1,
                             p->beta2,         p->epsilon,  p->prox_mu};
    WEFT_TRY(
        weft_buf_addf(out, err, "train:\n  optimizer: %s\n", weft_optimizer_name(p->optimizer)));
    WEFT_TRY(add_numbers(out, names, values, sizeof values / sizeof *values, err));
    if (p->batch_size) {
        WEFT_TRY(weft_buf_addf(out, err, "  batch_size: %" PRIu32 "\n", p->batch_size));
    } else {
        WEFT_TRY(weft_buf_addf(out, err, "  batch_size: all\n"));
    }
    WEFT_TRY(weft_buf_addf(out, err, "  epochs: %" PRIu32 "\n  seed: %" PRIu64 "\n  numerics: %s\n",
                           p->epochs, p->seed, weft_numerics_name(p->numerics)));
    WEFT_TRY(add_schedule(p, out, err));
    return weft_buf_addf(
        out, err, "  augment_shift: %" PRIu32 "\n  augment_crop: %" PRIu32 "\n  augment_flip: %s\n",
        p->augment_shift, p->augment_crop, p->augment_flip ? "true" : "false");
}

static weft_status add_round(const weft_job_def *def, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "round:\n  target: %" PRIu32 "\n  minimum: %" PRIu32 "\n",
                           def->target, def->minimum));
    WEFT_TRY(add_number(out, "over_selection", def->over_selection, err));
    WEFT_TRY(add_duration(out, "deadline", def->deadline_ms, err));
    WEFT_TRY(add_duration(out, "lease", def->lease_ms, err));
    WEFT_TRY(weft_buf_addf(out, err, "  max_attempts: %" PRIu32 "\n", def->max_attempts));
    WEFT_TRY(add_duration(out, "backoff", def->backoff_ms, err));
    return add_duration(out, "selection_window", def->selection_window_ms, err);
}

static weft_status add_aggregation(const weft_job_def *def, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "aggregation:\n  method: fedavg\n"));
    WEFT_TRY(add_number(out, "clip_norm", def->clip_norm, err));
    return weft_buf_addf(
        out, err,
        "  max_examples: %" PRIu64 "\n  durability: %s\n  keep_updates: %u\n  secure: %s\n",
        def->max_examples, def->durability == WEFT_DURABILITY_ROUND ? "round" : "update",
        (unsigned)def->keep_updates, def->secure_aggregation ? "true" : "false");
}

static weft_status add_secure(const weft_job_secure *s, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "secure:\n  adversary: %s\n",
                           s->adversary == WEFT_ADVERSARY_CURIOUS ? "curious" : "active"));
    WEFT_TRY(add_number(out, "gamma", s->gamma, err));
    WEFT_TRY(add_number(out, "delta", s->delta, err));
    WEFT_TRY(weft_buf_addf(out, err, "  min_colluders: %" PRIu32 "\n", s->min_colluders));
    return add_duration(out, "phase_deadline", s->phase_deadline_ms, err);
}

static weft_status add_evaluation(const weft_job_def *def, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "evaluation:\n  clients: %" PRIu32 "\n  every: %" PRIu32 "\n",
                           def->eval_clients, def->eval_every));
    WEFT_TRY(add_duration(out, "deadline", def->eval_deadline_ms, err));
    if (def->eval_data) {
        WEFT_TRY(weft_buf_addf(out, err, "  data: "));
        WEFT_TRY(weft_yaml_print_quoted(out, def->eval_data, err));
        WEFT_TRY(weft_buf_add(out, "\n", 1, err));
    }
    return WEFT_OK;
}

static weft_status add_stop(const weft_job_def *def, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "stop:\n  rounds: %" PRIu32 "\n", def->rounds));
    if (def->target_metric[0]) {
        WEFT_TRY(weft_buf_addf(out, err, "  target:\n    metric: "));
        WEFT_TRY(weft_yaml_print_quoted(out, def->target_metric, err));
        WEFT_TRY(weft_buf_addf(out, err, "\n  "));
        WEFT_TRY(add_number(out, "value", def->target_value, err));
    }
    return weft_buf_addf(out, err, "  patience: %" PRIu32 "\n", def->patience);
}

static weft_status add_init(const weft_job_def *def, weft_buf *out, weft_err *err)
{
    if (def->has_init_version) {
        char hex[2 * WEFT_DIGEST_BYTES + 1];
        weft_hex_encode(hex, def->init_version, WEFT_DIGEST_BYTES);
        WEFT_TRY(weft_buf_addf(out, err, "init:\n  version: \"%s\"\n", hex));
    } else {
        WEFT_TRY(weft_buf_addf(out, err, "init:\n  seed: %" PRIu64 "\n", def->init_seed));
    }
    return weft_buf_addf(out, err, "seed: %" PRIu64 "\n", def->seed);
}

weft_status weft_job_yaml_print(const weft_job_def *def, weft_buf *out, weft_err *err)
{
    WEFT_TRY(add_head(def, out, err));
    WEFT_TRY(add_train(&def->plan, out, err));
    WEFT_TRY(add_round(def, out, err));
    WEFT_TRY(add_aggregation(def, out, err));
    if (def->secure_aggregation) {
        WEFT_TRY(add_secure(&def->secure, out, err));
    }
    WEFT_TRY(add_evaluation(def, out, err));
    WEFT_TRY(add_stop(def, out, err));
    return add_init(def, out, err);
}

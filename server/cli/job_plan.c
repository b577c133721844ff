/* SPDX-License-Identifier: Apache-2.0 */
/* weft job plan: what a job would cost, computed from its file. */
#include "cli/job.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agg/agg.h"
#include "config/job.h"
#include "model/layout.h"
#include "nn/train/train.h"
#include "secagg/terms.h"

/* Everything that the plan says; bytes are of one client, of a round, or of the coordinator. */
typedef struct job_cost {
    uint64_t n_params;
    uint32_t n_tensors;
    uint64_t model_bytes;
    uint32_t cohort;
    uint64_t down_bytes; /* a round, at most */
    uint64_t up_bytes;
    weft_train_memory training; /* of a client; zeros where the engine cannot train the model */
    uint64_t client_memory;     /* its sum; else of the vectors that any trainer holds */
    uint64_t coordinator_memory;
    uint64_t spool_bytes;
    double grid_step; /* of the exact sum; secure: of one client's update at the largest weight */
    weft_secagg_params smallest, largest; /* sessions of training; secure only */
    uint32_t bits;                        /* of a word that an update at the clip may take */
    double noise; /* of a secure mean of the fewest clients, with few examples; of clip_norm */
} job_cost;

/* What goes under the mask, and who must answer: for the fewest clients and for the most. */
static weft_status measure_secure(job_cost *cost, const weft_job_def *def, weft_err *err)
{
    weft_secagg_terms terms;
    weft_fixed_grid grid;
    WEFT_TRY(weft_secagg_terms_check(def, cost->n_params, err));
    weft_secagg_terms_make(&terms, def, def->task);
    WEFT_TRY(weft_secagg_terms_grid(&grid, &terms, def->task, cost->n_params, def->clip_norm,
                                    def->max_examples, err));
    WEFT_TRY(weft_secagg_params_find(&cost->smallest, terms.policy.min_cohort, &terms.policy, err));
    WEFT_TRY(weft_secagg_params_find(&cost->largest, terms.max_cohort, &terms.policy, err));
    cost->grid_step = 1.0 / grid.scale;
    cost->noise = weft_fixed_noise(&grid, def->minimum, WEFT_FIXED_FEW_EXAMPLES);
    cost->bits = 1;
    for (int32_t most = grid.bound; most > 0; most /= 2) {
        cost->bits++;
    }
    const uint64_t bytes = weft_fixed_bytes(&grid);
    cost->up_bytes = bytes * cost->cohort;
    cost->spool_bytes = cost->up_bytes;
    cost->coordinator_memory = cost->model_bytes * 2 + bytes;
    return WEFT_OK;
}

/* A client's memory: what the engine plans; of plain tensors what any trainer holds, weights and
 * the base that they are compared with. */
static weft_status measure_client(job_cost *cost, const weft_job_def *def, const weft_spec *spec,
                                  weft_err *err)
{
    if (spec->n_layers == 0 || def->task == WEFT_TASK_STATS) {
        cost->client_memory = 2 * cost->model_bytes;
        return WEFT_OK;
    }
    weft_train_memory *m = &cost->training;
    WEFT_TRY(weft_train_plan_memory(m, spec, &def->plan, &weft_alloc_std, err));
    cost->client_memory =
        cost->model_bytes + m->parameters + m->optimizer + m->activations + m->scratch;
    return WEFT_OK;
}

static weft_status measure_model(job_cost *cost, const weft_job_def *def, weft_err *err)
{
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    WEFT_TRY(
        weft_spec_parse(&spec, def->model_spec, strlen(def->model_spec), &weft_alloc_std, err));
    weft_status status = weft_layout_new(&layout, spec, &weft_alloc_std, err);
    if (status == WEFT_OK) {
        cost->n_params = layout->n_params;
        cost->n_tensors = layout->n_tensors;
        cost->model_bytes = cost->n_params * sizeof(float);
        status = measure_client(cost, def, spec, err);
    }
    weft_layout_free(layout);
    weft_spec_free(spec);
    return status;
}

static weft_status measure(job_cost *cost, const weft_job_def *def, weft_err *err)
{
    WEFT_TRY(measure_model(cost, def, err));
    cost->cohort = weft_job_def_cohort(def);
    cost->down_bytes = cost->model_bytes * cost->cohort;
    cost->up_bytes = cost->model_bytes * cost->cohort;
    /* the published version, the sum of int64 and the candidate that it becomes */
    cost->coordinator_memory = cost->model_bytes * 2 + cost->n_params * sizeof(int64_t);
    cost->spool_bytes = cost->up_bytes * (1 + (uint64_t)def->keep_updates);
    if (def->secure_aggregation) {
        return measure_secure(cost, def, err);
    }
    WEFT_TRY(weft_sum_check(cost->n_params, cost->cohort, def->max_examples, def->clip_norm, err));
    const double largest = (double)cost->cohort * (double)def->max_examples * def->clip_norm;
    const double bits = 62.0 - ceil(log2(largest));
    cost->grid_step = exp2(-(bits > 90.0 ? 90.0 : bits));
    return WEFT_OK;
}

/* Is the grid of a secure sum coarse beside the clip norm? Then why, and what helps. */
enum { WARNING_BYTES = 320 };
static bool coarse(char text[WARNING_BYTES], const weft_job_def *def, const job_cost *cost)
{
    if (!def->secure_aggregation || !(cost->noise > WEFT_FIXED_COARSE_NOISE)) {
        return false;
    }
    (void)snprintf(
        text, WARNING_BYTES,
        "the grid of the secure sum is coarse: rounding takes the mean of %u clients with "
        "%d examples %.2g off, %.2g of clip_norm %g; lower aggregation.max_examples, "
        "%" PRIu64 ", to what the largest client has",
        def->minimum, WEFT_FIXED_FEW_EXAMPLES, cost->noise * def->clip_norm, cost->noise,
        def->clip_norm, def->max_examples); /* fits */
    return true;
}

weft_status cli_job_warn(const weft_job_def *def, weft_err *err)
{
    char warning[WARNING_BYTES];
    job_cost cost;
    memset(&cost, 0, sizeof cost);
    WEFT_TRY(measure(&cost, def, err));
    if (coarse(warning, def, &cost)) {
        (void)fprintf(stderr, "weft: %s\n", warning); /* a closed stderr: nothing to do about it */
    }
    return WEFT_OK;
}

static void print_stop(const weft_job_def *def)
{
    char target[96] = "";
    char patience[64] = "";
    if (*def->target_metric) {
        (void)snprintf(target, sizeof target, ", or when %s reaches %g", def->target_metric,
                       def->target_value);
    }
    if (def->patience > 0) {
        (void)snprintf(patience, sizeof patience, ", or after %u evaluations without improvement",
                       def->patience);
    }
    cli_field("stops", "after %u round%s%s%s", def->rounds, def->rounds == 1 ? "" : "s", target,
              patience);
}

static void print_evaluation(const weft_job_def *def)
{
    if (def->eval_clients == 0 && !def->eval_data) {
        cli_field("evaluation", "none but what clients measure in training");
        return;
    }
    char every[32] = "every round";
    if (def->eval_every > 1) {
        (void)snprintf(every, sizeof every, "every %u rounds", def->eval_every); /* fits */
    }
    cli_field("evaluation", "%s: %u clients on held-out data%s%s", every, def->eval_clients,
              def->eval_data ? ", the coordinator on " : "", def->eval_data ? def->eval_data : "");
}

static void print_round_policy(const weft_job_def *def, const job_cost *cost)
{
    char deadline[CLI_TEXT_BYTES];
    char lease[CLI_TEXT_BYTES];
    char backoff[CLI_TEXT_BYTES];
    cli_field("cohort", "%u clients asked, %u wanted, at least %u needed", cost->cohort,
              def->target, def->minimum);
    cli_field("deadline", "%s a round, a client must be heard of every %s",
              cli_duration(deadline, def->deadline_ms), cli_duration(lease, def->lease_ms));
    cli_field("retries", "%u attempts, %s apart at first, then the job pauses", def->max_attempts,
              cli_duration(backoff, def->backoff_ms));
}

static void print_session(const char *label, const weft_secagg_params *p)
{
    char failure[64] = "";
    if (isfinite(p->log2_failure)) {
        (void)snprintf(failure, sizeof failure, ", but for one time in 2^%.0f", -p->log2_failure);
    }
    cli_field(label,
              "%u clients: %u neighbours each (k), %u must answer (t); %u may drop out, %u may "
              "collude%s",
              p->n, p->k, p->t, p->dropouts, p->colluders, failure);
}

static void print_grid(const weft_job_def *def, const job_cost *cost)
{
    char warning[WARNING_BYTES];
    cli_field("sum", "exact, mod 2^32: %u bits a value, norm up to %g", cost->bits, def->clip_norm);
    cli_field("grid",
              "steps of %.2g for a client with %" PRIu64
              " examples (max_examples); for %u clients with %d each the mean is %.2g off",
              cost->grid_step, def->max_examples, def->minimum, WEFT_FIXED_FEW_EXAMPLES,
              cost->noise * def->clip_norm);
    if (coarse(warning, def, cost)) {
        cli_field("warning", "%s", warning);
    }
}

static void print_privacy(const weft_job_def *def, const job_cost *cost)
{
    char a[CLI_TEXT_BYTES];
    if (!def->secure_aggregation) {
        cli_field("sum",
                  "exact, in steps of %.2g of an update times its weight; norm up to %g, weight "
                  "up to %" PRIu64,
                  cost->grid_step, def->clip_norm, def->max_examples);
        cli_field("privacy", "secure aggregation off: the coordinator sees each update");
        return;
    }
    if (def->task == WEFT_TASK_STATS) {
        cli_field("sum", "exact, mod 2^32, several words a value: statistics are not rounded");
    } else {
        print_grid(def, cost);
    }
    cli_field("privacy", "secure aggregation on, against %s coordinator; %s for each phase",
              def->secure.adversary == WEFT_ADVERSARY_ACTIVE ? "a lying" : "a curious",
              cli_duration(a, def->secure.phase_deadline_ms));
    if (cost->smallest.n != cost->largest.n) {
        print_session("fewest", &cost->smallest);
    }
    print_session("session", &cost->largest);
}

/* "cosine to 0.1 of it within 50 rounds, warm-up of 2 rounds" */
static void print_schedule(const weft_plan *plan)
{
    char course[96] = "the same in all rounds";
    char warmup[48] = "";
    if (plan->schedule == WEFT_SCHEDULE_STEP) {
        (void)snprintf(course, sizeof course, "times %g after each %u rounds",
                       plan->schedule_factor, plan->schedule_rounds); /* fits */
    } else if (plan->schedule == WEFT_SCHEDULE_COSINE) {
        (void)snprintf(course, sizeof course, "a cosine down to %g of it within %u rounds",
                       plan->schedule_factor, plan->schedule_rounds); /* fits */
    }
    if (plan->warmup_rounds > 0.0) {
        (void)snprintf(warmup, sizeof warmup, ", rising from 0 for %g rounds",
                       plan->warmup_rounds); /* fits */
    }
    cli_field("learning rate", "%g, %s%s", plan->learning_rate, course, warmup);
}

static void print_training(const weft_plan *plan)
{
    char batch[32] = "all examples in one batch";
    char stop[64] = "";
    char clip[64] = "";
    if (plan->batch_size > 0) {
        (void)snprintf(batch, sizeof batch, "batch %u", plan->batch_size); /* fits */
    }
    if (plan->early_stop > 0) {
        (void)snprintf(stop, sizeof stop, ", fewer after %u without a lower loss",
                       plan->early_stop); /* fits */
    }
    if (plan->clip_gradient > 0.0) {
        (void)snprintf(clip, sizeof clip, ", gradients up to norm %g", plan->clip_gradient);
    }
    cli_field("training", "%s, %s, %u epoch%s%s%s, numerics %s",
              weft_optimizer_name(plan->optimizer), batch, plan->epochs,
              plan->epochs == 1 ? "" : "s", stop, clip, weft_numerics_name(plan->numerics));
    print_schedule(plan);
    if (weft_plan_augments(plan)) {
        cli_field("augmentation", "images cut by up to %u pixels, moved by up to %u%s",
                  plan->augment_crop, plan->augment_shift,
                  plan->augment_flip ? ", half of them mirrored" : "");
    }
}

static void print_memory(const job_cost *cost)
{
    char a[CLI_TEXT_BYTES];
    char b[CLI_TEXT_BYTES];
    char c[CLI_TEXT_BYTES];
    char d[CLI_TEXT_BYTES];
    const weft_train_memory *m = &cost->training;
    if (m->parameters == 0) {
        cli_field("memory", "%s of a client for weights and base, and what its trainer takes",
                  cli_size(a, cost->client_memory));
        return;
    }
    cli_field("memory",
              "%s of a client besides data: %s weights and base, %s optimizer, %s activations and "
              "scratch",
              cli_size(a, cost->client_memory), cli_size(b, cost->model_bytes + m->parameters),
              cli_size(c, m->optimizer), cli_size(d, m->activations + m->scratch));
}

static void print_plan(const weft_job_def *def, const job_cost *cost)
{
    char a[CLI_TEXT_BYTES];
    char b[CLI_TEXT_BYTES];
    cli_field("job", "%s: %s on data set %s", def->name,
              def->task == WEFT_TASK_STATS ? "statistics" : "training", def->dataset);
    cli_field("model", "%s parameters in %u tensors, %s", cli_count(a, cost->n_params),
              cost->n_tensors, cli_size(b, cost->model_bytes));
    print_training(&def->plan);
    print_round_policy(def, cost);
    cli_field("round traffic", "%s down, %s up at most", cli_size(a, cost->down_bytes),
              cli_size(b, cost->up_bytes));
    cli_field("all rounds", "%s down, %s up at most", cli_size(a, cost->down_bytes * def->rounds),
              cli_size(b, cost->up_bytes * def->rounds));
    cli_field("client", "%s down and up a round", cli_size(a, cost->model_bytes));
    print_memory(cost);
    cli_field("coordinator", "%s of memory for the open round, %s of disk for its updates",
              cli_size(a, cost->coordinator_memory), cli_size(b, cost->spool_bytes));
    print_privacy(def, cost);
    print_evaluation(def);
    print_stop(def);
}

static json_t *training_json(const weft_plan *p, const weft_train_memory *m)
{
    return json_pack(
        "{s:s, s:f, s:I, s:I, s:s, s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I}",
        "optimizer", weft_optimizer_name(p->optimizer), "learning_rate", p->learning_rate,
        "batch_size", (json_int_t)p->batch_size, "epochs", (json_int_t)p->epochs, "schedule",
        weft_schedule_name(p->schedule), "schedule_rounds", (json_int_t)p->schedule_rounds,
        "schedule_factor", p->schedule_factor, "warmup_rounds", p->warmup_rounds, "clip_gradient",
        p->clip_gradient, "early_stop", (json_int_t)p->early_stop, "augment_shift",
        (json_int_t)p->augment_shift, "augment_crop", (json_int_t)p->augment_crop, "augment_flip",
        p->augment_flip, "parameters_bytes", (json_int_t)m->parameters, "optimizer_bytes",
        (json_int_t)m->optimizer, "activations_bytes", (json_int_t)m->activations, "scratch_bytes",
        (json_int_t)m->scratch);
}

static json_t *plan_json(const weft_job_def *def, const job_cost *cost)
{
    json_t *plan = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:b, s:s}", "job",
        def->name, "dataset", def->dataset, "n_params", (json_int_t)cost->n_params, "n_tensors",
        (json_int_t)cost->n_tensors, "model_bytes", (json_int_t)cost->model_bytes, "cohort",
        (json_int_t)cost->cohort, "target", (json_int_t)def->target, "minimum",
        (json_int_t)def->minimum, "rounds", (json_int_t)def->rounds, "round_down_bytes",
        (json_int_t)cost->down_bytes, "round_up_bytes", (json_int_t)cost->up_bytes,
        "client_memory_bytes", (json_int_t)cost->client_memory, "coordinator_memory_bytes",
        (json_int_t)cost->coordinator_memory, "grid_step", cost->grid_step, "secure_aggregation",
        def->secure_aggregation, "numerics", weft_numerics_name(def->plan.numerics));
    if (plan) { /* what is missing prints nothing */
        (void)json_object_set_new(plan, "training", training_json(&def->plan, &cost->training));
    }
    if (plan && def->secure_aggregation) {
        const weft_secagg_params *p = &cost->largest;
        json_t *session =
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:b}", "clients", (json_int_t)p->n, "k",
                      (json_int_t)p->k, "t", (json_int_t)p->t, "dropouts", (json_int_t)p->dropouts,
                      "colluders", (json_int_t)p->colluders, "bits", (json_int_t)cost->bits,
                      "noise", cost->noise, "coarse", cost->noise > WEFT_FIXED_COARSE_NOISE);
        if (session && isfinite(p->log2_failure)) {
            (void)json_object_set_new(session, "log2_failure", json_real(p->log2_failure));
        }
        (void)json_object_set_new(plan, "secure", session); /* what is missing prints nothing */
    }
    return plan;
}

static weft_status check_there(cli *c, const weft_job_def *def, weft_err *err)
{
    if (!cli_value(c, "check")) {
        return WEFT_OK;
    }
    weft_msg_submit_job_reply answer;
    cli_reply reply;
    WEFT_TRY(cli_job_send(c, def, true, &answer, &reply, err));
    cli_reply_done(&reply);
    if (cli_is_text(c)) {
        cli_field("check", "the coordinator would take it");
    }
    return WEFT_OK;
}

static weft_status plan(cli *c, const weft_job_def *def, weft_err *err)
{
    job_cost cost;
    memset(&cost, 0, sizeof cost);
    WEFT_TRY(measure(&cost, def, err));
    if (cli_is_text(c)) {
        print_plan(def, &cost);
        return check_there(c, def, err);
    }
    WEFT_TRY(check_there(c, def, err));
    return cli_print_json(c, plan_json(def, &cost), err);
}

weft_status cli_job_plan(cli *c, weft_err *err)
{
    weft_job_def def;
    WEFT_TRY(weft_job_yaml_load(&def, c->argument[0], &weft_alloc_std, err));
    const weft_status status = plan(c, &def, err);
    weft_job_def_done(&def, &weft_alloc_std);
    return status;
}

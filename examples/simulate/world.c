/* SPDX-License-Identifier: Apache-2.0 */
/* Data, partition and job of a simulation, from the command line. Owner: main. */
#include "world.h"

#include "base/file.h"
#include "config/job.h"
#include "data/digits.h"
#include "data/load.h"
#include "data/locator.h"
#include "model/spec.h"
#include "secagg/terms.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const weft_alloc *const memory = &weft_alloc_std;

/* Streams of the seed; those of initial weights and selection are the core's. */
enum { SEED_TRAIN = 1, SEED_TEST = 2, SEED_STYLE = 3 };

static uint64_t derived(uint64_t seed, uint64_t stream)
{
    weft_rng rng;
    weft_rng_init(&rng, seed, stream);
    return weft_rng_u64(&rng);
}

weft_data_view sim_world_part(const sim_world *world, uint32_t k)
{
    return weft_partition_view(world->parts, world->train, k);
}

static weft_status fetch(const void *self, const uint32_t *index, uint32_t n, float *x,
                         uint32_t *labels, float *targets, weft_err *err)
{
    (void)err; /* memory never fails */
    const weft_data_view *view = self;
    const bool classes = view->data->labels == WEFT_LABEL_CLASS;
    weft_data_gather(x, classes ? labels : NULL, classes ? NULL : targets, view, index, 0, n);
    return WEFT_OK;
}

weft_batch_source sim_source(const weft_data_view *view)
{
    return (weft_batch_source){.n_examples = view->n,
                               .n_features = view->data->n_features,
                               .n_targets = view->data->labels == WEFT_LABEL_VALUE ? 1 : 0,
                               .fetch = fetch,
                               .self = view};
}

/* ---- data ------------------------------------------------------------------------------------ */

static weft_status read_schema(weft_schema **ret, const char *path, weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, memory, WEFT_MAX_SCHEMA_BYTES);
    weft_status status = weft_file_read(&text, path, err);
    if (status == WEFT_OK) {
        status = weft_schema_parse(ret, (const char *)text.data, text.size, memory, err);
    }
    weft_buf_done(&text);
    return status;
}

static weft_status find_schema(weft_schema **ret, const sim_world *w, const sim_options *o,
                               weft_err *err)
{
    if (o->schema) {
        return read_schema(ret, o->schema, err);
    }
    if (w->def.data_schema) {
        return weft_schema_parse(ret, w->def.data_schema, strlen(w->def.data_schema), memory, err);
    }
    return WEFT_OK; /* images need none */
}

/* A lone file has no other split. */
static bool is_lone_file(const char *path)
{
    struct stat st;
    weft_locator locator;
    const bool is_text = weft_locator_parse(&locator, path, NULL) == WEFT_OK && locator.window > 0;
    return is_text || (stat(path, &st) == 0 && S_ISREG(st.st_mode));
}

static weft_status load_test(sim_world *w, const sim_options *o, const weft_schema *schema,
                             weft_err *err)
{
    if (o->test) {
        return weft_data_load(&w->test, o->test, WEFT_SPLIT_TEST, schema, memory, err);
    }
    weft_err quiet = WEFT_ERR_INIT;
    weft_status status = WEFT_E_NOTFOUND;
    if (!is_lone_file(o->data)) {
        status = weft_data_load(&w->test, o->data, WEFT_SPLIT_TEST, schema, memory, &quiet);
    }
    if (status == WEFT_OK) {
        return WEFT_OK;
    }
    if (status != WEFT_E_NOTFOUND) {
        WEFT_FAIL(err, status, "%s", quiet.msg);
    }
    const weft_data_view all = weft_data_all(w->train);
    return weft_partition_holdout(&w->held_out, &all, 1.0 / 6.0, o->seed, memory, err);
}

static weft_status load_data(sim_world *w, const sim_options *o, weft_err *err)
{
    if (!o->data) {
        WEFT_TRY(weft_digits_new(&w->train, o->examples, derived(o->seed, SEED_TRAIN), NULL, memory,
                                 err));
        return weft_digits_new(&w->test, o->test_examples, derived(o->seed, SEED_TEST), NULL,
                               memory, err);
    }
    weft_schema *schema = NULL;
    WEFT_TRY(find_schema(&schema, w, o, err));
    weft_status status = weft_data_load(&w->train, o->data, WEFT_SPLIT_TRAIN, schema, memory, err);
    if (status == WEFT_OK) {
        status = load_test(w, o, schema, err);
    }
    weft_schema_free(schema);
    return status;
}

/* ---- who has what ---------------------------------------------------------------------------- */

static weft_status split_data(sim_world *w, const sim_options *o, weft_err *err)
{
    switch (o->split) {
    case SIM_SPLIT_SHARDS:
        return weft_partition_shards(&w->parts, w->train, o->clients, o->shards, o->seed, memory,
                                     err);
    case SIM_SPLIT_DIRICHLET:
        return weft_partition_dirichlet(&w->parts, w->train, o->clients, o->alpha, 1, o->seed,
                                        memory, err);
    case SIM_SPLIT_COLUMN:
        return weft_partition_column(&w->parts, w->train, memory, err);
    case SIM_SPLIT_IID:
        break;
    }
    return weft_partition_iid(&w->parts, w->train, o->clients, o->seed, memory, err);
}

/* Take the examples that are held out from the clients. */
static weft_status remove_held_out(sim_world *w, weft_err *err)
{
    weft_partition *p = w->parts;
    bool *held = weft_array(memory, w->train->n, sizeof *held);
    if (!held) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %" PRIu32 " examples", w->train->n);
    }
    for (uint64_t i = w->held_out->start[1]; i < w->held_out->start[2]; i++) {
        held[w->held_out->index[i]] = true;
    }
    uint64_t at = 0;
    uint64_t from = 0;
    uint32_t empty = p->n_parts;
    for (uint32_t k = 0; k < p->n_parts; k++) {
        const uint64_t end = p->start[k + 1];
        const uint64_t start = at;
        for (; from < end; from++) {
            if (!held[p->index[from]]) {
                p->index[at++] = p->index[from];
            }
        }
        p->start[k + 1] = at;
        empty = at == start ? k : empty;
    }
    weft_free(memory, held);
    if (empty < p->n_parts) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "client %" PRIu32 " of %" PRIu32 " is left without examples: fewer --clients, or "
                  "--test with a set of its own",
                  empty + 1, p->n_parts);
    }
    return WEFT_OK;
}

/* Every client writes in its own hand; the test set is written by all of them in turn. */
static void restyle(sim_world *w, const sim_options *o)
{
    const uint64_t seed = derived(o->seed, SEED_STYLE);
    for (uint32_t k = 0; k < w->n_clients; k++) {
        weft_digits_style style = WEFT_DIGITS_STYLE_INIT;
        weft_rng rng;
        weft_rng_init(&rng, seed, k);
        weft_digits_style_draw(&style, (float)o->style, &rng);
        const weft_data_view part = sim_world_part(w, k);
        for (uint32_t i = 0; i < part.n; i++) {
            const uint32_t at = weft_data_view_at(&part, i);
            weft_digits_draw(w->train->u8 + (size_t)at * WEFT_DIGITS_PIXELS, w->train->classes[at],
                             &style, &rng);
        }
        for (uint32_t i = k; i < w->test->n; i += w->n_clients) {
            weft_digits_draw(w->test->u8 + (size_t)i * WEFT_DIGITS_PIXELS, w->test->classes[i],
                             &style, &rng);
        }
    }
}

static weft_status share_out(sim_world *w, const sim_options *o, weft_err *err)
{
    WEFT_TRY(split_data(w, o, err));
    w->n_clients = w->parts->n_parts;
    if (w->held_out) {
        WEFT_TRY(remove_held_out(w, err));
        w->test_view = weft_partition_view(w->held_out, w->train, 1);
    } else {
        w->test_view = weft_data_all(w->test);
    }
    if (!o->data && o->style > 0.0) {
        restyle(w, o);
    }
    return WEFT_OK;
}

/* ---- the model ------------------------------------------------------------------------------- */

static weft_status print_input(weft_buf *out, const weft_data *d, bool flat, weft_err *err)
{
    if (d->shape.rank == 1) {
        return weft_buf_addf(out, err, "input %" PRIu32 "\n", d->n_features);
    }
    return weft_buf_addf(out, err, "input %" PRIu32 "x%" PRIu32 "x%" PRIu32 "\n%s", d->shape.h,
                         d->shape.w, d->shape.c, flat ? "flatten\n" : "");
}

static weft_status print_output(weft_buf *out, const weft_data *d, const char *init, weft_err *err)
{
    if (d->labels == WEFT_LABEL_VALUE) {
        return weft_buf_addf(out, err, "dense units=1\nloss mse\n");
    }
    return weft_buf_addf(out, err, "dense units=%" PRIu32 "%s\nloss softmax_cross_entropy\n",
                         d->n_classes, init);
}

/* McMahan et al. 2017: 2NN has two hidden layers of 200, CNN two convolutions of 32 and 64. The
 * paper does not say how weights begin; a CNN drawn as Glorot says takes fewer rounds than He's. */
static weft_status print_preset(weft_buf *out, const char *name, const weft_data *d, weft_err *err)
{
    const bool cnn = strcmp(name, "cnn") == 0;
    WEFT_TRY(print_input(out, d, !cnn, err));
    if (cnn) {
        WEFT_TRY(weft_buf_addf(out, err,
                               "conv2d filters=32 kernel=5 padding=same init=glorot\nrelu\n"
                               "maxpool size=2\n"
                               "conv2d filters=64 kernel=5 padding=same init=glorot\nrelu\n"
                               "maxpool size=2\n"
                               "flatten\ndense units=512 init=glorot\nrelu\n"));
    } else if (strcmp(name, "2nn") == 0) {
        WEFT_TRY(weft_buf_addf(out, err, "dense units=200\nrelu\ndense units=200\nrelu\n"));
    }
    return print_output(out, d, cnn ? " init=glorot" : "", err);
}

static weft_status choose_model(sim_world *w, const sim_options *o, weft_err *err)
{
    if (w->def.model_spec && !o->has_model) {
        return weft_spec_parse(&w->spec, w->def.model_spec, strlen(w->def.model_spec), memory, err);
    }
    weft_buf text;
    weft_buf_init(&text, memory, WEFT_MAX_SPEC_BYTES);
    const bool preset = strcmp(o->model, "linear") == 0 || strcmp(o->model, "2nn") == 0 ||
                        strcmp(o->model, "cnn") == 0;
    weft_status status = preset ? print_preset(&text, o->model, w->train, err)
                                : weft_file_read(&text, o->model, err);
    if (status == WEFT_OK) {
        status = weft_spec_parse(&w->spec, (const char *)text.data, text.size, memory, err);
    }
    weft_buf_done(&text);
    return status;
}

static weft_status keep_spec(sim_world *w, weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, memory, WEFT_MAX_SPEC_BYTES);
    weft_status status = weft_spec_print(w->spec, &text, err);
    const char *canonical = status == WEFT_OK ? weft_buf_text(&text) : NULL;
    weft_free(memory, w->def.model_spec);
    w->def.model_spec = canonical ? weft_string_copy(memory, canonical, WEFT_MAX_SPEC_BYTES) : NULL;
    weft_buf_done(&text);
    WEFT_TRY(status);
    if (!w->def.model_spec) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model spec");
    }
    return WEFT_OK;
}

/* ---- the job --------------------------------------------------------------------------------- */

static uint64_t largest_part(const sim_world *w)
{
    uint64_t most = 1;
    for (uint32_t k = 0; k < w->n_clients; k++) {
        const uint64_t n = w->parts->start[k + 1] - w->parts->start[k];
        most = n > most ? n : most;
    }
    return most;
}

static void set_policy(sim_world *w, const sim_options *o)
{
    weft_job_def *def = &w->def;
    const bool all = !o->job; /* without a file, defaults count as given */
    if (all || o->has_fraction) {
        const double wanted = floor(o->fraction * w->n_clients + 0.5);
        def->target = wanted > 1.0 ? (uint32_t)wanted : 1;
        def->minimum = o->dropout > 0.0 ? (def->target + 1) / 2 : def->target;
    }
    if (all || o->has_over) {
        def->over_selection = o->over_selection;
    }
    if (all || o->has_plan) {
        def->plan = o->plan;
    }
    if (all || o->has_rounds) {
        def->rounds = o->rounds;
    }
    if (all || o->has_every) {
        def->eval_every = o->eval_every;
    }
    if (all || o->has_seed) {
        def->seed = o->seed;
        def->init_seed = o->seed;
        def->plan.seed = o->seed;
    }
    if (o->has_target) {
        (void)snprintf(def->target_metric, sizeof def->target_metric, "accuracy"); /* fits */
        def->target_value = o->target_accuracy;
    }
    if (all) {
        def->max_examples = largest_part(w);
        def->clip_norm = 100.0; /* FedAvg of the papers does not clip: only what runs away */
    }
}

static weft_status set_job(sim_world *w, const sim_options *o, weft_err *err)
{
    weft_job_def *def = &w->def;
    set_policy(w, o);
    WEFT_TRY(keep_spec(w, err));
    weft_free(memory, def->eval_data);
    def->eval_data = weft_string_copy(memory, "test", 4); /* here a name for test_view */
    if (!def->eval_data) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a job");
    }
    if (!o->job) {
        (void)snprintf(def->name, sizeof def->name, "simulation");       /* fits */
        (void)snprintf(def->dataset, sizeof def->dataset, "simulation"); /* fits */
    }
    if (def->task != WEFT_TASK_TRAIN) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the job is not one that trains");
    }
    if (o->secure || !o->job) { /* by itself it sums plainly: all parties are this process */
        def->secure_aggregation = o->secure;
    }
    if (def->minimum > w->n_clients) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "a round needs at least %" PRIu32 " clients, there are %" PRIu32, def->minimum,
                  w->n_clients);
    }
    WEFT_TRY(weft_job_def_check(def, memory, err));
    return weft_secagg_terms_check(def, w->layout->n_params, err);
}

static weft_status build(sim_world *w, const sim_options *o, weft_err *err)
{
    if (o->job) {
        WEFT_TRY(weft_job_yaml_load(&w->def, o->job, memory, err));
    } else {
        weft_job_def_init(&w->def);
    }
    WEFT_TRY(load_data(w, o, err));
    if (w->train->labels == WEFT_LABEL_NONE) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the data have no labels: nothing can be learned");
    }
    WEFT_TRY(share_out(w, o, err));
    WEFT_TRY(choose_model(w, o, err));
    WEFT_TRY(weft_data_fits(w->train, w->spec, err));
    WEFT_TRY(weft_data_fits(w->test_view.data, w->spec, err));
    WEFT_TRY(weft_layout_new(&w->layout, w->spec, memory, err));
    return set_job(w, o, err);
}

weft_status sim_world_init(sim_world *world, const sim_options *options, weft_err *err)
{
    memset(world, 0, sizeof *world);
    const weft_status status = build(world, options, err);
    if (status != WEFT_OK) {
        sim_world_done(world);
    }
    return status;
}

void sim_world_done(sim_world *world)
{
    weft_layout_free(world->layout);
    weft_spec_free(world->spec);
    weft_job_def_done(&world->def, memory);
    weft_partition_free(world->parts);
    weft_partition_free(world->held_out);
    weft_data_free(world->test);
    weft_data_free(world->train);
    memset(world, 0, sizeof *world);
}

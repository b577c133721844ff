/* SPDX-License-Identifier: Apache-2.0 */
/* weft-simulate: wires the parts and says how it went. */
#include "federation.h"
#include "options.h"
#include "pool.h"
#include "report.h"
#include "state.h"
#include "world.h"

#include "weights/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Exit statuses, as those of weft. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 64 };

typedef struct simulation {
    sim_options options;
    sim_world world;
    sim_pool *pool;
    sim_report report;
    sim_federation *fed;
    char fingerprint[65];
    float *start_weights; /* owned; NULL: drawn from the seed */
} simulation;

static double metric(const weft_metrics *m, const char *name)
{
    double value = (double)NAN;
    (void)weft_metrics_get(m, name, &value); /* NAN stays where it was not measured */
    return value;
}

static weft_status save_state(simulation *s, weft_err *err)
{
    uint8_t digest[WEFT_DIGEST_BYTES];
    sim_start mark = {0};
    const float *weights = sim_federation_weights(s->fed, digest);
    sim_federation_mark(s->fed, &mark);
    return sim_state_save(s->options.state, s->fingerprint, &s->world, &mark, weights, digest,
                          &s->report, err);
}

static weft_status on_round(void *self, const sim_round *round, weft_err *err)
{
    simulation *s = self;
    const weft_round_row *row = round->row;
    if (row->state == WEFT_ROUND_FAILED) {
        sim_report_failed(&s->report, row->round, row->reason);
        return WEFT_OK;
    }
    const bool federated = row->central.n == 0;
    const weft_metrics *test = federated ? &row->federated : &row->central;
    const sim_point point = {.round = row->round,
                             .clients = row->accepted,
                             .examples = row->n_examples,
                             .train_loss = metric(&row->train, "loss"),
                             .train_accuracy = metric(&row->train, "accuracy"),
                             .test_loss = metric(test, "loss"),
                             .test_accuracy = metric(test, "accuracy")};
    WEFT_TRY(sim_report_add(&s->report, point, round->trained_examples, err));
    return s->options.state ? save_state(s, err) : WEFT_OK;
}

/* The weights that --init names. */
static weft_status load_init(simulation *s, weft_err *err)
{
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    WEFT_TRY(weft_weights_load(s->options.init, s->world.spec, &spec, &layout, &s->start_weights,
                               NULL, &weft_alloc_std, err));
    weft_layout_free(layout);
    weft_spec_free(spec);
    return WEFT_OK;
}

static weft_status find_start(simulation *s, sim_start *start, weft_err *err)
{
    const sim_options *o = &s->options;
    if (o->init) {
        WEFT_TRY(load_init(s, err));
    }
    if (o->state) {
        WEFT_TRY(
            sim_state_fingerprint(s->fingerprint, &s->world, o->dropout, s->start_weights, err));
        WEFT_TRY(sim_state_load(o->state, s->fingerprint, &s->world, start, &s->start_weights,
                                &s->report, err));
    }
    start->weights = s->start_weights;
    return WEFT_OK;
}

static weft_status set_up(simulation *s, weft_err *err)
{
    const sim_options *o = &s->options;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const uint32_t threads = o->threads ? o->threads : cores > 0 ? (uint32_t)cores : 1;
    WEFT_TRY(sim_world_init(&s->world, o, err));
    WEFT_TRY(sim_report_init(&s->report, o->csv, o->jsonl, s->world.def.rounds, o->quiet, err));
    WEFT_TRY(sim_pool_new(&s->pool, &s->world, threads, err));
    sim_start start = {0};
    WEFT_TRY(find_start(s, &start, err));
    if (!o->quiet) {
        (void)fprintf(stderr,
                      "%" PRIu32 " clients, %" PRIu32 " a round, %" PRIu32 " examples, %" PRIu64
                      " parameters, %" PRIu32 " threads%s\n",
                      s->world.n_clients, s->world.def.target, s->world.train->n,
                      s->world.layout->n_params, threads,
                      start.rounds_done > 0 ? ", going on" : ""); /* progress only */
    }
    const sim_observer observer = {on_round, s};
    return sim_federation_new(&s->fed, &s->world, s->pool, o->dropout, &observer, &start, err);
}

/* Was the end reached already in an earlier run? */
static bool ended_before(const simulation *s)
{
    if (s->report.n == 0) {
        return false;
    }
    const sim_point *last = &s->report.points[s->report.n - 1];
    const bool target = s->world.def.target_metric[0] != '\0' &&
                        strcmp(s->world.def.target_metric, "accuracy") == 0 &&
                        last->test_accuracy >= s->world.def.target_value;
    return last->round >= s->world.def.rounds || target;
}

static weft_status export_model(const simulation *s, weft_err *err)
{
    weft_weights_meta meta = {.round =
                                  s->report.n > 0 ? s->report.points[s->report.n - 1].round : 0};
    uint8_t digest[WEFT_DIGEST_BYTES];
    const float *weights = sim_federation_weights(s->fed, digest);
    memcpy(meta.job, s->world.def.name, sizeof meta.job);
    weft_hex_encode(meta.digest, digest, sizeof digest);
    return weft_weights_save(s->options.export_path, s->world.spec, s->world.layout, weights, &meta,
                             &weft_alloc_std, err);
}

static void print_result(const simulation *s)
{
    const sim_report *r = &s->report;
    const sim_point *last = r->n > 0 ? &r->points[r->n - 1] : NULL;
    double best = (double)NAN;
    for (size_t i = 0; i < r->n; i++) {
        best = fmax(best, r->points[i].test_accuracy); /* ignores NAN */
    }
    uint8_t digest[WEFT_DIGEST_BYTES];
    char hex[2 * WEFT_DIGEST_BYTES + 1];
    (void)sim_federation_weights(s->fed, digest);
    weft_hex_encode(hex, digest, sizeof digest);
    const double took_s = r->last_s - r->began_s;
    printf("{\"rounds\":%" PRIu32 ",\"digest\":\"%s\"", last ? last->round : 0, hex);
    if (last && !isnan(last->test_loss)) {
        printf(",\"test_loss\":%.9g", last->test_loss);
    }
    if (last && !isnan(last->test_accuracy)) {
        printf(",\"test_accuracy\":%.9g,\"best_accuracy\":%.9g", last->test_accuracy, best);
    }
    const sim_secure_stats secure = sim_federation_secure(s->fed);
    if (s->world.def.secure_aggregation) {
        printf(",\"secure_sums\":%" PRIu32 ",\"masked_vectors\":%" PRIu64 ",\"dropped\":%" PRIu64
               ",\"k\":%" PRIu32 ",\"t\":%" PRIu32,
               secure.n_sums, secure.n_vectors, secure.n_dropped, secure.k, secure.t);
    }
    printf(",\"vanished\":%" PRIu64 ",\"seconds\":%.3f,\"samples_per_s\":%.0f}\n",
           sim_federation_vanished(s->fed), last ? last->seconds : 0.0,
           took_s > 0.0 ? (double)r->trained / took_s : 0.0);
}

static weft_status simulate(simulation *s, weft_err *err)
{
    WEFT_TRY(set_up(s, err));
    if (!ended_before(s)) {
        WEFT_TRY(sim_federation_run(s->fed, err));
    }
    if (s->options.export_path) {
        WEFT_TRY(export_model(s, err));
    }
    print_result(s);
    return WEFT_OK;
}

int main(int argc, char **argv)
{
    static simulation s;
    weft_err err = WEFT_ERR_INIT;
    if (sim_options_parse(&s.options, argc, argv, &err) != WEFT_OK) {
        (void)fprintf(stderr, "weft-simulate: %s\n", err.msg); /* nothing else can be done */
        return EXIT_USAGE;
    }
    if (s.options.help) {
        sim_options_help();
        return EXIT_OK;
    }
    const weft_status status = simulate(&s, &err);
    if (status != WEFT_OK) {
        (void)fprintf(stderr, "weft-simulate: %s\n", err.msg); /* nothing else can be done */
    }
    sim_federation_free(s.fed);
    sim_pool_free(s.pool);
    sim_report_done(&s.report);
    sim_world_done(&s.world);
    weft_free(&weft_alloc_std, s.start_weights);
    return status == WEFT_OK ? EXIT_OK : EXIT_FAILED;
}

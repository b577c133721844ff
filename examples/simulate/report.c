/* SPDX-License-Identifier: Apache-2.0 */
/* The curve of a simulation. Owner thread. */
#include "report.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const weft_alloc *const memory = &weft_alloc_std;

double sim_now_s(void)
{
    return (double)weft_clock_system.mono_ms(weft_clock_system.self) / 1000.0;
}

static weft_status open_file(FILE **ret, const char *path, weft_err *err)
{
    if (!path) {
        return WEFT_OK;
    }
    *ret = fopen(path, "w");
    if (!*ret) {
        WEFT_FAIL_SYS(err, errno, "cannot create %.160s: %s", path, strerrordesc_np(errno));
    }
    return WEFT_OK;
}

weft_status sim_report_init(sim_report *r, const char *csv, const char *jsonl, uint32_t rounds,
                            bool quiet, weft_err *err)
{
    memset(r, 0, sizeof *r);
    r->rounds = rounds;
    r->quiet = quiet;
    r->began_s = sim_now_s();
    r->last_s = r->began_s;
    WEFT_TRY(open_file(&r->csv, csv, err));
    WEFT_TRY(open_file(&r->jsonl, jsonl, err));
    if (r->csv) { /* no times: the same seed gives the same file */
        (void)fputs("round,clients,examples,train_loss,train_accuracy,test_loss,test_accuracy\n",
                    r->csv); /* a full disk shows at the end */
    }
    return WEFT_OK;
}

void sim_report_done(sim_report *r)
{
    weft_free(memory, r->points);
    if (r->csv) {
        (void)fclose(r->csv); /* every line was flushed */
    }
    if (r->jsonl) {
        (void)fclose(r->jsonl); /* every line was flushed */
    }
    memset(r, 0, sizeof *r);
}

/* ---- files ----------------------------------------------------------------------------------- */

static weft_status print_number(weft_buf *out, const char *name, double value, weft_err *err)
{
    if (isnan(value)) {
        return WEFT_OK;
    }
    return weft_buf_addf(out, err, ",\"%s\":%.9g", name, value);
}

weft_status sim_point_print(const sim_point *p, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err,
                           "{\"round\":%" PRIu32 ",\"clients\":%" PRIu32 ",\"examples\":%" PRIu64,
                           p->round, p->clients, p->examples));
    WEFT_TRY(print_number(out, "train_loss", p->train_loss, err));
    WEFT_TRY(print_number(out, "train_accuracy", p->train_accuracy, err));
    WEFT_TRY(print_number(out, "test_loss", p->test_loss, err));
    WEFT_TRY(print_number(out, "test_accuracy", p->test_accuracy, err));
    return weft_buf_addf(out, err, ",\"seconds\":%.3f}", p->seconds);
}

static void print_cell(FILE *f, double value)
{
    if (isnan(value)) {
        (void)fputs(",", f); /* checked by the flush */
    } else {
        (void)fprintf(f, ",%.9g", value); /* checked by the flush */
    }
}

static weft_status write_csv(FILE *f, const sim_point *p, weft_err *err)
{
    (void)fprintf(f, "%" PRIu32 ",%" PRIu32 ",%" PRIu64, p->round, p->clients,
                  p->examples); /* checked by the flush */
    print_cell(f, p->train_loss);
    print_cell(f, p->train_accuracy);
    print_cell(f, p->test_loss);
    print_cell(f, p->test_accuracy);
    if (fputs("\n", f) == EOF || fflush(f) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot write the CSV: %s", strerrordesc_np(errno));
    }
    return WEFT_OK;
}

static weft_status write_jsonl(FILE *f, const sim_point *p, weft_err *err)
{
    weft_buf line;
    weft_buf_init(&line, memory, 4096);
    weft_status status = sim_point_print(p, &line, err);
    if (status == WEFT_OK) {
        status = weft_buf_add(&line, "\n", 1, err);
    }
    if (status == WEFT_OK && (fwrite(line.data, 1, line.size, f) != line.size || fflush(f) != 0)) {
        status = weft_err_set(err, WEFT_E_IO, errno, __FILE__, __LINE__,
                              "cannot write the JSON lines: %s", strerrordesc_np(errno));
    }
    weft_buf_done(&line);
    return status;
}

static weft_status keep(sim_report *r, const sim_point *p, weft_err *err)
{
    if (r->n == r->cap) {
        const size_t cap = r->cap ? r->cap * 2 : 64;
        sim_point *grown = weft_array_resize(memory, r->points, cap, sizeof *grown);
        if (!grown) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %zu rounds", cap);
        }
        r->points = grown;
        r->cap = cap;
    }
    r->points[r->n++] = *p;
    if (r->csv) {
        WEFT_TRY(write_csv(r->csv, p, err));
    }
    return r->jsonl ? write_jsonl(r->jsonl, p, err) : WEFT_OK;
}

weft_status sim_report_load(sim_report *r, const sim_point *point, weft_err *err)
{
    r->before_s = point->seconds;
    WEFT_TRY(keep(r, point, err));
    r->first = r->n;
    return WEFT_OK;
}

/* ---- progress -------------------------------------------------------------------------------- */

static void show_time(double seconds)
{
    const unsigned long s = (unsigned long)(seconds + 0.5);
    if (s >= 3600) {
        (void)fprintf(stderr, "%luh%02lum", s / 3600, s / 60 % 60); /* progress only */
    } else if (s >= 60) {
        (void)fprintf(stderr, "%lum%02lus", s / 60, s % 60); /* progress only */
    } else {
        (void)fprintf(stderr, "%lus", s); /* progress only */
    }
}

/* Everything below goes to stderr for people: what does not arrive there is no failure. */
static void show(const sim_report *r, const sim_point *p, uint64_t trained, double took_s)
{
    (void)fprintf(stderr, "round %*" PRIu32 "/%" PRIu32 "  %" PRIu32 " clients",
                  r->rounds >= 1000 ? 5 : 3, p->round, r->rounds, p->clients);
    if (!isnan(p->train_loss)) {
        (void)fprintf(stderr, "  train loss %.4f", p->train_loss);
    }
    if (!isnan(p->test_loss)) {
        (void)fprintf(stderr, "  test loss %.4f", p->test_loss);
    }
    if (!isnan(p->test_accuracy)) {
        (void)fprintf(stderr, "  accuracy %.2f %%", 100.0 * p->test_accuracy);
    }
    (void)fprintf(stderr, "  %.0f samples/s  ", took_s > 0.0 ? (double)trained / took_s : 0.0);
    const double per_round = (r->last_s - r->began_s) / (double)(r->n - r->first);
    show_time(per_round * (double)(r->rounds > p->round ? r->rounds - p->round : 0));
    (void)fputs(" left\n", stderr);
}

weft_status sim_report_add(sim_report *r, sim_point point, uint64_t trained, weft_err *err)
{
    const double now_s = sim_now_s();
    const double took_s = now_s - r->last_s;
    r->last_s = now_s;
    r->trained += trained;
    point.seconds = r->before_s + now_s - r->began_s;
    WEFT_TRY(keep(r, &point, err));
    if (!r->quiet) {
        show(r, &point, trained, took_s);
    }
    return WEFT_OK;
}

void sim_report_failed(sim_report *r, uint32_t round, const char *reason)
{
    if (!r->quiet) {
        (void)fprintf(stderr, "round %3" PRIu32 " failed: %s\n", round, reason); /* progress only */
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Column statistics as a vector that FedAvg averages exactly, and back. Pure. */
#include "data/stats.h"

#include "data/schema_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    BASE = 4096,
    MEAN_DIGITS = 8,
    MEAN_TOP = 3, /* the first digit counts 4096^3 */
    SQUARE_DIGITS = 14,
    SQUARE_TOP = 7,
    NUMERIC_LENGTH = 1 + MEAN_DIGITS + SQUARE_DIGITS
};

static bool is_numeric(const weft_column *c)
{
    return c->kind == WEFT_COLUMN_NUMERIC || c->kind == WEFT_COLUMN_TARGET_NUMERIC;
}

static uint32_t column_length(const weft_column *c)
{
    if (is_numeric(c)) {
        return NUMERIC_LENGTH;
    }
    if (c->kind == WEFT_COLUMN_CATEGORICAL) {
        return c->n_categories + (c->other ? 1 : 0);
    }
    return c->kind == WEFT_COLUMN_TARGET_CLASS ? c->n_classes : 0;
}

/* Elements before a column's. */
static uint32_t column_offset(const weft_schema *schema, uint32_t column)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < column; i++) {
        n += column_length(&schema->columns[i]);
    }
    return n;
}

uint32_t weft_stats_length(const weft_schema *schema)
{
    return column_offset(schema, schema->n_columns);
}

weft_status weft_stats_spec(weft_buf *out, const weft_schema *schema, weft_err *err)
{
    return weft_buf_addf(out, err, "tensor stats %" PRIu32 "\n", weft_stats_length(schema));
}

double weft_stats_norm(const weft_schema *schema)
{
    return (double)BASE * sqrt((double)weft_stats_length(schema)) + 1.0;
}

/* ---- digits --------------------------------------------------------------------------------- */

static double unit(int top, int digit)
{
    return ldexp(1.0, 12 * (top - digit)); /* 4096^(top - digit) */
}

/* value = sum of digit * 4096^k. The last digit keeps its fraction; every step is exact. */
static void to_digits(float *out, int n, int top, double value)
{
    for (int i = 0; i < n; i++) {
        const double u = unit(top, i);
        const double digit = i + 1 < n ? trunc(value / u) : value / u;
        out[i] = (float)digit;
        value -= digit * u;
    }
}

/* From the smallest: nothing is lost on the way up. */
static double from_digits(const float *digits, int n, int top)
{
    double value = 0.0;
    for (int i = n; i > 0; i--) {
        value += (double)digits[i - 1] * unit(top, i - 1);
    }
    return value;
}

/* ---- one client ----------------------------------------------------------------------------- */

/* Sums over rows; a numeric column has three, others one for each fraction. */
typedef struct tally {
    const weft_schema *schema;
    double *sum; /* [n_sums], owned */
    double *
        rest; /* [n_sums], owned: what sum lost (Kahan and Neumaier), so that order hardly counts */
    uint64_t n;
} tally;

static uint32_t sums_of(const weft_column *c)
{
    return is_numeric(c) ? 3 : column_length(c);
}

static void add(tally *t, uint32_t i, double x)
{
    const double sum = t->sum[i] + x;
    const bool larger = fabs(t->sum[i]) >= fabs(x);
    t->rest[i] += larger ? (t->sum[i] - sum) + x : (x - sum) + t->sum[i];
    t->sum[i] = sum;
}

static weft_status add_row(void *self, const weft_csv_cell *cells, uint64_t line, weft_err *err)
{
    tally *t = self;
    uint32_t at = 0;
    for (uint32_t i = 0; i < t->schema->n_columns; i++) {
        const weft_column *c = &t->schema->columns[i];
        if (is_numeric(c) && !cells[i].missing) {
            const double x = (cells[i].number - c->mean) / c->std;
            if (!(fabs(x) <= 0x1p47)) {
                WEFT_FAIL(err, WEFT_E_INVALID,
                          "line %" PRIu64 " column %s: a number above 2^47 has no statistics", line,
                          c->name);
            }
            add(t, at, 1.0);
            add(t, at + 1, x);
            add(t, at + 2, x * x);
        } else if (!is_numeric(c) && column_length(c) > 0 && !cells[i].missing) {
            add(t, at + cells[i].category, 1.0);
        }
        at += sums_of(c);
    }
    t->n++;
    return WEFT_OK;
}

static void write_vector(float *out, const tally *t)
{
    const double n = (double)t->n;
    uint32_t at = 0;
    for (uint32_t i = 0; i < t->schema->n_columns; i++) {
        const weft_column *c = &t->schema->columns[i];
        const uint32_t length = column_length(c);
        for (uint32_t k = 0; !is_numeric(c) && k < length; k++) {
            out[k] = (float)(t->sum[at + k] / n);
        }
        if (is_numeric(c)) {
            out[0] = (float)(t->sum[at] / n);
            to_digits(out + 1, MEAN_DIGITS, MEAN_TOP, (t->sum[at + 1] + t->rest[at + 1]) / n);
            to_digits(out + 1 + MEAN_DIGITS, SQUARE_DIGITS, SQUARE_TOP,
                      (t->sum[at + 2] + t->rest[at + 2]) / n);
        }
        out += length;
        at += sums_of(c);
    }
}

weft_status weft_stats_compute(float *out, uint64_t *ret_n_examples, const weft_schema *schema,
                               weft_source *source, const weft_alloc *a, weft_err *err)
{
    uint32_t n_sums = 0;
    for (uint32_t i = 0; i < schema->n_columns; i++) {
        n_sums += sums_of(&schema->columns[i]);
    }
    tally t = {.schema = schema};
    t.sum = weft_array(a, n_sums, sizeof *t.sum);
    t.rest = weft_array(a, n_sums, sizeof *t.rest);
    weft_status status = WEFT_OK;
    if (!t.sum || !t.rest) {
        status = WEFT_E_NOMEM;
        (void)weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                           "no memory for %" PRIu32 " sums", n_sums);
    } else {
        status = weft_csv_each(schema, source, add_row, &t, a, err);
    }
    if (status == WEFT_OK && t.n == 0) {
        status = weft_err_set(err, WEFT_E_FORMAT, 0, __FILE__, __LINE__, "%.120s has no rows",
                              source->name);
    }
    if (status == WEFT_OK) {
        write_vector(out, &t);
        *ret_n_examples = t.n;
    }
    weft_free(a, t.sum);
    weft_free(a, t.rest);
    return status;
}

weft_status weft_stats_load(float *out, uint64_t *ret_n_examples, const weft_schema *schema,
                            const char *path, const weft_alloc *a, weft_err *err)
{
    weft_source source = {0};
    WEFT_TRY(weft_source_open(&source, path, err));
    const weft_status status = weft_stats_compute(out, ret_n_examples, schema, &source, a, err);
    weft_source_close(&source);
    return status;
}

/* ---- everybody ------------------------------------------------------------------------------ */

static weft_status check_fraction(double f, const char *name, weft_err *err)
{
    if (!(f >= -1e-5 && f <= 1.00001)) { /* the sums' grid rounds a little */
        WEFT_FAIL(err, WEFT_E_INVALID, "the statistics of column %s hold a fraction of %g", name,
                  f);
    }
    return WEFT_OK;
}

static weft_status read_numeric(weft_column_stats *ret, const weft_column *c, const float *v,
                                weft_err *err)
{
    for (int i = 0; i < NUMERIC_LENGTH; i++) {
        if (!isfinite(v[i])) {
            WEFT_FAIL(err, WEFT_E_INVALID, "the statistics of column %s are not finite", c->name);
        }
    }
    const double present = (double)v[0];
    WEFT_TRY(check_fraction(present, c->name, err));
    ret->present = present;
    ret->mean = c->mean;
    ret->std = c->std;
    if (present < 1e-9) {
        ret->present = 0.0;
        return WEFT_OK;
    }
    const double mean = from_digits(v + 1, MEAN_DIGITS, MEAN_TOP) / present;
    const double square = from_digits(v + 1 + MEAN_DIGITS, SQUARE_DIGITS, SQUARE_TOP) / present;
    const double variance = square - mean * mean;
    ret->mean = c->mean + c->std * mean;
    ret->std = c->std * (variance > 0.0 ? sqrt(variance) : 0.0);
    return WEFT_OK;
}

weft_status weft_stats_column(weft_column_stats *ret, const weft_schema *schema, uint32_t column,
                              const float *vector, uint32_t n, weft_err *err)
{
    if (column >= schema->n_columns || n != weft_stats_length(schema)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "statistics of %" PRIu32 " values for a schema that has %" PRIu32, n,
                  weft_stats_length(schema));
    }
    const weft_column *c = &schema->columns[column];
    const float *v = vector + column_offset(schema, column);
    weft_column_stats stats = {0};
    if (is_numeric(c)) {
        WEFT_TRY(read_numeric(&stats, c, v, err));
        *ret = stats;
        return WEFT_OK;
    }
    stats.n_fractions = column_length(c);
    if (stats.n_fractions == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the column %s has no statistics", c->name);
    }
    stats.fractions = v;
    for (uint32_t i = 0; i < stats.n_fractions; i++) {
        WEFT_TRY(check_fraction((double)v[i], c->name, err));
        stats.present += (double)v[i];
    }
    WEFT_TRY(check_fraction(stats.present, c->name, err));
    *ret = stats;
    return WEFT_OK;
}

static weft_status copy_schema(weft_schema **ret, const weft_schema *schema, const weft_alloc *a,
                               weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, a, WEFT_MAX_SCHEMA_BYTES);
    weft_status status = weft_schema_print(schema, &text, err);
    if (status == WEFT_OK) {
        status = weft_schema_parse(ret, (const char *)text.data, text.size, a, err);
    }
    weft_buf_done(&text);
    return status;
}

/* Means and deviations are rounded to float32's precision: what a schema shows is what is meant. */
static double rounded(double x)
{
    return (double)(float)x;
}

static weft_status fill_in(weft_schema *schema, const weft_schema *from, const float *vector,
                           uint32_t n, weft_err *err)
{
    for (uint32_t i = 0; i < schema->n_columns; i++) {
        weft_column *c = &schema->columns[i];
        if (column_length(c) == 0) {
            continue;
        }
        weft_column_stats stats = {0};
        WEFT_TRY(weft_stats_column(&stats, from, i, vector, n, err));
        if (is_numeric(c) && stats.present > 0.0) {
            c->has_scale = true;
            c->mean = rounded(stats.mean);
            c->std = rounded(stats.std);
            c->std = c->std > 0.0 && isfinite(c->std) ? c->std : 1.0;
        }
    }
    return WEFT_OK;
}

weft_status weft_stats_apply(weft_schema **ret, const weft_schema *schema, const float *vector,
                             uint32_t n, const weft_alloc *a, weft_err *err)
{
    if (n != weft_stats_length(schema)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "statistics of %" PRIu32 " values for a schema that has %" PRIu32, n,
                  weft_stats_length(schema));
    }
    weft_schema *copy = NULL;
    WEFT_TRY(copy_schema(&copy, schema, a, err));
    const weft_status status = fill_in(copy, schema, vector, n, err);
    if (status != WEFT_OK) {
        weft_schema_free(copy);
        return status;
    }
    *ret = copy;
    return WEFT_OK;
}

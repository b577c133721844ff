/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_csv_each, weft_csv_read, weft_stats_compute, weft_stats_apply */
#include "data/csv.h"
#include "data/stats.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void check_data(const weft_data *d, const weft_schema *s)
{
    check(d->n > 0 && d->n_features == s->n_features);
    for (size_t i = 0; i < (size_t)d->n * d->n_features; i++) {
        check(isfinite(d->f32[i]));
    }
    for (uint32_t i = 0; i < d->n; i++) {
        check(!d->classes || d->classes[i] < d->n_classes);
        check(!d->values || isfinite(d->values[i]));
        check(!d->groups || d->groups[i] < d->n_groups);
    }
}

static void check_stats(const weft_schema *s, const uint8_t *text, size_t n, const weft_alloc *a,
                        const weft_data *d)
{
    const uint32_t length = weft_stats_length(s);
    float *v = weft_array(a, length, sizeof *v);
    weft_schema *filled = NULL;
    weft_source source;
    weft_source_init_bytes(&source, text, n, "input");
    uint64_t rows = 0;
    if (v && weft_stats_compute(v, &rows, s, &source, a, NULL) == WEFT_OK) {
        double squares = 0.0;
        for (uint32_t i = 0; i < length; i++) {
            check(isfinite(v[i]));
            squares += (double)v[i] * (double)v[i];
        }
        check(sqrt(squares) <= weft_stats_norm(s));
        check(!d || rows == d->n); /* a number too large for float32 has statistics still */
        if (weft_stats_apply(&filled, s, v, length, a, NULL) == WEFT_OK) {
            check(filled->n_features == s->n_features);
        }
    }
    weft_schema_free(filled);
    weft_free(a, v);
}

/* A schema, a line "%%", the CSV. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *mark = size > 0 ? memmem(data, size, "\n%%\n", 4) : NULL;
    if (!mark) {
        return 0;
    }
    const uint8_t *text = mark + 4;
    const size_t n = size - (size_t)(text - data);
    weft_budget budget;
    weft_budget_init(&budget, &weft_alloc_std, 8U << 20);
    weft_schema *s = NULL;
    if (weft_schema_parse(&s, (const char *)data, (size_t)(mark - data), &budget.alloc, NULL) !=
        WEFT_OK) {
        return 0;
    }
    weft_source source;
    weft_source_init_bytes(&source, text, n, "input");
    weft_data *d = NULL;
    if (weft_csv_read(&d, s, &source, &budget.alloc, NULL) == WEFT_OK) {
        check_data(d, s);
    } else {
        check(!d);
    }
    check_stats(s, text, n, &budget.alloc, d);
    weft_data_free(d);
    weft_schema_free(s);
    check(budget.used == 0);
    return 0;
}

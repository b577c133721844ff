/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_npy_read_header, weft_npy_print_header, weft_npy_read */
#include "data/npy.h"

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

static void check_header(const uint8_t *data, size_t size, const weft_alloc *a)
{
    weft_source source;
    weft_npy_header h = {0};
    weft_source_init_bytes(&source, data, size, "input");
    if (weft_npy_read_header(&h, &source, NULL) != WEFT_OK) {
        return;
    }
    weft_buf b;
    weft_buf_init(&b, a, 1024);
    weft_npy_header again = {0};
    check(weft_npy_print_header(&b, &h, NULL) == WEFT_OK && b.size % 64 == 0);
    weft_source_init_bytes(&source, b.data, b.size, "printed");
    check(weft_npy_read_header(&again, &source, NULL) == WEFT_OK);
    check(again.type == h.type && again.rank == h.rank && again.count == h.count);
    check(memcmp(again.shape, h.shape, sizeof h.shape) == 0);
    weft_buf_done(&b);
}

/* The first two bytes: how much of the rest are the features; what follows are the labels. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const size_t rest = size - 2;
    size_t n = (size_t)data[0] | (size_t)data[1] << 8;
    n = n < rest ? n : rest;
    weft_budget budget;
    weft_budget_init(&budget, &weft_alloc_std, 8U << 20);
    check_header(data + 2, n, &budget.alloc);
    weft_source features;
    weft_source labels;
    weft_source_init_bytes(&features, data + 2, n, "features");
    weft_source_init_bytes(&labels, data + 2 + n, rest - n, "labels");
    weft_data *d = NULL;
    if (weft_npy_read(&d, &features, n < rest ? &labels : NULL, &budget.alloc, NULL) == WEFT_OK) {
        check((size_t)d->n * d->n_features <= n);
        for (size_t i = 0; d->f32 && i < (size_t)d->n * d->n_features; i++) {
            check(isfinite(d->f32[i]));
        }
        for (uint32_t i = 0; d->classes && i < d->n; i++) {
            check(d->classes[i] < d->n_classes);
        }
    } else {
        check(!d);
    }
    weft_data_free(d);
    check(budget.used == 0);
    return 0;
}

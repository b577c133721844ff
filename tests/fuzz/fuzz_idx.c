/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_idx_read */
#include "data/idx.h"

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

/* The first two bytes: how much of the rest is the image file; what follows are the labels. */
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
    weft_source images;
    weft_source labels;
    weft_source_init_bytes(&images, data + 2, n, "images");
    weft_source_init_bytes(&labels, data + 2 + n, rest - n, "labels");
    weft_data *d = NULL;
    if (weft_idx_read(&d, &images, n < rest ? &labels : NULL, &budget.alloc, NULL) == WEFT_OK) {
        const size_t pixels = (size_t)d->n * d->n_features;
        check(n == pixels + 4 + 4 * (size_t)data[5]); /* nothing unread, nothing made up */
        check(memcmp(d->u8, data + 2 + n - pixels, pixels) == 0);
        for (uint32_t i = 0; d->classes && i < d->n; i++) {
            check(d->classes[i] == data[2 + n + 8 + i] && d->classes[i] < d->n_classes);
        }
    } else {
        check(!d);
    }
    weft_data_free(d);
    check(budget.used == 0);
    return 0;
}

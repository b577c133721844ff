/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_text_read */
/* The first two bytes are window and stride; what was read is windows of classes, padded behind,
 * each labelled with the character that follows it in its role. */
#include "data/text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void check_window(const weft_data *d, uint32_t i)
{
    const float *x = d->f32 + (size_t)i * d->n_features;
    bool padding = false;
    require(x[0] >= 0.0F && d->classes[i] < WEFT_TEXT_CLASSES && d->groups[i] < d->n_groups);
    for (uint32_t k = 0; k < d->n_features; k++) {
        padding = padding || x[k] < 0.0F;
        require(padding ? x[k] == -1.0F : x[k] == (float)(uint32_t)x[k]);
        require(x[k] < (float)WEFT_TEXT_CLASSES);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    weft_source source;
    weft_data *d = NULL;
    weft_err err = WEFT_ERR_INIT;
    weft_source_init_bytes(&source, data + 2, size - 2, "input");
    const weft_status status = weft_text_read(&d, &source, data[0], data[1], &weft_alloc_std, &err);
    require((status == WEFT_OK) == (err.code == WEFT_OK));
    for (uint32_t i = 0; status == WEFT_OK && i < d->n; i++) {
        check_window(d, i);
        /* with a stride of one, the next window ends with this one's label */
        if (data[1] == 1 && i + 1 < d->n && d->groups[i] == d->groups[i + 1]) {
            const float *next = d->f32 + ((size_t)i + 1) * d->n_features;
            uint32_t last = d->n_features - 1;
            while (next[last] < 0.0F) {
                last--;
            }
            require(next[last] == (float)d->classes[i]);
        }
    }
    weft_data_free(d);
    return 0;
}

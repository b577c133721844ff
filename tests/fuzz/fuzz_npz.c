/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_npz_read, weft_npz_read_meta, weft_npz_write */
#include "weights/weights.h"

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

/* What was read is finite; written and read again it is the same. */
static void check_weights(const weft_spec *spec, const weft_layout *layout, const float *weights,
                          const weft_weights_meta *meta, const weft_alloc *a)
{
    float back[8];
    weft_buf b;
    weft_buf_init(&b, a, 1U << 20);
    check(layout->n_params == sizeof back / sizeof back[0]);
    check(weft_npz_write(&b, spec, layout, weights, meta, a, NULL) == WEFT_OK);
    check(weft_weights_read(back, layout, WEFT_WEIGHTS_NPZ, b.data, b.size, a, NULL) == WEFT_OK);
    check(memcmp(back, weights, sizeof back) == 0);
    weft_buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "input 3\ndense units=2\nloss mse\n";
    weft_budget budget;
    weft_budget_init(&budget, &weft_alloc_std, 4U << 20);
    const weft_alloc *a = &budget.alloc;
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    check(weft_spec_parse(&spec, text, sizeof text - 1, a, NULL) == WEFT_OK);
    check(weft_layout_new(&layout, spec, a, NULL) == WEFT_OK);
    weft_weights_meta meta = {0};
    weft_buf told;
    weft_buf_init(&told, a, WEFT_MAX_SPEC_BYTES);
    const weft_status status =
        weft_weights_read_meta(&meta, &told, WEFT_WEIGHTS_NPZ, data, size, NULL);
    float weights[8];
    if (weft_weights_read(weights, layout, WEFT_WEIGHTS_NPZ, data, size, a, NULL) == WEFT_OK) {
        for (size_t i = 0; i < 8; i++) {
            check(isfinite(weights[i]));
        }
        check_weights(spec, layout, weights, status == WEFT_OK ? &meta : NULL, a);
    }
    weft_buf_done(&told);
    weft_layout_free(layout);
    weft_spec_free(spec);
    check(budget.used == 0);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_safetensors_read, weft_safetensors_read_meta, weft_safetensors_write */
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

static weft_status to_buf(void *self, const void *data, size_t n, weft_err *err)
{
    return weft_buf_add(self, data, n, err);
}

/* What was read is finite; written and read again it is the same. */
static void check_weights(const weft_spec *spec, const weft_layout *layout, const float *weights,
                          const weft_weights_meta *meta, const weft_alloc *a)
{
    for (uint64_t i = 0; i < layout->n_params; i++) {
        check(isfinite(weights[i]));
    }
    weft_buf b;
    weft_buf_init(&b, a, 4U << 20);
    check(weft_safetensors_write((weft_weights_sink){to_buf, &b}, spec, layout, weights, meta, a,
                                 NULL) == WEFT_OK);
    float *back = weft_array(a, (size_t)layout->n_params, sizeof *back);
    check(back != NULL);
    check(weft_weights_read(back, layout, WEFT_WEIGHTS_SAFETENSORS, b.data, b.size, a, NULL) ==
          WEFT_OK);
    check(memcmp(back, weights, (size_t)layout->n_params * sizeof *back) == 0);
    weft_free(a, back);
    weft_buf_done(&b);
}

static void read_as(const weft_spec *spec, const uint8_t *data, size_t size,
                    const weft_weights_meta *meta, const weft_alloc *a)
{
    weft_layout *layout = NULL;
    if (weft_layout_new(&layout, spec, a, NULL) != WEFT_OK) {
        return;
    }
    float *weights = layout->n_params <= size / 2
                         ? weft_array(a, (size_t)layout->n_params, sizeof *weights)
                         : NULL;
    if (weights && weft_weights_read(weights, layout, WEFT_WEIGHTS_SAFETENSORS, data, size, a,
                                     NULL) == WEFT_OK) {
        check_weights(spec, layout, weights, meta, a);
    }
    weft_free(a, weights);
    weft_layout_free(layout);
}

static void read_text(const char *text, size_t n, const uint8_t *data, size_t size,
                      const weft_weights_meta *meta, const weft_alloc *a)
{
    weft_spec *spec = NULL;
    if (weft_spec_parse(&spec, text, n, a, NULL) == WEFT_OK) {
        read_as(spec, data, size, meta, a);
        weft_spec_free(spec);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char dense[] = "input 3\ndense units=2\nloss mse\n";
    weft_budget budget;
    weft_budget_init(&budget, &weft_alloc_std, 16U << 20);
    weft_weights_meta meta = {0};
    weft_buf spec;
    weft_buf_init(&spec, &budget.alloc, WEFT_MAX_SPEC_BYTES);
    const bool told =
        weft_weights_read_meta(&meta, &spec, WEFT_WEIGHTS_SAFETENSORS, data, size, NULL) == WEFT_OK;
    if (told && spec.size > 0) {
        read_text((const char *)spec.data, spec.size, data, size, &meta, &budget.alloc);
    }
    weft_buf_done(&spec);
    read_text(dense, sizeof dense - 1, data, size, NULL, &budget.alloc);
    check(budget.used == 0);
    return 0;
}

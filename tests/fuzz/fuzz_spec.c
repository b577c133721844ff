/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_spec_parse, weft_spec_print, weft_layout_new */
/* What parses prints; what was printed parses to the same text; its layout has no gaps. */
#include "model/layout.h"
#include "model/spec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void check_layout(const weft_spec *spec)
{
    weft_layout *layout = NULL;
    check(weft_layout_new(&layout, spec, &weft_alloc_std, NULL) == WEFT_OK);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        check(layout->tensors[i].offset == offset && layout->tensors[i].count > 0);
        offset += layout->tensors[i].count;
    }
    check(offset == layout->n_params && offset > 0 && offset <= WEFT_MAX_PARAMS);
    weft_layout_free(layout);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_spec *spec = NULL;
    weft_err err = WEFT_ERR_INIT;
    if (weft_spec_parse(&spec, (const char *)data, size, &weft_alloc_std, &err) != WEFT_OK) {
        check(spec == NULL && err.code != WEFT_OK && err.msg[0] != '\0');
        return 0;
    }
    check_layout(spec);
    weft_buf first;
    weft_buf second;
    /* the canonical text may be longer than its origin, but only where that spares line ends */
    weft_buf_init(&first, &weft_alloc_std, WEFT_MAX_SPEC_BYTES + 2);
    weft_buf_init(&second, &weft_alloc_std, WEFT_MAX_SPEC_BYTES + 2);
    check(weft_spec_print(spec, &first, &err) == WEFT_OK);
    weft_spec *again = NULL;
    if (first.size <= WEFT_MAX_SPEC_BYTES) {
        check(weft_spec_parse(&again, (const char *)first.data, first.size, &weft_alloc_std,
                              &err) == WEFT_OK);
        check(weft_spec_print(again, &second, &err) == WEFT_OK);
        check(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
        check(again->n_layers == spec->n_layers && again->n_tensors == spec->n_tensors);
    }
    weft_spec_free(again);
    weft_spec_free(spec);
    weft_buf_done(&first);
    weft_buf_done(&second);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for small base versions, lent to one after the other. Called by client.c and base_file.c.
 */
#include "files.h"

#include <string.h>

void weft_base_memory_init(weft_base_memory *memory, const weft_alloc *a)
{
    memset(memory, 0, sizeof *memory);
    memory->alloc = a;
}

void weft_base_memory_done(weft_base_memory *memory)
{
    weft_free(memory->alloc, memory->base);
    weft_free(memory->alloc, memory->weights);
    weft_base_memory_init(memory, memory->alloc);
}

weft_status weft_base_memory_fit(weft_base_memory *memory, size_t size, weft_err *err)
{
    const weft_alloc *a = memory->alloc;
    if (memory->size == size) {
        return WEFT_OK;
    }
    weft_base_memory_done(memory);
    /* not zeroed: written before they are read */
    memory->base = a->resize(a->self, NULL, size);
    memory->weights = a->resize(a->self, NULL, size);
    if (!memory->base || !memory->weights) {
        weft_base_memory_done(memory);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for two copies of a model of %zu bytes", size);
    }
    memory->size = size;
    return WEFT_OK;
}

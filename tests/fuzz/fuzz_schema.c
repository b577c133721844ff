/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_schema_parse, weft_schema_print */
#include "data/schema.h"

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

/* What parses prints; what was printed parses again and prints the same bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_budget budget;
    weft_budget_init(&budget, &weft_alloc_std, 8U << 20);
    weft_schema *s = NULL;
    weft_schema *t = NULL;
    if (weft_schema_parse(&s, (const char *)data, size, &budget.alloc, NULL) != WEFT_OK) {
        check(!s && budget.used == 0);
        return 0;
    }
    check(s->n_features > 0 && s->target <= s->n_columns && s->group <= s->n_columns);
    weft_buf one;
    weft_buf two;
    weft_buf_init(&one, &budget.alloc, 1U << 20);
    weft_buf_init(&two, &budget.alloc, 1U << 20);
    check(weft_schema_print(s, &one, NULL) == WEFT_OK);
    if (one.size <= WEFT_MAX_SCHEMA_BYTES) { /* quotes and defaults may make it longer */
        check(weft_schema_parse(&t, (const char *)one.data, one.size, &budget.alloc, NULL) ==
              WEFT_OK);
        check(weft_schema_print(t, &two, NULL) == WEFT_OK);
        check(one.size == two.size && memcmp(one.data, two.data, one.size) == 0);
        check(s->n_features == t->n_features && s->n_columns == t->n_columns);
    }
    weft_buf_done(&one);
    weft_buf_done(&two);
    weft_schema_free(s);
    weft_schema_free(t);
    check(budget.used == 0);
    return 0;
}

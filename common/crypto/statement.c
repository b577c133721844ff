/* SPDX-License-Identifier: Apache-2.0 */
/* Statements to sign, built on the stack. Pure, any thread. */
#include "crypto/statement.h"

#include <string.h>

weft_status weft_statement_init(weft_statement *s, const char *domain, weft_err *err)
{
    s->n = 0;
    return weft_statement_add_text(s, domain, err);
}

weft_status weft_statement_add(weft_statement *s, const void *data, size_t n, weft_err *err)
{
    if (n > sizeof s->data - s->n || sizeof s->data - s->n - n < 4) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a field of %zu bytes does not fit into a statement", n);
    }
    for (size_t i = 0; i < 4; i++) {
        s->data[s->n++] = (uint8_t)(n >> (8 * i));
    }
    if (n > 0) {
        memcpy(s->data + s->n, data, n);
    }
    s->n += n;
    return WEFT_OK;
}

weft_status weft_statement_add_text(weft_statement *s, const char *text, weft_err *err)
{
    return weft_statement_add(s, text, strlen(text), err);
}

weft_status weft_statement_add_u64(weft_statement *s, uint64_t v, weft_err *err)
{
    uint8_t le[8];
    for (size_t i = 0; i < sizeof le; i++) {
        le[i] = (uint8_t)(v >> (8 * i));
    }
    return weft_statement_add(s, le, sizeof le, err);
}

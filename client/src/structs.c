/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public structs grow at their end; their first field is the size that the application was compiled
 * with. Older applications get the defaults for what they do not know; newer ones may only use what
 * this library knows. Called by the files behind <weft/weft.h>. Any thread.
 */
#include "client_priv.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Larger than any of our structs ever: a size above it was never set by an INIT macro. */
#define MAX_STRUCT_BYTES 65536

weft_status weft_struct_in(void *to, size_t to_size, const void *from, size_t least_size,
                           const char *name, weft_err *err)
{
    size_t size = 0;
    memcpy(&size, from, sizeof size);
    if (size < least_size || size > MAX_STRUCT_BYTES) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.size is %zu: set it with the struct's INIT macro", name,
                  size);
    }
    const uint8_t *bytes = from;
    for (size_t i = to_size; i < size; i++) {
        if (bytes[i] != 0) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "%s uses a field that this libweft does not know: it has %zu bytes, the "
                      "application's %zu",
                      name, to_size, size);
        }
    }
    memcpy(to, from, size < to_size ? size : to_size);
    memcpy(to, &to_size, sizeof to_size);
    return WEFT_OK;
}

void weft_struct_out(void *to, const void *from, size_t from_size)
{
    size_t size = 0;
    memcpy(&size, to, sizeof size);
    const size_t n = size < from_size ? size : from_size;
    if (n > sizeof size) {
        memcpy((uint8_t *)to + sizeof size, (const uint8_t *)from + sizeof size, n - sizeof size);
    }
}

weft_status weft_client_tell(weft_error *to, weft_status status, const weft_err *err)
{
    if (status == WEFT_OK || !to) {
        return status;
    }
    weft_error e = {.size = sizeof e, .code = status, .sys = err->sys};
    (void)snprintf(e.message, sizeof e.message, "%s",
                   err->msg[0] ? err->msg : weft_status_name(status));
    const size_t head = offsetof(weft_error, message);
    if (to->size > head && to->size < sizeof e) {
        e.message[to->size - head - 1] = '\0'; /* cut, and still a text */
    }
    weft_struct_out(to, &e, sizeof e);
    return status;
}

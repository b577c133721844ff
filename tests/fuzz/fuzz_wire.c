/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_wire_decode, weft_wire_encode, weft_wire_check */
/*
 * The first byte chooses the message. What decodes must encode, decode again, and then encode to
 * the same bytes; and no message takes more memory than its budget.
 */
#include "wire/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void again(weft_msg_kind kind, const void *msg, const weft_alloc *a)
{
    weft_err err = WEFT_ERR_INIT;
    weft_buf first;
    weft_buf second;
    weft_arena arena;
    weft_buf_init(&first, a, 4U << 20);
    weft_buf_init(&second, a, 4U << 20);
    weft_wire_arena_init(&arena, kind, a);
    void *back = calloc(1, weft_wire_struct_bytes(kind));
    require(back != NULL);
    require(weft_wire_encode(&first, kind, msg, &err) == WEFT_OK);
    require(weft_wire_decode(back, kind, first.data, first.size, &arena, &err) == WEFT_OK);
    require(weft_wire_encode(&second, kind, back, &err) == WEFT_OK);
    require(first.size == second.size);
    require(first.size == 0 || memcmp(first.data, second.data, first.size) == 0);
    free(back);
    weft_buf_done(&first);
    weft_buf_done(&second);
    weft_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const weft_msg_kind kind = (weft_msg_kind)(data[0] % WEFT_MSG_COUNT);
    weft_err err = WEFT_ERR_INIT;
    weft_arena arena;
    weft_wire_arena_init(&arena, kind, &weft_alloc_std);
    void *msg = calloc(1, weft_wire_struct_bytes(kind));
    require(msg != NULL);
    const weft_status status = weft_wire_decode(msg, kind, data + 1, size - 1, &arena, &err);
    require(arena.used <= arena.max);
    require((status == WEFT_OK) == (err.code == WEFT_OK));
    if (status == WEFT_OK) {
        again(kind, msg, &weft_alloc_std);
    }
    free(msg);
    weft_arena_done(&arena);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_join_parse, weft_join_write */
/* A join file that parses is written so that it parses to the same message. */
#include "wire/join.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_msg_join_file join;
    weft_msg_join_file back;
    weft_arena arena;
    weft_arena_init(&arena, &weft_alloc_std, WEFT_MAX_DECODE_BYTES);
    if (weft_join_parse(&join, (const char *)data, size, &arena, NULL) == WEFT_OK) {
        weft_buf text;
        weft_buf again;
        weft_buf_init(&text, &weft_alloc_std, 4 * WEFT_MAX_JOIN_BYTES);
        weft_buf_init(&again, &weft_alloc_std, 4 * WEFT_MAX_JOIN_BYTES);
        require(weft_join_write(&text, &join, NULL) == WEFT_OK);
        require(weft_join_parse(&back, (const char *)text.data, text.size, &arena, NULL) ==
                WEFT_OK);
        require(weft_join_write(&again, &back, NULL) == WEFT_OK);
        require(text.size == again.size && memcmp(text.data, again.data, text.size) == 0);
        weft_buf_done(&text);
        weft_buf_done(&again);
    }
    weft_arena_done(&arena);
    return 0;
}

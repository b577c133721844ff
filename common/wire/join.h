/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The join file: what an operator gives to a partner, as text that survives mail:
 *
 *   -----BEGIN WEFT JOIN-----
 *   base64 of a weft.v1.JoinFile, 64 columns
 *   -----END WEFT JOIN-----
 *
 * It holds a secret (token, invitation key). Pure; any thread.
 */
#ifndef WEFT_WIRE_JOIN_H
#define WEFT_WIRE_JOIN_H

#include "wire/wire.h"

/* A transport CA of WEFT_MAX_PEM_BYTES, the small fields, and base64's third more. */
#define WEFT_MAX_JOIN_BYTES (128U << 10)

/** Append the text. */
WEFT_NODISCARD weft_status weft_join_write(weft_buf *out, const weft_msg_join_file *join,
                                           weft_err *err);
/**
 * Read it: text around the two lines is ignored, white space between them too.
 * @param ret  its strings live in the arena.
 * @return WEFT_E_FORMAT with what is wrong; WEFT_E_LIMIT; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_join_parse(weft_msg_join_file *ret, const char *text, size_t size,
                                           weft_arena *arena, weft_err *err);

#endif

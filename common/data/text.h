/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for next-character prediction, as McMahan et al. 2017 and LEAF have Shakespeare: an example
 * is the window of characters before one, its label is that one. Windows that begin before their
 * role's first character are padded behind, as sequences are (model/spec.h).
 *
 * A character is one of 97 classes, the same for every text, so that clients need not agree on a
 * vocabulary: 0 the end of a line, 1 to 95 the printable characters of ASCII from blank to '~',
 * 96 any other byte. A carriage return before the end of a line belongs to that end.
 *
 * Roles: a block of lines (behind an empty line, or at the start) whose first line is NAME: belongs
 * to that role, without this line; others to the role of the block before, or to "". Each role is a
 * group of the data (--partition column of weft-simulate), its blocks make one text, and no window
 * reaches into another role's.
 *
 * Any thread; no state.
 */
#ifndef WEFT_DATA_TEXT_H
#define WEFT_DATA_TEXT_H

#include "data/dataset.h"
#include "data/source.h"

enum { WEFT_TEXT_CLASSES = 97 };

/** The class of a byte. */
uint32_t weft_text_class(uint8_t byte);

/**
 * Read all of a source.
 * @param ret     the caller's to free: shape window x 1 x 1 of rank 2, float32, and class labels.
 * @param window  characters before the predicted one, 1..WEFT_MAX_TEXT_WINDOW.
 * @param stride  characters from one predicted one to the next of its role, 1 or more.
 * @return WEFT_E_LIMIT more than WEFT_MAX_TEXT_BYTES, a window or stride out of range, too many
 *         roles; WEFT_E_FORMAT no role has two characters; WEFT_E_NOMEM; as the source.
 */
WEFT_NODISCARD weft_status weft_text_read(weft_data **ret, weft_source *source, uint32_t window,
                                          uint32_t stride, const weft_alloc *a, weft_err *err);

/** The same of a file, .gz too. */
WEFT_NODISCARD weft_status weft_text_load(weft_data **ret, const char *path, uint32_t window,
                                          uint32_t stride, const weft_alloc *a, weft_err *err);

#endif

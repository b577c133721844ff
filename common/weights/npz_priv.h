/* SPDX-License-Identifier: Apache-2.0 */
/* What npz.c and npz_write.c share. */
#ifndef WEFT_NPZ_PRIV_H
#define WEFT_NPZ_PRIV_H

#include "weights/weights_priv.h"

#include <zip.h>

enum { WEFT_NPZ_NAME_BYTES = WEFT_MAX_TENSOR_NAME_BYTES + 8 };

/* libzip's error as ours: WEFT_E_NOMEM, WEFT_E_IO, else WEFT_E_FORMAT. */
WEFT_NODISCARD weft_status weft_npz_failed(zip_error_t *why, const char *what, weft_err *err);
/* "NAME.npy" */
void weft_npz_entry_name(char out[WEFT_NPZ_NAME_BYTES], const weft_tensor_info *t);

#endif

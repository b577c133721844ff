/* SPDX-License-Identifier: Apache-2.0 */
/* HKDF with SHA-256 (RFC 5869): keys out of shared secrets, each bound to what it is for. Pure; any
 * thread. */
#ifndef WEFT_CRYPTO_KDF_H
#define WEFT_CRYPTO_KDF_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define WEFT_HKDF_MAX_BYTES 8160U /* 255 digests */

/**
 * Extract and expand.
 * @param out     [out_n], 1..WEFT_HKDF_MAX_BYTES; zeros on failure; secret.
 * @param secret  [secret_n], borrowed; > 0 bytes.
 * @param salt    [salt_n], or NULL: 32 zero bytes, as the RFC says.
 * @param info    [info_n], at most 1024; what the key is for.
 * @return WEFT_OK; WEFT_E_INVALID a length; WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_hkdf_sha256(void *out, size_t out_n, const void *secret,
                                            size_t secret_n, const void *salt, size_t salt_n,
                                            const void *info, size_t info_n, weft_err *err);

#endif

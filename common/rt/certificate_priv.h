/* SPDX-License-Identifier: Apache-2.0 */
/* peer.c's reading of a certificate; its tests and its fuzz target use it, too. */
#ifndef WEFT_RT_CERTIFICATE_PRIV_H
#define WEFT_RT_CERTIFICATE_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As DER; ours have 600 bytes. */
#define WEFT_RT_MAX_CERTIFICATE_BYTES 8192

/**
 * SHA-256 of the DER in a PEM certificate, and the end of its validity (unix ms, after 1970).
 * @return false: it cannot be read, or is longer than the limit; nothing is written then.
 */
bool weft_rt_certificate_read(uint8_t ret_fingerprint[static 32], int64_t *ret_end_unix_ms,
                              const char *pem, size_t size);

#endif

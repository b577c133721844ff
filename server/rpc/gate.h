/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate: which client certificates may call now. One set of fingerprints, read on every call
 * by poller threads, changed by the owner thread (enrolment, renewal, revocation).
 */
#ifndef WEFT_RPC_GATE_H
#define WEFT_RPC_GATE_H

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "crypto/hash.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct weft_gate weft_gate;

WEFT_NODISCARD weft_status weft_gate_new(weft_gate **ret, const weft_alloc *a, weft_err *err);
/** NULL is allowed. */
void weft_gate_free(weft_gate *gate);

/** Let a certificate in until it expires. Threads: any. WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_gate_allow(weft_gate *gate, const char *client,
                                           const uint8_t fingerprint[WEFT_SHA256_BYTES],
                                           int64_t expires_unix_ms, weft_err *err);
/** Let none of this client's certificates in any more. Threads: any. */
void weft_gate_revoke(weft_gate *gate, const char *client);
/** Is this certificate this client's, and good now? Threads: any. */
bool weft_gate_pass(weft_gate *gate, const char *client,
                    const uint8_t fingerprint[WEFT_SHA256_BYTES], int64_t now_unix_ms);

#endif

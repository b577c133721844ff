/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session is about. Everything that clients must agree on is hashed into the context: the
 * clients of one session are thereby on the same base with the same plan, policy and encoding. The
 * roster makes the session of it: ctx -> session -> graph. Pure; any thread.
 *
 * Hashes are SHA-256 over a domain and fields, each u32 length, bytes.
 */
#ifndef WEFT_SECAGG_CONTEXT_H
#define WEFT_SECAGG_CONTEXT_H

#include "base/buf.h"
#include "crypto/hash.h"
#include "model/plan.h"
#include "secagg/params.h"

#define WEFT_SECAGG_DIGEST_BYTES 32

typedef struct weft_secagg_context {
    const char *federation;
    const char *job;
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    weft_task task;
    uint8_t base_digest[WEFT_SHA256_BYTES];
    weft_plan plan;
    weft_secagg_policy policy;
    weft_view encoding; /* weft_fixed_describe: grid, layout, cohort */
} weft_secagg_context;

/** ctx of a context. @param ret [32]. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_secagg_ctx(uint8_t ret[WEFT_SECAGG_DIGEST_BYTES],
                                           const weft_secagg_context *context, weft_err *err);

#endif

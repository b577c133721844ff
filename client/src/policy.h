/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner's policy: which assignments this client takes. The coordinator can only be stricter.
 * Called by the session for every assignment. Pure; any thread.
 */
#ifndef WEFT_CLIENT_POLICY_H
#define WEFT_CLIENT_POLICY_H

#include "session.h"

/* Longest list of allowed jobs: 128 names of full length. */
#define WEFT_POLICY_MAX_JOBS_BYTES 8192

/** The list itself: names or prefixes with '*', separated by commas. WEFT_E_INVALID, naming the
 * entry. NULL is fine. */
WEFT_NODISCARD weft_status weft_policy_check_jobs(const char *allowed_jobs, weft_err *err);

/** What the owner demands of a secure job at least. */
weft_secagg_policy weft_policy_owner(const weft_session_config *config);

/**
 * May this assignment be taken?
 * @return WEFT_OK; WEFT_E_AUTH the owner does not allow it; WEFT_E_INVALID it makes no sense (a
 *         range, an unknown task or encoding, a data set that is not offered); the reason in err.
 */
WEFT_NODISCARD weft_status weft_policy_check(const weft_session_config *config,
                                             const weft_session_assignment *assignment,
                                             weft_err *err);

#endif

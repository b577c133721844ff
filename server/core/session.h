/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One secure session: the protocol's machine (common/secagg/server.h), its grid and its terms. The
 * core owns it and drives it until it is in SOLVE; from then on it never changes, and workers that
 * hold a reference solve and unmask with it, also when the round has ended meanwhile.
 *
 * Threads: references any; all else the core's owner, but for const functions in SOLVE.
 */
#ifndef WEFT_CORE_SESSION_H
#define WEFT_CORE_SESSION_H

#include "secagg/server.h"
#include "secagg/terms.h"

typedef struct weft_secure_session weft_secure_session;

weft_secure_session *weft_secure_session_ref(weft_secure_session *s);
/** NULL is allowed. */
void weft_secure_session_unref(weft_secure_session *s);

const weft_secagg_server *weft_secure_session_machine(const weft_secure_session *s);
const weft_fixed_grid *weft_secure_session_grid(const weft_secure_session *s);
const weft_secagg_terms *weft_secure_session_terms(const weft_secure_session *s);
/** What the session is about: [WEFT_SECAGG_DIGEST_BYTES]. */
const uint8_t *weft_secure_session_ctx(const weft_secure_session *s);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who was here when: check-ins kept in memory and written to the store now and then, because a
 * commit for each would cost more than it tells. Owner thread.
 */
#ifndef WEFT_APP_PRESENCE_H
#define WEFT_APP_PRESENCE_H

#include "core/core.h"
#include "store/clients.h"
#include "wire/wire.h"

typedef struct weft_presence weft_presence;

WEFT_NODISCARD weft_status weft_presence_new(weft_presence **ret, const weft_alloc *a,
                                             weft_err *err);
/** NULL is allowed. */
void weft_presence_free(weft_presence *p);

/** A check-in came. Without memory it is not remembered: nothing depends on it. */
void weft_presence_seen(weft_presence *p, const char *name,
                        const weft_msg_check_in_request *request, int64_t unix_ms);
/** It was shut out: it is not here any more. */
void weft_presence_left(weft_presence *p, const char *name);
/** When a client was last here; 0: not since the start. */
int64_t weft_presence_last(const weft_presence *p, const char *name);
/** Clients seen at or after a time. */
uint32_t weft_presence_count(const weft_presence *p, int64_t since_unix_ms);
bool weft_presence_dirty(const weft_presence *p);
/** Write what is new, at most `limit` clients, inside the store's open transaction. */
WEFT_NODISCARD weft_status weft_presence_flush(weft_presence *p, weft_store *store, uint32_t limit,
                                               weft_err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board: open assignments, as poller threads need them when an upload begins. The owner thread
 * writes it; a stale entry does no harm, the core decides in the end. Threads: any.
 */
#ifndef WEFT_APP_BOARD_H
#define WEFT_APP_BOARD_H

#include "rpc/rpc.h"

typedef struct weft_board weft_board;

WEFT_NODISCARD weft_status weft_board_new(weft_board **ret, const weft_alloc *a, weft_err *err);
/** NULL is allowed. */
void weft_board_free(weft_board *board);

/** Put an open assignment up (or replace it). WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_board_put(weft_board *board, uint64_t id, const char *client,
                                          const weft_rpc_assignment *assignment, weft_err *err);
/** Take it down; unknown ids are fine. */
void weft_board_remove(weft_board *board, uint64_t id);
/** Take all down. */
void weft_board_clear(weft_board *board);
/** The assignment, when it is up, unclaimed and this client's. */
bool weft_board_get(weft_board *board, uint64_t id, const char *client, weft_rpc_assignment *ret);
/**
 * A complete update is on its way to the core: no other upload may begin until release, it would
 * take the bytes away. False when it is claimed already; true also when it is not up.
 */
bool weft_board_claim(weft_board *board, uint64_t id);
void weft_board_release(weft_board *board, uint64_t id);

#endif

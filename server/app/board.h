/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board: assignments that may still bring an update, as poller threads need them when an upload
 * begins: open ones, and those that lost their lease while their round goes on (the core may take
 * them back). The owner thread writes it; a stale entry does no harm, the core decides in the end.
 * Threads: any.
 */
#ifndef WEFT_APP_BOARD_H
#define WEFT_APP_BOARD_H

#include "rpc/rpc.h"

typedef struct weft_board weft_board;

WEFT_NODISCARD weft_status weft_board_new(weft_board **ret, const weft_alloc *a, weft_err *err);
/** NULL is allowed. */
void weft_board_free(weft_board *board);

/** Put an assignment up (or replace it: a claim stays). WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_board_put(weft_board *board, const weft_assignment_row *row,
                                          const weft_rpc_assignment *assignment, weft_err *err);
/** Take it down; unknown ids are fine. */
void weft_board_remove(weft_board *board, uint64_t id);
/**
 * A round's task is over: take down what is left of it.
 * @param ids  [max] their ids. @return how many; at most max are taken down.
 */
size_t weft_board_end(weft_board *board, const weft_round_row *round, weft_task task, uint64_t *ids,
                      size_t max);
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

/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table with chains under one lock. */
#include "app/board.h"

#include <pthread.h>
#include <string.h>

enum { BUCKETS = 4096 }; /* a power of two; ids count up, so chains are even */

typedef struct note {
    struct note *next;
    uint64_t id;
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    char client[WEFT_MAX_NAME_BYTES + 1];
    bool claimed;
    weft_rpc_assignment assignment;
} note;

struct weft_board {
    const weft_alloc *alloc;
    pthread_mutex_t lock;
    note *buckets[BUCKETS]; /* guarded by lock */
};

weft_status weft_board_new(weft_board **ret, const weft_alloc *a, weft_err *err)
{
    weft_board *board = weft_array(a, 1, sizeof *board);
    if (!board) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the board of assignments");
    }
    board->alloc = a;
    (void)pthread_mutex_init(&board->lock, NULL); /* a plain mutex: cannot fail on Linux */
    *ret = board;
    return WEFT_OK;
}

void weft_board_free(weft_board *board)
{
    if (board) {
        weft_board_clear(board);
        (void)pthread_mutex_destroy(&board->lock); /* nobody holds it: the caller's contract */
        weft_free(board->alloc, board);
    }
}

static note **place_locked(weft_board *board, uint64_t id)
{
    note **at = &board->buckets[id % BUCKETS];
    while (*at && (*at)->id != id) {
        at = &(*at)->next;
    }
    return at;
}

weft_status weft_board_put(weft_board *board, const weft_assignment_row *row,
                           const weft_rpc_assignment *assignment, weft_err *err)
{
    note *fresh = weft_array(board->alloc, 1, sizeof *fresh);
    if (!fresh) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the board of assignments");
    }
    fresh->id = row->assignment_id;
    fresh->job_id = row->job_id;
    fresh->round = row->round;
    fresh->attempt = row->attempt;
    fresh->assignment = *assignment;
    memcpy(fresh->client, row->client, sizeof fresh->client);
    (void)pthread_mutex_lock(&board->lock); /* not recursive: cannot fail */
    note **at = place_locked(board, fresh->id);
    note *old = *at;
    fresh->next = old ? old->next : NULL;
    fresh->claimed = old && old->claimed;
    *at = fresh;
    (void)pthread_mutex_unlock(&board->lock);
    weft_free(board->alloc, old);
    return WEFT_OK;
}

static bool is_of(const note *item, const weft_round_row *round, weft_task task)
{
    const bool evaluates = item->assignment.task == WEFT_TASK_EVALUATE;
    return item->job_id == round->job_id && item->round == round->round &&
           item->attempt == round->attempt && evaluates == (task == WEFT_TASK_EVALUATE);
}

size_t weft_board_end(weft_board *board, const weft_round_row *round, weft_task task, uint64_t *ids,
                      size_t max)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&board->lock); /* not recursive: cannot fail */
    for (size_t i = 0; i < BUCKETS; i++) {
        note **at = &board->buckets[i];
        while (*at && n < max) {
            note *item = *at;
            if (is_of(item, round, task)) {
                ids[n++] = item->id;
                *at = item->next;
                weft_free(board->alloc, item);
            } else {
                at = &item->next;
            }
        }
    }
    (void)pthread_mutex_unlock(&board->lock);
    return n;
}

void weft_board_remove(weft_board *board, uint64_t id)
{
    (void)pthread_mutex_lock(&board->lock); /* not recursive: cannot fail */
    note **at = place_locked(board, id);
    note *old = *at;
    if (old) {
        *at = old->next;
    }
    (void)pthread_mutex_unlock(&board->lock);
    weft_free(board->alloc, old);
}

void weft_board_clear(weft_board *board)
{
    (void)pthread_mutex_lock(&board->lock); /* not recursive: cannot fail */
    for (size_t i = 0; i < BUCKETS; i++) {
        while (board->buckets[i]) {
            note *old = board->buckets[i];
            board->buckets[i] = old->next;
            weft_free(board->alloc, old);
        }
    }
    (void)pthread_mutex_unlock(&board->lock);
}

bool weft_board_get(weft_board *board, uint64_t id, const char *client, weft_rpc_assignment *ret)
{
    (void)pthread_mutex_lock(&board->lock); /* not recursive: cannot fail */
    const note *item = *place_locked(board, id);
    const bool found = item && !item->claimed && strcmp(item->client, client) == 0;
    if (found) {
        *ret = item->assignment;
    }
    (void)pthread_mutex_unlock(&board->lock);
    return found;
}

bool weft_board_claim(weft_board *board, uint64_t id)
{
    (void)pthread_mutex_lock(&board->lock); /* not recursive: cannot fail */
    note *item = *place_locked(board, id);
    const bool mine = !item || !item->claimed;
    if (item) {
        item->claimed = true;
    }
    (void)pthread_mutex_unlock(&board->lock);
    return mine;
}

void weft_board_release(weft_board *board, uint64_t id)
{
    (void)pthread_mutex_lock(&board->lock); /* not recursive: cannot fail */
    note *item = *place_locked(board, id);
    if (item) {
        item->claimed = false;
    }
    (void)pthread_mutex_unlock(&board->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What spool.c and spool_upload.c share. Lock order: the spool's lock (the table; never held across
 * a call of the file system), then an entry's lock, which is the ownership of its file and is held
 * across one. The spool's lock is also taken alone after an entry's was given back.
 */
#ifndef WEFT_STORE_SPOOL_PRIV_H
#define WEFT_STORE_SPOOL_PRIV_H

#include "store/spool.h"

#include <pthread.h>

#define WEFT_SPOOL_BUCKETS 256U

/* What happens to one assignment's file; exists while anybody looks at it. */
typedef struct weft_spool_entry {
    struct weft_spool_entry *next; /* in its bucket; guarded by the spool's lock */
    uint64_t assignment_id;
    uint32_t users; /* guarded by the spool's lock */
    pthread_mutex_t lock;
    uint64_t generation; /* of the upload that may append; guarded by lock */
} weft_spool_entry;

struct weft_spool {
    const weft_alloc *alloc;
    int dir_fd;
    pthread_mutex_t lock;
    weft_spool_entry *buckets[WEFT_SPOOL_BUCKETS]; /* guarded by lock */
    bool ready;                                    /* the lock exists */
    bool rebooted;                                 /* since the folder was last open */
};

typedef struct weft_spool_name {
    char text[40];
} weft_spool_name;

weft_spool_name weft_spool_part(uint64_t assignment_id);
weft_spool_name weft_spool_upd(uint64_t assignment_id);

static inline void weft_spool_lock(pthread_mutex_t *mutex)
{
    (void)pthread_mutex_lock(mutex); /* fails only for locks that are misused */
}

static inline void weft_spool_unlock(pthread_mutex_t *mutex)
{
    (void)pthread_mutex_unlock(mutex); /* the same */
}

/** "cannot WHAT the upload of assignment N ...", WEFT_E_IO. */
WEFT_NODISCARD weft_status weft_spool_fail(weft_err *err, int sys, const char *what,
                                           uint64_t assignment_id);
/** One use of the entry of an assignment, which is made where missing. WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_spool_use(weft_spool_entry **ret, weft_spool *spool,
                                          uint64_t assignment_id, weft_err *err);
/** Give one use back. Not with its lock held. */
void weft_spool_unuse(weft_spool *spool, weft_spool_entry *e);

#endif

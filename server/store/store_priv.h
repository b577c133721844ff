/* SPDX-License-Identifier: Apache-2.0 */
/* The store's inside, shared by the files of this room. */
#ifndef WEFT_STORE_PRIV_H
#define WEFT_STORE_PRIV_H

#include "ledger/merkle.h"
#include "store/db_priv.h"
#include "store/store.h"

#include <pthread.h>

#define WEFT_STORE_MAIN_PAGE_BYTES   4096U
#define WEFT_STORE_MODELS_PAGE_BYTES 65536U

/*
 * models.db: one writing and one reading connection. A lock is the ownership of its connection: it
 * is held for one statement or chunk, and nothing else is ever locked under it.
 */
typedef struct weft_models {
    pthread_mutex_t write_lock;
    weft_db writer;   /* guarded by write_lock */
    bool writer_full; /* guarded by write_lock: synchronous is FULL, else NORMAL */
    int log_pages;    /* guarded by write_lock: of the log, at the newest commit */
    pthread_mutex_t read_lock;
    weft_db reader; /* guarded by read_lock */
    bool ready;     /* the locks exist */
} weft_models;

struct weft_store {
    const weft_alloc *alloc;
    char *dir;      /* owned */
    int lock_fd;    /* -1: none */
    weft_db main;   /* owner thread */
    bool main_full; /* commits of main wait for the disk */
    bool in_batch;  /* between begin and commit or rollback */
    bool broken;    /* a statement of this batch failed: it cannot be committed */
    int64_t batch_unix_ms;
    uint64_t logical_ms;     /* of the newest commit */
    weft_merkle_edge ledger; /* of the newest commit */
    weft_models models;
};

/* models.c */
WEFT_NODISCARD weft_status weft_models_open(weft_store *store, const weft_store_options *options,
                                            weft_err *err);
void weft_models_close(weft_store *store);

/* store.c */
/** Begin a query that writes: refused outside a batch and in one that already failed. */
WEFT_NODISCARD weft_status weft_store_write(weft_query *q, weft_store *store, const char *sql,
                                            weft_err *err);
/** Run such a query to its end; a failure spoils the batch. */
WEFT_NODISCARD weft_status weft_store_run(weft_query *q, weft_store *store, weft_err *err);

/* care.c: a database of a data directory, beside its owner. WEFT_E_NOTFOUND: it is none. */
WEFT_NODISCARD weft_status weft_store_open_read_only(weft_db *db, const char *dir, const char *name,
                                                     weft_err *err);
/** restore.c: weft_store_wants_upload of any connection. */
WEFT_NODISCARD weft_status weft_db_wants_upload(weft_db *db, uint64_t assignment_id,
                                                bool *ret_wanted, weft_err *err);

/* restore.c: the columns of `WEFT_JOB_COLUMNS` and the like, from their first one on */
#define WEFT_JOB_COLUMNS                                                                           \
    "job_id, status, reason, round, rounds_done, attempts, retry_at_ms, version, model_bytes,"     \
    " evals_since_best, best, created_unix_ms, definition"
#define WEFT_ROUND_COLUMNS                                                                         \
    "job_id, round, attempt, state, reason, base, version, eligible, cohort, accepted,"            \
    " n_examples, deadline_ms, opened_unix_ms, closed_unix_ms, bytes_up, bytes_down"
#define WEFT_ASSIGNMENT_COLUMNS                                                                    \
    "assignment_id, job_id, round, attempt, client, task, state, refusal, reason,"                 \
    " lease_until_ms, update_digest, n_examples, bytes, accepted_unix_ms"

/** Call fn for each row of q (columns as above, job) and end q. *ret_n (may be NULL): how many. */
WEFT_NODISCARD weft_status weft_store_each_job(weft_query *q, weft_store_job_fn fn, void *arg,
                                               uint32_t *ret_n, weft_err *err);
/** The same with rounds; metrics are fetched for each. */
WEFT_NODISCARD weft_status weft_store_each_round(weft_query *q, weft_store *store,
                                                 weft_store_round_fn fn, void *arg, uint32_t *ret_n,
                                                 weft_err *err);
WEFT_NODISCARD weft_status weft_store_each_assignment(weft_query *q, weft_store *store,
                                                      weft_store_assignment_fn fn, void *arg,
                                                      uint32_t *ret_n, weft_err *err);
/** Metrics of a round attempt; kind 1 train, 2 federated, 3 central. */
WEFT_NODISCARD weft_status weft_store_round_metrics(weft_store *store, uint64_t job_id,
                                                    uint32_t round, uint32_t attempt, int kind,
                                                    weft_metrics *out, weft_err *err);

#endif

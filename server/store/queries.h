/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operators ask: jobs, rounds, versions, releases and histories, read-only; and the two
 * things an operator writes about versions, releases and rollbacks. Owner thread.
 */
#ifndef WEFT_STORE_QUERIES_H
#define WEFT_STORE_QUERIES_H

#include "store/store.h"

/* Rows of one page when the caller says 0. */
#define WEFT_STORE_PAGE_ROWS 1000U

/* ---- jobs ------------------------------------------------------------------------------------ */

/** fn once. WEFT_E_NOTFOUND. (All jobs: weft_store_restore_jobs.) */
WEFT_NODISCARD weft_status weft_store_job_by_name(weft_store *store, const char *name,
                                                  weft_store_job_fn fn, void *arg, weft_err *err);
WEFT_NODISCARD weft_status weft_store_job_by_id(weft_store *store, uint64_t job_id,
                                                weft_store_job_fn fn, void *arg, weft_err *err);

/* One line of an append-only history, oldest first. status is the row type's enumeration. */
typedef struct weft_store_change {
    int64_t unix_ms;
    uint32_t status;
    const char *reason;
} weft_store_change;
typedef weft_status (*weft_store_change_fn)(void *arg, const weft_store_change *change,
                                            weft_err *err);
WEFT_NODISCARD weft_status weft_store_job_history(weft_store *store, uint64_t job_id,
                                                  weft_store_change_fn fn, void *arg,
                                                  weft_err *err);
WEFT_NODISCARD weft_status weft_store_round_history(weft_store *store, uint64_t job_id,
                                                    uint32_t round, uint32_t attempt,
                                                    weft_store_change_fn fn, void *arg,
                                                    weft_err *err);
WEFT_NODISCARD weft_status weft_store_assignment_history(weft_store *store, uint64_t assignment_id,
                                                         weft_store_change_fn fn, void *arg,
                                                         weft_err *err);
/** status: weft_store_client_status. */
WEFT_NODISCARD weft_status weft_store_client_history(weft_store *store, const char *name,
                                                     weft_store_change_fn fn, void *arg,
                                                     weft_err *err);

/* ---- rounds ---------------------------------------------------------------------------------- */

/**
 * Attempts of rounds above after_round, ascending by round and attempt; whole rounds only, so
 * that the last round seen is the next page's after_round (a page may be larger than limit by the
 * attempts of its last round). @param limit  rows, 0: WEFT_STORE_PAGE_ROWS.
 */
WEFT_NODISCARD weft_status weft_store_rounds(weft_store *store, uint64_t job_id,
                                             uint32_t after_round, uint32_t limit,
                                             weft_store_round_fn fn, void *arg, weft_err *err);
/** One attempt; attempt 0: the newest. fn once. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_round(weft_store *store, uint64_t job_id, uint32_t round,
                                            uint32_t attempt, weft_store_round_fn fn, void *arg,
                                            weft_err *err);
/** The assignments of one attempt, ascending by id. */
WEFT_NODISCARD weft_status weft_store_assignments(weft_store *store, uint64_t job_id,
                                                  uint32_t round, uint32_t attempt,
                                                  weft_store_assignment_fn fn, void *arg,
                                                  weft_err *err);
/** Names of the recorded eligible set, in order. */
typedef weft_status (*weft_store_name_fn)(void *arg, const char *name, weft_err *err);
WEFT_NODISCARD weft_status weft_store_eligible(weft_store *store, uint64_t job_id, uint32_t round,
                                               uint32_t attempt, weft_store_name_fn fn, void *arg,
                                               weft_err *err);

/* ---- versions -------------------------------------------------------------------------------- */

typedef struct weft_store_version {
    weft_version_row row;
    const char *job;        /* name, "" for imported ones */
    bool current;           /* the weights its job goes on from */
    bool released;          /* some release name points at it */
    const char *release;    /* that name (the newest), or "" */
    weft_metrics federated; /* of the round that published it */
    weft_metrics central;
    weft_metrics train;
} weft_store_version;
typedef weft_status (*weft_store_version_fn)(void *arg, const weft_store_version *version,
                                             weft_err *err);
/** Newest first. @param job_id  0: of all jobs and imported. @param limit  0: WEFT_STORE_PAGE_ROWS.
 */
WEFT_NODISCARD weft_status weft_store_versions(weft_store *store, uint64_t job_id, uint32_t limit,
                                               weft_store_version_fn fn, void *arg, weft_err *err);
/** fn once with the newest row of these bytes. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_version_by_digest(weft_store *store,
                                                        const uint8_t digest[WEFT_DIGEST_BYTES],
                                                        weft_store_version_fn fn, void *arg,
                                                        weft_err *err);
/** fn once with what a job's round published (round 0: initial weights). WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_version_of_round(weft_store *store, uint64_t job_id,
                                                       uint32_t round, weft_store_version_fn fn,
                                                       void *arg, weft_err *err);
/**
 * Resolve the beginning of a digest in hexadecimal (4 digits or more).
 * @return WEFT_E_NOTFOUND; WEFT_E_CONFLICT several versions begin so; WEFT_E_INVALID.
 */
WEFT_NODISCARD weft_status weft_store_version_by_prefix(weft_store *store, const char *hex,
                                                        uint8_t ret_digest[WEFT_DIGEST_BYTES],
                                                        weft_err *err);

/* ---- releases and rollbacks (writes: inside begin .. commit) --------------------------------- */

typedef struct weft_store_release {
    const char *name;
    uint64_t job_id;
    uint8_t digest[WEFT_DIGEST_BYTES];
    int64_t unix_ms;
} weft_store_release;
typedef weft_status (*weft_store_release_fn)(void *arg, const weft_store_release *release,
                                             weft_err *err);

/**
 * Point a name at a version. The same name again moves it; every release stays on record.
 * @param name  weft_name_valid. @return WEFT_E_NOTFOUND no such version of the job; WEFT_E_INVALID.
 */
WEFT_NODISCARD weft_status weft_store_put_release(weft_store *store, const char *name,
                                                  uint64_t job_id,
                                                  const uint8_t digest[WEFT_DIGEST_BYTES],
                                                  weft_err *err);
/** What a name points at. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_release_by_name(weft_store *store, const char *name,
                                                      uint8_t ret_digest[WEFT_DIGEST_BYTES],
                                                      weft_err *err);
/** The version that a job released last. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_release_of_job(weft_store *store, uint64_t job_id,
                                                     uint8_t ret_digest[WEFT_DIGEST_BYTES],
                                                     weft_err *err);
/** All releases on record, oldest first; the last one of a name is where it points. */
WEFT_NODISCARD weft_status weft_store_each_release(weft_store *store, weft_store_release_fn fn,
                                                   void *arg, weft_err *err);

typedef struct weft_store_rollback_row {
    uint64_t job_id;
    uint32_t round; /* that was open or next */
    uint8_t from[WEFT_DIGEST_BYTES];
    uint8_t to[WEFT_DIGEST_BYTES];
    int64_t unix_ms; /* read only: the batch's time is written */
} weft_store_rollback_row;
typedef weft_status (*weft_store_rollback_fn)(void *arg, const weft_store_rollback_row *row,
                                              weft_err *err);
WEFT_NODISCARD weft_status weft_store_put_rollback(weft_store *store,
                                                   const weft_store_rollback_row *row,
                                                   weft_err *err);
/** Oldest first. */
WEFT_NODISCARD weft_status weft_store_rollbacks(weft_store *store, uint64_t job_id,
                                                weft_store_rollback_fn fn, void *arg,
                                                weft_err *err);

#endif

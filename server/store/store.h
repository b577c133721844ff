/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: everything that the coordinator must not lose, in one data directory.
 *
 *   weft.db      rows: jobs, rounds, assignments, versions, clients, releases and their histories
 *   models.db    model bytes, content-addressed, in rows of 1 MiB (store/models.h)
 *   spool/       uploads of open rounds (store/spool.h)
 *   weft.lock    held while a process works on the directory; a second one is refused
 *
 * Both databases are WAL with synchronous=FULL: what a commit acknowledged survives kill -9 and
 * power loss. Status histories are append-only, written by triggers of the schema, so no writer
 * can forget them and none can change them.
 *
 * Threads: "owner thread" functions belong to the one thread that feeds the core (one writer);
 * those that say "any thread" lock for themselves. Rows handed to callbacks are borrowed for the
 * call; a callback's failure ends the iteration and is returned.
 *
 * Errors of SQLite are WEFT_E_DB with its message and what to do. After a failed put, commit or
 * rollback the transaction is gone: rebuild the core from the store.
 */
#ifndef WEFT_STORE_H
#define WEFT_STORE_H

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "core/rows.h"

/* Written into both databases (PRAGMA application_id): "weft". */
#define WEFT_STORE_APPLICATION_ID 0x77656674
/* A job definition as the shell encodes it: a spec, a schema and the rest (WEFT_MAX_CONTROL_BYTES).
 */
#define WEFT_STORE_MAX_DEFINITION_BYTES (256U << 10)

/* A row of a secure session: the longest message of a client, or a closure's bit a client. */
#define WEFT_STORE_MAX_SECURE_BYTES WEFT_MAX_SECAGG_CLIENT_BYTES

typedef struct weft_store weft_store;

typedef struct weft_store_options {
    uint32_t busy_timeout_ms; /* how long a reader of another process may hold us up */
    bool must_exist;          /* WEFT_E_NOTFOUND instead of making a fresh directory */
    bool read_only;           /* beside whoever holds the directory: no lock, no migration; nothing
                               * can be written. An older schema is WEFT_E_STATE */
    const char *vfs;          /* SQLite's name of a file system layer; NULL: the default */
} weft_store_options;

#define WEFT_STORE_OPTIONS_INIT                                                                    \
    {                                                                                              \
        5000, false, false, NULL                                                                   \
    }

/**
 * Open (and where missing make, 0700) a data directory, take its lock, bring the schemas up to
 * date.
 * @param ret  the caller's to close.
 * @return WEFT_E_CONFLICT another process holds the directory; WEFT_E_STATE the schema is newer
 * than this program; WEFT_E_FORMAT a database that is not weft's or is damaged; WEFT_E_NOTFOUND;
 *         WEFT_E_DB; WEFT_E_IO; WEFT_E_NOMEM.
 * Threads: the caller becomes the owner thread.
 */
WEFT_NODISCARD weft_status weft_store_open(weft_store **ret, const char *dir,
                                           const weft_store_options *options, const weft_alloc *a,
                                           weft_err *err);
/** Close: an open transaction is rolled back. NULL is allowed. Owner thread, after all others left.
 */
void weft_store_close(weft_store *store);
/** The data directory as given. Any thread. */
const char *weft_store_dir(const weft_store *store);

/* ---- transactions: one batch of persists is one ---------------------------------------------- */

/**
 * Begin a batch. @param unix_ms  wall clock, the time in the histories. WEFT_E_STATE when one is
 * open. Owner thread.
 */
WEFT_NODISCARD weft_status weft_store_begin(weft_store *store, int64_t unix_ms, weft_err *err);
/**
 * The same, but its commit waits for no disk: it survives the end of this process; a power cut may
 * undo it, with all that came after it. The next batch that waits makes it durable, too. For rows
 * of which nobody was promised more.
 */
WEFT_NODISCARD weft_status weft_store_begin_unsynced(weft_store *store, int64_t unix_ms,
                                                     weft_err *err);
/**
 * Make the batch durable together with the logical clock.
 * @param logical_now_ms  never smaller than before (a smaller one is kept at the old value).
 * @return WEFT_OK: it is on disk (begun unsynced: it is in the log). Anything else: take it as not
 * done and promise nothing; after a disk's failure all of it or nothing may turn up at the next
 * open, as after a power cut. Owner thread.
 */
WEFT_NODISCARD weft_status weft_store_commit(weft_store *store, uint64_t logical_now_ms,
                                             weft_err *err);
/** Forget the batch; without an open one nothing happens. Owner thread. */
void weft_store_rollback(weft_store *store);
/** Logical time of the newest commit, 0 for a fresh directory. Owner thread. */
uint64_t weft_store_logical_ms(const weft_store *store);

/* ---- the core's rows (inside begin .. commit; owner thread) ---------------------------------- */

/**
 * Insert or update a job. A new job needs row->def (its name and data set are columns) and the
 * definition's bytes; later puts may pass definition NULL, a definition never changes.
 * @param definition  opaque to the store; at most WEFT_STORE_MAX_DEFINITION_BYTES.
 * @return WEFT_E_CONFLICT another job has the name; WEFT_E_NOTFOUND definition is NULL and the job
 *         is new; WEFT_E_LIMIT; WEFT_E_DB.
 */
WEFT_NODISCARD weft_status weft_store_put_job(weft_store *store, const weft_job_row *row,
                                              const void *definition, size_t definition_size,
                                              weft_err *err);
WEFT_NODISCARD weft_status weft_store_put_round(weft_store *store, const weft_round_row *row,
                                                weft_err *err);
WEFT_NODISCARD weft_status weft_store_put_assignment(weft_store *store,
                                                     const weft_assignment_row *row, weft_err *err);
/** A version of (job, round, digest); the same one again changes nothing. */
WEFT_NODISCARD weft_status weft_store_put_version(weft_store *store, const weft_version_row *row,
                                                  weft_err *err);
WEFT_NODISCARD weft_status weft_store_put_eligible(weft_store *store, const weft_eligible_row *row,
                                                   weft_err *err);

/** Append a row of a secure session; WEFT_E_LIMIT above WEFT_STORE_MAX_SECURE_BYTES. */
WEFT_NODISCARD weft_status weft_store_put_secure(weft_store *store, const weft_secure_row *row,
                                                 weft_err *err);
/** Forget the rows of a session that is over; their bytes are overwritten. */
WEFT_NODISCARD weft_status weft_store_end_secure(weft_store *store, const weft_secure_over *over,
                                                 weft_err *err);

/* ---- restore (owner thread) ------------------------------------------------------------------ */

/** row->def is NULL: decode the definition and set it. */
typedef weft_status (*weft_store_job_fn)(void *arg, weft_job_row *row, weft_view definition,
                                         weft_err *err);
typedef weft_status (*weft_store_round_fn)(void *arg, const weft_round_row *row, weft_err *err);
typedef weft_status (*weft_store_assignment_fn)(void *arg, const weft_assignment_row *row,
                                                weft_err *err);

/** Every job, ended ones too, by ascending id. */
WEFT_NODISCARD weft_status weft_store_restore_jobs(weft_store *store, weft_store_job_fn fn,
                                                   void *arg, weft_err *err);
/** The newest attempt of each job's open round (training, aggregating or evaluating). */
WEFT_NODISCARD weft_status weft_store_restore_rounds(weft_store *store, weft_store_round_fn fn,
                                                     void *arg, weft_err *err);
/** All assignments of those rounds, by ascending id. */
WEFT_NODISCARD weft_status weft_store_restore_assignments(weft_store *store,
                                                          weft_store_assignment_fn fn, void *arg,
                                                          weft_err *err);
typedef weft_status (*weft_store_ended_fn)(void *arg, const weft_assignment_row *row,
                                           const weft_round_row *round, weft_err *err);
/** Each client's newest assignment, with its round, where that round has ended; by ascending id. */
WEFT_NODISCARD weft_status weft_store_restore_ended(weft_store *store, weft_store_ended_fn fn,
                                                    void *arg, weft_err *err);
typedef weft_status (*weft_store_secure_fn)(void *arg, const weft_secure_row *row, weft_err *err);
/** The rows of those rounds' secure sessions, by session and seq. */
WEFT_NODISCARD weft_status weft_store_restore_secure(weft_store *store, weft_store_secure_fn fn,
                                                     void *arg, weft_err *err);
/** One above the highest ever used; in a restored directory, above its epoch's gap. */
WEFT_NODISCARD weft_status weft_store_next_ids(weft_store *store, uint64_t *ret_job_id,
                                               uint64_t *ret_assignment_id, weft_err *err);
/**
 * Does the spool have to keep the upload of this assignment? True while it is open or accepted and
 * what it is summed in (its round, or the round's evaluation) has not ended; and while its round is
 * among those whose updates the job keeps. For weft_spool_sweep.
 */
WEFT_NODISCARD weft_status weft_store_wants_upload(weft_store *store, uint64_t assignment_id,
                                                   bool *ret_wanted, weft_err *err);

/* ---- care ------------------------------------------------------------------------------------ */

/** One finding of a check, as a sentence. */
typedef void (*weft_store_finding_fn)(void *arg, const char *finding);
/**
 * Check a data directory (for `weft doctor`): both files' integrity, foreign keys, schema versions,
 * every version's model present; deep: every model's bytes against its digest.
 * Works beside a running coordinator and changes nothing. Any thread.
 * @return WEFT_OK also with findings (see *ret_findings); WEFT_E_NOTFOUND, WEFT_E_DB, ...
 */
WEFT_NODISCARD weft_status weft_store_check(const char *dir, bool deep, weft_store_finding_fn fn,
                                            void *arg, uint32_t *ret_findings, const weft_alloc *a,
                                            weft_err *err);
/* What a coordinator may have given out between a backup and its end: more than a lifetime's. */
#define WEFT_STORE_EPOCH_JOBS        (UINT64_C(1) << 20)
#define WEFT_STORE_EPOCH_ASSIGNMENTS (UINT64_C(1) << 40)
/**
 * A copy made by weft_store_backup becomes the coordinator: new jobs and assignments get ids that
 * its predecessor cannot have given out after the copy, so that no receipt names two things. Any
 * thread; nobody else may hold the directory.
 */
WEFT_NODISCARD weft_status weft_store_begin_epoch(const char *dir, int64_t unix_ms,
                                                  const weft_alloc *a, weft_err *err);
typedef struct weft_store_orphans {
    uint32_t models;  /* that no version names: of a crash while one was written */
    uint32_t uploads; /* in the spool that no open round waits for */
} weft_store_orphans;
/**
 * Count what nothing needs any more; the next start sweeps it away. Beside a running coordinator
 * a version or an update that is being taken in this moment may count. Any thread.
 */
WEFT_NODISCARD weft_status weft_store_count_orphans(weft_store_orphans *ret, const char *dir,
                                                    const weft_alloc *a, weft_err *err);
/**
 * Copy both databases into a fresh directory while the coordinator works: a data directory that
 * opens. Rows first, then models: every version in the copy has its bytes there. Any thread.
 * @param to  must not hold a weft.db yet (WEFT_E_CONFLICT).
 */
WEFT_NODISCARD weft_status weft_store_backup(const char *dir, const char *to, const weft_alloc *a,
                                             weft_err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Numbered migrations: an array of SQL steps, user_version counts those that a file has seen. */
#include "store/schema_priv.h"

#include "store/ledger_priv.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

/* Histories are written here, by triggers, so that no writer can forget one; other triggers keep
 * them append-only. Foreign keys are deferred: a batch may bring its rows in any order. */

static const char jobs_sql[] =
    "CREATE TABLE clock ("
    " id INTEGER PRIMARY KEY CHECK (id = 1),"
    " logical_ms INTEGER NOT NULL) STRICT;"
    "INSERT INTO clock VALUES (1, 0);"

    "CREATE TABLE job ("
    " job_id INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL UNIQUE,"
    " dataset TEXT NOT NULL,"
    " definition BLOB NOT NULL,"
    " status INTEGER NOT NULL CHECK (status BETWEEN 1 AND 5),"
    " reason TEXT NOT NULL,"
    " round INTEGER NOT NULL,"
    " rounds_done INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL,"
    " retry_at_ms INTEGER NOT NULL,"
    " version BLOB CHECK (length(version) = 32),"
    " model_bytes INTEGER NOT NULL,"
    " evals_since_best INTEGER NOT NULL,"
    " best REAL,"
    " created_unix_ms INTEGER NOT NULL,"
    " changed_unix_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE job_history ("
    " id INTEGER PRIMARY KEY,"
    " job_id INTEGER NOT NULL REFERENCES job DEFERRABLE INITIALLY DEFERRED,"
    " unix_ms INTEGER NOT NULL,"
    " status INTEGER NOT NULL,"
    " reason TEXT NOT NULL) STRICT;"
    "CREATE INDEX job_history_job ON job_history (job_id);"
    "CREATE TRIGGER job_new AFTER INSERT ON job BEGIN"
    " INSERT INTO job_history (job_id, unix_ms, status, reason)"
    " VALUES (new.job_id, new.changed_unix_ms, new.status, new.reason); END;"
    "CREATE TRIGGER job_change AFTER UPDATE OF status, reason ON job"
    " WHEN old.status <> new.status OR old.reason <> new.reason BEGIN"
    " INSERT INTO job_history (job_id, unix_ms, status, reason)"
    " VALUES (new.job_id, new.changed_unix_ms, new.status, new.reason); END;"
    "CREATE TRIGGER job_definition BEFORE UPDATE OF name, dataset, definition ON job BEGIN"
    " SELECT RAISE(ABORT, 'a job''s definition never changes'); END;"
    "CREATE TRIGGER job_history_u BEFORE UPDATE ON job_history BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;"
    "CREATE TRIGGER job_history_d BEFORE DELETE ON job_history BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;";

static const char rounds_sql[] =
    "CREATE TABLE round ("
    " job_id INTEGER NOT NULL REFERENCES job DEFERRABLE INITIALLY DEFERRED,"
    " round INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 5),"
    " reason TEXT NOT NULL,"
    " base BLOB NOT NULL CHECK (length(base) = 32),"
    " version BLOB CHECK (length(version) = 32),"
    " eligible INTEGER NOT NULL,"
    " cohort INTEGER NOT NULL,"
    " accepted INTEGER NOT NULL,"
    " n_examples INTEGER NOT NULL,"
    " deadline_ms INTEGER NOT NULL,"
    " opened_unix_ms INTEGER NOT NULL,"
    " closed_unix_ms INTEGER NOT NULL,"
    " bytes_up INTEGER NOT NULL,"
    " changed_unix_ms INTEGER NOT NULL,"
    " PRIMARY KEY (job_id, round, attempt)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX round_open ON round (job_id) WHERE state < 4;"
    "CREATE TABLE round_history ("
    " id INTEGER PRIMARY KEY,"
    " job_id INTEGER NOT NULL,"
    " round INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " unix_ms INTEGER NOT NULL,"
    " state INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " FOREIGN KEY (job_id, round, attempt) REFERENCES round DEFERRABLE INITIALLY DEFERRED) STRICT;"
    "CREATE INDEX round_history_round ON round_history (job_id, round, attempt);"
    "CREATE TRIGGER round_new AFTER INSERT ON round BEGIN"
    " INSERT INTO round_history (job_id, round, attempt, unix_ms, state, reason) VALUES"
    " (new.job_id, new.round, new.attempt, new.changed_unix_ms, new.state, new.reason); END;"
    "CREATE TRIGGER round_change AFTER UPDATE OF state, reason ON round"
    " WHEN old.state <> new.state OR old.reason <> new.reason BEGIN"
    " INSERT INTO round_history (job_id, round, attempt, unix_ms, state, reason) VALUES"
    " (new.job_id, new.round, new.attempt, new.changed_unix_ms, new.state, new.reason); END;"
    "CREATE TRIGGER round_history_u BEFORE UPDATE ON round_history BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;"
    "CREATE TRIGGER round_history_d BEFORE DELETE ON round_history BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;";

static const char assignments_sql[] =
    "CREATE TABLE assignment ("
    " assignment_id INTEGER PRIMARY KEY,"
    " job_id INTEGER NOT NULL,"
    " round INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " client TEXT NOT NULL,"
    " task INTEGER NOT NULL CHECK (task BETWEEN 1 AND 3),"
    " state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 7),"
    " refusal INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " lease_until_ms INTEGER NOT NULL,"
    " update_digest BLOB CHECK (length(update_digest) = 32),"
    " n_examples INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " accepted_unix_ms INTEGER NOT NULL,"
    " changed_unix_ms INTEGER NOT NULL,"
    " FOREIGN KEY (job_id, round, attempt) REFERENCES round DEFERRABLE INITIALLY DEFERRED) STRICT;"
    "CREATE INDEX assignment_round ON assignment (job_id, round, attempt);"
    "CREATE INDEX assignment_accepted ON assignment (client) WHERE state = 2 AND task <> 2;"
    "CREATE TABLE assignment_history ("
    " id INTEGER PRIMARY KEY,"
    " assignment_id INTEGER NOT NULL REFERENCES assignment DEFERRABLE INITIALLY DEFERRED,"
    " unix_ms INTEGER NOT NULL,"
    " state INTEGER NOT NULL,"
    " reason TEXT NOT NULL) STRICT;"
    "CREATE INDEX assignment_history_assignment ON assignment_history (assignment_id);"
    "CREATE TRIGGER assignment_new AFTER INSERT ON assignment BEGIN"
    " INSERT INTO assignment_history (assignment_id, unix_ms, state, reason)"
    " VALUES (new.assignment_id, new.changed_unix_ms, new.state, new.reason); END;"
    "CREATE TRIGGER assignment_change AFTER UPDATE OF state, reason ON assignment"
    " WHEN old.state <> new.state OR old.reason <> new.reason BEGIN"
    " INSERT INTO assignment_history (assignment_id, unix_ms, state, reason)"
    " VALUES (new.assignment_id, new.changed_unix_ms, new.state, new.reason); END;"
    "CREATE TRIGGER assignment_history_u BEFORE UPDATE ON assignment_history BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;"
    "CREATE TRIGGER assignment_history_d BEFORE DELETE ON assignment_history BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;";

static const char versions_sql[] =
    /* who was checked in when the cohort was drawn: names, sorted, one a line */
    "CREATE TABLE eligible ("
    " job_id INTEGER NOT NULL,"
    " round INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " n INTEGER NOT NULL,"
    " clients TEXT NOT NULL,"
    " PRIMARY KEY (job_id, round, attempt),"
    " FOREIGN KEY (job_id, round, attempt) REFERENCES round DEFERRABLE INITIALLY DEFERRED) STRICT;"

    /* job_id NULL: imported; the same bytes may be versions of several jobs */
    "CREATE TABLE version ("
    " version_id INTEGER PRIMARY KEY,"
    " digest BLOB NOT NULL CHECK (length(digest) = 32),"
    " parent BLOB CHECK (length(parent) = 32),"
    " job_id INTEGER REFERENCES job DEFERRABLE INITIALLY DEFERRED,"
    " round INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " created_unix_ms INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX version_of ON version (ifnull(job_id, 0), round, digest);"
    "CREATE INDEX version_digest ON version (digest);"
    "CREATE TRIGGER version_u BEFORE UPDATE ON version BEGIN"
    " SELECT RAISE(ABORT, 'versions are immutable'); END;";

static const char clients_sql[] =
    "CREATE TABLE client ("
    " client_id INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL UNIQUE,"
    " status INTEGER NOT NULL CHECK (status BETWEEN 1 AND 3),"
    " reason TEXT NOT NULL,"
    " since_unix_ms INTEGER NOT NULL,"
    " token_digest BLOB NOT NULL UNIQUE CHECK (length(token_digest) = 32),"
    " invitation BLOB NOT NULL,"
    " invitation_expires_unix_ms INTEGER NOT NULL,"
    " csr_key_digest BLOB CHECK (length(csr_key_digest) = 32),"
    " member_chain BLOB,"
    " member_public_key BLOB UNIQUE CHECK (length(member_public_key) = 32),"
    " software TEXT NOT NULL,"
    " last_seen_unix_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE client_history ("
    " id INTEGER PRIMARY KEY,"
    " client_id INTEGER NOT NULL REFERENCES client DEFERRABLE INITIALLY DEFERRED,"
    " unix_ms INTEGER NOT NULL,"
    " status INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " token_digest BLOB NOT NULL,"
    " member_public_key BLOB) STRICT;"
    "CREATE INDEX client_history_client ON client_history (client_id);"
    "CREATE INDEX client_history_token ON client_history (token_digest);"
    "CREATE TRIGGER client_new AFTER INSERT ON client BEGIN"
    " INSERT INTO client_history (client_id, unix_ms, status, reason, token_digest,"
    " member_public_key) VALUES (new.client_id, new.since_unix_ms, new.status, new.reason,"
    " new.token_digest, new.member_public_key); END;"
    "CREATE TRIGGER client_change AFTER UPDATE OF status, reason, token_digest ON client"
    " WHEN old.status <> new.status OR old.reason <> new.reason"
    " OR old.token_digest <> new.token_digest BEGIN"
    " INSERT INTO client_history (client_id, unix_ms, status, reason, token_digest,"
    " member_public_key) VALUES (new.client_id, new.since_unix_ms, new.status, new.reason,"
    " new.token_digest, new.member_public_key); END;"
    "CREATE TRIGGER client_history_u BEFORE UPDATE ON client_history BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;"
    "CREATE TRIGGER client_history_d BEFORE DELETE ON client_history BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;"
    "CREATE TABLE client_dataset ("
    " client_id INTEGER NOT NULL REFERENCES client DEFERRABLE INITIALLY DEFERRED,"
    " name TEXT NOT NULL,"
    " n_examples INTEGER NOT NULL,"
    " PRIMARY KEY (client_id, name)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE certificate ("
    " fingerprint BLOB PRIMARY KEY NOT NULL CHECK (length(fingerprint) = 32),"
    " client_id INTEGER NOT NULL REFERENCES client DEFERRABLE INITIALLY DEFERRED,"
    " csr_key_digest BLOB NOT NULL CHECK (length(csr_key_digest) = 32),"
    " pem BLOB NOT NULL,"
    " issued_unix_ms INTEGER NOT NULL,"
    " expires_unix_ms INTEGER NOT NULL,"
    " revoked INTEGER NOT NULL CHECK (revoked IN (0, 1))) STRICT;"
    "CREATE INDEX certificate_client ON certificate (client_id);";

/* metrics, in the order of their reports */
static const char metrics_sql[] =
    "CREATE TABLE round_metric ("
    " job_id INTEGER NOT NULL,"
    " round INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3)," /* train, federated, central */
    " position INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " value REAL NOT NULL,"
    " PRIMARY KEY (job_id, round, attempt, kind, position),"
    " FOREIGN KEY (job_id, round, attempt) REFERENCES round DEFERRABLE INITIALLY DEFERRED)"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE assignment_metric ("
    " assignment_id INTEGER NOT NULL REFERENCES assignment DEFERRABLE INITIALLY DEFERRED,"
    " position INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " value REAL NOT NULL,"
    " PRIMARY KEY (assignment_id, position)) STRICT, WITHOUT ROWID;";

/* a release name points where its last row says */
static const char releases_sql[] =
    "CREATE TABLE release ("
    " release_id INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL,"
    " job_id INTEGER," /* NULL: an imported version */
    " digest BLOB NOT NULL CHECK (length(digest) = 32),"
    " unix_ms INTEGER NOT NULL,"
    " FOREIGN KEY (job_id) REFERENCES job DEFERRABLE INITIALLY DEFERRED) STRICT;"
    "CREATE INDEX release_name ON release (name);"
    "CREATE INDEX release_digest ON release (digest);"
    "CREATE INDEX release_job ON release (job_id);"
    "CREATE TRIGGER release_u BEFORE UPDATE ON release BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;"
    "CREATE TRIGGER release_d BEFORE DELETE ON release BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;"
    "CREATE TABLE rollback ("
    " rollback_id INTEGER PRIMARY KEY,"
    " job_id INTEGER NOT NULL REFERENCES job DEFERRABLE INITIALLY DEFERRED,"
    " round INTEGER NOT NULL,"
    " from_digest BLOB NOT NULL CHECK (length(from_digest) = 32),"
    " to_digest BLOB NOT NULL CHECK (length(to_digest) = 32),"
    " unix_ms INTEGER NOT NULL) STRICT;"
    "CREATE INDEX rollback_job ON rollback (job_id);"
    "CREATE TRIGGER rollback_u BEFORE UPDATE ON rollback BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;"
    "CREATE TRIGGER rollback_d BEFORE DELETE ON rollback BEGIN"
    " SELECT RAISE(ABORT, 'histories are append-only'); END;";

/* digest NULL: a writer is at work, or died; chunk_id = model_id * 2^32 + index, from 0 */
static const char models_sql[] = "CREATE TABLE model ("
                                 " model_id INTEGER PRIMARY KEY AUTOINCREMENT,"
                                 " digest BLOB UNIQUE CHECK (length(digest) = 32),"
                                 " bytes INTEGER NOT NULL,"
                                 " created_unix_ms INTEGER NOT NULL) STRICT;"
                                 "CREATE TABLE chunk ("
                                 " chunk_id INTEGER PRIMARY KEY,"
                                 " data BLOB NOT NULL) STRICT;";

/* what the bytes mean, so that an imported model can start a job */
static const char texts_sql[] =
    "ALTER TABLE model ADD COLUMN spec TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE model ADD COLUMN data_schema TEXT NOT NULL DEFAULT '';";

/* Secure sessions of open rounds, a row a message or closure. To the coordinator it is ciphertext,
 * public keys and, at the end, shares that open no more than the sum; it goes with the round. */
static const char secure_sql[] =
    "CREATE TABLE secure ("
    " job_id INTEGER NOT NULL,"
    " round INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " task INTEGER NOT NULL CHECK (task BETWEEN 1 AND 3),"
    " seq INTEGER NOT NULL CHECK (seq > 0),"
    " kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),"
    " assignment_id INTEGER NOT NULL," /* 0: a closure */
    " data BLOB NOT NULL,"
    " PRIMARY KEY (job_id, round, attempt, task, seq),"
    " FOREIGN KEY (job_id, round, attempt) REFERENCES round DEFERRABLE INITIALLY DEFERRED)"
    " STRICT, WITHOUT ROWID;"
    "CREATE TRIGGER secure_u BEFORE UPDATE ON secure BEGIN"
    " SELECT RAISE(ABORT, 'what a session has taken never changes'); END;";

static const char bytes_down_sql[] =
    "ALTER TABLE round ADD COLUMN bytes_down INTEGER NOT NULL DEFAULT 0;";

/* A restored backup does not know what was told after it: ids begin anew above all of them. */
static const char epoch_sql[] = "CREATE TABLE epoch ("
                                " epoch_id INTEGER PRIMARY KEY,"
                                " unix_ms INTEGER NOT NULL,"
                                " first_job_id INTEGER NOT NULL,"
                                " first_assignment_id INTEGER NOT NULL) STRICT;"
                                "CREATE TRIGGER epoch_u BEFORE UPDATE ON epoch BEGIN"
                                " SELECT RAISE(ABORT, 'histories are append-only'); END;"
                                "CREATE TRIGGER epoch_d BEFORE DELETE ON epoch BEGIN"
                                " SELECT RAISE(ABORT, 'histories are append-only'); END;";

/* each client's newest assignment, at the start */
static const char newest_sql[] = "CREATE INDEX assignment_client ON assignment (client);";

/* Rounds whose updates a job keeps: what the spool still wants is asked with the job's row alone.
 */
static const char keep_sql[] =
    "ALTER TABLE job ADD COLUMN keep_updates INTEGER NOT NULL DEFAULT 0;";

static const char *const main_1[] = {jobs_sql,     rounds_sql,  assignments_sql,
                                     versions_sql, clients_sql, NULL};
static const char *const main_2[] = {metrics_sql, NULL};
static const char *const main_3[] = {releases_sql, NULL};
static const char *const main_4[] = {secure_sql, NULL};
static const char *const main_5[] = {bytes_down_sql, NULL};
static const char *const main_6[] = {epoch_sql, NULL};
static const char *const main_8[] = {newest_sql, NULL};
static const char *const main_9[] = {keep_sql, NULL};
static const char *const *const main_steps[] = {
    main_1, main_2, main_3, main_4, main_5, main_6, weft_ledger_schema, main_8, main_9};

static const char *const models_1[] = {models_sql, NULL};
static const char *const models_2[] = {texts_sql, NULL};
static const char *const *const models_steps[] = {models_1, models_2};

const weft_schema_steps weft_main_schema = {sizeof main_steps / sizeof *main_steps, main_steps};
const weft_schema_steps weft_models_schema = {sizeof models_steps / sizeof *models_steps,
                                              models_steps};

/* The version that a file has; refuses other programs' files and newer ones. */
static weft_status look(weft_db *db, const weft_schema_steps *steps, uint32_t *ret_have,
                        weft_err *err)
{
    int64_t id = 0;
    int64_t have = 0;
    int64_t tables = 0;
    WEFT_TRY(weft_db_int(db, "PRAGMA application_id", &id, err));
    WEFT_TRY(weft_db_int(db, "PRAGMA user_version", &have, err));
    WEFT_TRY(weft_db_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err));
    const bool fresh = id == 0 && have == 0 && tables == 0;
    if (!fresh && id != WEFT_STORE_APPLICATION_ID) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%s belongs to another program (application_id %lld)",
                  db->name, (long long)id);
    }
    if (have < 0 || (!fresh && have == 0)) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%s says schema version %lld, which never existed", db->name,
                  (long long)have);
    }
    if (have > steps->n) {
        WEFT_FAIL(err, WEFT_E_STATE,
                  "%s has schema version %lld and this program knows versions up to %u: start the "
                  "newer weftd, or restore a backup from before its first start",
                  db->name, (long long)have, (unsigned)steps->n);
    }
    *ret_have = (uint32_t)have;
    return WEFT_OK;
}

static weft_status run_step(weft_db *db, const char *const *sql, uint32_t version, weft_err *err)
{
    char end[128];
    (void)snprintf(end, sizeof end, "PRAGMA application_id=%d; PRAGMA user_version=%u; COMMIT",
                   WEFT_STORE_APPLICATION_ID, (unsigned)version); /* fits */
    weft_status status = weft_db_exec(db, "BEGIN IMMEDIATE", err);
    for (; status == WEFT_OK && *sql; sql++) {
        status = weft_db_exec(db, *sql, err);
    }
    if (status == WEFT_OK) {
        status = weft_db_exec(db, end, err);
    }
    if (status != WEFT_OK && !sqlite3_get_autocommit(db->handle)) {
        /* the first failure is what counts; without a commit the step never happened */
        (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}

static weft_status enter_wal(weft_db *db, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, db, "PRAGMA journal_mode=WAL", err));
    bool row = false;
    weft_status status = weft_query_step(&q, &row, err);
    if (status == WEFT_OK && strcmp(row ? weft_query_text(&q, 0) : "", "wal") != 0) {
        status = weft_err_set(err, WEFT_E_DB, 0, __FILE__, __LINE__,
                              "%s cannot be opened in WAL mode: put the data directory on a local "
                              "file system",
                              db->name);
    }
    weft_query_end(&q);
    return status;
}

weft_status weft_schema_migrate(weft_db *db, const weft_schema_steps *steps, uint32_t to,
                                weft_err *err)
{
    uint32_t have = 0;
    WEFT_TRY(look(db, steps, &have, err));
    WEFT_TRY(enter_wal(db, err));
    for (uint32_t i = have; i < to; i++) {
        WEFT_TRY(run_step(db, steps->sql[i], i + 1, err));
    }
    return WEFT_OK;
}

weft_status weft_schema_check(weft_db *db, const weft_schema_steps *steps, weft_err *err)
{
    uint32_t have = 0;
    WEFT_TRY(look(db, steps, &have, err));
    if (have < steps->n) {
        WEFT_FAIL(err, WEFT_E_STATE,
                  "%s has schema version %u, this program works with %u: start weftd once to bring "
                  "it up to date",
                  db->name, (unsigned)have, (unsigned)steps->n);
    }
    return WEFT_OK;
}

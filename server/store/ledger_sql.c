/* SPDX-License-Identifier: Apache-2.0 */
/* What is recorded, as SQL: each kind of record once, used by its trigger, by the migration that
 * enters the past, and by the check. */
#include "store/ledger_priv.h"

/* Records, from a row that is named p; digests in lower-case hexadecimal. */
#define HEX(x)    "lower(hex(" x "))"
#define JOB_OF(p) "(SELECT name FROM job WHERE job_id = " p ".job_id)"

#define JOB_RECORD(p)                                                                              \
    "weft_record('kind', 'job', 'job', " p ".name, 'job_id', " p ".job_id, 'dataset', " p          \
    ".dataset, 'definition', " HEX("weft_sha256(" p ".definition)") ", 'created_unix_ms', " p      \
                                                                    ".created_unix_ms)"
#define ROUND_RECORD(p)                                                                            \
    "weft_record('kind', 'round', 'job_id', " p ".job_id, 'round', " p ".round, 'attempt', " p     \
    ".attempt, 'base', " HEX(p ".base") ", 'opened_unix_ms', " p ".opened_unix_ms)"
#define ELIGIBLE_RECORD(p)                                                                         \
    "weft_record('kind', 'eligible', 'job_id', " p ".job_id, 'round', " p ".round, 'attempt', " p  \
    ".attempt, 'n', " p ".n, 'clients', " HEX("weft_sha256(" p ".clients)") ")"
#define EPOCH_RECORD(p)                                                                            \
    "weft_record('kind', 'epoch', 'epoch', " p ".epoch_id, 'unix_ms', " p                          \
    ".unix_ms, 'first_job_id', " p ".first_job_id, 'first_assignment_id', " p                      \
    ".first_assignment_id)"
#define UPDATE_RECORD(p)                                                                           \
    "weft_record('kind', 'update', 'assignment', " p ".assignment_id, 'job', " JOB_OF(             \
        p) ", 'round', " p ".round, 'client', " p                                                  \
           ".client, 'update', " HEX(p ".update_digest") ", 'n_examples', " p                      \
                                                         ".n_examples, 'accepted_unix_ms', " p     \
                                                         ".accepted_unix_ms)"
#define ROUND_END_RECORD(p)                                                                        \
    "weft_record('kind', 'round_end', 'job_id', " p ".job_id, 'round', " p ".round, 'attempt', " p \
    ".attempt, 'state', iif(" p ".state = 4, 'done', 'failed'), 'reason', " p                      \
    ".reason, 'accepted', " p ".accepted, 'n_examples', " p                                        \
    ".n_examples, 'version', " HEX("ifnull(" p ".version, '')") ", 'closed_unix_ms', " p           \
                                                                ".closed_unix_ms)"
#define VERSION_RECORD(p)                                                                          \
    "weft_record('kind', 'version', 'version', " HEX(p ".digest") ", 'parent', " HEX(              \
        "ifnull(" p ".parent, '')") ", 'job_id', " p ".job_id, 'round', " p ".round, 'bytes', " p  \
                                    ".bytes, 'created_unix_ms', " p ".created_unix_ms)"
#define CLIENT_RECORD(p)                                                                           \
    "weft_record('kind', 'client', 'client', (SELECT name FROM client c WHERE c.client_id = " p    \
    ".client_id), 'status', iif(" p ".status = 2, 'enrolled', 'revoked'), 'reason', " p            \
    ".reason, 'member_key', " HEX("ifnull(" p ".member_public_key, '')") ", 'unix_ms', " p         \
                                                                         ".unix_ms)"
#define RELEASE_RECORD(p)                                                                          \
    "weft_record('kind', 'release', 'name', " p ".name, 'job_id', " p                              \
    ".job_id, 'version', " HEX(p ".digest") ", 'unix_ms', " p ".unix_ms)"
#define ROLLBACK_RECORD(p)                                                                         \
    "weft_record('kind', 'rollback', 'job_id', " p ".job_id, 'round', " p                          \
    ".round, 'from', " HEX(p ".from_digest") ", 'to', " HEX(p ".to_digest") ", 'unix_ms', " p      \
                                                                            ".unix_ms)"

/* The rows of each kind. */
#define JOB_ROWS                                                                                   \
    "SELECT " JOB_RECORD("x") " AS record, NULL AS assignment_id, 'job ' || x.name AS what FROM "  \
                              "job x ORDER BY x.job_id"
#define ROUND_OF(p)                                                                                \
    "'job ' || " p ".job_id || ', round ' || " p ".round || ', attempt ' || " p ".attempt AS what"
#define ROUND_ROWS                                                                                 \
    "SELECT " ROUND_RECORD("x") " AS record, NULL AS assignment_id, " ROUND_OF(                    \
        "x") " FROM round x"                                                                       \
             " ORDER BY x.job_id, x.round, x.attempt"
#define ELIGIBLE_ROWS                                                                              \
    "SELECT " ELIGIBLE_RECORD("x") " AS record, NULL AS assignment_id, 'the eligible set of ' "    \
                                   "|| " ROUND_OF("x") " FROM eligible x ORDER BY x.job_id, "      \
                                                       "x.round, x.attempt"
#define EPOCH_ROWS                                                                                 \
    "SELECT " EPOCH_RECORD(                                                                        \
        "x") " AS record, NULL AS assignment_id, 'epoch ' || x.epoch_id AS what"                   \
             " FROM epoch x ORDER BY x.epoch_id"
#define UPDATE_ROWS                                                                                \
    "SELECT " UPDATE_RECORD("x") " AS record, x.assignment_id AS assignment_id, 'assignment ' || " \
                                 "x.assignment_id AS what"                                         \
                                 " FROM assignment x WHERE x.state = 2 ORDER BY x.assignment_id"
#define ROUND_END_ROWS                                                                             \
    "SELECT " ROUND_END_RECORD("x") " AS record, NULL AS assignment_id, " ROUND_OF(                \
        "x") " FROM round x WHERE x.state >= 4 ORDER BY x.job_id, x.round, x.attempt"
#define VERSION_ROWS                                                                               \
    "SELECT " VERSION_RECORD("x") " AS record, NULL AS assignment_id, 'version row ' || "          \
                                  "x.version_id AS what FROM version x"                            \
                                  " ORDER BY x.version_id"
#define CLIENT_ROWS                                                                                \
    "SELECT " CLIENT_RECORD("x") " AS record, NULL AS assignment_id, 'client history row ' || "    \
                                 "x.id AS what FROM client_history x"                              \
                                 " WHERE x.status <> 1 ORDER BY x.id"
#define RELEASE_ROWS                                                                               \
    "SELECT " RELEASE_RECORD("x") " AS record, NULL AS assignment_id, 'release row ' || "          \
                                  "x.release_id AS what FROM release x"                            \
                                  " ORDER BY x.release_id"
#define ROLLBACK_ROWS                                                                              \
    "SELECT " ROLLBACK_RECORD("x") " AS record, NULL AS assignment_id, 'rollback row ' || "        \
                                   "x.rollback_id AS what FROM rollback x"                         \
                                   " ORDER BY x.rollback_id"

#define KIND(name, rows)                                                                           \
    {                                                                                              \
        "SELECT r.what FROM (" rows ") r LEFT JOIN ledger l ON l.record = r.record"                \
        " WHERE l.seq IS NULL",                                                                    \
            "SELECT l.seq, l.record FROM ledger l LEFT JOIN (" rows ") r ON r.record = l.record"   \
            " WHERE substr(l.record, 1, length('{\"kind\":\"" name "\",')) ="                      \
            " '{\"kind\":\"" name "\",' AND r.record IS NULL"                                      \
    }
const weft_ledger_kind weft_ledger_kinds[] = {
    KIND("client", CLIENT_ROWS),
    KIND("version", VERSION_ROWS),
    KIND("job", JOB_ROWS),
    KIND("round", ROUND_ROWS),
    KIND("eligible", ELIGIBLE_ROWS),
    KIND("update", UPDATE_ROWS),
    KIND("round_end", ROUND_END_ROWS),
    KIND("release", RELEASE_ROWS),
    KIND("rollback", ROLLBACK_ROWS),
    KIND("epoch", EPOCH_ROWS),
};
const uint32_t weft_ledger_n_kinds = sizeof weft_ledger_kinds / sizeof *weft_ledger_kinds;

/* seq counts from 1: leaf seq - 1. Nothing is ever deleted, so it has no gaps. */
static const char tables_sql[] = "CREATE TABLE ledger ("
                                 " seq INTEGER PRIMARY KEY,"
                                 " record TEXT NOT NULL,"
                                 " assignment_id INTEGER) STRICT;"
                                 "CREATE UNIQUE INDEX ledger_assignment ON ledger (assignment_id) "
                                 "WHERE assignment_id IS NOT NULL;"
                                 /* complete subtrees of every eighth level, leaves among them */
                                 "CREATE TABLE ledger_node ("
                                 " level INTEGER NOT NULL,"
                                 " position INTEGER NOT NULL,"
                                 " hash BLOB NOT NULL CHECK (length(hash) = 32),"
                                 " PRIMARY KEY (level, position)) STRICT, WITHOUT ROWID;"
                                 "CREATE TRIGGER ledger_u BEFORE UPDATE ON ledger BEGIN"
                                 " SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
                                 "CREATE TRIGGER ledger_d BEFORE DELETE ON ledger BEGIN"
                                 " SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
                                 "CREATE TRIGGER ledger_node_u BEFORE UPDATE ON ledger_node BEGIN"
                                 " SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
                                 "CREATE TRIGGER ledger_node_d BEFORE DELETE ON ledger_node BEGIN"
                                 " SELECT RAISE(ABORT, 'the ledger is append-only'); END;";

#define ENTER(rows)                                                                                \
    "INSERT INTO ledger (record, assignment_id) SELECT record, assignment_id FROM (" rows ");"

#define TRIGGER(name, event, record)                                                               \
    "CREATE TRIGGER ledger_" name " AFTER " event                                                  \
    " BEGIN INSERT INTO ledger (record) VALUES (" record "); END;"
#define UPDATE_TRIGGER(name, event)                                                                \
    "CREATE TRIGGER ledger_" name " AFTER " event                                                  \
    " BEGIN INSERT INTO ledger (record, assignment_id) VALUES (" UPDATE_RECORD(                    \
        "new") ", new.assignment_id); END;"

const char *const weft_ledger_schema[] = {
    tables_sql,
    ENTER(CLIENT_ROWS),
    ENTER(VERSION_ROWS),
    ENTER(JOB_ROWS),
    ENTER(ROUND_ROWS),
    ENTER(ELIGIBLE_ROWS),
    ENTER(UPDATE_ROWS),
    ENTER(ROUND_END_ROWS),
    ENTER(RELEASE_ROWS),
    ENTER(ROLLBACK_ROWS),
    ENTER(EPOCH_ROWS),
    TRIGGER("client", "INSERT ON client_history WHEN new.status <> 1", CLIENT_RECORD("new")),
    TRIGGER("version", "INSERT ON version", VERSION_RECORD("new")),
    TRIGGER("job", "INSERT ON job", JOB_RECORD("new")),
    TRIGGER("round", "INSERT ON round", ROUND_RECORD("new")),
    TRIGGER("eligible", "INSERT ON eligible", ELIGIBLE_RECORD("new")),
    UPDATE_TRIGGER("update_new", "INSERT ON assignment WHEN new.state = 2"),
    UPDATE_TRIGGER("update", "UPDATE OF state ON assignment WHEN new.state = 2 AND old.state <> 2"),
    TRIGGER("round_end_new", "INSERT ON round WHEN new.state >= 4", ROUND_END_RECORD("new")),
    TRIGGER("round_end", "UPDATE OF state ON round WHEN new.state >= 4 AND old.state < 4",
            ROUND_END_RECORD("new")),
    TRIGGER("release", "INSERT ON release", RELEASE_RECORD("new")),
    TRIGGER("rollback", "INSERT ON rollback", ROLLBACK_RECORD("new")),
    TRIGGER("epoch", "INSERT ON epoch", EPOCH_RECORD("new")),
    NULL,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger of an open store: hashes at a batch's end, roots and proofs between batches. */
#include "store/ledger.h"

#include "store/ledger_priv.h"
#include "store/store_priv.h"

#include <string.h>

/* ---- in SQL ---------------------------------------------------------------------------------- */

static void sql_sha256(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n; /* registered with one argument */
    uint8_t digest[WEFT_SHA256_BYTES];
    const void *data = sqlite3_value_blob(values[0]);
    const int size = sqlite3_value_bytes(values[0]);
    if (weft_sha256(digest, data, (size_t)size, NULL) != WEFT_OK) {
        sqlite3_result_error(context, "SHA-256 failed", -1);
        return;
    }
    sqlite3_result_blob(context, digest, sizeof digest, SQLITE_TRANSIENT);
}

static void add_json_text(sqlite3_str *out, const char *text)
{
    sqlite3_str_appendchar(out, 1, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            sqlite3_str_appendchar(out, 1, '\\');
            sqlite3_str_appendchar(out, 1, *text);
        } else if ((unsigned char)*text < 0x20) {
            sqlite3_str_appendf(out, "\\u%04x", (unsigned)*text);
        } else {
            sqlite3_str_appendchar(out, 1, *text);
        }
    }
    sqlite3_str_appendchar(out, 1, '"');
}

/* weft_record(key, value, ...): an object of integers, texts and NULLs. SQLite's json_object() may
 * not be used by a schema that is not trusted, and its bytes are another project's choice. */
static void sql_record(sqlite3_context *context, int n, sqlite3_value **values)
{
    sqlite3_str *out = sqlite3_str_new(sqlite3_context_db_handle(context));
    for (int i = 0; i + 1 < n; i += 2) {
        const bool number = sqlite3_value_type(values[i + 1]) == SQLITE_INTEGER;
        const char *key = (const char *)sqlite3_value_text(values[i]);
        const char *text = (const char *)sqlite3_value_text(values[i + 1]);
        sqlite3_str_appendchar(out, 1, i ? ',' : '{');
        add_json_text(out, key ? key : "");
        sqlite3_str_appendchar(out, 1, ':');
        if (!text) {
            sqlite3_str_appendall(out, "null");
        } else if (number) {
            sqlite3_str_appendall(out, text);
        } else {
            add_json_text(out, text);
        }
    }
    sqlite3_str_appendchar(out, 1, '}');
    const int rc = sqlite3_str_errcode(out);
    const int size = sqlite3_str_length(out);
    char *record = sqlite3_str_finish(out);
    if (rc != SQLITE_OK) {
        sqlite3_free(record);
        sqlite3_result_error_code(context, rc);
    } else {
        sqlite3_result_text(context, record, size, sqlite3_free);
    }
}

weft_status weft_ledger_functions(weft_db *db, weft_err *err)
{
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int rc = sqlite3_create_function_v2(db->handle, "weft_sha256", 1, flags, NULL, sql_sha256, NULL,
                                        NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_create_function_v2(db->handle, "weft_record", -1, flags, NULL, sql_record,
                                        NULL, NULL, NULL);
    }
    return rc == SQLITE_OK ? WEFT_OK : weft_db_fail(db, rc, err);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* Fold 2^levels hashes of a query's rows, which come in order, into one. */
static weft_status fold(weft_query *q, uint32_t levels, uint8_t ret[WEFT_SHA256_BYTES],
                        weft_err *err)
{
    uint8_t peak[WEFT_LEDGER_LEVELS][WEFT_SHA256_BYTES]; /* as of a weft_merkle_edge */
    for (uint32_t i = 0; i < 1U << levels; i++) {
        bool row = false;
        WEFT_TRY(weft_query_step(q, &row, err));
        if (!row || !weft_query_copy_blob(q, 0, ret, WEFT_SHA256_BYTES)) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "the ledger lacks a node: run `weft ledger verify`");
        }
        uint32_t level = 0;
        for (; i >> level & 1; level++) {
            WEFT_TRY(weft_merkle_parent(ret, peak[level], ret, err));
        }
        if (level < levels) {
            memcpy(peak[level], ret, WEFT_SHA256_BYTES);
        }
    }
    return WEFT_OK;
}

weft_status weft_ledger_node(void *arg, uint32_t level, uint64_t index,
                             uint8_t ret[WEFT_SHA256_BYTES], weft_err *err)
{
    weft_db *db = arg;
    const uint32_t above = level % WEFT_LEDGER_LEVELS;
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, db,
                              "SELECT hash FROM ledger_node WHERE level = ? AND position >= ?"
                              " AND position < ? ORDER BY position",
                              err));
    weft_query_add_u64(&q, level - above);
    weft_query_add_u64(&q, index << above);
    weft_query_add_u64(&q, (index + 1) << above);
    const weft_status status = fold(&q, above, ret, err);
    weft_query_end(&q);
    return status;
}

weft_status weft_ledger_load(weft_merkle_edge *ret, weft_db *db, weft_err *err)
{
    int64_t size = 0;
    const weft_merkle_source source = {weft_ledger_node, db};
    WEFT_TRY(weft_db_int(db, "SELECT ifnull(max(position) + 1, 0) FROM ledger_node WHERE level = 0",
                         &size, err));
    return weft_merkle_edge_load(ret, &source, (uint64_t)size, err);
}

/* ---- a batch's end --------------------------------------------------------------------------- */

static weft_status put_node(void *arg, uint32_t level, uint64_t index,
                            const uint8_t hash[WEFT_SHA256_BYTES], weft_err *err)
{
    weft_store *store = arg;
    weft_query q;
    if (level % WEFT_LEDGER_LEVELS != 0) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_store_write(
        &q, store, "INSERT INTO ledger_node (level, position, hash) VALUES (?, ?, ?)", err));
    weft_query_add_u64(&q, level);
    weft_query_add_u64(&q, index);
    weft_query_add_blob(&q, hash, WEFT_SHA256_BYTES);
    return weft_store_run(&q, store, err);
}

static weft_status seal_record(weft_store *store, weft_query *q, weft_merkle_edge *edge,
                               weft_err *err)
{
    uint8_t leaf[WEFT_SHA256_BYTES];
    const weft_view record = weft_query_blob(q, 1);
    if (weft_query_u64(q, 0) != edge->size + 1) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "record %llu of the ledger follows record %llu",
                  (unsigned long long)weft_query_u64(q, 0), (unsigned long long)edge->size);
    }
    WEFT_TRY(weft_merkle_leaf(leaf, record.data, record.size, err));
    return weft_merkle_append(edge, leaf, put_node, store, err);
}

weft_status weft_ledger_seal(weft_store *store, weft_merkle_edge *ret, weft_err *err)
{
    weft_query q;
    *ret = store->ledger;
    WEFT_TRY(weft_store_write(&q, store,
                              "SELECT seq, record FROM ledger WHERE seq > ? ORDER BY seq", err));
    weft_query_add_u64(&q, ret->size);
    bool row = false;
    weft_status status = weft_query_step(&q, &row, err);
    while (status == WEFT_OK && row) {
        status = seal_record(store, &q, ret, err);
        if (status == WEFT_OK) {
            status = weft_query_step(&q, &row, err);
        }
    }
    weft_query_end(&q);
    return status;
}

/* ---- between batches ------------------------------------------------------------------------- */

weft_status weft_store_ledger_root(weft_store *store, uint64_t *ret_size,
                                   uint8_t ret_root[WEFT_SHA256_BYTES], weft_err *err)
{
    WEFT_TRY(weft_merkle_edge_root(ret_root, &store->ledger, err));
    *ret_size = store->ledger.size;
    return WEFT_OK;
}

weft_status weft_store_ledger_consistency(weft_store *store, uint64_t from, weft_merkle_proof *ret,
                                          weft_err *err)
{
    const weft_merkle_source source = {weft_ledger_node, &store->main};
    return weft_merkle_consistency(ret, &source, from, store->ledger.size, err);
}

weft_status weft_store_ledger_inclusion(weft_store *store, uint64_t assignment_id,
                                        const char *client, uint64_t *ret_index,
                                        weft_merkle_proof *ret, weft_err *err)
{
    const weft_merkle_source source = {weft_ledger_node, &store->main};
    weft_query q;
    bool row = false;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT seq FROM ledger JOIN assignment USING (assignment_id) WHERE "
                              "assignment_id = ? AND client = ?",
                              err));
    weft_query_add_u64(&q, assignment_id);
    weft_query_add_text(&q, client);
    const weft_status status = weft_query_step(&q, &row, err);
    *ret_index = row ? weft_query_u64(&q, 0) - 1 : 0;
    weft_query_end(&q);
    WEFT_TRY(status);
    if (!row) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "the ledger has no update of %s's assignment %llu", client,
                  (unsigned long long)assignment_id);
    }
    return weft_merkle_inclusion(ret, &source, *ret_index, store->ledger.size, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A data directory's ledger, read in one snapshot: exported, or checked to the last byte. */
#include "store/ledger.h"

#include "store/ledger_priv.h"
#include "store/schema_priv.h"
#include "store/store_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A ledger that is broken from some record on need not say so for each. */
enum { MAX_FINDINGS = 200 };

typedef struct ledger_check {
    weft_db db;
    weft_merkle_edge edge; /* of the records read so far */
    weft_store_record_fn record;
    weft_store_finding_fn finding;
    void *arg;
    uint32_t findings;
    bool nodes; /* compare with the stored nodes */
} ledger_check;

static void finding(ledger_check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void finding(ledger_check *c, const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut where too long */
    va_end(args);
    if (++c->findings <= MAX_FINDINGS && c->finding) {
        c->finding(c->arg, text);
    }
}

static weft_status open_snapshot(ledger_check *c, const char *dir, weft_err *err)
{
    WEFT_TRY(weft_store_open_read_only(&c->db, dir, "weft.db", err));
    WEFT_TRY(weft_schema_check(&c->db, &weft_main_schema, err));
    return weft_db_exec(&c->db, "BEGIN", err);
}

/* ---- hashes ---------------------------------------------------------------------------------- */

/* A node as it should be, against the one that is stored. */
static weft_status compare_node(void *arg, uint32_t level, uint64_t index,
                                const uint8_t hash[WEFT_SHA256_BYTES], weft_err *err)
{
    ledger_check *c = arg;
    weft_query q;
    bool row = false;
    if (!c->nodes || level % WEFT_LEDGER_LEVELS != 0) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_query_begin(
        &q, &c->db, "SELECT hash FROM ledger_node WHERE level = ? AND position = ?", err));
    weft_query_add_u64(&q, level);
    weft_query_add_u64(&q, index);
    const weft_status status = weft_query_step(&q, &row, err);
    const weft_view stored = row ? weft_query_blob(&q, 0) : (weft_view){NULL, 0};
    const bool same =
        stored.size == WEFT_SHA256_BYTES && memcmp(stored.data, hash, WEFT_SHA256_BYTES) == 0;
    weft_query_end(&q);
    WEFT_TRY(status);
    if (!same && level == 0) {
        finding(c, "ledger: record %llu does not have the hash that was stored with it",
                (unsigned long long)index);
    } else if (!same) {
        finding(c, "ledger: the node over records %llu to %llu is not their hash",
                (unsigned long long)index << level, ((unsigned long long)(index + 1) << level) - 1);
    }
    return WEFT_OK;
}

static weft_status read_record(ledger_check *c, weft_query *q, weft_err *err)
{
    uint8_t leaf[WEFT_SHA256_BYTES];
    const uint64_t index = c->edge.size;
    const uint64_t seq = weft_query_u64(q, 0);
    const weft_view record = weft_query_blob(q, 1);
    if (seq != index + 1) {
        finding(c, "ledger: record %llu is missing", (unsigned long long)index);
    }
    if (record.size > WEFT_STORE_MAX_RECORD_BYTES) {
        finding(c, "ledger: record %llu has %zu bytes, no record has", (unsigned long long)index,
                record.size);
        return weft_merkle_append(&c->edge, (const uint8_t[WEFT_SHA256_BYTES]){0}, compare_node, c,
                                  err);
    }
    if (c->record) {
        WEFT_TRY(c->record(c->arg, index, weft_query_text(q, 1), err));
    }
    WEFT_TRY(weft_merkle_leaf(leaf, record.data, record.size, err));
    return weft_merkle_append(&c->edge, leaf, compare_node, c, err);
}

static weft_status read_records(ledger_check *c, weft_err *err)
{
    weft_query q;
    bool row = false;
    WEFT_TRY(weft_query_begin(&q, &c->db, "SELECT seq, record FROM ledger ORDER BY seq", err));
    weft_status status = weft_query_step(&q, &row, err);
    while (status == WEFT_OK && row) {
        status = read_record(c, &q, err);
        if (status == WEFT_OK) {
            status = weft_query_step(&q, &row, err);
        }
    }
    weft_query_end(&q);
    return status;
}

/* Nodes beyond the records: somebody cut the log, or hashed what is not there. */
static weft_status count_nodes(ledger_check *c, weft_err *err)
{
    int64_t nodes = 0;
    uint64_t expected = 0;
    for (uint32_t level = 0; level < WEFT_MERKLE_MAX_LEVELS; level += WEFT_LEDGER_LEVELS) {
        expected += c->edge.size >> level;
    }
    WEFT_TRY(weft_db_int(&c->db, "SELECT count(*) FROM ledger_node", &nodes, err));
    if ((uint64_t)nodes != expected) {
        finding(c, "ledger: %lld hashes are stored, its %llu records have %llu", (long long)nodes,
                (unsigned long long)c->edge.size, (unsigned long long)expected);
    }
    return WEFT_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static weft_status each(ledger_check *c, const char *sql, bool records, weft_err *err)
{
    weft_query q;
    bool row = false;
    WEFT_TRY(weft_query_begin(&q, &c->db, sql, err));
    weft_status status = weft_query_step(&q, &row, err);
    while (status == WEFT_OK && row) {
        if (records) {
            finding(c,
                    "ledger: record %llu is about something that weft.db tells otherwise: %.200s",
                    (unsigned long long)(weft_query_u64(&q, 0) - 1), weft_query_text(&q, 1));
        } else {
            finding(c, "weft.db: %s is not what the ledger has on record", weft_query_text(&q, 0));
        }
        status = weft_query_step(&q, &row, err);
    }
    weft_query_end(&q);
    return status;
}

static weft_status compare_rows(ledger_check *c, weft_err *err)
{
    for (uint32_t i = 0; i < weft_ledger_n_kinds; i++) {
        WEFT_TRY(each(c, weft_ledger_kinds[i].lacks_record, false, err));
        WEFT_TRY(each(c, weft_ledger_kinds[i].lacks_row, true, err));
    }
    return WEFT_OK;
}

/* ---- heads ----------------------------------------------------------------------------------- */

static weft_status compare_head(ledger_check *c, const weft_tree_head *head, weft_err *err)
{
    uint8_t root[WEFT_SHA256_BYTES];
    const weft_merkle_source source = {weft_ledger_node, &c->db};
    if (head->size > c->edge.size) {
        finding(c,
                "ledger: it has %llu records, a signed head is over %llu: history was taken back",
                (unsigned long long)c->edge.size, (unsigned long long)head->size);
        return WEFT_OK;
    }
    weft_err why = WEFT_ERR_INIT;
    const weft_status status = weft_merkle_root(root, &source, head->size, &why);
    if (status == WEFT_E_FORMAT) { /* a node is missing, which was said */
        return WEFT_OK;
    }
    if (status != WEFT_OK) {
        WEFT_FAIL(err, status, "%s", why.msg);
    }
    if (memcmp(root, head->root, sizeof root) != 0) {
        finding(c,
                "ledger: its first %llu records are not those of a signed head: history was "
                "rewritten",
                (unsigned long long)head->size);
    }
    return WEFT_OK;
}

/* ---- both ------------------------------------------------------------------------------------ */

static weft_status run(ledger_check *c, const char *dir, const weft_tree_head *heads,
                       size_t n_heads, weft_err *err)
{
    WEFT_TRY(open_snapshot(c, dir, err));
    WEFT_TRY(read_records(c, err));
    if (!c->nodes) {
        return WEFT_OK;
    }
    WEFT_TRY(count_nodes(c, err));
    WEFT_TRY(compare_rows(c, err));
    for (size_t i = 0; i < n_heads; i++) {
        WEFT_TRY(compare_head(c, &heads[i], err));
    }
    if (c->findings > MAX_FINDINGS) {
        char text[64];
        (void)snprintf(text, sizeof text, "ledger: and %u more", c->findings - MAX_FINDINGS);
        c->finding(c->arg, text);
    }
    return WEFT_OK;
}

static weft_status take_head(const ledger_check *c, weft_tree_head *ret, weft_err *err)
{
    if (!ret) {
        return WEFT_OK;
    }
    memset(ret, 0, sizeof *ret);
    ret->size = c->edge.size;
    return weft_merkle_edge_root(ret->root, &c->edge, err);
}

weft_status weft_store_ledger_export(const char *dir, weft_store_record_fn fn, void *arg,
                                     weft_tree_head *ret_head, const weft_alloc *a, weft_err *err)
{
    ledger_check *c = weft_array(a, 1, sizeof *c);
    if (!c) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "a ledger");
    }
    c->record = fn;
    c->arg = arg;
    weft_status status = run(c, dir, NULL, 0, err);
    if (status == WEFT_OK && c->findings > 0) {
        status = weft_err_set(err, WEFT_E_FORMAT, 0, __FILE__, __LINE__,
                              "the ledger of %.160s is damaged: see `weft ledger verify`", dir);
    }
    if (status == WEFT_OK) {
        status = take_head(c, ret_head, err);
    }
    weft_db_close(&c->db);
    weft_free(a, c);
    return status;
}

weft_status weft_store_ledger_verify(const char *dir, const weft_tree_head *heads, size_t n_heads,
                                     weft_store_finding_fn fn, void *arg, uint32_t *ret_findings,
                                     weft_tree_head *ret_head, const weft_alloc *a, weft_err *err)
{
    ledger_check *c = weft_array(a, 1, sizeof *c);
    if (!c) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "a ledger");
    }
    c->finding = fn;
    c->arg = arg;
    c->nodes = true;
    weft_status status = run(c, dir, heads, n_heads, err);
    if (status == WEFT_OK) {
        *ret_findings = c->findings;
        status = take_head(c, ret_head, err);
    }
    weft_db_close(&c->db);
    weft_free(a, c);
    return status;
}

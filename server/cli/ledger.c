/* SPDX-License-Identifier: Apache-2.0 */
/* weft ledger: verify and export, on the coordinator's data directory itself or a copy of it. */
#include "cli.h"

#include "base/file.h"
#include "config/server.h"
#include "crypto/hash.h"
#include "store/ledger.h"
#include "wire/head.h"

#include <stdio.h>
#include <string.h>

static weft_status load_config(const cli *c, weft_server_config *ret, weft_err *err)
{
    const char *config = cli_value(c, "config") ? cli_value(c, "config") : "weftd/weftd.yaml";
    return weft_server_config_load(ret, config, &weft_alloc_std, err);
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* The key that signed them: the coordinator's own. */
static weft_status load_receipt_key(uint8_t ret[WEFT_SIGN_PUBLIC_BYTES],
                                    const weft_server_config *config, weft_err *err)
{
    weft_buf pem;
    weft_sign_key key;
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_status status = weft_file_read(&pem, config->receipt_key, err);
    if (status == WEFT_OK) {
        status = weft_sign_key_from_pem(&key, pem.data, pem.size, err);
    }
    if (status == WEFT_OK) {
        memcpy(ret, key.public_key, WEFT_SIGN_PUBLIC_BYTES);
        weft_sign_key_done(&key);
    }
    weft_wipe(pem.data, pem.cap);
    weft_buf_done(&pem);
    return status;
}

/* A head as clients keep it: ledger.head in their state folder. */
static weft_status decode_head(weft_tree_head *ret, const weft_buf *bytes, weft_err *err)
{
    weft_arena arena;
    weft_msg_ledger_reply msg;
    weft_wire_arena_init(&arena, WEFT_MSG_LEDGER_REPLY, &weft_alloc_std);
    const weft_status status =
        weft_msg_ledger_reply_decode(&msg, bytes->data, bytes->size, &arena, err);
    if (status == WEFT_OK) {
        weft_head_from_reply(ret, &msg);
    }
    weft_arena_done(&arena);
    return status;
}

static weft_status load_head(weft_tree_head *ret, const char *path,
                             const weft_server_config *config, weft_err *err)
{
    uint8_t key[WEFT_SIGN_PUBLIC_BYTES];
    weft_buf bytes;
    weft_err why = WEFT_ERR_INIT;
    weft_buf_init(&bytes, &weft_alloc_std, WEFT_MAX_CONTROL_BYTES);
    weft_status status = weft_file_read(&bytes, path, &why);
    if (status == WEFT_OK) {
        status = decode_head(ret, &bytes, &why);
    }
    if (status == WEFT_OK) {
        status = load_receipt_key(key, config, &why);
    }
    if (status == WEFT_OK) {
        status = weft_tree_head_verify(ret, key, &why);
    }
    weft_buf_done(&bytes);
    if (status != WEFT_OK) {
        WEFT_FAIL(err, status, "%.140s is no head of this ledger: %.140s", path, why.msg);
    }
    return WEFT_OK;
}

/* ---- verify ---------------------------------------------------------------------------------- */

typedef struct findings {
    cli *c;
    json_t *list; /* NULL: text */
} findings;

static void take_finding(void *arg, const char *text)
{
    const findings *f = arg;
    if (f->list) {
        (void)json_array_append_new(f->list, json_string(text)); /* without memory: one less */
    } else {
        printf("%s\n", text);
    }
}

static weft_status print_verdict(cli *c, const weft_tree_head *head, uint32_t n, json_t *list,
                                 bool with_head, weft_err *err)
{
    char root[2 * WEFT_SHA256_BYTES + 1];
    weft_hex_encode(root, head->root, sizeof head->root);
    c->exit_status = n > 0 ? CLI_FAILED : CLI_DONE;
    if (!cli_is_text(c)) {
        return cli_print_json(c,
                              json_pack("{s:I, s:s, s:I, s:o}", "records", (json_int_t)head->size,
                                        "root", root, "n_findings", (json_int_t)n, "findings",
                                        list),
                              err);
    }
    if (n > 0) {
        printf("%llu records, %u findings: restore a backup, and ask who may write there\n",
               (unsigned long long)head->size, n);
    } else {
        printf("%llu records, root %s: every record, hash and row agree%s\n",
               (unsigned long long)head->size, root,
               with_head ? ", and they go on from the head" : "");
    }
    return WEFT_OK;
}

static weft_status run_verify(cli *c, weft_err *err)
{
    static weft_server_config config;
    weft_tree_head known;
    weft_tree_head head;
    uint32_t n = 0;
    const char *path = cli_value(c, "head");
    WEFT_TRY(load_config(c, &config, err));
    if (path) {
        WEFT_TRY(load_head(&known, path, &config, err));
    }
    findings f = {c, cli_is_text(c) ? NULL : json_array()};
    const weft_status status = weft_store_ledger_verify(
        config.data_dir, &known, path ? 1 : 0, take_finding, &f, &n, &head, &weft_alloc_std, err);
    if (status != WEFT_OK) {
        json_decref(f.list);
        return status;
    }
    return print_verdict(c, &head, n, f.list, path != NULL, err);
}

/* ---- export ---------------------------------------------------------------------------------- */

static weft_status print_record(void *arg, uint64_t index, const char *record, weft_err *err)
{
    (void)arg;
    (void)index;
    if (printf("%s\n", record) < 0) {
        WEFT_FAIL(err, WEFT_E_IO, "the output cannot be written");
    }
    return WEFT_OK;
}

static weft_status run_export(cli *c, weft_err *err)
{
    static weft_server_config config;
    WEFT_TRY(load_config(c, &config, err));
    return weft_store_ledger_export(config.data_dir, print_record, NULL, NULL, &weft_alloc_std,
                                    err);
}

static const cli_option verify_options[] = {
    {"config", 0, "FILE", "weftd.yaml of the coordinator; default weftd/weftd.yaml"},
    {"head", 0, "FILE", "a head that was seen before: ledger.head of a client's folder"},
    {0},
};

static const cli_option export_options[] = {
    {"config", 0, "FILE", "weftd.yaml of the coordinator; default weftd/weftd.yaml"},
    {0},
};

const cli_verb cli_ledger_verbs[] = {
    {"ledger", "verify", "", 0, 0, "has history been rewritten?",
     "Runs on the coordinator's machine, beside a running weftd or without one, or on a backup,\n"
     "and changes nothing. The ledger is a Merkle log (RFC 9162) of clients, jobs, versions,\n"
     "rounds with their eligible sets, accepted updates, releases and rollbacks: every hash is\n"
     "computed again from its record, every record from the row that it is about. With --head\n"
     "the log must begin with what a client has seen. Exit status 1 when anything differs.",
     verify_options, run_verify},
    {"ledger", "export", "", 0, 0, "print every record, one JSON object a line",
     "The bytes of a line, without its end, are those that were hashed: its leaf is\n"
     "SHA-256(0x00 || line).",
     export_options, run_export},
    {0},
};

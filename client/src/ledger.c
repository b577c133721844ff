/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's ledger, from the client's side: the newest head that was seen is kept beside
 * client.db ("ledger.head", as it came over the wire), every later one must go on from it, and an
 * update's record, made anew from its receipt, must be in it. Any thread that may use the client.
 */
#include "client_priv.h"

#include "base/file.h"
#include "wire/head.h"
#include "wire/methods.h"
#include "wire/wire.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define HEAD_FILE "ledger.head"

/* What one check works with. */
typedef struct inquiry {
    const weft_client *client;
    weft_outbox_identity id;
    bool has_known;
    weft_tree_head known;
    bool has_receipt;
    weft_session_receipt receipt;
    weft_tree_head head;
    uint64_t index;
    weft_merkle_proof consistency;
    weft_merkle_proof inclusion;
} inquiry;

/* ---- heads ----------------------------------------------------------------------------------- */

static weft_status take_proof(weft_merkle_proof *ret, weft_view bytes, weft_err *err)
{
    if (bytes.size % WEFT_SHA256_BYTES || bytes.size > sizeof ret->hash) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a proof of %zu bytes, no hashes", bytes.size);
    }
    ret->n = (uint32_t)(bytes.size / WEFT_SHA256_BYTES);
    if (bytes.size > 0) {
        memcpy(ret->hash, bytes.data, bytes.size);
    }
    return WEFT_OK;
}

static weft_status decode(inquiry *q, weft_tree_head *head, bool proofs, const weft_buf *bytes,
                          weft_err *err)
{
    weft_arena arena;
    weft_msg_ledger_reply msg;
    weft_wire_arena_init(&arena, WEFT_MSG_LEDGER_REPLY, q->client->alloc);
    weft_status status = weft_msg_ledger_reply_decode(&msg, bytes->data, bytes->size, &arena, err);
    if (status == WEFT_OK) {
        weft_head_from_reply(head, &msg);
        q->index = msg.leaf_index;
    }
    if (status == WEFT_OK && proofs) {
        status = take_proof(&q->consistency, msg.consistency, err);
    }
    if (status == WEFT_OK && proofs) {
        status = take_proof(&q->inclusion, msg.inclusion, err);
    }
    weft_arena_done(&arena);
    return status;
}

static weft_status load_known(inquiry *q, weft_err *err)
{
    char path[PATH_MAX];
    weft_buf bytes;
    weft_err why = WEFT_ERR_INIT;
    WEFT_TRY(weft_outbox_path(q->client->outbox, path, sizeof path, HEAD_FILE, err));
    weft_buf_init(&bytes, q->client->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_status status = weft_file_read(&bytes, path, &why);
    if (status == WEFT_OK) {
        status = decode(q, &q->known, false, &bytes, &why);
    }
    if (status == WEFT_OK) {
        status = weft_tree_head_verify(&q->known, q->id.receipt_key, &why);
    }
    weft_buf_done(&bytes);
    q->has_known = status == WEFT_OK;
    if (status != WEFT_OK && status != WEFT_E_NOTFOUND) {
        return weft_err_set(err, status, why.sys, why.file, why.line,
                            "the ledger's head in %.100s cannot be used: %.120s", path, why.msg);
    }
    return WEFT_OK;
}

static weft_status keep_head(const inquiry *q, weft_err *err)
{
    char path[PATH_MAX];
    weft_buf bytes;
    const weft_msg_ledger_reply msg = weft_head_to_reply(&q->head);
    WEFT_TRY(weft_outbox_path(q->client->outbox, path, sizeof path, HEAD_FILE, err));
    weft_buf_init(&bytes, q->client->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_status status = weft_msg_ledger_reply_encode(&bytes, &msg, err);
    if (status == WEFT_OK) {
        status = weft_file_write(path, bytes.data, bytes.size, 0600, err);
    }
    weft_buf_done(&bytes);
    return status;
}

/* ---- the call -------------------------------------------------------------------------------- */

static weft_status call_ledger(const inquiry *q, const weft_buf *key_pem, const weft_buf *request,
                               weft_buf *reply, weft_err *err)
{
    weft_buf pem[3]; /* terminated copies: CA, certificate, key */
    const weft_buf *const from[3] = {&q->id.ca_pem, &q->id.certificate_pem, key_pem};
    weft_rt_channel *channel = NULL;
    weft_status status = WEFT_OK;
    for (size_t i = 0; i < 3; i++) {
        weft_buf_init(&pem[i], q->client->alloc, WEFT_MAX_PEM_BYTES + 1);
        if (status == WEFT_OK) {
            status = weft_buf_add(&pem[i], from[i]->data, from[i]->size, err);
        }
    }
    const weft_rt_tls tls = {weft_buf_text(&pem[0]), weft_buf_text(&pem[1]),
                             weft_buf_text(&pem[2])};
    if (status == WEFT_OK && !(tls.ca_pem && tls.cert_pem && tls.key_pem)) {
        status = weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "no memory for a PEM");
    }
    if (status == WEFT_OK) {
        status = weft_transport_channel(
            &channel, q->id.address, &tls, q->client->options.http_proxy,
            q->client->options.connect_backoff_max_ms, q->client->alloc, err);
    }
    if (status == WEFT_OK) {
        weft_err why = WEFT_ERR_INIT;
        status = weft_rt_unary(channel, weft_method_get(WEFT_METHOD_LEDGER)->path,
                               weft_buf_view(request), WEFT_TRANSPORT_CALL_MS, reply, NULL, &why);
        if (status != WEFT_OK) {
            status = weft_err_set(
                err, status == WEFT_E_TIMEOUT ? WEFT_E_AGAIN : status, why.sys, why.file, why.line,
                "the ledger of the coordinator at %.80s: %.160s", q->id.address, why.msg);
        }
    }
    weft_rt_channel_free(channel);
    weft_wipe(pem[2].data, pem[2].cap);
    for (size_t i = 0; i < 3; i++) {
        weft_buf_done(&pem[i]);
    }
    return status;
}

static weft_status ask(inquiry *q, weft_err *err)
{
    weft_buf key;
    weft_buf request;
    weft_buf reply;
    const weft_msg_ledger_request msg = {.known_size = q->has_known ? q->known.size : 0,
                                         .assignment_id =
                                             q->has_receipt ? q->receipt.assignment_id : 0};
    weft_buf_init(&key, q->client->alloc, WEFT_MAX_PEM_BYTES);
    weft_buf_init(&request, q->client->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_buf_init(&reply, q->client->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_status status = weft_outbox_load_key(q->client->outbox, "transport.pem", &key, err);
    if (status == WEFT_OK) {
        status = weft_msg_ledger_request_encode(&request, &msg, err);
    }
    if (status == WEFT_OK) {
        status = call_ledger(q, &key, &request, &reply, err);
    }
    if (status == WEFT_OK) {
        status = decode(q, &q->head, true, &reply, err);
    }
    weft_wipe(key.data, key.cap);
    weft_buf_done(&key);
    weft_buf_done(&request);
    weft_buf_done(&reply);
    return status;
}

/* ---- the judgement --------------------------------------------------------------------------- */

static weft_status check_receipt(const inquiry *q, weft_err *err)
{
    uint8_t leaf[WEFT_SHA256_BYTES];
    char record[WEFT_LEDGER_UPDATE_RECORD_BYTES];
    weft_receipt_fields fields = {.assignment_id = q->receipt.assignment_id,
                                  .round = q->receipt.round,
                                  .n_examples = q->receipt.n_examples,
                                  .accepted_unix_ms = q->receipt.accepted_unix_ms};
    (void)snprintf(fields.job, sizeof fields.job, "%s", q->receipt.job);
    (void)snprintf(fields.client, sizeof fields.client, "%s", q->id.name);
    memcpy(fields.update_digest, q->receipt.update_digest, sizeof fields.update_digest);
    const size_t n = weft_ledger_update_record(record, &fields);
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the receipt of assignment %llu names no valid job",
                  (unsigned long long)fields.assignment_id);
    }
    WEFT_TRY(weft_merkle_leaf(leaf, record, n, err));
    if (weft_merkle_check_inclusion(&q->inclusion, leaf, q->index, q->head.size, q->head.root,
                                    NULL) != WEFT_OK) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the update that the receipt of job %s, round %u is for is not in the ledger",
                  q->receipt.job, q->receipt.round);
    }
    return WEFT_OK;
}

static weft_status judge(const inquiry *q, weft_err *err)
{
    WEFT_TRY(weft_tree_head_verify(&q->head, q->id.receipt_key, err));
    if (strcmp(q->head.federation, q->id.federation) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the ledger is of federation %s, this client is of %s",
                  q->head.federation, q->id.federation);
    }
    if (q->has_known) {
        WEFT_TRY(weft_tree_head_follows(&q->known, &q->head, &q->consistency, err));
    }
    return q->has_receipt ? check_receipt(q, err) : WEFT_OK;
}

static weft_status inquire(inquiry *q, weft_err *err)
{
    weft_err none = WEFT_ERR_INIT;
    WEFT_TRY(weft_outbox_load_identity(q->client->outbox, &q->id, err));
    WEFT_TRY(load_known(q, err));
    const weft_status status = weft_outbox_last_receipt(q->client->outbox, &q->receipt, &none);
    if (status != WEFT_OK && status != WEFT_E_NOTFOUND) {
        return weft_err_set(err, status, none.sys, none.file, none.line, "%s", none.msg);
    }
    q->has_receipt = status == WEFT_OK;
    WEFT_TRY(ask(q, err));
    WEFT_TRY(judge(q, err));
    return keep_head(q, err);
}

static weft_status check_ledger(const weft_client *client, weft_ledger_info *ret, weft_err *err)
{
    WEFT_TRY(weft_client_usable(client, err));
    inquiry *q = weft_array(client->alloc, 1, sizeof *q);
    if (!q) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a check of the ledger");
    }
    q->client = client;
    weft_outbox_identity_init(&q->id, client->alloc);
    const weft_status status = inquire(q, err);
    if (status == WEFT_OK && ret) {
        weft_ledger_info info = {.size = sizeof info,
                                 .records = q->head.size,
                                 .records_known_before = q->has_known ? q->known.size : 0,
                                 .signed_unix_ms = q->head.unix_ms,
                                 .has_receipt = q->has_receipt,
                                 .record = q->index};
        memcpy(info.root, q->head.root, sizeof info.root);
        weft_struct_out(ret, &info, sizeof info);
    }
    weft_outbox_identity_done(&q->id);
    weft_free(client->alloc, q);
    return status;
}

weft_status weft_client_check_ledger(const weft_client *client, weft_ledger_info *ret,
                                     weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    return weft_client_tell(err, check_ledger(client, ret, &why), &why);
}

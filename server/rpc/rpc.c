/* SPDX-License-Identifier: Apache-2.0 */
/* The method table and who may call what. Immutable after new, but for the stopped flag. */
#include "rpc/rpc_priv.h"

#include <stdio.h>
#include <string.h>

/* ---- unary methods --------------------------------------------------------------------------- */

/* What a unary (or the first message of a server-streaming) request holds. */
static const weft_msg_kind request_kinds[WEFT_METHOD_COUNT] = {
    [WEFT_METHOD_ENROLL] = WEFT_MSG_ENROLL_REQUEST,
    [WEFT_METHOD_RENEW] = WEFT_MSG_RENEW_REQUEST,
    [WEFT_METHOD_CHECK_IN] = WEFT_MSG_CHECK_IN_REQUEST,
    [WEFT_METHOD_FETCH_MODEL] = WEFT_MSG_FETCH_MODEL_REQUEST,
    [WEFT_METHOD_SUBMIT_UPDATE] = WEFT_MSG_UPDATE_HEADER,
    [WEFT_METHOD_PROGRESS] = WEFT_MSG_PROGRESS_REQUEST,
    [WEFT_METHOD_ABANDON] = WEFT_MSG_ABANDON_REQUEST,
    [WEFT_METHOD_SECURE_STEP] = WEFT_MSG_SECURE_STEP_REQUEST,
    [WEFT_METHOD_LEDGER] = WEFT_MSG_LEDGER_REQUEST,
    [WEFT_METHOD_SUBMIT_JOB] = WEFT_MSG_SUBMIT_JOB_REQUEST,
    [WEFT_METHOD_CONTROL_JOB] = WEFT_MSG_CONTROL_JOB_REQUEST,
    [WEFT_METHOD_LIST_JOBS] = WEFT_MSG_LIST_JOBS_REQUEST,
    [WEFT_METHOD_GET_JOB] = WEFT_MSG_GET_JOB_REQUEST,
    [WEFT_METHOD_LIST_ROUNDS] = WEFT_MSG_LIST_ROUNDS_REQUEST,
    [WEFT_METHOD_GET_ROUND] = WEFT_MSG_GET_ROUND_REQUEST,
    [WEFT_METHOD_LIST_MODELS] = WEFT_MSG_LIST_MODELS_REQUEST,
    [WEFT_METHOD_FETCH_VERSION] = WEFT_MSG_FETCH_VERSION_REQUEST,
    [WEFT_METHOD_IMPORT_MODEL] = WEFT_MSG_IMPORT_HEADER,
    [WEFT_METHOD_TAG_MODEL] = WEFT_MSG_TAG_MODEL_REQUEST,
    [WEFT_METHOD_INVITE] = WEFT_MSG_INVITE_REQUEST,
    [WEFT_METHOD_LIST_CLIENTS] = WEFT_MSG_LIST_CLIENTS_REQUEST,
    [WEFT_METHOD_REVOKE_CLIENT] = WEFT_MSG_REVOKE_CLIENT_REQUEST,
    [WEFT_METHOD_WATCH] = WEFT_MSG_WATCH_REQUEST,
    [WEFT_METHOD_STATUS] = WEFT_MSG_STATUS_REQUEST,
};

/* One request: decode, hand over. */
static void unary_message(void *ctx, weft_rt_call *rt, weft_rt_message *message)
{
    const weft_rpc_slot *slot = ctx;
    weft_rpc_call *call = weft_rpc_call_new(slot, rt);
    if (call && weft_rpc_call_decode(call, request_kinds[slot->method], message)) {
        weft_rpc_call_post(call);
    }
}

static void unary_closed(void *ctx, weft_rt_call *rt, bool cancelled)
{
    (void)ctx;
    (void)cancelled;
    weft_rpc_call_closed(weft_rt_call_state(rt));
}

/* ---- table ----------------------------------------------------------------------------------- */

static void fill_method(weft_rpc *rpc, weft_method m)
{
    const weft_method_info *info = weft_method_get(m);
    weft_rt_method *row = &rpc->methods[m];
    rpc->slots[m].rpc = rpc;
    rpc->slots[m].method = m;
    row->path = info->path;
    row->ctx = &rpc->slots[m];
    row->anonymous_ok = info->role == WEFT_METHOD_ROLE_ANYONE;
    row->kind = info->client_streams   ? WEFT_RT_CLIENT_STREAM
                : info->server_streams ? WEFT_RT_SERVER_STREAM
                                       : WEFT_RT_UNARY;
    row->on_message = unary_message;
    row->on_closed = unary_closed;
    if (m == WEFT_METHOD_SUBMIT_UPDATE) {
        row->on_message = weft_rpc_submit_message;
        row->on_half_close = weft_rpc_submit_half_close;
        row->on_closed = weft_rpc_submit_closed;
    } else if (m == WEFT_METHOD_IMPORT_MODEL) {
        row->on_message = weft_rpc_import_message;
        row->on_half_close = weft_rpc_import_half_close;
        row->on_closed = weft_rpc_import_closed;
    } else if (m == WEFT_METHOD_FETCH_MODEL || m == WEFT_METHOD_FETCH_VERSION) {
        row->on_message = weft_rpc_fetch_message;
        row->on_writable = weft_rpc_fetch_writable;
        row->on_closed = weft_rpc_fetch_closed;
    } else if (m == WEFT_METHOD_WATCH) {
        row->on_writable = weft_rpc_watch_writable;
    }
}

weft_status weft_rpc_new(weft_rpc **ret, const weft_rpc_host *host, weft_gate *gate, weft_err *err)
{
    weft_rpc *rpc = weft_array(host->alloc, 1, sizeof *rpc);
    if (!rpc) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the services");
    }
    rpc->host = host;
    rpc->gate = gate;
    atomic_init(&rpc->stopped, false);
    for (int m = 0; m < WEFT_METHOD_COUNT; m++) {
        fill_method(rpc, (weft_method)m);
    }
    *ret = rpc;
    return WEFT_OK;
}

void weft_rpc_free(weft_rpc *rpc)
{
    if (rpc) {
        weft_free(rpc->host->alloc, rpc);
    }
}

const weft_rt_method *weft_rpc_methods(weft_rpc *rpc, size_t *ret_n)
{
    *ret_n = WEFT_METHOD_COUNT;
    return rpc->methods;
}

void weft_rpc_stop(weft_rpc *rpc)
{
    atomic_store(&rpc->stopped, true);
}

/* ---- who may call ---------------------------------------------------------------------------- */

static weft_rt_code refuse(char *text, weft_rt_code code, const char *sentence)
{
    (void)snprintf(text, WEFT_ERR_MSG_BYTES, "%s", sentence); /* cut where too long */
    return code;
}

static const weft_method_info *find_method(const char *path)
{
    for (int m = 0; m < WEFT_METHOD_COUNT; m++) {
        const weft_method_info *info = weft_method_get((weft_method)m);
        if (strcmp(info->path, path) == 0) {
            return info;
        }
    }
    return NULL;
}

weft_rt_code weft_rpc_authorize(void *ctx, const char *path, const weft_rt_peer *peer, char *text)
{
    weft_rpc *rpc = ctx;
    const weft_rpc_host *host = rpc->host;
    const weft_method_info *info = find_method(path);
    if (atomic_load(&rpc->stopped)) {
        return refuse(text, WEFT_RT_UNAVAILABLE, "the coordinator is stopping: try again soon");
    }
    if (!info) {
        return refuse(text, WEFT_RT_UNIMPLEMENTED, "no such method");
    }
    if (info->role == WEFT_METHOD_ROLE_ANYONE) {
        return WEFT_RT_OK;
    }
    weft_identity id;
    if (!peer->authenticated && !host->plain) {
        return refuse(text, WEFT_RT_UNAUTHENTICATED, "a certificate of this federation is needed");
    }
    if (weft_identity_parse(&id, peer->identity, strlen(peer->identity), NULL) != WEFT_OK ||
        strcmp(id.federation, host->federation) != 0) {
        return refuse(text, WEFT_RT_UNAUTHENTICATED, "the certificate is not of this federation");
    }
    const int64_t now = host->clock->unix_ms(host->clock->self);
    if (!host->plain && now >= peer->expires_unix_ms) { /* it was good when the connection began */
        return refuse(text, WEFT_RT_UNAUTHENTICATED, "the certificate has expired: renew it");
    }
    if (info->role == WEFT_METHOD_ROLE_OPERATOR) {
        return id.role == WEFT_ROLE_OPERATOR
                   ? WEFT_RT_OK
                   : refuse(text, WEFT_RT_PERMISSION_DENIED, "an operator certificate is needed");
    }
    if (id.role != WEFT_ROLE_CLIENT) {
        return refuse(text, WEFT_RT_PERMISSION_DENIED, "a client certificate is needed");
    }
    if (!host->plain && !weft_gate_pass(rpc->gate, id.name, peer->fingerprint, now)) {
        return refuse(text, WEFT_RT_PERMISSION_DENIED,
                      "this certificate is revoked, expired or unknown to the coordinator");
    }
    return WEFT_RT_OK;
}

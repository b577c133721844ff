/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the door: requests for new calls are always armed (gRPC leaves callers of unarmed methods
 * hanging), and each caller is let in or told why not. Poller threads.
 */
#include "rt/server_priv.h"

#include <grpc/slice.h>
#include <stdio.h>
#include <string.h>

/* ---- answers to calls that never get in ------------------------------------------------------ */

typedef struct refusal {
    weft_rt_tag tag;
    weft_rt_server *server;
    grpc_call *call;
    int cancelled;
} refusal;

static void refusal_done(weft_rt_tag *tag, bool ok)
{
    (void)ok; /* whether the caller heard it is its own affair */
    refusal *r = WEFT_RT_OWNER(tag, refusal, tag);
    weft_rt_server *server = r->server;
    grpc_call_unref(r->call);
    weft_free(server->alloc, r);
    weft_rt_lock_take(&server->lock);
    server->refusals--;
    (void)pthread_cond_signal(&server->quiet);
    weft_rt_lock_give(&server->lock);
}

static void refuse(weft_rt_server *server, grpc_call *call, weft_rt_code code, const char *text)
{
    refusal *r = weft_array(server->alloc, 1, sizeof *r);
    if (!r) {
        (void)grpc_call_cancel(call, NULL); /* a fresh call: cannot fail */
        grpc_call_unref(call);
        return;
    }
    r->tag.done = refusal_done;
    r->server = server;
    r->call = call;
    weft_rt_lock_take(&server->lock);
    server->refusals++;
    weft_rt_lock_give(&server->lock);
    grpc_slice details = grpc_slice_from_copied_string(text);
    grpc_op ops[3] = {0};
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[1].data.send_status_from_server.status = (grpc_status_code)code;
    ops[1].data.send_status_from_server.status_details = &details;
    ops[2].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[2].data.recv_close_on_server.cancelled = &r->cancelled;
    if (!weft_rt_batch(call, ops, 3, &r->tag)) {
        (void)grpc_call_cancel(call, NULL); /* as above */
        refusal_done(&r->tag, false);
    }
    grpc_slice_unref(details);
}

/* ---- letting in ------------------------------------------------------------------------------ */

typedef struct verdict {
    weft_rt_code code;
    char text[WEFT_ERR_MSG_BYTES];
} verdict;

#define REFUSE(v, number, ...)                                                                     \
    do {                                                                                           \
        (v)->code = (number);                                                                      \
        (void)snprintf((v)->text, sizeof(v)->text, __VA_ARGS__); /* cut is fine */                 \
    } while (0)

/* Count the call, or say which limit it is over. */
static void enter_locked(weft_rt_server *server, weft_rt_call *call, uint32_t method,
                         const char *key, verdict *v) WEFT_REQUIRES(&server->lock)
{
    const weft_rt_server_options *o = &server->options;
    const uint32_t max_method = call->method->max_per_client;
    const bool stranger = !call->peer.authenticated;
    if (server->stats.calls_live >= o->max_calls) {
        REFUSE(v, WEFT_RT_RESOURCE_EXHAUSTED,
               "the coordinator serves %u calls already: try again later", o->max_calls);
        return;
    }
    if (stranger && server->anonymous_live >= o->max_calls_anonymous) {
        REFUSE(v, WEFT_RT_RESOURCE_EXHAUSTED,
               "the coordinator serves %u callers without a certificate already: try again later",
               o->max_calls_anonymous);
        return;
    }
    weft_rt_client *client = weft_rt_clients_get(&server->clients, key);
    if (!client) {
        REFUSE(v, WEFT_RT_RESOURCE_EXHAUSTED, "the coordinator is out of memory");
        return;
    }
    if (client->live >= o->max_calls_per_client) {
        REFUSE(v, WEFT_RT_RESOURCE_EXHAUSTED, "this client has %u calls open, the most allowed",
               o->max_calls_per_client);
    } else if (max_method && client->live_per_method[method] >= max_method) {
        REFUSE(v, WEFT_RT_RESOURCE_EXHAUSTED,
               "this client has %u calls of %s open, the most allowed", max_method,
               call->method->path);
    } else {
        weft_rt_clients_enter(client, call, method);
        server->stats.calls_live++;
        server->anonymous_live += stranger;
        return;
    }
    weft_rt_clients_leave(&server->clients, client, NULL, method);
}

void weft_rt_server_leave(weft_rt_server *server, weft_rt_call *call)
{
    const uint32_t method = (uint32_t)(call->method - server->methods);
    weft_rt_lock_take(&server->lock);
    weft_rt_clients_leave(&server->clients, call->client, call, method);
    server->stats.calls_live--;
    server->anonymous_live -= !call->peer.authenticated;
    (void)pthread_cond_signal(&server->quiet);
    weft_rt_lock_give(&server->lock);
}

static void count(weft_rt_server *server, uint64_t *counter)
{
    weft_rt_lock_take(&server->lock);
    ++*counter;
    weft_rt_lock_give(&server->lock);
}

static void admit(weft_rt_server *server, uint32_t method, weft_rt_call *call)
{
    verdict v = {WEFT_RT_OK, {0}};
    if (!call->peer.authenticated && !call->method->anonymous_ok) {
        count(server, &server->stats.refused_auth);
        REFUSE(&v, WEFT_RT_UNAUTHENTICATED, "%s needs a client certificate: enrol first",
               call->method->path);
    } else {
        char key[WEFT_RT_KEY_BYTES];
        weft_rt_peer_key(key, &call->peer);
        weft_rt_lock_take(&server->lock);
        enter_locked(server, call, method, key, &v);
        server->stats.refused_limit += v.code != WEFT_RT_OK;
        weft_rt_lock_give(&server->lock);
    }
    if (v.code != WEFT_RT_OK) {
        refuse(server, call->grpc, v.code, v.text);
        weft_rt_call_unref(call);
        return;
    }
    /* entered first: from here on cancel_peer finds it, so that nobody slips past a revocation */
    if (server->options.authorize) {
        v.code = server->options.authorize(server->options.authorize_ctx, call->method->path,
                                           &call->peer, v.text);
    }
    call->silent = v.code != WEFT_RT_OK;
    count(server, call->silent ? &server->stats.refused_auth : &server->stats.calls_total);
    weft_rt_call_begin(call, v.code, v.text);
}

/* ---- slots ----------------------------------------------------------------------------------- */

static void slot_rest(weft_rt_slot *slot)
{
    weft_rt_server *server = slot->server;
    weft_rt_lock_take(&server->lock);
    server->armed--;
    (void)pthread_cond_signal(&server->quiet);
    weft_rt_lock_give(&server->lock);
}

static void slot_arm(weft_rt_slot *slot)
{
    weft_rt_server *server = slot->server;
    grpc_metadata_array_init(&slot->metadata);
    weft_rt_tag_release(&slot->tag);
    grpc_call_error error;
    if (slot->method == server->n_methods) {
        grpc_call_details_init(&slot->details);
        error = grpc_server_request_call(server->grpc, &slot->call, &slot->details, &slot->metadata,
                                         slot->cq, slot->cq, &slot->tag);
    } else {
        error = grpc_server_request_registered_call(server->grpc, server->registered[slot->method],
                                                    &slot->call, &slot->deadline, &slot->metadata,
                                                    NULL, slot->cq, slot->cq, &slot->tag);
    }
    if (error != GRPC_CALL_OK) {
        slot_rest(slot); /* the server is going down */
    }
}

static void on_unknown(weft_rt_server *server, grpc_call *grpc, const grpc_call_details *details)
{
    count(server, &server->stats.unknown_method);
    char path[128];
    size_t n = GRPC_SLICE_LENGTH(details->method);
    n = n < sizeof path ? n : sizeof path - 1;
    memcpy(path, GRPC_SLICE_START_PTR(details->method), n);
    path[n] = 0;
    verdict v;
    REFUSE(&v, WEFT_RT_UNIMPLEMENTED, "this coordinator has no method %s: is it older?", path);
    refuse(server, grpc, v.code, v.text);
}

static void on_slot(weft_rt_tag *tag, bool ok)
{
    weft_rt_slot *slot = WEFT_RT_OWNER(tag, weft_rt_slot, tag);
    weft_rt_server *server = slot->server;
    const bool unknown = slot->method == server->n_methods;
    grpc_metadata_array metadata = slot->metadata;
    grpc_call_details details = slot->details;
    if (!ok) {
        grpc_metadata_array_destroy(&metadata);
        if (unknown) {
            grpc_call_details_destroy(&details);
        }
        slot_rest(slot);
        return;
    }
    grpc_call *grpc = slot->call;
    const uint32_t method = slot->method;
    slot_arm(slot); /* before anything else: the next caller may be here already */
    if (unknown) {
        on_unknown(server, grpc, &details);
        grpc_call_details_destroy(&details);
    } else {
        weft_rt_call *call = weft_rt_call_new(server, &server->methods[method], grpc);
        if (call) {
            weft_rt_peer_read(&call->peer, grpc, server->options.plain ? &metadata : NULL);
            admit(server, method, call);
        } else {
            refuse(server, grpc, WEFT_RT_RESOURCE_EXHAUSTED, "the coordinator is out of memory");
        }
    }
    grpc_metadata_array_destroy(&metadata);
}

void weft_rt_server_arm(weft_rt_server *server)
{
    server->armed = server->n_slots; /* nothing else runs yet that could touch it */
    for (size_t i = 0; i < server->n_slots; i++) {
        weft_rt_slot *slot = &server->slots[i];
        slot->tag.done = on_slot;
        slot->server = server;
        slot->method = (uint32_t)(i / WEFT_RT_ARMED % (server->n_methods + 1));
        slot->cq = server->cqs[i / WEFT_RT_ARMED / (server->n_methods + 1)];
        slot_arm(slot);
    }
}

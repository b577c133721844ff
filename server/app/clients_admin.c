/* SPDX-License-Identifier: Apache-2.0 */
/* Clients for operators: rows of the store, presence from memory. Owner thread. */
#include "app/daemon.h"

#include "app/views.h"

#include <string.h>

enum { PAGE_CLIENTS = 500 };
/* Seen within this time counts as connected: held check-ins return within it. */
#define CONNECTED_MS 90000

static bool is_connected(const weft_daemon *d, int64_t last_seen)
{
    return last_seen != 0 && weft_daemon_unix_ms(d) - last_seen < CONNECTED_MS;
}

uint32_t weft_clients_connected(const weft_daemon *d)
{
    return weft_presence_count(d->presence, weft_daemon_unix_ms(d) - CONNECTED_MS);
}

static weft_status add_enrolled(void *arg, const weft_store_client_row *row, weft_err *err)
{
    (void)err;
    uint32_t *n = arg;
    *n += row->status == WEFT_STORE_CLIENT_ENROLLED;
    return WEFT_OK;
}

weft_status weft_clients_count(const weft_daemon *d, uint32_t *ret, weft_err *err)
{
    *ret = 0;
    return weft_store_each_client(d->store, add_enrolled, ret, err);
}

/* One page, copied: rows are borrowed for their call. */
typedef struct page {
    const weft_daemon *d;
    weft_arena *arena;
    const char *after;
    weft_msg_client_info *items; /* [max] */
    size_t n;
    size_t max;
} page;

static weft_status add_client(void *arg, const weft_store_client_row *row, weft_err *err)
{
    page *p = arg;
    if (p->n == p->max || strcmp(row->name, p->after) <= 0) {
        return WEFT_OK;
    }
    weft_store_client_row *copy = weft_arena_take(p->arena, 1, sizeof *copy);
    weft_msg_dataset_info *datasets =
        row->n_datasets ? weft_arena_take(p->arena, row->n_datasets, sizeof *datasets) : NULL;
    if (!copy || (row->n_datasets && !datasets)) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    *copy = *row; /* its views are not used */
    for (uint32_t i = 0; datasets && i < copy->n_datasets; i++) {
        datasets[i].name = copy->datasets[i].name;
        datasets[i].n_examples = copy->datasets[i].n_examples;
    }
    const int64_t seen = weft_presence_last(p->d->presence, copy->name);
    const int64_t last = seen > copy->last_seen_unix_ms ? seen : copy->last_seen_unix_ms;
    p->items[p->n++] = (weft_msg_client_info){
        .client = copy->name,
        .status = weft_view_client_status(copy->status),
        .since_unix_ms = copy->since_unix_ms,
        .invitation_expires_unix_ms = copy->invitation_expires_unix_ms,
        .certificate_expires_unix_ms = copy->certificate_expires_unix_ms,
        .connected = copy->status == WEFT_STORE_CLIENT_ENROLLED && is_connected(p->d, last),
        .last_seen_unix_ms = last,
        .software = copy->software,
        .datasets = datasets,
        .n_datasets = copy->n_datasets,
        .updates_accepted = copy->updates_accepted,
    };
    return WEFT_OK;
}

weft_status weft_clients_list(weft_daemon *d, weft_rpc_call *call, weft_arena *arena, weft_err *err)
{
    const weft_msg_list_clients_request *request = call->msg;
    page p = {.d = d, .arena = arena, .after = request->after};
    p.max = request->limit && request->limit < PAGE_CLIENTS ? request->limit : PAGE_CLIENTS;
    p.items = weft_arena_take(arena, p.max, sizeof *p.items);
    if (!p.items) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    WEFT_TRY(weft_store_each_client(d->store, add_client, &p, err));
    const weft_msg_list_clients_reply reply = {p.items, p.n};
    weft_rpc_reply(call, WEFT_MSG_LIST_CLIENTS_REPLY, &reply);
    return WEFT_OK;
}

void weft_clients_reply(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_revoke_client_request *request = call->msg;
    weft_err err = WEFT_ERR_INIT;
    weft_arena arena;
    weft_msg_client_info info;
    weft_arena_init(&arena, d->alloc, WEFT_MAX_DECODE_BYTES);
    page p = {.d = d, .arena = &arena, .after = "", .items = &info, .max = 1};
    if (weft_store_client_by_name(d->store, request->client, add_client, &p, &err) == WEFT_OK) {
        weft_rpc_reply(call, WEFT_MSG_CLIENT_INFO, &info);
    } else {
        weft_rpc_fail(call, err.code, err.msg);
    }
    weft_arena_done(&arena);
}

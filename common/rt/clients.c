/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the table of clients with open calls: limits are counted here, and all calls of an identity
 * are found here. Threads: holds the server's lock.
 */
#include "rt/server_priv.h"

#include "base/rng.h"

#include <string.h>

#define MIN_BUCKETS 64U
#define MAX_BUCKETS 16384U

weft_status weft_rt_clients_init(weft_rt_clients *clients, const weft_alloc *alloc,
                                 uint32_t max_calls, uint32_t n_methods, weft_err *err)
{
    size_t n = MIN_BUCKETS;
    while (n < max_calls && n < MAX_BUCKETS) {
        n *= 2;
    }
    uint64_t seed = 0;
    WEFT_TRY(weft_entropy_system.fill(weft_entropy_system.self, &seed, sizeof seed, err));
    weft_rt_client **buckets = weft_array(alloc, n, sizeof(weft_rt_client *));
    if (!buckets) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the table of clients");
    }
    *clients = (weft_rt_clients){alloc, buckets, n, n_methods, seed};
    return WEFT_OK;
}

void weft_rt_clients_done(weft_rt_clients *clients)
{
    if (clients->buckets) {
        weft_free(clients->alloc, clients->buckets);
        clients->buckets = NULL;
    }
}

/* FNV-1a, seeded: keys come from certificates and addresses, not from a peer's choice alone. */
static weft_rt_client **bucket_of(const weft_rt_clients *clients, const char *key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ clients->seed;
    for (const char *p = key; *p; p++) {
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    }
    return &clients->buckets[(h ^ (h >> 32)) & (clients->n_buckets - 1)];
}

weft_rt_client *weft_rt_clients_find(const weft_rt_clients *clients, const char *key)
{
    weft_rt_client *client = *bucket_of(clients, key);
    while (client && strcmp(client->key, key) != 0) {
        client = client->next;
    }
    return client;
}

weft_rt_client *weft_rt_clients_get(weft_rt_clients *clients, const char *key)
{
    weft_rt_client *client = weft_rt_clients_find(clients, key);
    if (client) {
        return client;
    }
    const size_t key_size = strlen(key) + 1;
    const size_t counts_size = clients->n_methods * sizeof(uint32_t);
    client = weft_array(clients->alloc, 1, sizeof *client + counts_size + key_size);
    if (!client) {
        return NULL;
    }
    client->live_per_method = (uint32_t *)(void *)(client + 1);
    client->key = (char *)(client + 1) + counts_size;
    memcpy(client->key, key, key_size);
    weft_rt_client **bucket = bucket_of(clients, key);
    client->next = *bucket;
    *bucket = client;
    return client;
}

void weft_rt_clients_enter(weft_rt_client *client, weft_rt_call *call, uint32_t method)
{
    client->live++;
    client->live_per_method[method]++;
    call->client = client;
    call->previous_of_client = NULL;
    call->next_of_client = client->calls;
    if (client->calls) {
        client->calls->previous_of_client = call;
    }
    client->calls = call;
}

void weft_rt_clients_leave(weft_rt_clients *clients, weft_rt_client *client, weft_rt_call *call,
                           uint32_t method)
{
    if (call) {
        if (call->previous_of_client) {
            call->previous_of_client->next_of_client = call->next_of_client;
        } else {
            client->calls = call->next_of_client;
        }
        if (call->next_of_client) {
            call->next_of_client->previous_of_client = call->previous_of_client;
        }
        call->client = NULL;
        client->live--;
        client->live_per_method[method]--;
    }
    if (client->live > 0) {
        return;
    }
    weft_rt_client **link = bucket_of(clients, client->key);
    while (*link != client) {
        link = &(*link)->next;
    }
    *link = client->next;
    weft_free(clients->alloc, client);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table of clients and a list of those that changed. Owner thread. */
#include "app/presence.h"

#include <stdio.h>
#include <string.h>

enum { BUCKETS = 4096 };

typedef struct client {
    struct client *next;       /* of the bucket */
    struct client *next_dirty; /* of those to be written */
    char name[WEFT_MAX_NAME_BYTES + 1];
    bool dirty;
    bool gone; /* shut out since */
    int64_t last_unix_ms;
    char software[WEFT_STORE_MAX_SOFTWARE_BYTES + 1];
    weft_store_dataset *datasets; /* [n_datasets], owned */
    uint32_t n_datasets;
} client;

struct weft_presence {
    const weft_alloc *alloc;
    client *buckets[BUCKETS];
    client *dirty;
};

weft_status weft_presence_new(weft_presence **ret, const weft_alloc *a, weft_err *err)
{
    weft_presence *p = weft_array(a, 1, sizeof *p);
    if (!p) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the list of clients");
    }
    p->alloc = a;
    *ret = p;
    return WEFT_OK;
}

void weft_presence_free(weft_presence *p)
{
    for (size_t i = 0; p && i < BUCKETS; i++) {
        while (p->buckets[i]) {
            client *c = p->buckets[i];
            p->buckets[i] = c->next;
            weft_free(p->alloc, c->datasets);
            weft_free(p->alloc, c);
        }
    }
    if (p) {
        weft_free(p->alloc, p);
    }
}

/* FNV-1a: names are few and not hostile (they are enrolled). */
static size_t bucket_of(const char *name)
{
    uint32_t h = 2166136261U;
    for (const char *c = name; *c; c++) {
        h = (h ^ (unsigned char)*c) * 16777619U;
    }
    return h % BUCKETS;
}

static client *find(const weft_presence *p, const char *name)
{
    client *c = p->buckets[bucket_of(name)];
    while (c && strcmp(c->name, name) != 0) {
        c = c->next;
    }
    return c;
}

static void keep_datasets(weft_presence *p, client *c, const weft_msg_check_in_request *request)
{
    const size_t n = request->n_datasets;
    if (n != c->n_datasets) {
        weft_store_dataset *fresh = n ? weft_array(p->alloc, n, sizeof *fresh) : NULL;
        if (n && !fresh) {
            return;
        }
        weft_free(p->alloc, c->datasets);
        c->datasets = fresh;
        c->n_datasets = (uint32_t)n;
    }
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(c->datasets[i].name, sizeof c->datasets[i].name, "%s",
                       request->datasets[i].name); /* names fit: decoded */
        c->datasets[i].n_examples = request->datasets[i].n_examples;
    }
}

void weft_presence_seen(weft_presence *p, const char *name,
                        const weft_msg_check_in_request *request, int64_t unix_ms)
{
    client *c = find(p, name);
    if (!c) {
        c = weft_array(p->alloc, 1, sizeof *c);
        if (!c) {
            return;
        }
        (void)snprintf(c->name, sizeof c->name, "%s", name); /* a name: fits */
        client **bucket = &p->buckets[bucket_of(name)];
        c->next = *bucket;
        *bucket = c;
    }
    c->last_unix_ms = unix_ms;
    c->gone = false;
    (void)snprintf(c->software, sizeof c->software, "%s", request->software); /* cut if longer */
    keep_datasets(p, c, request);
    if (!c->dirty) {
        c->dirty = true;
        c->next_dirty = p->dirty;
        p->dirty = c;
    }
}

void weft_presence_left(weft_presence *p, const char *name)
{
    client *c = find(p, name);
    if (c) {
        c->gone = true;
    }
}

int64_t weft_presence_last(const weft_presence *p, const char *name)
{
    const client *c = find(p, name);
    return c ? c->last_unix_ms : 0;
}

uint32_t weft_presence_count(const weft_presence *p, int64_t since_unix_ms)
{
    uint32_t n = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (const client *c = p->buckets[i]; c; c = c->next) {
            n += !c->gone && c->last_unix_ms >= since_unix_ms;
        }
    }
    return n;
}

bool weft_presence_dirty(const weft_presence *p)
{
    return p->dirty != NULL;
}

weft_status weft_presence_flush(weft_presence *p, weft_store *store, uint32_t limit, weft_err *err)
{
    for (uint32_t i = 0; i < limit && p->dirty; i++) {
        client *c = p->dirty;
        weft_err why = WEFT_ERR_INIT;
        const weft_status status =
            weft_store_client_seen(store, c->name, c->software, c->datasets, c->n_datasets, &why);
        if (status != WEFT_OK && status != WEFT_E_NOTFOUND) { /* without enrolment: benchmarks */
            WEFT_FAIL(err, status, "%s", why.msg);
        }
        p->dirty = c->next_dirty;
        c->dirty = false;
    }
    return WEFT_OK;
}

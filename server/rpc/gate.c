/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate's table: chained buckets by fingerprint, under a reader-writer lock. Entries of a client
 * are found by a walk: revocations and enrolments are rare, calls are not.
 */
#include "rpc/gate.h"

#include <pthread.h>
#include <string.h>

typedef struct entry {
    struct entry *next; /* of the bucket */
    uint8_t fingerprint[WEFT_SHA256_BYTES];
    int64_t expires_unix_ms;
    char client[WEFT_MAX_NAME_BYTES + 1];
} entry;

/* 2^13 chains: a few entries each at the largest federation that one coordinator holds */
enum { BUCKETS = 8192 };

struct weft_gate {
    const weft_alloc *alloc;
    pthread_rwlock_t lock;
    entry *buckets[BUCKETS]; /* guarded by lock */
};

static size_t bucket_of(const uint8_t *fingerprint)
{
    return ((size_t)fingerprint[0] << 8 | fingerprint[1]) % BUCKETS;
}

weft_status weft_gate_new(weft_gate **ret, const weft_alloc *a, weft_err *err)
{
    weft_gate *gate = weft_array(a, 1, sizeof *gate);
    if (!gate) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the gate");
    }
    gate->alloc = a;
    (void)pthread_rwlock_init(&gate->lock, NULL); /* cannot fail on Linux */
    *ret = gate;
    return WEFT_OK;
}

void weft_gate_free(weft_gate *gate)
{
    if (!gate) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        entry *e = gate->buckets[i];
        while (e) {
            entry *next = e->next;
            weft_free(gate->alloc, e);
            e = next;
        }
    }
    (void)pthread_rwlock_destroy(&gate->lock); /* nobody is inside: the caller's contract */
    weft_free(gate->alloc, gate);
}

weft_status weft_gate_allow(weft_gate *gate, const char *client,
                            const uint8_t fingerprint[WEFT_SHA256_BYTES], int64_t expires_unix_ms,
                            weft_err *err)
{
    entry *e = weft_array(gate->alloc, 1, sizeof *e);
    if (!e) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a certificate at the gate");
    }
    memcpy(e->fingerprint, fingerprint, sizeof e->fingerprint);
    e->expires_unix_ms = expires_unix_ms;
    memcpy(e->client, client, strnlen(client, WEFT_MAX_NAME_BYTES));
    entry **bucket = &gate->buckets[bucket_of(fingerprint)];
    (void)pthread_rwlock_wrlock(&gate->lock); /* not held by this thread: cannot fail */
    e->next = *bucket;
    *bucket = e;
    (void)pthread_rwlock_unlock(&gate->lock);
    return WEFT_OK;
}

void weft_gate_revoke(weft_gate *gate, const char *client)
{
    (void)pthread_rwlock_wrlock(&gate->lock); /* not held by this thread: cannot fail */
    for (size_t i = 0; i < BUCKETS; i++) {
        entry **at = &gate->buckets[i];
        while (*at) {
            entry *e = *at;
            if (strcmp(e->client, client) == 0) {
                *at = e->next;
                weft_free(gate->alloc, e);
            } else {
                at = &e->next;
            }
        }
    }
    (void)pthread_rwlock_unlock(&gate->lock);
}

bool weft_gate_pass(weft_gate *gate, const char *client,
                    const uint8_t fingerprint[WEFT_SHA256_BYTES], int64_t now_unix_ms)
{
    bool pass = false;
    (void)pthread_rwlock_rdlock(&gate->lock); /* readers only wait for writers */
    for (const entry *e = gate->buckets[bucket_of(fingerprint)]; e && !pass; e = e->next) {
        pass = memcmp(e->fingerprint, fingerprint, sizeof e->fingerprint) == 0 &&
               strcmp(e->client, client) == 0 && now_unix_ms < e->expires_unix_ms;
    }
    (void)pthread_rwlock_unlock(&gate->lock);
    return pass;
}

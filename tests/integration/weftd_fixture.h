/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real weftd process over a fresh federation, and peers that speak to it over real TLS: an
 * operator, enrolled clients, strangers. Raw requests through common/rt and common/wire: what an
 * SDK would never send can be sent, too.
 */
#ifndef WEFT_TEST_WEFTD_FIXTURE_H
#define WEFT_TEST_WEFTD_FIXTURE_H

#include "crypto/cert.h"
#include "crypto/member.h"
#include "crypto/receipt.h"
#include "rt/channel.h"
#include "support/support.h"
#include "wire/chunk.h"
#include "wire/methods.h"
#include "wire/wire.h"

#include <sys/types.h>

/* No call of these tests takes longer, unless something is stuck. */
#define PATIENCE_MS 20000

/* Set from the command line: the program under test. */
extern const char *weftd_path;

typedef struct weftd {
    char *dir; /* temporary: coord/, op/ */
    pid_t pid; /* 0: not running */
    int out;   /* its stdout */
    char address[64];
    char ca[4096];
    weft_sign_key operator_key;
    uint8_t receipt_public[32];
} weftd;

/** A fresh federation "test" and its weftd on a free port. extra: one more option or NULL. */
void weftd_start(weftd *w, const char *extra);
/** The federation alone, for a coordinator inside the test, which sets address. */
void weftd_prepare(weftd *w);
/** Start it again on the same directory (and another port). */
void weftd_restart(weftd *w, const char *extra);
/** SIGTERM; exit status 0 within PATIENCE_MS. */
void weftd_stop(weftd *w);
/** SIGKILL. */
void weftd_kill(weftd *w);
/** Remove everything. */
void weftd_done(weftd *w);
/** A field of /proc/PID/status in kB ("VmHWM:"). */
long weftd_memory_kb(const weftd *w, const char *field);

/* Somebody with a connection of their own. */
typedef struct peer {
    char name[WEFT_MAX_NAME_BYTES + 1];
    weft_rt_channel *channel;
    char cert[4096];
    char key[1024];
    /* what an enrolment took */
    uint8_t token[32];
    uint8_t csr[WEFT_MAX_CSR_BYTES];
    size_t csr_size;
    uint8_t chain[WEFT_MAX_CHAIN_BYTES];
    size_t chain_size;
    weft_sign_key member;
} peer;

void peer_operator(peer *p, const weftd *w);
/** Without a certificate. */
void peer_stranger(peer *p, const weftd *w);
/** Invited by op, with keys, not enrolled; its channel has no certificate. */
void peer_invited(peer *p, const weftd *w, peer *op, const char *name);
/** Enrol an invited peer: its channel uses the certificate from then on. */
void peer_enrol(peer *p, const weftd *w);
/** Both. */
void peer_client(peer *p, const weftd *w, peer *op, const char *name);
/** The same identity over a fresh channel (after a restart). */
void peer_reconnect(peer *p, const weftd *w);
void peer_done(peer *p);

/* What came of a call. */
typedef struct answer {
    weft_rt_code code;
    char text[256];
    weft_buf bytes;
    weft_arena arena;
} answer;
void answer_done(answer *a);

/** Any bytes to a unary method. */
void call_bytes(answer *a, peer *p, weft_method method, const void *data, size_t size);
/** A message; on OK the reply is decoded into reply (its memory is the answer's). */
void call(answer *a, peer *p, weft_method method, weft_msg_kind kind, const void *request,
          weft_msg_kind reply_kind, void *reply);
/** The same, which must succeed. */
void call_ok(answer *a, peer *p, weft_method method, weft_msg_kind kind, const void *request,
             weft_msg_kind reply_kind, void *reply);

/** A call that is under way: driven by waiting_end until done. */
typedef struct waiting {
    weft_rt_loop *loop;
    weft_rt_rpc *rpc;
    bool done;
    unsigned messages; /* of a stream; their bytes are dropped */
    answer a;
} waiting;
void waiting_start(waiting *c, peer *p, weft_method method, weft_msg_kind kind,
                   const void *request);
/** Until it is done, or timeout_ms. */
bool waiting_end(waiting *c, uint32_t timeout_ms);
/** Cancels it when it is not done. */
void waiting_done(waiting *c);

/** Download: bytes from offset on are appended to out; the code that ended the stream. */
weft_rt_code fetch(peer *p, weft_method method, weft_msg_kind kind, const void *request,
                   weft_buf *out, uint8_t ret_digest[32]);

/** What an upload sends. */
typedef struct upload {
    weft_msg_update_header header;
    const void *data;     /* the whole update */
    size_t stop_after;    /* break the call off after so many bytes; 0: send all */
    uint32_t chunk_bytes; /* 0: 1 MiB */
    /* before each chunk, with the bytes sent so far; or NULL */
    void (*before)(void *arg, uint64_t sent);
    void *arg;
} upload;
/** Send it; a->code is CANCELED when it was broken off. */
void submit(answer *a, peer *p, const upload *u, weft_msg_submit_reply *reply);
/** Import: header and bytes. */
void import_model(answer *a, peer *op, const weft_msg_import_header *header, const void *data,
                  size_t size, weft_msg_model_info *reply);

/* Jobs of a few plain tensors, whose "training" adds a constant. */
void job_plain(weft_job_def *def, const char *name, uint64_t n_params, uint32_t target,
               uint32_t rounds);
void job_submit(peer *op, const weft_job_def *def);
/** Check in until there is an assignment; memory is the answer's. */
void check_in(answer *a, peer *p, weft_msg_assignment *ret);
/** Train: base + value, submit; the receipt is verified. */
void contribute(const weftd *w, peer *p, const weft_msg_assignment *assignment, float value,
                uint64_t n_examples);
/** Wait until the job has done so many rounds, or has the status. */
void wait_rounds(peer *op, const char *job, uint32_t rounds);
void wait_status(peer *op, const char *job, const char *status);

#endif

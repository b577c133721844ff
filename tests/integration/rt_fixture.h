/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of rt share: a federation's certificates, a server with one method of each kind
 * and everything counted, and calls that are driven to their end. Servers are real: TLS on port 0
 * of the loopback address.
 */
#ifndef WEFT_TEST_RT_FIXTURE_H
#define WEFT_TEST_RT_FIXTURE_H

#include "rt/channel.h"
#include "rt/server.h"
#include "support/support.h"

#include <pthread.h>
#include <stdatomic.h>

/* No call of these tests takes longer, unless something is stuck. */
#define PATIENCE_MS 20000

typedef struct pki {
    char ca[2048];
    char ca_key[1024];
    char cert[2048]; /* of the coordinator, for 127.0.0.1 and localhost */
    char key[1024];
} pki;
typedef struct member {
    char cert[2048];
    char key[1024];
} member;

void pki_make(pki *ret);
/* A client certificate: weft://test/client/<name>. */
void pki_member(const pki *p, member *ret, const char *name);
weft_rt_tls pki_server_tls(const pki *p);

#define MAX_HELD 256

typedef struct service {
    weft_rt_server *server;
    weft_rt_server_options options; /* what it was started with */
    weft_rt_method methods[8];
    weft_rt_blob *blob; /* what /t/Down sends; or NULL */
    size_t chunk;
    atomic_uint opened;      /* first messages seen */
    atomic_uint closed;      /* on_closed */
    atomic_uint cancelled;   /* of these */
    atomic_ullong received;  /* bytes of /t/Up */
    atomic_uint messages;    /* of /t/Up */
    atomic_uint most_pieces; /* of one of them */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    weft_rt_call *held[MAX_HELD]; /* guarded by lock; calls of /t/Hold, referenced */
    size_t n_held;
    char revoked[256]; /* guarded by lock; refused by authorize */
} service;

/*
 * /t/Echo UNARY the same bytes; /t/Who UNARY, anonymous too: the identity; /t/Hold UNARY: kept
 * until service_answer, 4 per client; /t/Up CLIENT_STREAM: the number of bytes as text; /t/Down
 * SERVER_STREAM: the blob; /t/Paused CLIENT_STREAM: each message pauses until service_resume.
 * options may be NULL; address, tls, methods, authorize are filled in where they are not set.
 */
void service_start(service *s, const pki *p, const weft_rt_server_options *options);
/* Drain and free. */
void service_stop(service *s);
void service_address(const service *s, char out[64]);
/* Wait until n calls are held. */
void service_wait_held(service *s, size_t n);
/* Wait until n calls have been closed. */
void service_wait_closed(service *s, unsigned n);
/* Answer all held calls with text, and let go of them. @return how many. */
size_t service_answer(service *s, const char *text);
void service_resume(service *s);

/* A channel as member (NULL: without certificate), or plain as "weft://test/client/<name>". */
weft_rt_channel *channel_to(const service *s, const pki *p, const member *m);
weft_rt_channel *channel_plain(const service *s, const char *identity);

/* One call and all that came of it. */
typedef struct job {
    weft_rt_rpc *rpc;
    weft_rt_code code;
    char text[WEFT_ERR_MSG_BYTES];
    weft_buf reply;     /* of UNARY and UPLOAD */
    uint64_t received;  /* bytes of FETCH */
    unsigned messages;  /* of FETCH */
    unsigned writables; /* UPLOAD: asked to send */
    bool stalled;       /* FETCH: take one message and no more */
    bool done;
    unsigned done_count;
    /* UPLOAD: so many messages of this part of blob, then the end */
    weft_rt_blob *blob;
    size_t part;
    unsigned n_parts;
    bool never_end;
} job;

void job_start(job *j, weft_rt_loop *loop, weft_rt_channel *channel, weft_rt_rpc_kind kind,
               const char *path, const char *request);
/* Step until the job is done; fails the test after PATIENCE_MS. */
void job_finish(job *j, weft_rt_loop *loop);
/* Free what the job holds. */
void job_end(job *j);
/* A unary call from start to end. @return the code; reply, if not NULL, gets the text. */
weft_rt_code call_text(weft_rt_channel *channel, const char *path, const char *request,
                       char reply[256]);
weft_rt_loop *loop_new(bool threaded);

/* Resident bytes of this process. */
uint64_t resident_bytes(void);

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif

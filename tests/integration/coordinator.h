/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator for the tests of the client: the Federation service over the real transport, with a
 * script instead of a mind. It hands out one assignment after the other, keeps half uploads, and
 * can be told to fail at any point. It is not weftd: what it does wrong on purpose is the point.
 */
#ifndef WEFT_TEST_COORDINATOR_H
#define WEFT_TEST_COORDINATOR_H

#include "crypto/sign.h"
#include "model/job.h"
#include "model/metric.h"
#include "rt_fixture.h"
#include "wire/messages.h"

/* What it shall do. Those marked "once" switch themselves off. */
typedef struct script {
    unsigned n_assignments; /* then: nothing more */
    uint64_t come_back_ms;  /* once, at the first check-in; 0: not */
    bool hold;              /* check-ins are held until coordinator_release */
    weft_task task;
    uint32_t cohort;
    uint64_t lease_ms;
    bool secure_aggregation; /* with three members more, whom the coordinator plays itself */
    uint32_t round;          /* of every assignment; 0: the assignment's number */
    bool curious;            /* secure aggregation against curious coordinators only */
    bool strange_member;     /* bob has another member key than before */
    bool cut_step;           /* once: a step is taken, the reply is lost */
    /* a message of this type goes to alice with a byte changed */
    uint32_t lie_type;
    size_t lie_offset;
    size_t lie_again; /* and another byte, or 0 */
    uint8_t lie_value;
    const char *job;
    uint64_t cut_fetch_at;  /* once: the stream breaks after so many bytes */
    bool garble_fetch;      /* once: one byte is wrong */
    uint64_t cut_upload_at; /* once: the call breaks when so many bytes are held */
    bool lose_receipt;      /* once: the update is accepted, the reply is lost */
    bool forge_receipt;     /* once: signed by somebody else */
    bool late;              /* once: the upload is refused */
    bool stop;              /* progress says stop */
    bool revoked;           /* every call but Enroll is refused */
    bool lose_enrolment;    /* once: the certificate is made, the reply is lost */
    int64_t certificate_ms; /* life of the certificates it signs */
} script;

/* What it saw. */
typedef struct seen {
    unsigned enrolments, renewals, anonymous_renewals;
    unsigned check_ins, fetches, uploads, progress, progress_train, abandons, receipts;
    uint64_t fetched_from;  /* offset of the newest fetch */
    uint64_t uploaded_from; /* offset of the newest upload */
    uint64_t bytes_in;      /* of updates, counted when they come */
    char reason[257];       /* of the newest abandon */
    char dataset[65];       /* of the newest check-in */
    uint64_t n_examples;
    weft_metrics metrics;
    uint32_t task_bytes;
    char encoding[33]; /* of the newest upload */
    unsigned steps;
    uint32_t left_reason; /* of the abort message that alice sent; 0: none came */
    unsigned sums;        /* that came out, each one right */
    uint64_t sum_weight;
    weft_metrics sum_metrics;
    float sum_mean; /* of parameter 0 */
} seen;

typedef struct secure_side secure_side;

typedef struct coordinator {
    pki keys;
    weft_rt_server *server;
    weft_rt_method methods[8];
    char address[64];
    weft_sign_key operator_key, receipt_key, invitation_key;
    uint8_t token[32];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    script script;
    seen seen;
    uint8_t enrolled_csr[32]; /* SHA-256 of the request that the token was used with */
    bool token_used;
    uint8_t member_key[32];
    uint64_t assignment_id; /* the newest */
    bool open;
    bool accepted;
    float *base;
    uint64_t n_params;
    uint8_t base_digest[32];
    weft_rt_blob *blob;
    uint8_t *held; /* [held_bytes] */
    size_t held_bytes;
    uint64_t n_held;
    uint8_t update_digest[32];
    int64_t accepted_unix_ms;
    weft_rt_call *holding; /* a check-in that is held, referenced */
    secure_side *secure;   /* of the open assignment; coordinator_secure.c */
} coordinator;

/* Keys, a base version of n_params values i / 8, listening. */
void coordinator_start(coordinator *c, uint64_t n_params);
/* The server goes away; coordinator_again brings it back on the same port. */
void coordinator_down(coordinator *c);
void coordinator_again(coordinator *c);
void coordinator_stop(coordinator *c);
/* A join file for "alice" in dir; path must have room for 4096. */
void coordinator_join_file(coordinator *c, const char *dir, char *path);
/* Answer the held check-in with nothing more. */
void coordinator_release(coordinator *c);
/* Wait until a check-in is held. */
void coordinator_wait_held(coordinator *c);
/* A copy under the lock. */
seen coordinator_seen(coordinator *c);
void coordinator_tell(coordinator *c, const script *s);
script coordinator_script(coordinator *c);

/* ---- coordinator_secure.c; all hold the lock ------------------------------------------------- */

/* A session for the assignment that is about to be given. */
void coordinator_secure_begin(coordinator *c, const weft_msg_assignment *a);
void coordinator_secure_done(coordinator *c);
/* One SecureStep of alice. */
void coordinator_secure_step(coordinator *c, const weft_msg_secure_step_request *msg,
                             weft_msg_secure_step_reply *ret);
/* Alice's masked vector has come whole. @return false: it may not be taken now. */
bool coordinator_secure_masked(coordinator *c);

#endif

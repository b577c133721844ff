/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator that says what a test told it to: the Admin service over real mutual TLS on the
 * loopback address, with queued answers and the requests kept. And programs run to their end.
 */
#ifndef WEFT_TEST_ADMIN_H
#define WEFT_TEST_ADMIN_H

#include "auth/auth.h"
#include "rt/server.h"
#include "support/support.h"
#include "wire/methods.h"
#include "wire/wire.h"

#include <pthread.h>

enum { ADMIN_MAX_ANSWERS = 16 };

typedef struct admin_answer {
    weft_rt_code code; /* not OK: text is the answer */
    weft_buf bytes;
} admin_answer;

typedef struct admin_method {
    struct admin *admin;
    weft_method method;
    admin_answer answer[ADMIN_MAX_ANSWERS]; /* guarded by admin->lock, as all below */
    size_t n_answers;
    size_t given;
    size_t n_calls;
    weft_buf request; /* of the newest call; all messages of a stream, one after the other */
} admin_method;

typedef struct admin {
    weft_auth *auth;
    weft_rt_server *server;
    pthread_mutex_t lock;
    weft_rt_method table[WEFT_METHOD_COUNT];
    admin_method method[WEFT_METHOD_COUNT];
    char address[64];
} admin;

/* Serve with the certificates of a folder that weft_auth_init_federation made. */
void admin_start(admin *a, const char *coordinator_dir);
void admin_stop(admin *a);
/* Queue an answer. A unary call takes one, a server stream all that are left. When there is none,
 * the answer is an empty message: the last page of every list. */
void admin_says(admin *a, weft_method method, weft_msg_kind kind, const void *msg);
void admin_says_bytes(admin *a, weft_method method, const void *data, size_t n);
void admin_refuses(admin *a, weft_method method, weft_rt_code code, const char *text);
/* Forget what is queued and what was asked. */
void admin_forget(admin *a);
/* The newest request's bytes; valid until the next call of the method. */
weft_view admin_heard(admin *a, weft_method method);

/* A program that has ended. */
typedef struct ended {
    int status; /* exit status, or 128 + the signal that killed it */
    char out[1U << 16];
    char err[1U << 13];
} ended;
/* Run argv (NULL-terminated) with its output in files of dir. @return static. */
const ended *run_program(const char *dir, const char *const *argv);
void assert_says(const char *text, const char *words);

#endif

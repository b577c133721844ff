/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The federation that bench_rounds measures: a real weftd process, and client processes that do no
 * training, each with libweft and a trainer that adds 1 to every weight. One thread.
 */
#ifndef WEFT_BENCH_ROUNDS_WORLD_H
#define WEFT_BENCH_ROUNDS_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WORLD_MAX_CLIENTS 100
#define WORLD_MAX_ROUNDS  (1 << 16)

/* Shared by all processes: when the first client was given each round. */
typedef struct world_board {
    atomic_uint newest;                               /* the highest round seen */
    atomic_uint_least64_t began_ns[WORLD_MAX_ROUNDS]; /* by round; 0: not yet */
    atomic_uint tasks;                                /* all clients, all rounds */
} world_board;

typedef struct world {
    char dir[256];
    char weft[512]; /* programs */
    char weftd[512];
    char address[64]; /* "127.0.0.1:port" */
    char target[72];  /* the same, or "plain:127.0.0.1:port" */
    bool plain;
    unsigned n_enrolled;
    pid_t coordinator; /* 0: not running */
    int coordinator_out;
    pid_t clients[WORLD_MAX_CLIENTS];
    unsigned n_clients; /* running */
    int bell;           /* rung by the client that is given a round first */
    bool durable;       /* clients wait for their disk, whatever the training took */
    world_board *board;
} world;

/* Until a round begins somewhere, or for so long. */
void world_listen(const world *w, int timeout_ms);
/* CLOCK_MONOTONIC. */
uint64_t world_now_ns(void);
/* A fresh federation with n enrolled clients; exits the program with a message on any failure. */
void world_make(world *w, const char *build_dir, bool plain, unsigned n);
/* Stops everything and removes the folder (keep: leaves it). */
void world_end(world *w, bool keep);

void world_start_coordinator(world *w);
void world_stop_coordinator(world *w);
/* Ends the program with a message when the coordinator or a client is gone. */
void world_check(world *w);
/* The first n enrolled clients. */
void world_start_clients(world *w, unsigned n);
void world_stop_clients(world *w);

typedef struct world_job {
    char name[64];
    uint64_t n_params;
    unsigned n_clients;
    bool durable; /* each receipt promises that the update is on disk */
} world_job;
void world_submit(const world *w, const world_job *job);
void world_cancel(const world *w, const char *job);

/* Of a running process. */
double world_cpu_s(pid_t pid);
double world_peak_mb(pid_t pid);
/* All clients together. */
double world_clients_cpu_s(const world *w);
/* The largest of all clients. */
double world_clients_peak_mb(const world *w);

void world_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A federation of real processes in a folder of its own: one weftd on a free port, weft-client
 * processes, `weft` commands. Nothing here sleeps: what the processes say arrives on pipes, and a
 * wait ends with the words it waits for, or fails the test at its deadline with everybody's last
 * words.
 */
#ifndef WEFT_E2E_FED_H
#define WEFT_E2E_FED_H

#include "support/support.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum { FED_MAX_PROCS = 32, FED_WAIT_S = 120 };

typedef struct fed_text {
    char *data; /* zero-terminated */
    size_t size;
    size_t cap;
    size_t mark; /* waits look behind it */
} fed_text;

typedef struct fed_proc {
    char name[64];
    pid_t pid;
    int fd[2]; /* stdout and stderr, or both in the first; -1: at its end */
    fed_text text[2];
    bool ended;
    int status; /* exit status, or 128 + signal */
} fed_proc;

typedef struct fed {
    char *dir;
    char weftd_dir[PATH_MAX];
    char operator_dir[PATH_MAX];
    char port[16];
    fed_proc *weftd;
    size_t n_procs;
    fed_proc procs[FED_MAX_PROCS];
} fed;

/* The programs: argv of the test's main, in this order: weft, weftd, weft-client. */
void fed_programs(char **argv);
const char *fed_client_program(void);

/** A new federation with a running coordinator; more lines for weftd.yaml, or NULL. */
void fed_new(fed *f, const char *config);
/** Kill what still runs and remove the folder. */
void fed_done(fed *f);
/** A path in the federation's folder; static, good until the fourth call after this one. */
const char *fed_path(const fed *f, const char *name);
void fed_write(const fed *f, const char *name, const char *text);

/** Start weftd (again): the same port as before. */
void fed_start_weftd(fed *f);
/** Invite and enrol; a fresh key pair, a state folder client-NAME. */
void fed_enrol(fed *f, const char *name);
/** weft-client run; options: more arguments, ended by NULL. It takes part in secure jobs only, as
 * the agent does unless it is told otherwise: FED_PLAIN. */
#define FED_PLAIN "--allow-plain", "--min-cohort", "1"
fed_proc *fed_start_client(fed *f, const char *name, const char *const *options);
/** Any program; its output goes to pipes. */
fed_proc *fed_spawn(fed *f, const char *name, const char *const *argv, bool merged);

/** Read what has come, and wait at most timeout_ms for more. */
void fed_pump(fed *f, int timeout_ms);
/** Read what comes for so long. */
void fed_pump_for(fed *f, unsigned ms);
/** Until the process says these words (behind those waited for before), or fail after FED_WAIT_S.
 */
void fed_wait(fed *f, fed_proc *p, const char *words);
/** Until it ends. @return its status. */
int fed_wait_end(fed *f, fed_proc *p);
/** Has it said so, ever? And how often. */
size_t fed_count(const fed_proc *p, const char *words);
void fed_kill(fed *f, fed_proc *p, int signal_number);
/** Append all that a process has said. */
void fed_keep_text(fed_text *t, const fed_proc *p);
/** A process that has ended and nobody looks at any more: its place is free again. */
void fed_forget(fed_proc *p);
/** Everybody's last words, before a failure. */
void fed_tell_all(const fed *f);

/** Run `weft ...` (arguments ended by NULL) to its end. @return the process; it must exit with
 * status. */
fed_proc *fed_weft(fed *f, int status, const char *const *arguments);
/** The same with --format json and status 0. @return the document, the caller's. */
json_t *fed_json(fed *f, const char *const *arguments);
#define FED_WEFT(f, status, ...) fed_weft(f, status, (const char *const[]){__VA_ARGS__, NULL})
#define FED_JSON(f, ...)         fed_json(f, (const char *const[]){__VA_ARGS__, NULL})

/**
 * NAME.yaml: a job on drawn digits with a network small enough that an epoch is a matter of
 * milliseconds. @param hidden  units of a hidden layer, 0: none. @param rest  what follows the
 * model: train, round, ... @return its path, as of fed_path.
 */
const char *fed_write_job(const fed *f, const char *name, unsigned hidden, const char *rest);
/** The same, submitted. */
void fed_submit(fed *f, const char *name, unsigned hidden, const char *rest);
/** Start `weft --format jsonl job watch JOB`. */
fed_proc *fed_watch(fed *f, const char *job);
/** Until the job ends as expected ("done", "canceled"): by a watch of its own. */
void fed_wait_job(fed *f, const char *job, const char *status);
/** The coordinator's directory holds what it should, down to the bytes of every model, and its
 * ledger has it all on record. */
void fed_check_store(const fed *f);
/** Members of objects, checked. */
json_int_t fed_int(const json_t *object, const char *key);
const char *fed_string(const json_t *object, const char *key);
double fed_metric(const json_t *object, const char *metrics, const char *name);

#endif

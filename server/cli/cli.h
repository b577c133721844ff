/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft, the operator's command: what its nouns share. One thread, one command, then the end.
 *
 * A verb is a row of a table (its options, arguments, help and function). Verbs return a status;
 * main prints the error and turns it into the exit status. Results go to stdout in the chosen
 * format, progress and errors to stderr.
 */
#ifndef WEFT_CLI_H
#define WEFT_CLI_H

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "config/operator.h"
#include "rt/channel.h"
#include "wire/methods.h"
#include "wire/wire.h"

#include <jansson.h>

/* exit statuses, as README and `weft --help` tell them */
enum {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_NOT_REACHED = 2,
    CLI_TIMED_OUT = 3,
    CLI_NOT_KEPT = 4,
    CLI_USAGE = 64
};

#define CLI_MAX_OPTIONS 12
#define CLI_TIMEOUT_MS  30000U

typedef enum cli_format { CLI_TEXT = 0, CLI_JSON, CLI_JSONL } cli_format;

typedef struct cli cli;

typedef struct cli_option {
    const char *name;     /* long name; NULL ends the list */
    char letter;          /* or 0 */
    const char *argument; /* its name in the help; NULL: the option takes none */
    const char *help;
} cli_option;

typedef struct cli_verb {
    const char *noun;
    const char *verb;      /* NULL: the noun stands alone */
    const char *arguments; /* "FILE", "JOB [ROUND]", "" */
    int min_arguments;
    int max_arguments;
    const char *summary; /* one line */
    const char *text;    /* more for --help, or NULL */
    const cli_option *options;
    weft_status (*run)(cli *c, weft_err *err);
} cli_verb;

struct cli {
    const cli_verb *verb;
    /* global options */
    char operator_dir[WEFT_CONFIG_MAX_PATH_BYTES + 1];
    const char *address; /* NULL: of weft.yaml */
    cli_format format;
    uint32_t timeout_ms; /* 0: none */
    bool has_timeout;
    /* the verb's own */
    const char
        *value[CLI_MAX_OPTIONS]; /* by index of verb->options; "" for flags; NULL: not given */
    char *const *argument;       /* [n_arguments] */
    int n_arguments;
    bool usage_error; /* the failure is a mistake on the command line: exit status 64 */
    int exit_status;  /* of a verb that succeeded in finding out a failure; else CLI_DONE */
    /* the connection, made on first use */
    weft_operator_config config;
    bool has_config;
    weft_rt_channel *channel;
    /* of the operator's certificate; set by cli_connect */
    int64_t certificate_until_unix_ms;
    int64_t certificate_due_unix_ms; /* from then on it renews */
    /* output */
    json_t *list; /* of cli_list_begin, format JSON */
};

/* ---- arguments (main.c) ---------------------------------------------------------------------- */

/** WEFT_E_INVALID with the message; the exit status will be CLI_USAGE. */
WEFT_NODISCARD weft_status cli_usage(cli *c, weft_err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** The value of one of the verb's options, or NULL. */
const char *cli_value(const cli *c, const char *option);
/** A whole decimal number within [min, max]; false otherwise. */
bool cli_parse_u64(uint64_t *ret, const char *text, uint64_t min, uint64_t max);

weft_status cli_model_predict(cli *c, weft_err *err);
weft_status cli_round_replay(cli *c, weft_err *err);

extern const cli_verb cli_init_verbs[];
extern const cli_verb cli_job_verbs[];
extern const cli_verb cli_model_verbs[];
extern const cli_verb cli_client_verbs[];
extern const cli_verb cli_ledger_verbs[];
extern const cli_verb cli_round_verbs[];
extern const cli_verb cli_status_verbs[];
extern const cli_verb cli_renew_verbs[];
extern const cli_verb cli_backup_verbs[];
extern const cli_verb cli_restore_verbs[];
extern const cli_verb cli_doctor_verbs[];

/* ---- connection (connect.c) ------------------------------------------------------------------ */

/** Read weft.yaml of the operator's folder, once. */
WEFT_NODISCARD weft_status cli_load_config(cli *c, weft_err *err);
/** The channel to the coordinator, made once. */
WEFT_NODISCARD weft_status cli_connect(cli *c, weft_err *err);
/**
 * Before a connection that was lost is tried again: where the certificate is due, open the channel
 * anew with its successor, for TLS would not take an expired one. No call may be under way.
 * @return WEFT_E_AGAIN, WEFT_E_TIMEOUT nobody answers; WEFT_E_AUTH it has expired for good.
 */
WEFT_NODISCARD weft_status cli_reconnect(cli *c, weft_err *err);
/** The address that is connected to. */
const char *cli_address(const cli *c);
void cli_disconnect(cli *c);
/** Open a channel with these texts; tls->cert_pem may be NULL. */
WEFT_NODISCARD weft_status cli_open_channel(cli *c, const weft_rt_tls *tls, weft_err *err);
/** A PEM file as text into b (initialised here; wipe and free it in any case). */
WEFT_NODISCARD weft_status cli_read_pem(weft_buf *b, const char **ret, const char *path,
                                        weft_err *err);
/**
 * Before connecting (renew.c): renew the operator's certificate where two thirds of its time have
 * passed. While it is still good, a renewal that fails is only warned of.
 * @param tls   of the folder; cert_pem is replaced by the successor.
 * @param cert  holds tls->cert_pem.
 * @return WEFT_E_AUTH it has expired and could not be renewed, with the way back.
 */
WEFT_NODISCARD weft_status cli_renew_if_due(cli *c, weft_rt_tls *tls, weft_buf *cert,
                                            weft_err *err);

/** One message of a kind, decoded; its memory. Finish with cli_reply_done. */
typedef struct cli_reply {
    weft_buf bytes;
    weft_arena arena;
} cli_reply;
void cli_reply_done(cli_reply *reply);
/**
 * A unary call. @param msg  the kind's struct, written on success; lives as long as reply.
 * Failures say what to do.
 */
WEFT_NODISCARD weft_status cli_call(cli *c, weft_method method, weft_msg_kind request_kind,
                                    const void *request, weft_msg_kind reply_kind, void *msg,
                                    cli_reply *reply, weft_err *err);
/** What a call's end means to the user: text of the server's with advice. */
WEFT_NODISCARD weft_status cli_call_failed(const cli *c, weft_rt_code code, const char *text,
                                           weft_err *err);

/* ---- output (output.c) ----------------------------------------------------------------------- */

/** True when results are for people. */
bool cli_is_text(const cli *c);
/** Print one object (taken over; NULL is WEFT_E_NOMEM). JSON: indented; JSONL: one line. */
WEFT_NODISCARD weft_status cli_print_json(cli *c, json_t *object, weft_err *err);

/* A list: text is a table with a line of headings, JSON an array, JSONL one object a line. */
typedef struct cli_table {
    cli *c;
    const char *const *heads; /* [n_columns] */
    size_t n_columns;
    size_t n_rows;
    weft_buf cells; /* zero-terminated, row by row */
    size_t width[16];
} cli_table;
void cli_table_init(cli_table *t, cli *c, const char *const *heads, size_t n_columns);
/** Text: the row's cells [n_columns]. */
WEFT_NODISCARD weft_status cli_table_row(cli_table *t, const char *const *cells, weft_err *err);
/** JSON, JSONL: the item's object, taken over. */
WEFT_NODISCARD weft_status cli_table_object(cli_table *t, json_t *object, weft_err *err);
/** Print what is left; nothing_text is said where a text table is empty. Frees. */
WEFT_NODISCARD weft_status cli_table_end(cli_table *t, const char *nothing_text, weft_err *err);
void cli_table_done(cli_table *t);

/** "name          value": one line of a text record; an empty value is left out. */
void cli_field(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define CLI_TEXT_BYTES 48
/* Small texts in buffers of CLI_TEXT_BYTES; each returns out. */
const char *cli_size(char *out, uint64_t bytes);     /* "6.7 MB" */
const char *cli_count(char *out, uint64_t n);        /* "1,663,370" */
const char *cli_time(char *out, int64_t unix_ms);    /* "2026-03-01 12:00:00 UTC"; "" for 0 */
const char *cli_duration(char *out, uint64_t ms);    /* "2 min 5 s" */
const char *cli_digest(char *out, weft_view digest); /* 12 hexadecimal digits; "" for none */
const char *cli_metrics(char *out, size_t out_size, const weft_metrics *m); /* "loss 0.12  ..." */
int64_t cli_now_unix_ms(void);

/* A line on stderr that is overwritten on a terminal; elsewhere a plain line now and then. */
typedef struct cli_progress {
    uint64_t started_ms;
    uint64_t shown_ms;
    bool terminal;
    bool dirty; /* a line is there to be ended */
} cli_progress;
void cli_progress_init(cli_progress *p);
/** Show done of total bytes once the work has taken two seconds. */
void cli_progress_bytes(cli_progress *p, const char *what, uint64_t done, uint64_t total);
/** Overwrite (terminal) or print the line. */
void cli_progress_line(cli_progress *p, const char *line);
/** End the line, if there is one. */
void cli_progress_end(cli_progress *p);

/* ---- messages as JSON (json.c); each returns a new object or NULL ---------------------------- */

json_t *cli_json_job(const weft_msg_job_info *job);
json_t *cli_json_round(const weft_msg_round_info *round);
json_t *cli_json_secure(const weft_msg_secure_info *secure);
json_t *cli_json_assignment(const weft_msg_assignment_info *assignment);
json_t *cli_json_model(const weft_msg_model_info *model, bool with_texts);
json_t *cli_json_client(const weft_msg_client_info *client);
json_t *cli_json_history(const weft_msg_status_change *history, size_t n);
json_t *cli_json_metrics(const weft_metrics *m);
json_t *cli_json_digest(weft_view digest); /* hexadecimal, null when absent */

/* ---- jobs that other verbs need too ---------------------------------------------------------- */

/** Follow a job until it has ended. @param quiet  no results on stdout, progress only. */
WEFT_NODISCARD weft_status cli_watch_job(cli *c, const char *name, bool quiet, weft_err *err);

/** A model that the coordinator holds, with spec and schema: JOB, JOB@ROUND, or a digest (also its
 *  first 6 digits or more). released: the job's released version. */
WEFT_NODISCARD weft_status cli_find_model(cli *c, const char *reference, bool released,
                                          weft_msg_model_info *ret, cli_reply *reply,
                                          weft_err *err);
/**
 * Fetch a version's bytes into a temporary file beside `near`, verify its digest, map it.
 * @param ret  map read-only; end with cli_unmap.
 */
WEFT_NODISCARD weft_status cli_fetch_model(cli *c, const weft_msg_model_info *model,
                                           const char *near, weft_view *ret, weft_err *err);
void cli_unmap(weft_view *map);

#endif

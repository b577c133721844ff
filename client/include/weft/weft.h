/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libweft: take part in federated learning from a native application. The data stay here; what
 * leaves is an update of the model's weights, an example count and metrics.
 *
 *   open a client from a state folder -> enrol once with a join file -> attach a trainer to each
 *   named data set -> run.
 *
 * Threads: a client belongs to one thread at a time ("owner thread": the one inside run or step);
 * weft_client_stop and weft_client_wake_fd may be used from any. libweft never prints, installs no
 * signal handlers and has no global state of its own. gRPC's internal threads exist while a client
 * is open; they never call the application. While a trainer runs, one internal thread renews the
 * lease, and sleeps between tasks; it never calls the application either. fork() after open is
 * detected: calls in the child fail with WEFT_E_STATE.
 *
 * Ownership: a returned const pointer lives as long as its parent; a pointer-to-pointer
 * out-parameter is the caller's to free. Out-parameters are untouched on failure.
 */
#ifndef WEFT_WEFT_H
#define WEFT_WEFT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(WEFT_BUILDING) && defined(__GNUC__)
#define WEFT_API __attribute__((visibility("default")))
#else
#define WEFT_API
#endif

/* The same text as common/base/status.h, under the same guard: a test compares them. */
#ifndef WEFT_STATUS_H
#define WEFT_STATUS_H
#if defined(__GNUC__)
#define WEFT_NODISCARD __attribute__((warn_unused_result))
#else
#define WEFT_NODISCARD
#endif
typedef enum weft_status {
    WEFT_OK = 0,
    WEFT_E_NOMEM = 1,     /* an allocation failed */
    WEFT_E_INVALID = 2,   /* an argument or a value is not acceptable */
    WEFT_E_FORMAT = 3,    /* bytes do not follow their format */
    WEFT_E_LIMIT = 4,     /* a named limit was passed */
    WEFT_E_AUTH = 5,      /* not allowed, or an identity or signature does not hold */
    WEFT_E_STATE = 6,     /* not possible in the present state */
    WEFT_E_NOTFOUND = 7,  /* no such thing */
    WEFT_E_CONFLICT = 8,  /* exists already, with other content */
    WEFT_E_AGAIN = 9,     /* not now: try again */
    WEFT_E_CANCELED = 10, /* stopped on request */
    WEFT_E_TIMEOUT = 11,  /* a deadline passed */
    WEFT_E_IO = 12,       /* the operating system refused; weft_error.sys holds errno */
    WEFT_E_DB = 13,       /* SQLite refused */
    WEFT_E_CRYPTO = 14,   /* OpenSSL refused */
    WEFT_E_INTERNAL = 15  /* a defect in weft */
} weft_status;
#endif

/** What went wrong, in one sentence. Pass NULL where it is of no interest. */
typedef struct weft_error {
    size_t size; /* set by WEFT_ERROR_INIT */
    weft_status code;
    int sys; /* errno, or 0 */
    char message[256];
} weft_error;
/* clang-format off */
#define WEFT_ERROR_INIT {sizeof(weft_error), WEFT_OK, 0, {0}}
/* clang-format on */

typedef struct weft_client weft_client;

/* ---- training -------------------------------------------------------------------------------- */

typedef enum weft_task_kind {
    WEFT_TASK_KIND_TRAIN = 1,
    WEFT_TASK_KIND_EVALUATE = 2,
    WEFT_TASK_KIND_STATS = 3
} weft_task_kind;

/** What the coordinator asks for; borrowed for the trainer's call. */
typedef struct weft_task_info {
    size_t size;
    weft_task_kind kind;
    const char *job;
    uint32_t round;
    const char *dataset;
    const char *model_spec;  /* text form; README, "Model specs" */
    const char *data_schema; /* text form, or "" */
    const char *optimizer;   /* "sgd" or "adam" */
    double learning_rate, momentum, weight_decay, beta1, beta2, epsilon, prox_mu;
    uint32_t batch_size; /* 0: all at once */
    uint32_t epochs;
    uint64_t seed;   /* already mixed for this client and round */
    size_t n_params; /* float32 values in the flat weight vector */
    /* "fast", or "portable": the same bits on every processor, for trainers that can */
    const char *numerics;
    /* Of the learning rate over the rounds: "constant", "step" (times schedule_factor after each
     * schedule_rounds) or "cosine" (down to schedule_factor of it within schedule_rounds). Time
     * runs on within a round: half of round 5 is at 4.5. */
    const char *schedule;
    double schedule_factor;
    double warmup_rounds; /* it rises from 0 for so long; 0: not */
    double clip_gradient; /* largest norm of a batch's gradient; 0: any */
    uint32_t schedule_rounds;
    uint32_t early_stop;    /* end after so many epochs without a lower loss; 0: never */
    uint32_t augment_shift; /* images move by up to so many pixels */
    uint32_t augment_crop;  /* up to so many rows and columns are cut off, the rest enlarged */
    int augment_flip;       /* nonzero: every second image is mirrored, left for right */
    uint32_t reserved;      /* 0 */
} weft_task_info;

/** How a trainer reports progress and learns that it should stop; valid during the call. */
typedef struct weft_task_control weft_task_control;
/** Report done of total work items (batches, say). Cheap. Threads: any. */
WEFT_API void weft_task_progress(weft_task_control *control, uint64_t done, uint64_t total);
/** Nonzero once the trainer should return WEFT_E_CANCELED. Poll it each batch. Threads: any. */
WEFT_API int weft_task_canceled(const weft_task_control *control);

#define WEFT_RESULT_MAX_METRICS 16
typedef struct weft_task_metric {
    char name[33]; /* "loss", "accuracy", ... */
    double value;  /* a mean over n_examples */
} weft_task_metric;

typedef struct weft_task_result {
    size_t size;
    uint64_t n_examples; /* the update's weight; > 0 */
    uint32_t n_metrics;
    weft_task_metric metrics[WEFT_RESULT_MAX_METRICS];
} weft_task_result;

/** A trainer: the application's own, or weft_nn_trainer of <weft/nn.h>. */
typedef struct weft_trainer {
    size_t size;
    void *self;
    /**
     * Do the task. Called on the owner thread, never concurrently.
     * @param weights  [n_params]: the base weights on entry; TRAIN: the trained weights on return
     *                 (plain new weights, not a difference); EVALUATE: left as they are.
     * @param result   n_examples and metrics.
     * @return WEFT_OK; WEFT_E_CANCELED; anything else abandons the assignment with message as the
     *         reason (it reaches the coordinator: put no data into it).
     */
    weft_status (*run)(void *self, const weft_task_info *task, float *weights,
                       weft_task_result *result, weft_task_control *control, char message[256]);
} weft_trainer;

/** A named data set that this client offers. */
typedef struct weft_dataset {
    size_t size;
    const char *name;    /* [A-Za-z0-9._-], at most 64 */
    uint64_t n_examples; /* 0: not told */
    const char *schema;  /* declared columns as text, or NULL */
} weft_dataset;
#define WEFT_DATASET_INIT                                                                          \
    {                                                                                              \
        sizeof(weft_dataset), NULL, 0, NULL                                                        \
    }

/* ---- the client ------------------------------------------------------------------------------ */

typedef enum weft_log_severity {
    WEFT_SEVERITY_ERROR = 0,
    WEFT_SEVERITY_WARN = 1,
    WEFT_SEVERITY_INFO = 2,
    WEFT_SEVERITY_DEBUG = 3
} weft_log_severity;

/** Whom secure aggregation is to withstand. */
typedef enum weft_policy_adversary {
    WEFT_POLICY_CURIOUS =
        1,                 /* a coordinator that keeps to the protocol and looks at what it gets */
    WEFT_POLICY_ACTIVE = 2 /* a coordinator that lies */
} weft_policy_adversary;

typedef struct weft_client_options {
    size_t size;
    const char *state_dir; /* created 0700 where missing; one client per folder (locked) */
    /* the owner's policy, checked on every assignment; the coordinator can only be stricter */
    const char *allowed_jobs;       /* comma-separated names or prefixes with '*'; NULL: all */
    uint32_t min_cohort;            /* refuse rounds with fewer clients; default 3 */
    int require_secure_aggregation; /* default 1; 0 lets the coordinator see this client's updates
                                     * in jobs that are plain */
    /* the network */
    const char *http_proxy; /* "http://host:port"; NULL: direct, whatever the environment says */
    uint32_t connect_backoff_max_ms; /* default 20000 */
    /* the host */
    int poller_thread; /* nonzero: one thread waits on the network and signals the wake fd */
    void (*log)(void *arg, weft_log_severity severity, const char *line);
    void *log_arg;
    int observe; /* nonzero: only info, receipt and history, also beside a process that runs */
    /* An update whose training took so long or longer is on disk before any of it is sent. A
     * quicker one survives the process, but a power cut costs its training again. Default 0:
     * every update waits for the disk. */
    uint32_t sync_above_ms;
    /* the owner's policy for secure aggregation (docs/threat-model.md) */
    int adversary; /* weft_policy_adversary; default active: jobs that only guard against less are
                      declined */
    double gamma;  /* and those that guard against a smaller fraction of colluders; default 0.05 */
} weft_client_options;
#define WEFT_CLIENT_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(weft_client_options), NULL, NULL, 3, 1, NULL, 20000, 0, NULL, NULL, 0, 0,           \
            WEFT_POLICY_ACTIVE, 0.05                                                               \
    }

/**
 * Open the client of a state folder. Nothing is sent yet.
 * @param ret      the caller's to close.
 * @param options  copied.
 * @return WEFT_E_CONFLICT another process holds the folder; WEFT_E_INVALID options;
 *         WEFT_E_NOTFOUND observe, and there is no client; WEFT_E_STATE a newer weft wrote it;
 *         WEFT_E_DB, WEFT_E_IO, WEFT_E_NOMEM.
 */
WEFT_API WEFT_NODISCARD weft_status weft_client_open(weft_client **ret,
                                                     const weft_client_options *options,
                                                     weft_error *err);
/** Close: cancels what is under way (the outbox keeps it) and frees. NULL is allowed. In a forked
 * child it leaves everything as it is. */
WEFT_API void weft_client_close(weft_client *client);

/**
 * Enrol with a join file (once; again with the same file is harmless). Keys are made here and never
 * leave the state folder.
 * Blocks for 20 s at most.
 * @return WEFT_E_AUTH token used, expired or revoked; WEFT_E_AGAIN the coordinator is away;
 *         WEFT_E_CONFLICT the folder belongs to another federation, name or operator;
 *         WEFT_E_NOTFOUND, WEFT_E_FORMAT the join file.
 */
WEFT_API WEFT_NODISCARD weft_status weft_client_enrol(weft_client *client,
                                                      const char *join_file_path, weft_error *err);

/**
 * Offer a data set and who trains on it; both structs are copied, trainer->self is borrowed. Before
 * the first run or step.
 * @return WEFT_E_INVALID a bad name, no run function; WEFT_E_CONFLICT attached already;
 *         WEFT_E_LIMIT more than 32; WEFT_E_STATE the client is running; WEFT_E_NOMEM.
 */
WEFT_API WEFT_NODISCARD weft_status weft_client_attach(weft_client *client,
                                                       const weft_dataset *dataset,
                                                       const weft_trainer *trainer,
                                                       weft_error *err);

/**
 * Take part until stopped or until the coordinator has nothing more for this client. Reconnects
 * with exponential backoff and jitter.
 * @return WEFT_OK nothing more to do; WEFT_E_CANCELED stopped; WEFT_E_AUTH revoked or not enrolled;
 *         WEFT_E_STATE incompatible coordinator; WEFT_E_INVALID no data set; WEFT_E_DB or
 *         WEFT_E_IO the state folder cannot be written. It may be called again in every case.
 */
WEFT_API WEFT_NODISCARD weft_status weft_client_run(weft_client *client, weft_error *err);
/**
 * One step of the same, for hosts with a loop of their own: returns after timeout_ms at the latest
 * when there is nothing to do; a trainer runs inside a step and takes its time.
 * @return WEFT_E_AGAIN call again; else as weft_client_run.
 */
WEFT_API WEFT_NODISCARD weft_status weft_client_step(weft_client *client, uint32_t timeout_ms,
                                                     weft_error *err);
/** Ask run, step and the trainer to end soon; they return WEFT_E_CANCELED, once. What was trained
 * is kept and sent in the next run. Threads: any; async-signal-safe. */
WEFT_API void weft_client_stop(weft_client *client);
/** With poller_thread: a descriptor that polls readable when step has work, be it the network or a
 * wait that is over; do not read it, step does. Else -1. Threads: any. */
WEFT_API int weft_client_wake_fd(const weft_client *client);

/* ---- observing ------------------------------------------------------------------------------- */

typedef enum weft_client_event_kind {
    WEFT_CLIENT_CONNECTED = 1,
    WEFT_CLIENT_DISCONNECTED, /* detail: why, and when it tries again */
    WEFT_CLIENT_ASSIGNED,
    WEFT_CLIENT_TRAINED,
    WEFT_CLIENT_UPLOADED,  /* receipt is there */
    WEFT_CLIENT_REFUSED,   /* by the coordinator; detail: reason */
    WEFT_CLIENT_DECLINED,  /* by this client's policy; detail: reason */
    WEFT_CLIENT_ABANDONED, /* detail: reason; "secure aggregation: ..." when another party lied */
    WEFT_CLIENT_RENEWED,   /* certificate */
    WEFT_CLIENT_SECURE     /* secure aggregation took a step; detail: which; "done" is the last */
} weft_client_event_kind;

typedef struct weft_client_event {
    size_t size;
    weft_client_event_kind kind;
    const char *job; /* or "" */
    uint32_t round;
    uint64_t bytes;
    uint64_t duration_ms;
    const char *detail; /* or "" */
} weft_client_event;

/** Called on the owner thread, inside run or step; of the client's functions it may call stop,
 * receipt, history and get_info. */
typedef void (*weft_client_observer)(void *arg, const weft_client_event *event);
WEFT_API void weft_client_observe(weft_client *client, weft_client_observer observer, void *arg);

typedef struct weft_receipt {
    size_t size;
    uint64_t assignment_id;
    char job[65];
    uint32_t round;
    uint64_t n_examples;
    int64_t accepted_unix_ms;
    uint8_t update_digest[32];
    uint8_t signature[64]; /* Ed25519 by the coordinator's receipt key, verified on arrival */
} weft_receipt;
/* clang-format off */
#define WEFT_RECEIPT_INIT {sizeof(weft_receipt), 0, {0}, 0, 0, 0, {0}, {0}}
/* clang-format on */
/** The newest receipt. WEFT_E_NOTFOUND when there is none yet. */
WEFT_API WEFT_NODISCARD weft_status weft_client_receipt(const weft_client *client,
                                                        weft_receipt *ret, weft_error *err);

/* What a check of the ledger found, when nothing was wrong. */
typedef struct weft_ledger_info {
    size_t size;
    uint64_t records;              /* in the ledger now */
    uint64_t records_known_before; /* under the head that was kept, from which it goes on */
    int64_t signed_unix_ms;
    uint8_t root[32]; /* compare it with other clients': two that differ at one size were lied to */
    int has_receipt;  /* the newest receipt was checked, too */
    uint64_t record;  /* the place of its update in the ledger, from 0 */
} weft_ledger_info;
/* clang-format off */
#define WEFT_LEDGER_INFO_INIT {sizeof(weft_ledger_info), 0, 0, 0, {0}, 0, 0}
/* clang-format on */
/**
 * Ask the coordinator for the signed head of its ledger (a Merkle log after RFC 9162 of clients,
 * rounds, accepted updates and versions), and check that it goes on from the newest head that this
 * client has seen, and that the update of its newest receipt is in it. The head is then kept in the
 * state folder. Blocks for one call (at most 20 s). Also on a client that only observes, beside one
 * that runs.
 * @param ret  or NULL.
 * @return WEFT_OK; WEFT_E_AUTH history was rewritten or taken back, or the update is not in it, and
 * err says which; WEFT_E_AGAIN the coordinator cannot be reached; WEFT_E_NOTFOUND not enrolled.
 * Owner thread.
 */
WEFT_API WEFT_NODISCARD weft_status weft_client_check_ledger(const weft_client *client,
                                                             weft_ledger_info *ret,
                                                             weft_error *err);

/** What one job asked of this client and what was contributed, newest last. */
typedef struct weft_contribution {
    size_t size;
    const char *job;
    uint32_t round;
    weft_task_kind kind;
    const char *outcome; /* "accepted", "refused: ...", "declined: ...", "abandoned: ...", "open" */
    uint64_t n_examples;
    uint64_t bytes;
    int64_t unix_ms;
} weft_contribution;
/** Calls fn for each; stops when fn returns nonzero. Owner thread. */
WEFT_API WEFT_NODISCARD weft_status weft_client_history(const weft_client *client,
                                                        int (*fn)(void *arg,
                                                                  const weft_contribution *item),
                                                        void *arg, weft_error *err);

typedef struct weft_client_info {
    size_t size;
    int enrolled;
    char name[65];
    char federation[65];
    char address[256];
    int64_t certificate_expires_unix_ms;
    int64_t last_seen_unix_ms; /* when the coordinator last answered, to the minute; 0: never */
} weft_client_info;
#define WEFT_CLIENT_INFO_INIT                                                                      \
    {                                                                                              \
        sizeof(weft_client_info), 0, {0}, {0}, {0}, 0, 0                                           \
    }
WEFT_API WEFT_NODISCARD weft_status weft_client_get_info(const weft_client *client,
                                                         weft_client_info *ret, weft_error *err);

/** "0.1.0" */
WEFT_API const char *weft_version(void);

#ifdef __cplusplus
}
#endif

#endif

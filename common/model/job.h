/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job definition: everything that the operator decides about one training task. Plain data,
 * defaults and validation; pure. YAML (server/config) and protobuf (common/wire) map onto it.
 */
#ifndef WEFT_MODEL_JOB_H
#define WEFT_MODEL_JOB_H

#include "base/alloc.h"
#include "base/limits.h"
#include "model/plan.h"

#include <stdbool.h>
#include <stdint.h>

#define WEFT_DIGEST_BYTES 32

typedef enum weft_aggregation { WEFT_AGGREGATION_FEDAVG = 1 } weft_aggregation;

typedef enum weft_durability {
    WEFT_DURABILITY_UPDATE = 1, /* a receipt promises that the update is on disk */
    WEFT_DURABILITY_ROUND = 2   /* a receipt promises only that the round is retried */
} weft_durability;

/* What the coordinator is taken for; the numbers are those of weft_secagg_adversary. */
typedef enum weft_adversary {
    WEFT_ADVERSARY_CURIOUS = 1,
    WEFT_ADVERSARY_ACTIVE = 2
} weft_adversary;

/* Whether a job aggregates securely when it does not say: who wants the coordinator to see each
 * update writes so, aggregation: {secure: false}. */
#define WEFT_SECURE_BY_DEFAULT true
/* Of a sum of two each sees the other. */
#define WEFT_SECURE_MIN_COHORT 3U

/* Secure aggregation: what it stands up to, common/secagg/params.h. */
typedef struct weft_job_secure {
    weft_adversary adversary;
    double gamma; /* fraction of the cohort that may collude with the coordinator, [0, 0.9] */
    double delta; /* fraction that may vanish during the protocol, [0, 0.9] */
    uint32_t min_colluders;     /* at least so many, in small cohorts; below round.minimum */
    uint64_t phase_deadline_ms; /* of each of its steps, 1 s .. 1 day */
} weft_job_secure;

typedef struct weft_job_def {
    char name[WEFT_MAX_NAME_BYTES + 1];
    char dataset[WEFT_MAX_NAME_BYTES + 1]; /* clients that declare it are eligible */
    char *model_spec;                      /* canonical text, owned */
    char *data_schema;                     /* canonical text, owned; NULL for images */
    weft_task task;                        /* TRAIN or STATS */
    weft_plan plan;
    /* round policy */
    uint32_t target;              /* updates wanted, 1..WEFT_MAX_COHORT */
    uint32_t minimum;             /* fewer at the deadline fail the round; 1..target */
    double over_selection;        /* cohort = ceil(target * over_selection), 1..4 */
    uint64_t deadline_ms;         /* of a round's training, 1 s .. 7 days */
    uint64_t lease_ms;            /* a silent client loses its assignment; 1 s .. deadline */
    uint32_t max_attempts;        /* of one round before the job pauses, 1..1000 */
    uint64_t backoff_ms;          /* before attempt 2, doubled each time */
    uint64_t selection_window_ms; /* once `minimum` are there, wait so long for `target` */
    /* aggregation */
    weft_aggregation aggregation;
    double clip_norm;      /* L2 norm of an update; (0, 1e6] */
    uint64_t max_examples; /* w_max: the largest weight, 1..WEFT_MAX_EXAMPLES */
    weft_durability durability;
    uint32_t keep_updates; /* rounds whose accepted updates stay on disk, to be replayed; plain jobs
                            * only, 0..WEFT_MAX_KEEP_UPDATES */
    bool secure_aggregation; /* the coordinator sees sums only, no client's update or metrics */
    weft_job_secure secure;  /* not looked at without it */
    /* evaluation */
    uint32_t eval_clients; /* 0: no federated evaluation */
    uint32_t eval_every;   /* rounds, >= 1 */
    uint64_t eval_deadline_ms;
    char *eval_data; /* path at the coordinator or NULL, owned */
    /* stop conditions */
    uint32_t rounds;                                    /* 1..1000000 */
    char target_metric[WEFT_MAX_METRIC_NAME_BYTES + 1]; /* "" : none */
    double target_value;                                /* reached from below; "loss" from above */
    uint32_t patience;                                  /* 0: none */
    /* start */
    uint64_t init_seed;
    bool has_init_version;
    uint8_t init_version[WEFT_DIGEST_BYTES];
    uint64_t seed;
} weft_job_def;

/** The defaults (texts NULL). */
void weft_job_def_init(weft_job_def *def);
/** Free the owned texts. */
void weft_job_def_done(weft_job_def *def, const weft_alloc *a);
/** A deep copy; *out is uninitialised before and the caller's to finish. */
WEFT_NODISCARD weft_status weft_job_def_copy(weft_job_def *out, const weft_job_def *def,
                                             const weft_alloc *a, weft_err *err);
/**
 * Check every range and the combinations, parse the spec.
 * @return WEFT_E_INVALID naming the field ("round.minimum is 5, above round.target 3").
 */
WEFT_NODISCARD weft_status weft_job_def_check(const weft_job_def *def, const weft_alloc *a,
                                              weft_err *err);
/** Clients selected for a round: ceil(target * over_selection), at most WEFT_MAX_COHORT. */
uint32_t weft_job_def_cohort(const weft_job_def *def);

#endif

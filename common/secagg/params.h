/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parameters of secure aggregation: how many neighbours k each of n clients has and how many of
 * them (t) must answer. Bonawitz et al., CCS 2017 (complete graph); Bell et al., CCS 2020
 * (k-regular graph), with the search published in google-parfait/federated-compute
 * (graph_parameter_finder.cc), whose vectors the tests reproduce. Pure; any thread; no allocation.
 */
#ifndef WEFT_SECAGG_PARAMS_H
#define WEFT_SECAGG_PARAMS_H

#include "base/err.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum weft_secagg_adversary {
    WEFT_SECAGG_CURIOUS = 1, /* the coordinator keeps to the protocol and looks at what it gets */
    WEFT_SECAGG_ACTIVE = 2   /* it lies */
} weft_secagg_adversary;

/* What a job promises its clients. Hashed into the context: all of a session have the same. */
typedef struct weft_secagg_policy {
    weft_secagg_adversary adversary;
    double gamma; /* fraction of the cohort that may collude with the coordinator, [0, 0.9] */
    double delta; /* fraction that may drop out during the protocol, [0, 0.9] */
    uint32_t min_colluders; /* at least so many, in small cohorts; 0..WEFT_MAX_COHORT */
    uint32_t min_cohort;    /* fewer never begin; >= 3: of a sum of two each sees the other */
} weft_secagg_policy;

#define WEFT_SECAGG_POLICY_INIT                                                                    \
    {                                                                                              \
        WEFT_SECAGG_ACTIVE, 0.05, 0.1, 1, 3                                                        \
    }

/* Below it a sum hides nobody. */
#define WEFT_SECAGG_MIN_COHORT 3U
/* Up to here everybody is everybody's neighbour. */
#define WEFT_SECAGG_COMPLETE_UP_TO 64U

typedef struct weft_secagg_params {
    uint32_t n;         /* clients of the session */
    uint32_t k;         /* neighbours of each: even, or n - 1 (complete) */
    uint32_t t;         /* shares that reconstruct: 2..k */
    uint32_t colluders; /* A: so many learn nothing */
    uint32_t dropouts;  /* so many may vanish (k-regular: but for 2^-20) */
    bool complete;
    double log2_failure; /* probability that colluders learn more, as a power of two; complete:
                            -infinity */
} weft_secagg_params;

/** WEFT_E_INVALID naming the field, its value and its range. */
WEFT_NODISCARD weft_status weft_secagg_policy_check(const weft_secagg_policy *policy,
                                                    weft_err *err);

/**
 * Is a job's policy at least as strict as what a client's owner demands? Active is stricter than
 * curious; larger gamma, min_colluders and min_cohort are stricter; delta is not compared.
 */
bool weft_secagg_policy_covers(const weft_secagg_policy *job, const weft_secagg_policy *owner);

/**
 * The parameters for n clients.
 * @param n  policy's min_cohort..WEFT_MAX_COHORT.
 * @return WEFT_E_INVALID the policy or n; WEFT_E_LIMIT no k up to WEFT_MAX_SECAGG_NEIGHBOURS will
 *         do: err says which k it would take and what to change.
 */
WEFT_NODISCARD weft_status weft_secagg_params_find(weft_secagg_params *ret, uint32_t n,
                                                   const weft_secagg_policy *policy, weft_err *err);

/**
 * The search itself, with the security parameters as arguments (the published table has sigma 40,
 * eta 20 throughout; weft takes sigma 104 against an active coordinator).
 * @param ret_k, ret_t  written when found.
 * @return false: no k-regular graph below n - 1.
 */
bool weft_secagg_graph_search(uint32_t *ret_k, uint32_t *ret_t, uint32_t n, double gamma,
                              double delta, weft_secagg_adversary adversary, double sigma,
                              double eta);

#endif

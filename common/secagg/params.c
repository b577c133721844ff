/* SPDX-License-Identifier: Apache-2.0 */
/* The parameter search. Probabilities are summed from the far tail inwards in float64. */
#include "secagg/params.h"

#include <math.h>

/* Statistical security in bits: of privacy, and of finishing although clients drop out. Against an
 * active coordinator 64 bits more absorb 2^64 tries at steering the graph with keys of its own. */
#define SIGMA_CURIOUS 40.0
#define SIGMA_ACTIVE  104.0
#define ETA           20.0
/* gamma + delta (active: gamma + 2 delta) above this has no solution worth looking for */
#define MOST_LOST 0.9

static double ln_factorial(double n)
{
    int sign = 0;
    return lgamma_r(n + 1.0, &sign);
}

static double ln_choose(double n, double k)
{
    return ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
}

/* P[X = x] where k are drawn from n of which a are marked. */
static double hypergeometric(uint32_t n, uint32_t a, uint32_t k, uint32_t x)
{
    if (x > k || x > a || k - x > n - a) {
        return 0.0;
    }
    return exp(ln_choose(a, x) + ln_choose((double)n - a, (double)k - x) - ln_choose(n, k));
}

/* Least t with P[X > t] <= bound; the probability that it leaves. */
static uint32_t least_above(double *ret_p, uint32_t n, uint32_t a, uint32_t k, double bound)
{
    double p = 0.0;
    uint32_t t = k < a ? k : a;
    while (t > 0) {
        const double more = p + hypergeometric(n, a, k, t);
        if (more > bound) {
            break;
        }
        p = more;
        t--;
    }
    *ret_p = p;
    return t;
}

/* Greatest t with P[X <= t - 1] <= bound. */
static uint32_t greatest_below(uint32_t n, uint32_t a, uint32_t k, double bound)
{
    double p = hypergeometric(n, a, k, 0);
    uint32_t t = 0;
    while (t < k && p <= bound) {
        t++;
        p += hypergeometric(n, a, k, t);
    }
    return t;
}

/* ln of the probability that the graph falls apart without b of its vertices. */
static double ln_disconnected(uint32_t n, uint32_t b, uint32_t k)
{
    if (k > b) {
        return -HUGE_VAL;
    }
    return log(n) + log((double)n - k - 1.0) - M_LN2 + ln_factorial(b) +
           ln_factorial((double)n - k) - ln_factorial(n) - ln_factorial((double)b - k);
}

typedef struct search {
    uint32_t n;
    uint32_t colluders; /* A */
    uint32_t dropouts;  /* D */
    uint32_t present;   /* L */
    weft_secagg_adversary adversary;
    double sigma;
    double eta;
} search;

static search search_of(uint32_t n, double gamma, double delta, weft_secagg_adversary adversary,
                        double sigma, double eta)
{
    return (search){.n = n,
                    .colluders = (uint32_t)floor(gamma * n),
                    .dropouts = (uint32_t)floor(delta * n),
                    .present = (uint32_t)ceil((1.0 - delta) * n),
                    .adversary = adversary,
                    .sigma = sigma,
                    .eta = eta};
}

/* Does k do? Then t and the probability of a failure of privacy. */
static bool try_k(uint32_t *ret_t, double *ret_failure, const search *s, uint32_t k)
{
    const double apart = ln_disconnected(s->n, s->colluders + s->dropouts, k);
    if (apart >= -(s->sigma + 1.0) * M_LN2) {
        return false;
    }
    double p = 0.0;
    uint32_t t1 = least_above(&p, s->n, s->colluders, k, exp2(-(s->sigma + 1.0)) / s->n);
    const uint32_t t2 = greatest_below(s->n, s->present, k, exp2(-s->eta) / s->n);
    if (s->adversary == WEFT_SECAGG_ACTIVE) {
        t1 = (uint32_t)ceil(((double)t1 + k - 1.25) / 2.0);
    }
    if (t2 <= t1) {
        return false;
    }
    *ret_t = t1 + 1 < 2 ? 2 : t1 + 1;
    *ret_failure = exp(apart) + s->n * p;
    return true;
}

static uint32_t find_k(uint32_t *ret_t, double *ret_failure, const search *s)
{
    for (uint32_t k = 2; k + 1 < s->n; k += 2) {
        if (try_k(ret_t, ret_failure, s, k)) {
            return k;
        }
    }
    return 0;
}

bool weft_secagg_graph_search(uint32_t *ret_k, uint32_t *ret_t, uint32_t n, double gamma,
                              double delta, weft_secagg_adversary adversary, double sigma,
                              double eta)
{
    const search s = search_of(n, gamma, delta, adversary, sigma, eta);
    double failure = 0.0;
    uint32_t t = 0;
    const uint32_t k = find_k(&t, &failure, &s);
    if (k > 0) {
        *ret_k = k;
        *ret_t = t;
    }
    return k > 0;
}

weft_status weft_secagg_policy_check(const weft_secagg_policy *policy, weft_err *err)
{
    if (policy->adversary != WEFT_SECAGG_CURIOUS && policy->adversary != WEFT_SECAGG_ACTIVE) {
        WEFT_FAIL(err, WEFT_E_INVALID, "adversary %d is neither curious (1) nor active (2)",
                  (int)policy->adversary);
    }
    if (!(policy->gamma >= 0.0 && policy->gamma <= MOST_LOST)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "gamma is %g, outside [0, %g]", policy->gamma, MOST_LOST);
    }
    if (!(policy->delta >= 0.0 && policy->delta <= MOST_LOST)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "delta is %g, outside [0, %g]", policy->delta, MOST_LOST);
    }
    const bool active = policy->adversary == WEFT_SECAGG_ACTIVE;
    const double lost = policy->gamma + (active ? 2.0 : 1.0) * policy->delta;
    if (lost > MOST_LOST) {
        WEFT_FAIL(err, WEFT_E_INVALID, "gamma %g + %sdelta %g is %g, above %g", policy->gamma,
                  active ? "2 * " : "", policy->delta, lost, MOST_LOST);
    }
    if (policy->min_colluders > WEFT_MAX_COHORT) {
        WEFT_FAIL(err, WEFT_E_INVALID, "min_colluders is %u, above %u", policy->min_colluders,
                  WEFT_MAX_COHORT);
    }
    if (policy->min_cohort < WEFT_SECAGG_MIN_COHORT || policy->min_cohort > WEFT_MAX_COHORT) {
        WEFT_FAIL(err, WEFT_E_INVALID, "min_cohort is %u, outside %u..%u", policy->min_cohort,
                  WEFT_SECAGG_MIN_COHORT, WEFT_MAX_COHORT);
    }
    return WEFT_OK;
}

bool weft_secagg_policy_covers(const weft_secagg_policy *job, const weft_secagg_policy *owner)
{
    return job->adversary >= owner->adversary && job->gamma >= owner->gamma &&
           job->min_colluders >= owner->min_colluders && job->min_cohort >= owner->min_cohort;
}

/* Everybody is everybody's neighbour: the thresholds need no probabilities. */
static weft_status complete_graph(weft_secagg_params *p, const weft_secagg_policy *policy,
                                  weft_err *err)
{
    p->complete = true;
    p->k = p->n - 1;
    p->t = policy->adversary == WEFT_SECAGG_ACTIVE ? (p->n - 1 + p->colluders) / 2 + 1
                                                   : p->colluders + 1;
    p->t = p->t < 2 ? 2 : p->t;
    p->log2_failure = -HUGE_VAL;
    if (p->k > WEFT_MAX_SECAGG_NEIGHBOURS) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "%u clients need more than %u neighbours each: lower gamma %g or delta %g", p->n,
                  WEFT_MAX_SECAGG_NEIGHBOURS, policy->gamma, policy->delta);
    }
    if (p->t > p->k) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "%u clients are too few for %u colluders: %u of %u must answer", p->n,
                  p->colluders, p->t, p->k);
    }
    p->dropouts = p->k - p->t;
    return WEFT_OK;
}

weft_status weft_secagg_params_find(weft_secagg_params *ret, uint32_t n,
                                    const weft_secagg_policy *policy, weft_err *err)
{
    WEFT_TRY(weft_secagg_policy_check(policy, err));
    if (n < policy->min_cohort || n > WEFT_MAX_COHORT) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a cohort of %u, outside %u..%u", n, policy->min_cohort,
                  WEFT_MAX_COHORT);
    }
    const bool active = policy->adversary == WEFT_SECAGG_ACTIVE;
    search s = search_of(n, policy->gamma, policy->delta, policy->adversary,
                         active ? SIGMA_ACTIVE : SIGMA_CURIOUS, ETA);
    s.colluders = s.colluders > policy->min_colluders ? s.colluders : policy->min_colluders;
    s.colluders = s.colluders < n ? s.colluders : n;
    weft_secagg_params p = {.n = n, .colluders = s.colluders};
    double failure = 0.0;
    p.k = n > WEFT_SECAGG_COMPLETE_UP_TO ? find_k(&p.t, &failure, &s) : 0;
    if (p.k == 0) {
        WEFT_TRY(complete_graph(&p, policy, err));
    } else {
        p.dropouts = s.dropouts;
        p.log2_failure = log2(failure);
    }
    if (p.k > WEFT_MAX_SECAGG_NEIGHBOURS) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "%u clients need %u neighbours each, above %u: lower gamma %g or delta %g", n,
                  p.k, WEFT_MAX_SECAGG_NEIGHBOURS, policy->gamma, policy->delta);
    }
    *ret = p;
    return WEFT_OK;
}

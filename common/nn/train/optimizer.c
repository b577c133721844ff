/* SPDX-License-Identifier: Apache-2.0 */
/* Optimizer steps; built with -O3. Threads: any, over different vectors. */
#include "nn/train/optimizer.h"

#include "nn/math.h"

unsigned weft_optimizer_n_state(const weft_plan *plan)
{
    if (plan->optimizer == WEFT_OPTIMIZER_ADAM) {
        return 2;
    }
    return plan->momentum > 0.0 ? 1 : 0;
}

bool weft_optimizer_needs_base(const weft_plan *plan)
{
    return plan->prox_mu > 0.0;
}

bool weft_optimizer_is_plain(const weft_plan *plan, float *ret_keep, float *ret_scale)
{
    *ret_keep = (float)(1.0 - plan->learning_rate * plan->weight_decay);
    *ret_scale = (float)-plan->learning_rate;
    return plan->optimizer == WEFT_OPTIMIZER_SGD && !(plan->momentum > 0.0) &&
           !(plan->prox_mu > 0.0);
}

static void add_decay(float *restrict g, const float *restrict w, float decay, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g[i] += decay * w[i];
    }
}

static void add_proximal(float *restrict g, const float *restrict w, const float *restrict base,
                         float mu, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g[i] += mu * (w[i] - base[i]);
    }
}

static void sgd(float *restrict w, const float *restrict g, float rate, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        w[i] -= rate * g[i];
    }
}

static void sgd_momentum(float *restrict w, const float *restrict g, float *restrict v, float rate,
                         float momentum, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        v[i] = momentum * v[i] + g[i];
        w[i] -= rate * v[i];
    }
}

static void adam(float *restrict w, const float *restrict g, float *restrict m, float *restrict v,
                 const weft_plan *plan, size_t n, uint64_t step)
{
    const float b1 = (float)plan->beta1;
    const float b2 = (float)plan->beta2;
    const float c1 = (float)(1.0 - plan->beta1);
    const float c2 = (float)(1.0 - plan->beta2);
    const double fixed1 = 1.0 - weft_powi(plan->beta1, step);
    const double fixed2 = 1.0 - weft_powi(plan->beta2, step);
    const float rate = (float)(plan->learning_rate / fixed1);
    const float root = (float)(1.0 / sqrt(fixed2));
    const float epsilon = (float)plan->epsilon;
    for (size_t i = 0; i < n; i++) {
        m[i] = b1 * m[i] + c1 * g[i];
        v[i] = b2 * v[i] + c2 * (g[i] * g[i]);
        w[i] -= rate * m[i] / (sqrtf(v[i]) * root + epsilon);
    }
}

void weft_optimizer_step(const weft_plan *plan, float *w, float *g, const float *base, float *state,
                         size_t n, uint64_t step)
{
    if (plan->weight_decay > 0.0) {
        add_decay(g, w, (float)plan->weight_decay, n);
    }
    if (plan->prox_mu > 0.0) {
        add_proximal(g, w, base, (float)plan->prox_mu, n);
    }
    if (plan->optimizer == WEFT_OPTIMIZER_ADAM) {
        adam(w, g, state, state + n, plan, n, step);
    } else if (plan->momentum > 0.0) {
        sgd_momentum(w, g, state, (float)plan->learning_rate, (float)plan->momentum, n);
    } else {
        sgd(w, g, (float)plan->learning_rate, n);
    }
}

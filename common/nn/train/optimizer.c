/* SPDX-License-Identifier: Apache-2.0 */
/* Optimizer steps. Threads: any, over different vectors. */
#include "nn/train/optimizer.h"

#include "nn/isa/loops.h"
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

static weft_adam adam_of(const weft_plan *plan, uint64_t step)
{
    const double fixed1 = 1.0 - weft_powi(plan->beta1, step);
    const double fixed2 = 1.0 - weft_powi(plan->beta2, step);
    return (weft_adam){.b1 = (float)plan->beta1,
                       .b2 = (float)plan->beta2,
                       .c1 = (float)(1.0 - plan->beta1),
                       .c2 = (float)(1.0 - plan->beta2),
                       .rate = (float)(plan->learning_rate / fixed1),
                       .root = (float)(1.0 / sqrt(fixed2)),
                       .epsilon = (float)plan->epsilon};
}

void weft_optimizer_step(const weft_plan *plan, float *w, float *g, const float *base, float *state,
                         size_t n, uint64_t step)
{
    const weft_loops *loops = weft_loops_best();
    if (plan->weight_decay > 0.0) {
        loops->decay(g, w, (float)plan->weight_decay, n);
    }
    if (plan->prox_mu > 0.0) {
        loops->proximal(g, w, base, (float)plan->prox_mu, n);
    }
    if (plan->optimizer == WEFT_OPTIMIZER_ADAM) {
        const weft_adam a = adam_of(plan, step);
        loops->adam(w, g, state, state + n, &a, n);
    } else if (plan->momentum > 0.0) {
        loops->momentum(w, g, state, (float)plan->learning_rate, (float)plan->momentum, n);
    } else {
        loops->sgd(w, g, (float)plan->learning_rate, n);
    }
}

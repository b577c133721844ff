/* SPDX-License-Identifier: Apache-2.0 */
/* The training plan's ranges. Pure; any thread. */
#include "model/plan.h"

#include <stdbool.h>

/* Written so that a NaN fails, too. */
static weft_status check(const char *field, double value, bool ok, const char *range, weft_err *err)
{
    if (!ok) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s is %g, outside %s", field, value, range);
    }
    return WEFT_OK;
}

weft_status weft_plan_check(const weft_plan *p, weft_err *err)
{
    if (p->optimizer != WEFT_OPTIMIZER_SGD && p->optimizer != WEFT_OPTIMIZER_ADAM) {
        WEFT_FAIL(err, WEFT_E_INVALID, "optimizer is %d, neither sgd nor adam", (int)p->optimizer);
    }
    WEFT_TRY(check("learning_rate", p->learning_rate,
                   p->learning_rate > 0.0 && p->learning_rate <= 1000.0, "(0, 1000]", err));
    WEFT_TRY(
        check("momentum", p->momentum, p->momentum >= 0.0 && p->momentum < 1.0, "[0, 1)", err));
    WEFT_TRY(check("weight_decay", p->weight_decay,
                   p->weight_decay >= 0.0 && p->weight_decay <= 1.0, "[0, 1]", err));
    WEFT_TRY(check("beta1", p->beta1, p->beta1 >= 0.0 && p->beta1 < 1.0, "[0, 1)", err));
    WEFT_TRY(check("beta2", p->beta2, p->beta2 >= 0.0 && p->beta2 < 1.0, "[0, 1)", err));
    WEFT_TRY(check("epsilon", p->epsilon, p->epsilon > 0.0 && p->epsilon <= 1.0, "(0, 1]", err));
    WEFT_TRY(
        check("prox_mu", p->prox_mu, p->prox_mu >= 0.0 && p->prox_mu <= 1000.0, "[0, 1000]", err));
    WEFT_TRY(check("batch_size", p->batch_size, p->batch_size <= 65536, "[0, 65536]", err));
    return check("epochs", p->epochs, p->epochs >= 1 && p->epochs <= 10000, "[1, 10000]", err);
}

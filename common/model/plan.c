/* SPDX-License-Identifier: Apache-2.0 */
/* The training plan's ranges. Pure; any thread. */
#include "model/plan.h"

#include <stdbool.h>
#include <stddef.h>

weft_status weft_plan_check(const weft_plan *p, weft_err *err)
{
    const bool constant = p->schedule == WEFT_SCHEDULE_CONSTANT;
    const struct {
        const char *name;
        double value;
        bool ok; /* written so that a NaN is not */
        const char *range;
    } fields[] = {
        {"learning_rate", p->learning_rate, p->learning_rate > 0.0 && p->learning_rate <= 1000.0,
         "(0, 1000]"},
        {"momentum", p->momentum, p->momentum >= 0.0 && p->momentum < 1.0, "[0, 1)"},
        {"weight_decay", p->weight_decay, p->weight_decay >= 0.0 && p->weight_decay <= 1.0,
         "[0, 1]"},
        {"beta1", p->beta1, p->beta1 >= 0.0 && p->beta1 < 1.0, "[0, 1)"},
        {"beta2", p->beta2, p->beta2 >= 0.0 && p->beta2 < 1.0, "[0, 1)"},
        {"epsilon", p->epsilon, p->epsilon > 0.0 && p->epsilon <= 1.0, "(0, 1]"},
        {"prox_mu", p->prox_mu, p->prox_mu >= 0.0 && p->prox_mu <= 1000.0, "[0, 1000]"},
        {"batch_size", p->batch_size, p->batch_size <= 65536, "[0, 65536]"},
        {"epochs", p->epochs, p->epochs >= 1 && p->epochs <= 10000, "[1, 10000]"},
        {"schedule_rounds", p->schedule_rounds,
         constant ? p->schedule_rounds == 0
                  : p->schedule_rounds >= 1 && p->schedule_rounds <= 1000000,
         constant ? "[0, 0], as schedule is constant" : "[1, 1000000]"},
        {"schedule_factor", p->schedule_factor,
         constant ? p->schedule_factor == 0.0
                  : p->schedule_factor >= 0.0 && p->schedule_factor <= 1.0,
         constant ? "[0, 0], as schedule is constant" : "[0, 1]"},
        {"warmup_rounds", p->warmup_rounds, p->warmup_rounds >= 0.0 && p->warmup_rounds <= 1e6,
         "[0, 1000000]"},
        {"clip_gradient", p->clip_gradient, p->clip_gradient >= 0.0 && p->clip_gradient <= 1e6,
         "[0, 1000000]"},
        {"early_stop", p->early_stop, p->early_stop <= 10000, "[0, 10000]"},
        {"augment_shift", p->augment_shift, p->augment_shift <= 1024, "[0, 1024]"},
        {"augment_crop", p->augment_crop, p->augment_crop <= 1024, "[0, 1024]"},
    };
    if (p->optimizer != WEFT_OPTIMIZER_SGD && p->optimizer != WEFT_OPTIMIZER_ADAM) {
        WEFT_FAIL(err, WEFT_E_INVALID, "optimizer is %d, neither sgd nor adam", (int)p->optimizer);
    }
    if (p->numerics != WEFT_NUMERICS_FAST && p->numerics != WEFT_NUMERICS_PORTABLE) {
        WEFT_FAIL(err, WEFT_E_INVALID, "numerics is %d, neither fast nor portable",
                  (int)p->numerics);
    }
    if ((int)p->schedule < WEFT_SCHEDULE_CONSTANT || p->schedule > WEFT_SCHEDULE_COSINE) {
        WEFT_FAIL(err, WEFT_E_INVALID, "schedule is %d, none of constant, step, cosine",
                  (int)p->schedule);
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (!fields[i].ok) {
            WEFT_FAIL(err, WEFT_E_INVALID, "%s is %g, outside %s", fields[i].name, fields[i].value,
                      fields[i].range);
        }
    }
    return WEFT_OK;
}

bool weft_plan_augments(const weft_plan *plan)
{
    return plan->augment_shift > 0 || plan->augment_crop > 0 || plan->augment_flip;
}

weft_status weft_plan_check_model(const weft_plan *plan, const weft_spec *spec, weft_err *err)
{
    const weft_shape *input = &spec->input;
    if (!weft_plan_augments(plan) || spec->n_layers == 0) {
        return WEFT_OK;
    }
    if (input->rank != 3) {
        const char *field = plan->augment_shift > 0  ? "augment_shift"
                            : plan->augment_crop > 0 ? "augment_crop"
                                                     : "augment_flip";
        WEFT_FAIL(err, WEFT_E_INVALID, "%s is of images, the model takes none", field);
    }
    if (plan->augment_crop >= input->h || plan->augment_crop >= input->w) {
        WEFT_FAIL(err, WEFT_E_INVALID, "augment_crop is %u, the images are %ux%u",
                  plan->augment_crop, input->h, input->w);
    }
    return WEFT_OK;
}

const char *weft_optimizer_name(weft_optimizer optimizer)
{
    return optimizer == WEFT_OPTIMIZER_ADAM ? "adam" : "sgd";
}

const char *weft_schedule_name(weft_schedule schedule)
{
    return schedule == WEFT_SCHEDULE_COSINE ? "cosine"
           : schedule == WEFT_SCHEDULE_STEP ? "step"
                                            : "constant";
}

const char *weft_numerics_name(weft_numerics numerics)
{
    return numerics == WEFT_NUMERICS_PORTABLE ? "portable" : "fast";
}

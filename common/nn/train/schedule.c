/* SPDX-License-Identifier: Apache-2.0 */
/* Learning-rate schedules. Pure; any thread. */
#include "nn/train/schedule.h"

#include "nn/math.h"

double weft_schedule_rate(const weft_plan *plan, uint32_t round, uint64_t done, uint64_t total)
{
    const double begun = (double)(round - 1) + (double)done / (double)total;
    const double ended = (double)(round - 1) + (double)(done + 1) / (double)total;
    double factor = 1.0;
    if (plan->schedule == WEFT_SCHEDULE_STEP) {
        factor = weft_powi(plan->schedule_factor, (uint64_t)(begun / plan->schedule_rounds));
    } else if (plan->schedule == WEFT_SCHEDULE_COSINE) {
        const double part = begun < plan->schedule_rounds ? begun / plan->schedule_rounds : 1.0;
        const double low = plan->schedule_factor;
        factor = low + (1.0 - low) * 0.5 * (1.0 + weft_cospi(part));
    }
    if (ended < plan->warmup_rounds) { /* by the batch's end: the first one learns, too */
        factor *= ended / plan->warmup_rounds;
    }
    return plan->learning_rate * factor;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* common/secagg, both machines together: the sum of the survivors, bit for bit, whoever drops out
 * when, and whoever is restarted. */
#include "support/support.h"

#include "sim/secagg_world.h"

#include <string.h>

static weft_secagg_policy policy_of(weft_secagg_adversary adversary)
{
    weft_secagg_policy p = WEFT_SECAGG_POLICY_INIT;
    p.adversary = adversary;
    return p;
}

static void test_session__sums_everybody(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {3, 4, 5, 7, 10, 70};
    for (int adversary = WEFT_SECAGG_CURIOUS; adversary <= WEFT_SECAGG_ACTIVE; adversary++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            const weft_secagg_policy p = policy_of((weft_secagg_adversary)adversary);
            secagg_world w;
            secagg_world_init(&w, sizes[i], 37, &p, i);
            secagg_world_run(&w);
            assert_int_equal(weft_secagg_server_failure(w.server), WEFT_SECAGG_FINE);
            assert_int_equal(weft_secagg_server_n_included(w.server), sizes[i]);
            secagg_world_check_sum(&w, NULL);
            secagg_world_done(&w);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session__sums_everybody),
    };
    return cmocka_run_group_tests_name("secagg", tests, NULL, NULL);
}

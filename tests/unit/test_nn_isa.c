/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of each instruction set beside their oracles, and beside each other: the same bits. */
#include "support/support.h"

#include "base/rng.h"
#include "nn/isa/isa.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const weft_isa_kind all_isas[] = {WEFT_ISA_PLAIN, WEFT_ISA_AVX2, WEFT_ISA_AVX512};
enum { N_ISAS = 3 };

static float *random_floats(weft_rng *rng, size_t n)
{
    float *p = calloc(n ? n : 1, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        p[i] = 2.0F * weft_rng_float(rng) - 1.0F;
    }
    return p;
}

/* ---- panels ---------------------------------------------------------------------------------- */

typedef struct panels_case {
    size_t m, n, k;
    weft_trans trans;
    bool onto;
} panels_case;

/* Rows of a and c are longer than what is used: what is behind stays as it is. */
enum { BEHIND = 3 };

static float *run_panels(const weft_panels_ops *ops, const panels_case *c, const float *a,
                         const float *b, const float *start)
{
    const size_t size = c->m * (c->n + BEHIND);
    float *out = calloc(size, sizeof *out);
    float *panels = calloc(ops->size(c->k, c->n), sizeof *panels);
    assert_true(out && panels);
    memcpy(out, start, size * sizeof *out);
    ops->pack(panels, c->k, c->n, (weft_mat){b, c->trans ? c->k : c->n, c->trans});
    ops->multiply(out, c->n + BEHIND, c->m, c->n, c->k, a, c->k + BEHIND, panels, c->onto);
    free(panels);
    return out;
}

static void check_panels(weft_rng *rng, const panels_case *c)
{
    const size_t size = c->m * (c->n + BEHIND);
    float *a = random_floats(rng, c->m * (c->k + BEHIND));
    float *b = random_floats(rng, c->k * c->n);
    float *start = random_floats(rng, size);
    float *want = run_panels(&weft_panels_naive, c, a, b, start);
    float *plain = run_panels(weft_isa_get(WEFT_ISA_PLAIN)->panels, c, a, b, start);
    for (size_t i = 0; i < size; i++) {
        if (fabsf(plain[i] - want[i]) > 4e-6F * sqrtf((float)c->k)) {
            fail_msg("%zux%zux%zu: value %zu is %g, not %g", c->m, c->n, c->k, i, (double)plain[i],
                     (double)want[i]);
        }
    }
    for (int i = 1; i < N_ISAS; i++) {
        const weft_isa *isa = weft_isa_get(all_isas[i]);
        if (isa) {
            float *got = run_panels(isa->panels, c, a, b, start);
            if (memcmp(got, plain, size * sizeof *got) != 0) {
                fail_msg("%zux%zux%zu: %s has other bits than plain", c->m, c->n, c->k,
                         weft_isa_name(all_isas[i]));
            }
            free(got);
        }
    }
    free(a);
    free(b);
    free(start);
    free(want);
    free(plain);
}

static void test_panels__equal_the_loops_with_the_same_bits_everywhere(void **state)
{
    (void)state;
    weft_rng rng;
    weft_rng_init(&rng, 1, 0);
    for (size_t i = 0; i < 120; i++) {
        check_panels(&rng,
                     &(panels_case){1 + weft_rng_below(&rng, 32), 1 + weft_rng_below(&rng, 200),
                                    1 + weft_rng_below(&rng, 90),
                                    i % 2 ? WEFT_TRANSPOSED : WEFT_PLAIN, i / 2 % 2 == 1});
    }
    for (size_t m = 1; m <= 4; m++) { /* few rows of many columns; a long chain */
        check_panels(&rng, &(panels_case){m, 300, 700, WEFT_PLAIN, true});
        check_panels(&rng, &(panels_case){m * 15, 40, 700, WEFT_TRANSPOSED, false});
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_panels__equal_the_loops_with_the_same_bits_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The L2 norm in lanes. Squares of float32 are exact in float64, so only the order of the additions
 * matters, and the lanes fix it: vector units of any width give the same bits.
 */
#include "update/norm_priv.h"

#include <math.h>
#include <string.h>

#define LANES WEFT_NORM_LANES
#define BLOCK WEFT_NORM_BLOCK

_Static_assert(BLOCK % LANES == 0, "blocks end with the last lane");

void weft_norm_lanes_portable(double lane[LANES], const float *values, size_t n_groups)
{
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t j = 0; j < LANES; j++) {
            const double x = (double)values[g * LANES + j];
            lane[j] += x * x;
        }
    }
}

#if defined(__x86_64__)
typedef float f4 __attribute__((vector_size(16)));
typedef double d4 __attribute__((vector_size(32)));

__attribute__((target("avx2"))) void weft_norm_lanes_avx2(double lane[LANES], const float *values,
                                                          size_t n_groups)
{
    d4 sum[LANES / 4];
    memcpy(sum, lane, sizeof sum);
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t k = 0; k < LANES / 4; k++) {
            f4 v;
            memcpy(&v, values + g * LANES + k * 4, sizeof v);
            const d4 x = __builtin_convertvector(v, d4);
            sum[k] += x * x;
        }
    }
    memcpy(lane, sum, sizeof sum);
}
#endif

weft_norm_lanes_fn *weft_norm_lanes_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        return weft_norm_lanes_avx2;
    }
#endif
    return weft_norm_lanes_portable;
}

static double fold(const double lane[LANES])
{
    double sum[LANES];
    memcpy(sum, lane, sizeof sum);
    for (size_t width = LANES / 2; width > 0; width /= 2) {
        for (size_t j = 0; j < width; j++) {
            sum[j] += sum[j + width];
        }
    }
    return sum[0];
}

void weft_norm_init(weft_norm *norm)
{
    memset(norm, 0, sizeof *norm);
}

static void end_of_block(weft_norm *norm)
{
    if (norm->n % BLOCK == 0) {
        norm->total += fold(norm->lane);
        memset(norm->lane, 0, sizeof norm->lane);
    }
}

static void add_one(weft_norm *norm, float value)
{
    const double x = (double)value;
    norm->lane[norm->n % LANES] += x * x;
    norm->n++;
    end_of_block(norm);
}

void weft_norm_add(weft_norm *norm, const float *values, size_t n)
{
    weft_norm_lanes_fn *lanes = weft_norm_lanes_best();
    while (n > 0 && norm->n % LANES != 0) {
        add_one(norm, *values);
        values++;
        n--;
    }
    while (n >= LANES) {
        const size_t left = BLOCK - (size_t)(norm->n % BLOCK);
        const size_t take = n - n % LANES < left ? n - n % LANES : left;
        lanes(norm->lane, values, take / LANES);
        norm->n += take;
        values += take;
        n -= take;
        end_of_block(norm);
    }
    for (; n > 0; n--) {
        add_one(norm, *values);
        values++;
    }
}

double weft_norm_square(const weft_norm *norm)
{
    return norm->total + fold(norm->lane);
}

double weft_norm_get(const weft_norm *norm)
{
    return sqrt(weft_norm_square(norm));
}

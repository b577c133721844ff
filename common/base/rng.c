/* SPDX-License-Identifier: Apache-2.0 */
/* System entropy and the seeded generator. */
#include "base/rng.h"

#include <errno.h>
#include <math.h>
#include <sys/random.h>

static weft_status system_fill(void *self, void *out, size_t n, weft_err *err)
{
    (void)self;
    unsigned char *p = out;
    while (n > 0) {
        const ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            WEFT_FAIL_SYS(err, errno, "no randomness from the system: errno %d", errno);
        }
        p += got;
        n -= (size_t)got;
    }
    return WEFT_OK;
}

const weft_entropy weft_entropy_system = {system_fill, NULL};

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

void weft_rng_init(weft_rng *r, uint64_t seed, uint64_t stream)
{
    uint64_t state = seed;
    uint64_t mixed = splitmix64(&state) ^ (stream * 0xd1342543de82ef95U + 0x2545f4914f6cdd1dU);
    for (size_t i = 0; i < 4; i++) {
        r->s[i] = splitmix64(&mixed);
    }
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t weft_rng_u64(weft_rng *r)
{
    uint64_t *s = r->s;
    const uint64_t result = rotl(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t weft_rng_below(weft_rng *r, uint64_t bound)
{
    const uint64_t reject = -bound % bound; /* 2^64 mod bound */
    uint64_t x = weft_rng_u64(r);
    while (x < reject) {
        x = weft_rng_u64(r);
    }
    return x % bound;
}

float weft_rng_float(weft_rng *r)
{
    return (float)(weft_rng_u64(r) >> 40) * 0x1p-24F;
}

double weft_rng_double(weft_rng *r)
{
    return (double)(weft_rng_u64(r) >> 11) * 0x1p-53;
}

double weft_rng_normal(weft_rng *r)
{
    for (;;) {
        const double u = 2.0 * weft_rng_double(r) - 1.0;
        const double v = 2.0 * weft_rng_double(r) - 1.0;
        const double q = u * u + v * v;
        if (q > 0.0 && q < 1.0) {
            return u * sqrt(-2.0 * log(q) / q);
        }
    }
}

void weft_rng_shuffle(weft_rng *r, uint32_t *index, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        const size_t j = (size_t)weft_rng_below(r, i);
        const uint32_t t = index[i - 1];
        index[i - 1] = index[j];
        index[j] = t;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The k-regular graph: a ring in an order that the session's hash decides (Bell et al., section 3).
 * Nobody chooses it: whoever changes one byte of the roster gets another one. */
#include "crypto/prg.h"
#include "crypto/statement.h"
#include "secagg/secagg_priv.h"

#include <string.h>

enum { WORDS = 256 };

/* Words of the session's own stream, drawn in pieces. */
typedef struct draw {
    weft_prg_bank *bank;
    uint32_t words[WORDS];
    size_t left;
} draw;

/* Uniform in [0, most]: the few words that would favour small numbers are thrown away. */
static weft_status draw_up_to(uint32_t *ret, draw *d, uint32_t most, weft_err *err)
{
    const uint64_t bound = (uint64_t)most + 1;
    const uint64_t reject = (UINT64_C(1) << 32) % bound;
    for (;;) {
        if (d->left == 0) {
            memset(d->words, 0, sizeof d->words);
            WEFT_TRY(weft_prg_bank_add(d->bank, d->words, WORDS, err));
            d->left = WORDS;
        }
        const uint32_t word = d->words[WORDS - d->left--];
        if (word >= reject) {
            *ret = (uint32_t)(word % bound);
            return WEFT_OK;
        }
    }
}

/* Fisher and Yates */
static weft_status shuffle(uint32_t *ring, uint32_t n, draw *d, weft_err *err)
{
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t j = 0;
        WEFT_TRY(draw_up_to(&j, d, i, err));
        const uint32_t swapped = ring[i];
        ring[i] = ring[j];
        ring[j] = swapped;
    }
    return WEFT_OK;
}

weft_status weft_secagg_ring(uint32_t *ring, uint32_t *place, uint32_t n, const uint8_t session[32],
                             const weft_alloc *a, weft_err *err)
{
    weft_statement s;
    weft_prg_stream stream = {.subtract = false};
    WEFT_TRY(weft_statement_init(&s, "weft secagg graph 1", err));
    WEFT_TRY(weft_statement_add(&s, session, 32, err));
    WEFT_TRY(weft_sha256(stream.key, s.data, s.n, err));
    draw d = {.left = 0};
    WEFT_TRY(weft_prg_bank_new(&d.bank, &stream, 1, 0, a, err));
    for (uint32_t i = 0; i < n; i++) {
        ring[i] = i;
    }
    const weft_status status = shuffle(ring, n, &d, err);
    weft_prg_bank_free(d.bank);
    WEFT_TRY(status);
    for (uint32_t i = 0; i < n; i++) {
        place[ring[i]] = i;
    }
    return WEFT_OK;
}

static void sort(uint32_t *v, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        const uint32_t x = v[i];
        uint32_t j = i;
        for (; j > 0 && v[j - 1] > x; j--) {
            v[j] = v[j - 1];
        }
        v[j] = x;
    }
}

void weft_secagg_neighbours(uint32_t *ret, const weft_secagg_params *params, const uint32_t *ring,
                            const uint32_t *place, uint32_t i)
{
    const uint32_t n = params->n;
    uint32_t found = 0;
    if (params->complete) {
        for (uint32_t j = 0; j < n; j++) {
            if (j != i) {
                ret[found++] = j;
            }
        }
        return;
    }
    for (uint32_t d = 1; d <= params->k / 2; d++) {
        ret[found++] = ring[(place[i] + d) % n];
        ret[found++] = ring[(place[i] + n - d) % n];
    }
    sort(ret, found);
}

uint32_t weft_secagg_map_count(const uint8_t *map, uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        count += weft_secagg_bit(map, i);
    }
    return count;
}

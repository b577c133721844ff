/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions of a data set into index lists, seeded. Pure. */
#include "data/partition.h"

#include "base/limits.h"
#include "base/rng.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Streams of the partition's seed. */
enum { STREAM_IID = 101, STREAM_SHARDS = 102, STREAM_DIRICHLET = 103, STREAM_HOLDOUT = 104 };

void weft_partition_free(weft_partition *p)
{
    if (p) {
        weft_free(p->alloc, p->start);
        weft_free(p->alloc, p->index);
        weft_free(p->alloc, p);
    }
}

weft_data_view weft_partition_view(const weft_partition *p, const weft_data *data, uint32_t k)
{
    return (weft_data_view){.data = data,
                            .index = p->index + p->start[k],
                            .n = (uint32_t)(p->start[k + 1] - p->start[k])};
}

static weft_status partition_new(weft_partition **ret, uint32_t n, uint32_t n_parts,
                                 const weft_alloc *a, weft_err *err)
{
    if (n_parts == 0 || n_parts > n) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%" PRIu32 " examples cannot be split into %" PRIu32 " parts", n, n_parts);
    }
    weft_partition *p = weft_array(a, 1, sizeof *p);
    if (p) {
        p->alloc = a;
        p->n_parts = n_parts;
        p->start = weft_array(a, (size_t)n_parts + 1, sizeof *p->start);
        p->index = weft_array(a, n, sizeof *p->index);
    }
    if (!p || !p->start || !p->index) {
        weft_partition_free(p);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a partition of %" PRIu32 " examples", n);
    }
    *ret = p;
    return WEFT_OK;
}

/* Bounds of part k of n things in n_parts nearly equal parts. */
static uint64_t cut(uint64_t n, uint32_t n_parts, uint32_t k)
{
    return n * k / n_parts; /* n < 2^32, k < 2^32 */
}

weft_status weft_partition_iid(weft_partition **ret, const weft_data *data, uint32_t n_parts,
                               uint64_t seed, const weft_alloc *a, weft_err *err)
{
    weft_partition *p = NULL;
    WEFT_TRY(partition_new(&p, data->n, n_parts, a, err));
    for (uint32_t i = 0; i < data->n; i++) {
        p->index[i] = i;
    }
    weft_rng rng;
    weft_rng_init(&rng, seed, STREAM_IID);
    weft_rng_shuffle(&rng, p->index, data->n);
    for (uint32_t k = 0; k <= n_parts; k++) {
        p->start[k] = cut(data->n, n_parts, k);
    }
    *ret = p;
    return WEFT_OK;
}

/* Positions ordered by key (stable): counting sort. */
static weft_status sort_by(uint32_t *out, const uint32_t *key, uint32_t n, uint32_t n_keys,
                           uint64_t *first, const weft_alloc *a, weft_err *err)
{
    uint64_t *next = weft_array(a, (size_t)n_keys + 1, sizeof *next);
    if (!next) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to sort %" PRIu32 " examples", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        next[key[i] + 1]++;
    }
    for (uint32_t k = 0; k < n_keys; k++) {
        next[k + 1] += next[k];
    }
    if (first) {
        memcpy(first, next, ((size_t)n_keys + 1) * sizeof *next);
    }
    for (uint32_t i = 0; i < n; i++) {
        out[next[key[i]]++] = i;
    }
    weft_free(a, next);
    return WEFT_OK;
}

static weft_status need_classes(const weft_data *data, weft_err *err)
{
    if (data->labels != WEFT_LABEL_CLASS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "this partition needs class labels, the data have none");
    }
    return WEFT_OK;
}

/* Give shuffled shards of sorted examples to the parts. */
static void deal_shards(weft_partition *p, const uint32_t *sorted, const uint32_t *shard,
                        uint32_t n_shards, uint32_t n)
{
    const uint32_t per_part = n_shards / p->n_parts;
    const uint64_t size = n / n_shards;
    uint64_t at = 0;
    for (uint32_t s = 0; s < n_shards; s++) {
        if (s % per_part == 0) {
            p->start[s / per_part] = at;
        }
        const uint64_t from = size * shard[s];
        const uint64_t to = shard[s] + 1 == n_shards ? n : from + size;
        memcpy(p->index + at, sorted + from, (size_t)(to - from) * sizeof *sorted);
        at += to - from;
    }
    p->start[p->n_parts] = at;
}

weft_status weft_partition_shards(weft_partition **ret, const weft_data *data, uint32_t n_parts,
                                  uint32_t per_part, uint64_t seed, const weft_alloc *a,
                                  weft_err *err)
{
    WEFT_TRY(need_classes(data, err));
    const uint64_t n_shards = (uint64_t)n_parts * per_part;
    if (n_shards == 0 || n_shards > data->n) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%" PRIu32 " examples cannot be cut into %" PRIu64 " shards",
                  data->n, n_shards);
    }
    weft_partition *p = NULL;
    WEFT_TRY(partition_new(&p, data->n, n_parts, a, err));
    uint32_t *sorted = weft_array(a, data->n, sizeof *sorted);
    uint32_t *shard = weft_array(a, (size_t)n_shards, sizeof *shard);
    weft_status status = WEFT_OK;
    if (!sorted || !shard) {
        status = WEFT_E_NOMEM;
        (void)weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                           "no memory for %" PRIu64 " shards", n_shards);
    } else {
        status = sort_by(sorted, data->classes, data->n, data->n_classes, NULL, a, err);
    }
    if (status == WEFT_OK) {
        for (uint32_t s = 0; s < n_shards; s++) {
            shard[s] = s;
        }
        weft_rng rng;
        weft_rng_init(&rng, seed, STREAM_SHARDS);
        weft_rng_shuffle(&rng, shard, (size_t)n_shards);
        deal_shards(p, sorted, shard, (uint32_t)n_shards, data->n);
        *ret = p;
        p = NULL;
    }
    weft_free(a, sorted);
    weft_free(a, shard);
    weft_partition_free(p);
    return status;
}

/* Gamma(alpha, 1): Marsaglia and Tsang 2000; below 1 by their boost. In logarithms: a tiny alpha
 * would underflow to 0. */
static double log_gamma_draw(weft_rng *rng, double alpha)
{
    double boost = 0.0;
    if (alpha < 1.0) {
        boost = log(1.0 - weft_rng_double(rng)) / alpha; /* 1 - [0,1): never log 0 */
        alpha += 1.0;
    }
    const double d = alpha - 1.0 / 3.0;
    const double c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        const double x = weft_rng_normal(rng);
        const double t = 1.0 + c * x;
        if (t <= 0.0) {
            continue;
        }
        const double v = t * t * t;
        if (log(1.0 - weft_rng_double(rng)) < 0.5 * x * x + d - d * v + d * log(v)) {
            return log(d * v) + boost;
        }
    }
}

/* share[k] = cumulative proportion up to and with part k. */
static void draw_shares(double *share, uint32_t n_parts, double alpha, weft_rng *rng)
{
    double most = -(double)INFINITY;
    for (uint32_t k = 0; k < n_parts; k++) {
        share[k] = log_gamma_draw(rng, alpha);
        most = share[k] > most ? share[k] : most;
    }
    double sum = 0.0;
    for (uint32_t k = 0; k < n_parts; k++) {
        sum += exp(share[k] - most);
        share[k] = sum;
    }
    for (uint32_t k = 0; k < n_parts; k++) {
        share[k] /= sum;
    }
}

/* part[i] for the examples of every class. */
static void deal_classes(uint32_t *part, uint32_t *sorted, const uint64_t *first,
                         uint32_t n_classes, uint32_t n_parts, double alpha, double *share,
                         weft_rng *rng)
{
    for (uint32_t c = 0; c < n_classes; c++) {
        const uint64_t n = first[c + 1] - first[c];
        uint32_t *member = sorted + first[c];
        weft_rng_shuffle(rng, member, (size_t)n);
        draw_shares(share, n_parts, alpha, rng);
        uint64_t at = 0;
        for (uint32_t k = 0; k < n_parts; k++) {
            const uint64_t to = k + 1 == n_parts ? n : (uint64_t)(share[k] * (double)n + 0.5);
            for (; at < to && at < n; at++) {
                part[member[at]] = k;
            }
        }
    }
}

static uint32_t largest_part(const uint64_t *size, uint32_t n_parts)
{
    uint32_t largest = 0;
    for (uint32_t k = 1; k < n_parts; k++) {
        largest = size[k] > size[largest] ? k : largest;
    }
    return largest;
}

/* Move examples from the largest parts to those below the minimum. The cursor goes round: while a
 * part is below the minimum, another one is above it and has an example to give. */
static void level(uint32_t *part, uint32_t n, uint64_t *size, uint32_t n_parts, uint32_t minimum)
{
    uint32_t at = 0;
    for (uint32_t k = 0; k < n_parts; k++) {
        while (size[k] < minimum) {
            const uint32_t largest = largest_part(size, n_parts);
            while (part[at] != largest) {
                at = at + 1 < n ? at + 1 : 0;
            }
            part[at] = k;
            size[largest]--;
            size[k]++;
        }
    }
}

static weft_status dirichlet(weft_partition *p, const weft_data *data, double alpha,
                             uint32_t minimum, uint64_t seed, uint32_t *part, double *share,
                             uint64_t *first, uint64_t *size, weft_err *err)
{
    WEFT_TRY(sort_by(p->index, data->classes, data->n, data->n_classes, first, p->alloc, err));
    weft_rng rng;
    weft_rng_init(&rng, seed, STREAM_DIRICHLET);
    deal_classes(part, p->index, first, data->n_classes, p->n_parts, alpha, share, &rng);
    for (uint32_t i = 0; i < data->n; i++) {
        size[part[i]]++;
    }
    level(part, data->n, size, p->n_parts, minimum);
    return sort_by(p->index, part, data->n, p->n_parts, p->start, p->alloc, err);
}

weft_status weft_partition_dirichlet(weft_partition **ret, const weft_data *data, uint32_t n_parts,
                                     double alpha, uint32_t min_examples, uint64_t seed,
                                     const weft_alloc *a, weft_err *err)
{
    WEFT_TRY(need_classes(data, err));
    if (!(alpha >= 0.001 && alpha <= 1e6)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a Dirichlet alpha of %g, allowed are 0.001 to 1000000",
                  alpha);
    }
    if ((uint64_t)n_parts * min_examples > data->n) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%" PRIu32 " parts of at least %" PRIu32 " need more than the %" PRIu32
                  " examples",
                  n_parts, min_examples, data->n);
    }
    weft_partition *p = NULL;
    WEFT_TRY(partition_new(&p, data->n, n_parts, a, err));
    uint32_t *part = weft_array(a, data->n, sizeof *part);
    double *share = weft_array(a, n_parts, sizeof *share);
    uint64_t *first = weft_array(a, (size_t)data->n_classes + 1, sizeof *first);
    uint64_t *size = weft_array(a, n_parts, sizeof *size);
    weft_status status = WEFT_OK;
    if (!part || !share || !first || !size) {
        status = WEFT_E_NOMEM;
        (void)weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                           "no memory for a partition of %" PRIu32 " examples", data->n);
    } else {
        status = dirichlet(p, data, alpha, min_examples, seed, part, share, first, size, err);
    }
    if (status == WEFT_OK) {
        *ret = p;
        p = NULL;
    }
    weft_free(a, part);
    weft_free(a, share);
    weft_free(a, first);
    weft_free(a, size);
    weft_partition_free(p);
    return status;
}

weft_status weft_partition_column(weft_partition **ret, const weft_data *data, const weft_alloc *a,
                                  weft_err *err)
{
    if (data->n_groups == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "a partition by column needs a column of kind 'group' in the data schema");
    }
    weft_partition *p = NULL;
    WEFT_TRY(partition_new(&p, data->n, data->n_groups, a, err));
    const weft_status status =
        sort_by(p->index, data->groups, data->n, data->n_groups, p->start, a, err);
    if (status != WEFT_OK) {
        weft_partition_free(p);
        return status;
    }
    *ret = p;
    return WEFT_OK;
}

weft_status weft_partition_holdout(weft_partition **ret, const weft_data_view *view,
                                   double fraction, uint64_t seed, const weft_alloc *a,
                                   weft_err *err)
{
    if (view->n < 2 || !(fraction > 0.0 && fraction < 1.0)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "a fraction of %g of %" PRIu32 " examples cannot be held out", fraction, view->n);
    }
    weft_partition *p = NULL;
    WEFT_TRY(partition_new(&p, view->n, 2, a, err));
    for (uint32_t i = 0; i < view->n; i++) {
        p->index[i] = weft_data_view_at(view, i);
    }
    weft_rng rng;
    weft_rng_init(&rng, seed, STREAM_HOLDOUT);
    weft_rng_shuffle(&rng, p->index, view->n);
    uint64_t held = (uint64_t)(fraction * view->n + 0.5);
    held = held < 1 ? 1 : held;
    held = held > (uint64_t)view->n - 1 ? (uint64_t)view->n - 1 : held;
    p->start[1] = view->n - held;
    p->start[2] = view->n;
    *ret = p;
    return WEFT_OK;
}

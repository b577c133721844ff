/* SPDX-License-Identifier: Apache-2.0 */
/* Data paths that are more than a place on disk. Called by load.c. */
#include "data/locator.h"

#include <string.h>

#include "data/digits.h"
#include "data/number.h"
#include "data/partition.h"

#define PART_SEED        1U
#define DEFAULT_STRENGTH 0.3
#define MAX_PARTS        100000U

static const char digits_prefix[] = "digits:";

static weft_status bad_digits(const char *text, weft_err *err)
{
    WEFT_FAIL(err, WEFT_E_INVALID, "%.100s is not digits:SEED:N or digits:SEED:N:STRENGTH", text);
}

static weft_status parse_digits(weft_locator *l, const char *text, weft_err *err)
{
    const char *seed = text + sizeof digits_prefix - 1;
    const char *n = strchr(seed, ':');
    if (!n || !weft_number_parse_u32(&l->seed, seed, (size_t)(n - seed), UINT32_MAX)) {
        return bad_digits(text, err);
    }
    n++;
    const char *strength = strchr(n, ':');
    const size_t n_size = strength ? (size_t)(strength - n) : strlen(n);
    double value = DEFAULT_STRENGTH;
    if (!weft_number_parse_u32(&l->n, n, n_size, (uint32_t)WEFT_MAX_EXAMPLES - 1) || l->n == 0 ||
        (strength && !weft_number_parse(&value, strength + 1, strlen(strength + 1))) ||
        !(value >= 0.0 && value <= 1.0)) {
        return bad_digits(text, err);
    }
    l->digits = true;
    l->strength = (float)value;
    return WEFT_OK;
}

/* "#I/N" at the end of text; sets *ret_size to what is before it. */
static weft_status parse_part(weft_locator *l, const char *text, size_t *ret_size, weft_err *err)
{
    *ret_size = strlen(text);
    const char *hash = strrchr(text, '#');
    const char *slash = hash ? strchr(hash, '/') : NULL;
    if (!hash) {
        return WEFT_OK;
    }
    if (!slash ||
        !weft_number_parse_u32(&l->part, hash + 1, (size_t)(slash - hash - 1), UINT32_MAX) ||
        !weft_number_parse_u32(&l->n_parts, slash + 1, strlen(slash + 1), UINT32_MAX)) {
        l->part = 0;
        return WEFT_OK; /* a file's name may hold a '#' */
    }
    if (l->part == 0 || l->part > l->n_parts || l->n_parts > MAX_PARTS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.100s: part %u of %u; parts go from 1 to N, N at most %u",
                  text, l->part, l->n_parts, MAX_PARTS);
    }
    *ret_size = (size_t)(hash - text);
    return WEFT_OK;
}

weft_status weft_locator_parse(weft_locator *ret, const char *text, weft_err *err)
{
    weft_locator l = {.path = ""};
    if (strncmp(text, digits_prefix, sizeof digits_prefix - 1) == 0) {
        WEFT_TRY(parse_digits(&l, text, err));
    } else {
        size_t size = 0;
        WEFT_TRY(parse_part(&l, text, &size, err));
        if (size == 0 || size > WEFT_LOCATOR_MAX_BYTES) {
            WEFT_FAIL(err, WEFT_E_LIMIT, "a data path of %zu bytes: 1 to %u are allowed", size,
                      WEFT_LOCATOR_MAX_BYTES);
        }
        memcpy(l.path, text, size);
        l.path[size] = '\0';
    }
    *ret = l;
    return WEFT_OK;
}

weft_status weft_locator_draw(weft_data **ret, const weft_locator *locator, weft_split split,
                              const weft_alloc *a, weft_err *err)
{
    weft_rng rng;
    weft_rng_init(&rng, locator->seed, 0);
    weft_digits_style style = WEFT_DIGITS_STYLE_INIT;
    weft_digits_style_draw(&style, locator->strength, &rng);
    const uint64_t seed = locator->seed | (split == WEFT_SPLIT_TEST ? UINT64_C(1) << 32 : 0);
    return weft_digits_new(ret, locator->n, seed, &style, a, err);
}

static void copy_example(weft_data *to, uint32_t at, const weft_data *from, uint32_t i)
{
    const size_t n = from->n_features;
    if (from->u8) {
        memcpy(to->u8 + at * n, from->u8 + i * n, n);
    }
    if (from->f32) {
        memcpy(to->f32 + at * n, from->f32 + i * n, n * sizeof *to->f32);
    }
    if (from->classes) {
        to->classes[at] = from->classes[i];
    }
    if (from->values) {
        to->values[at] = from->values[i];
    }
}

weft_status weft_locator_cut(weft_data **data, const weft_locator *locator, const weft_alloc *a,
                             weft_err *err)
{
    if (locator->part == 0) {
        return WEFT_OK;
    }
    const weft_data *whole = *data;
    weft_partition *parts = NULL;
    WEFT_TRY(weft_partition_iid(&parts, whole, locator->n_parts, PART_SEED, a, err));
    const weft_data_view view = weft_partition_view(parts, whole, locator->part - 1);
    weft_data *part = NULL;
    const weft_status status = weft_data_new(&part, view.n, whole->shape, whole->type,
                                             whole->labels, whole->n_classes, a, err);
    for (uint32_t i = 0; status == WEFT_OK && i < view.n; i++) {
        copy_example(part, i, whole, weft_data_view_at(&view, i));
    }
    weft_partition_free(parts);
    WEFT_TRY(status);
    weft_data_free(*data);
    *data = part;
    return WEFT_OK;
}

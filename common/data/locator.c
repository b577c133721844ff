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
static const char text_prefix[] = "text:";

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

/* "text:W:S:" at the start of a path, which is moved up. */
static weft_status parse_text(weft_locator *l, weft_err *err)
{
    const char *window = l->path + sizeof text_prefix - 1;
    const char *stride = strchr(window, ':');
    const char *path = stride ? strchr(stride + 1, ':') : NULL;
    if (!path || path[1] == '\0' ||
        !weft_number_parse_u32(&l->window, window, (size_t)(stride - window),
                               WEFT_MAX_TEXT_WINDOW) ||
        !weft_number_parse_u32(&l->stride, stride + 1, (size_t)(path - stride - 1), UINT32_MAX) ||
        l->window == 0 || l->stride == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%.100s is not text:WINDOW:STRIDE:PATH, with windows of 1 to %u characters",
                  l->path, WEFT_MAX_TEXT_WINDOW);
    }
    memmove(l->path, path + 1, strlen(path));
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
        if (strncmp(l.path, text_prefix, sizeof text_prefix - 1) == 0) {
            WEFT_TRY(parse_text(&l, err));
        }
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

/* Which of the whole's examples a locator's part has: *index is the caller's to free. Of a text all
 * examples of every n_parts-th role, of other data its part of a shuffle. */
static weft_status choose(uint32_t **ret_index, uint32_t *ret_n, const weft_data *whole,
                          const weft_locator *locator, const weft_alloc *a, weft_err *err)
{
    uint32_t *index = weft_array(a, whole->n, sizeof *index);
    if (!index) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the order of %u examples", whole->n);
    }
    uint32_t n = 0;
    weft_partition *parts = NULL;
    weft_status status = WEFT_OK;
    if (locator->window == 0) {
        status = weft_partition_iid(&parts, whole, locator->n_parts, PART_SEED, a, err);
    }
    for (uint32_t i = 0; i < whole->n && locator->window > 0; i++) {
        if (whole->groups[i] % locator->n_parts == locator->part - 1) {
            index[n++] = i;
        }
    }
    if (parts) {
        const weft_data_view view = weft_partition_view(parts, whole, locator->part - 1);
        for (n = 0; n < view.n; n++) {
            index[n] = weft_data_view_at(&view, n);
        }
        weft_partition_free(parts);
    } else if (status == WEFT_OK && n == 0) {
        status = weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                              "part %u of %u has no text: there are %u roles", locator->part,
                              locator->n_parts, whole->n_groups);
    }
    if (status != WEFT_OK) {
        weft_free(a, index);
        return status;
    }
    *ret_index = index;
    *ret_n = n;
    return WEFT_OK;
}

weft_status weft_locator_cut(weft_data **data, const weft_locator *locator, const weft_alloc *a,
                             weft_err *err)
{
    if (locator->part == 0) {
        return WEFT_OK;
    }
    const weft_data *whole = *data;
    uint32_t *index = NULL;
    uint32_t n = 0;
    weft_data *part = NULL;
    WEFT_TRY(choose(&index, &n, whole, locator, a, err));
    const weft_status status =
        weft_data_new(&part, n, whole->shape, whole->type, whole->labels, whole->n_classes, a, err);
    for (uint32_t i = 0; status == WEFT_OK && i < n; i++) {
        copy_example(part, i, whole, index[i]);
    }
    weft_free(a, index);
    WEFT_TRY(status);
    weft_data_free(*data);
    *data = part;
    return WEFT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* NPY headers: numpy's dictionary, read strictly; elements as doubles. Pure. */
#include "data/npy.h"

#include "base/limits.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MAX_HEADER_BYTES = 4096, ALIGNMENT = 64 };

static const struct {
    const char *descr;
    weft_npy_type type;
    size_t size;
} types[] = {
    {"<f4", WEFT_NPY_F32, 4}, {"|u1", WEFT_NPY_U8, 1},  {"<i4", WEFT_NPY_I32, 4},
    {"<i8", WEFT_NPY_I64, 8}, {"<f8", WEFT_NPY_F64, 8}, {"<f2", WEFT_NPY_F16, 2},
    {"|i1", WEFT_NPY_I8, 1},  {"|b1", WEFT_NPY_U8, 1},
};

size_t weft_npy_size(weft_npy_type type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].type == type) {
            return types[i].size;
        }
    }
    return 0;
}

static uint64_t little_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i > 0; i--) {
        v = v << 8 | p[i - 1];
    }
    return v;
}

static double half_value(uint16_t h)
{
    const int exponent = (h >> 10) & 31;
    const double fraction = (double)(h & 1023);
    double v = 0.0;
    if (exponent == 31) {
        v = (h & 1023) != 0 ? (double)NAN : (double)INFINITY;
    } else if (exponent == 0) {
        v = ldexp(fraction, -24);
    } else {
        v = ldexp(fraction + 1024.0, exponent - 25);
    }
    return (h & 0x8000) != 0 ? -v : v;
}

double weft_npy_value(const uint8_t *data, weft_npy_type type, uint64_t i)
{
    const size_t size = weft_npy_size(type);
    const uint64_t bits = little_endian(data + i * size, size);
    switch (type) {
    case WEFT_NPY_U8:
        return (double)bits;
    case WEFT_NPY_I8:
        return (double)(int8_t)bits;
    case WEFT_NPY_I32:
        return (double)(int32_t)bits;
    case WEFT_NPY_I64:
        return (double)(int64_t)bits;
    case WEFT_NPY_F16:
        return half_value((uint16_t)bits);
    case WEFT_NPY_F32: {
        const uint32_t low = (uint32_t)bits;
        float f = 0.0F;
        memcpy(&f, &low, sizeof f);
        return (double)f;
    }
    case WEFT_NPY_F64: {
        double d = 0.0;
        memcpy(&d, &bits, sizeof d);
        return d;
    }
    }
    return 0.0;
}

/* ---- the dictionary ------------------------------------------------------------------------- */

typedef struct scan {
    const char *at;
    const char *end;
} scan;

static void skip_blanks(scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t')) {
        s->at++;
    }
}

static bool take(scan *s, const char *text)
{
    skip_blanks(s);
    const size_t n = strlen(text);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, text, n) != 0) {
        return false;
    }
    s->at += n;
    return true;
}

/* 'text' or "text"; the slice inside, without escapes. */
static bool take_string(scan *s, const char **ret, size_t *ret_size)
{
    skip_blanks(s);
    if (s->at == s->end || (*s->at != '\'' && *s->at != '"')) {
        return false;
    }
    const char *close = memchr(s->at + 1, *s->at, (size_t)(s->end - s->at - 1));
    if (!close) {
        return false;
    }
    *ret = s->at + 1;
    *ret_size = (size_t)(close - s->at - 1);
    s->at = close + 1;
    return true;
}

static bool take_u64(scan *s, uint64_t *ret)
{
    skip_blanks(s);
    uint64_t v = 0;
    const char *start = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') {
        if (__builtin_mul_overflow(v, 10U, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*s->at - '0'), &v)) {
            return false;
        }
        s->at++;
    }
    if (s->at == start) {
        return false;
    }
    (void)take(s, "L"); /* Python 2 wrote long integers so */
    *ret = v;
    return true;
}

static bool take_shape(scan *s, weft_npy_header *h)
{
    if (!take(s, "(")) {
        return false;
    }
    h->rank = 0;
    h->count = 1;
    while (!take(s, ")")) {
        uint64_t size = 0;
        if (h->rank == WEFT_NPY_MAX_RANK || !take_u64(s, &size) ||
            __builtin_mul_overflow(h->count, size, &h->count)) {
            return false;
        }
        h->shape[h->rank++] = size;
        if (!take(s, ",")) {
            return take(s, ")");
        }
    }
    return true;
}

static weft_status take_type(scan *s, weft_npy_header *h, const char *name, weft_err *err)
{
    const char *descr = NULL;
    size_t size = 0;
    if (!take_string(s, &descr, &size)) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s: the NPY header has no plain element type", name);
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (size == strlen(types[i].descr) && memcmp(descr, types[i].descr, size) == 0) {
            h->type = types[i].type;
            return WEFT_OK;
        }
    }
    WEFT_FAIL(err, WEFT_E_FORMAT,
              "%.120s holds elements of type '%.*s', read are f2, f4, f8, u1, i1, i4, i8 "
              "(little-endian) and booleans",
              name, size < 20 ? (int)size : 20, descr);
}

enum { HAS_DESCR = 1, HAS_ORDER = 2, HAS_SHAPE = 4, HAS_ALL = 7 };

/* The key of an entry, which may come once; 0: none of ours. */
static int take_key(scan *s, int *seen)
{
    static const struct {
        const char *single, *quoted;
        int bit;
    } keys[] = {{"'descr':", "\"descr\":", HAS_DESCR},
                {"'fortran_order':", "\"fortran_order\":", HAS_ORDER},
                {"'shape':", "\"shape\":", HAS_SHAPE}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (take(s, keys[i].single) || take(s, keys[i].quoted)) {
            const bool again = (*seen & keys[i].bit) != 0;
            *seen |= keys[i].bit;
            return again ? 0 : keys[i].bit;
        }
    }
    return 0;
}

static weft_status take_entry(scan *s, weft_npy_header *h, int *seen, const char *name,
                              weft_err *err)
{
    const int key = take_key(s, seen);
    if (key == HAS_DESCR) {
        return take_type(s, h, name, err);
    }
    if (key == HAS_ORDER) {
        h->fortran = take(s, "True");
    }
    if ((key == HAS_ORDER && (h->fortran || take(s, "False"))) ||
        (key == HAS_SHAPE && take_shape(s, h))) {
        return WEFT_OK;
    }
    WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s has a damaged NPY header", name);
}

static weft_status parse_dictionary(weft_npy_header *h, const char *text, size_t size,
                                    const char *name, weft_err *err)
{
    scan s = {text, text + size};
    int seen = 0;
    bool ok = take(&s, "{");
    while (ok && !take(&s, "}")) {
        WEFT_TRY(take_entry(&s, h, &seen, name, err));
        if (!take(&s, ",")) {
            ok = take(&s, "}");
            break;
        }
    }
    skip_blanks(&s);
    if (!ok || seen != HAS_ALL || s.at != s.end) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s has a damaged NPY header", name);
    }
    return WEFT_OK;
}

weft_status weft_npy_read_header(weft_npy_header *ret, weft_source *source, weft_err *err)
{
    uint8_t head[8];
    uint8_t length[4] = {0};
    WEFT_TRY(weft_source_exact(source, head, sizeof head, "NPY header", err));
    if (memcmp(head, "\x93NUMPY", 6) != 0 || head[6] < 1 || head[6] > 3 || head[7] != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s is not an NPY file of version 1 to 3", source->name);
    }
    const size_t length_size = head[6] == 1 ? 2 : 4;
    WEFT_TRY(weft_source_exact(source, length, length_size, "NPY header", err));
    const uint64_t size = little_endian(length, length_size);
    if (size == 0 || size > MAX_HEADER_BYTES) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%.120s has an NPY header of %" PRIu64 " bytes, allowed are 1 to %d",
                  source->name, size, MAX_HEADER_BYTES);
    }
    char text[MAX_HEADER_BYTES];
    WEFT_TRY(weft_source_exact(source, text, (size_t)size, "NPY header", err));
    weft_npy_header h = {0};
    WEFT_TRY(parse_dictionary(&h, text, (size_t)size, source->name, err));
    *ret = h;
    return WEFT_OK;
}

weft_status weft_npy_print_header(weft_buf *out, const weft_npy_header *header, weft_err *err)
{
    const size_t start = out->size;
    static const uint8_t magic[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 0, 0};
    WEFT_TRY(weft_buf_add(out, magic, sizeof magic, err));
    const char *descr = "|u1";
    for (size_t i = sizeof types / sizeof types[0]; i > 0; i--) {
        descr = types[i - 1].type == header->type ? types[i - 1].descr : descr;
    }
    WEFT_TRY(weft_buf_addf(out, err, "{'descr': '%s', 'fortran_order': %s, 'shape': (", descr,
                           header->fortran ? "True" : "False"));
    for (uint32_t i = 0; i < header->rank; i++) {
        WEFT_TRY(weft_buf_addf(out, err, "%s%" PRIu64, i > 0 ? ", " : "", header->shape[i]));
    }
    WEFT_TRY(weft_buf_addf(out, err, "%s), }", header->rank == 1 ? "," : ""));
    while ((out->size - start + 1) % ALIGNMENT != 0) {
        WEFT_TRY(weft_buf_add(out, " ", 1, err));
    }
    WEFT_TRY(weft_buf_add(out, "\n", 1, err));
    const size_t size = out->size - start - sizeof magic; /* rank 8: below 300 */
    out->data[start + 8] = (uint8_t)(size & 255U);
    out->data[start + 9] = (uint8_t)(size >> 8);
    return WEFT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Decimal numbers as text, whatever the locale. */
#include "data/number.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64, EXACT_DIGITS = 15, EXACT_POWER = 22, MAX_POWER = 9999 };

typedef struct scan {
    const char *at;
    const char *end;
    uint64_t digits; /* the significant ones, while exact */
    int n_digits;    /* without leading zeros */
    int power;       /* of ten, of the last digit */
    bool any;
} scan;

static bool is_digit(const scan *s)
{
    return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

static bool take(scan *s, char a, char b)
{
    if (s->at < s->end && (*s->at == a || *s->at == b)) {
        s->at++;
        return true;
    }
    return false;
}

static void scan_digits(scan *s, bool fraction)
{
    for (; is_digit(s); s->at++) {
        s->any = true;
        s->n_digits += s->n_digits > 0 || *s->at != '0';
        if (s->n_digits <= EXACT_DIGITS) {
            s->digits = s->digits * 10 + (uint64_t)(*s->at - '0');
        }
        s->power -= fraction ? 1 : 0;
    }
}

static bool scan_exponent(scan *s)
{
    if (!take(s, 'e', 'E')) {
        return true;
    }
    const bool negative = take(s, '-', '-');
    if (!negative) {
        (void)take(s, '+', '+'); /* may be there or not */
    }
    int e = 0;
    bool any = false;
    for (; is_digit(s); s->at++) {
        any = true;
        e = e < MAX_POWER ? e * 10 + (*s->at - '0') : e;
    }
    s->power += negative ? -e : e;
    return any;
}

static bool parse_slowly(double *ret, const char *text, size_t size)
{
    char copy[MAX_TEXT + 1];
    memcpy(copy, text, size);
    copy[size] = '\0';
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc: a constant, never fails */
    if (!c) {
        return false;
    }
    const double value = strtod_l(copy, NULL, c);
    freelocale(c);
    if (!isfinite(value)) {
        return false;
    }
    *ret = value;
    return true;
}

bool weft_number_parse(double *ret, const char *text, size_t size)
{
    static const double ten[EXACT_POWER + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (size == 0 || size > MAX_TEXT) {
        return false;
    }
    scan s = {.at = text, .end = text + size};
    const bool negative = take(&s, '-', '-');
    if (!negative) {
        (void)take(&s, '+', '+'); /* may be there or not */
    }
    scan_digits(&s, false);
    if (take(&s, '.', '.')) {
        scan_digits(&s, true);
    }
    if (!s.any || !scan_exponent(&s) || s.at != s.end) {
        return false;
    }
    if (s.n_digits > EXACT_DIGITS || s.power > EXACT_POWER || s.power < -EXACT_POWER) {
        return parse_slowly(ret, text, size);
    }
    /* both sides are exact in a double: one rounding (Clinger 1990) */
    const double whole = (double)s.digits;
    const double value = s.power < 0 ? whole / ten[-s.power] : whole * ten[s.power];
    *ret = negative ? -value : value;
    return true;
}

bool weft_number_parse_u32(uint32_t *ret, const char *text, size_t size, uint32_t max)
{
    if (size == 0 || size > 10) {
        return false;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    if (v > max) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

void weft_number_print(char out[WEFT_NUMBER_BYTES], double value)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc: a constant, never fails */
    locale_t before = uselocale(c);                        /* of this thread only */
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(out, WEFT_NUMBER_BYTES, "%.*g", digits, value); /* 24 bytes at most */
        double back = 0.0;
        if (weft_number_parse(&back, out, strlen(out)) && back == value) {
            break;
        }
    }
    (void)uselocale(before); /* a locale of ours or the one that was */
    freelocale(c);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decimal numbers as text, the same in every locale (an embedding application may have set one
 * with a decimal comma). Pure; any thread.
 */
#ifndef WEFT_DATA_NUMBER_H
#define WEFT_DATA_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEFT_NUMBER_BYTES 32

/**
 * [+-]digits[.digits][e[+-]digits], correctly rounded; at most 64 characters, no inf, nan or
 * hexadecimal; false otherwise, also for what overflows.
 */
bool weft_number_parse(double *ret, const char *text, size_t size);

/** Only digits, at most max; false otherwise. */
bool weft_number_parse_u32(uint32_t *ret, const char *text, size_t size, uint32_t max);

/** The shortest text that parses to the same finite value, zero-terminated. */
void weft_number_print(char out[WEFT_NUMBER_BYTES], double value);

#endif

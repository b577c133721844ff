/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why an update or an assignment is refused: what validation finds, what the coordinator answers
 * and records. The same numbers as weft.v1.Refusal, fixed for ever. Pure; any thread.
 */
#ifndef WEFT_UPDATE_REFUSAL_H
#define WEFT_UPDATE_REFUSAL_H

typedef enum weft_refusal {
    WEFT_REFUSAL_NONE = 0,
    WEFT_REFUSAL_LATE = 1,    /* the assignment is over */
    WEFT_REFUSAL_UNKNOWN = 2, /* no such assignment of this client */
    WEFT_REFUSAL_WRONG_BASE = 3,
    WEFT_REFUSAL_WRONG_SHAPE = 4,
    WEFT_REFUSAL_WRONG_DIGEST = 5,
    WEFT_REFUSAL_NON_FINITE = 6,
    WEFT_REFUSAL_NORM = 7,
    WEFT_REFUSAL_WEIGHT = 8, /* zero, or above max_examples */
    WEFT_REFUSAL_METRICS = 9,
    WEFT_REFUSAL_CONFLICT = 10, /* another update of this assignment was accepted */
    WEFT_REFUSAL_ENCODING = 11
} weft_refusal;

/** "late", "wrong base", ...; "unknown reason" for other numbers. Static string. */
const char *weft_refusal_name(weft_refusal refusal);

#endif

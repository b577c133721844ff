/* SPDX-License-Identifier: Apache-2.0 */
/* Names of reasons, for messages and logs. */
#include "secagg/reason.h"

#include <stddef.h>

const char *weft_secagg_reason_name(weft_secagg_reason reason)
{
    static const char *const names[] = {
        [WEFT_SECAGG_FINE] = "fine",
        [WEFT_SECAGG_MALFORMED] = "malformed message",
        [WEFT_SECAGG_OUT_OF_ORDER] = "out of order",
        [WEFT_SECAGG_OTHER_SESSION] = "other session",
        [WEFT_SECAGG_CONFLICT] = "differs from the message taken before",
        [WEFT_SECAGG_REPEATED] = "repeated session",
        [WEFT_SECAGG_SECOND_ATTEMPT] = "second attempt after masked input",
        [WEFT_SECAGG_POLICY] = "policy weaker than the client's",
        [WEFT_SECAGG_PARAMETERS] = "wrong parameters",
        [WEFT_SECAGG_STATE_LOST] = "state lost",
        [WEFT_SECAGG_COHORT_TOO_SMALL] = "cohort too small",
        [WEFT_SECAGG_ROSTER_ORDER] = "roster not in order",
        [WEFT_SECAGG_SELF_MISSING] = "own key missing",
        [WEFT_SECAGG_NEIGHBOURS] = "wrong neighbours",
        [WEFT_SECAGG_LEAF] = "keys not those of the roster",
        [WEFT_SECAGG_CHAIN] = "not a member",
        [WEFT_SECAGG_KEY_CHANGED] = "member key changed",
        [WEFT_SECAGG_SIGNATURE] = "keys not signed",
        [WEFT_SECAGG_DUPLICATE_KEY] = "key used twice",
        [WEFT_SECAGG_LOW_ORDER] = "low order key",
        [WEFT_SECAGG_TOO_FEW_NEIGHBOURS] = "too few neighbours",
        [WEFT_SECAGG_SHARE] = "share does not decrypt",
        [WEFT_SECAGG_SELF_DROPPED] = "called dropped",
        [WEFT_SECAGG_BOTH_KINDS] = "both kinds of share",
        [WEFT_SECAGG_LISTS] = "wrong lists",
        [WEFT_SECAGG_LISTS_CHANGED] = "lists changed",
        [WEFT_SECAGG_TOO_FEW_ALIVE] = "too few alive",
        [WEFT_SECAGG_TOO_FEW_CONFIRMED] = "too few confirmations",
        [WEFT_SECAGG_ANSWERED] = "answered already",
        [WEFT_SECAGG_LATE] = "late",
        [WEFT_SECAGG_NOT_INVITED] = "not of this session",
        [WEFT_SECAGG_LEFT] = "left",
        [WEFT_SECAGG_TOO_FEW_CLIENTS] = "too few clients",
        [WEFT_SECAGG_BELOW_THRESHOLD] = "below the threshold",
        [WEFT_SECAGG_BAD_SHARES] = "too many wrong shares",
        [WEFT_SECAGG_BAD_SUM] = "not a sum",
        [WEFT_SECAGG_ROUND_FAILED] = "the round failed",
    };
    const size_t i = (size_t)reason;
    return i < sizeof names / sizeof names[0] && names[i] ? names[i] : "unknown reason";
}

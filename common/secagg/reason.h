/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a party of secure aggregation goes no further. One list for clients' aborts, the
 * coordinator's refusals and failed sessions; the numbers reach the wire, the stores and the logs:
 * they are fixed for ever. Pure; any thread.
 */
#ifndef WEFT_SECAGG_REASON_H
#define WEFT_SECAGG_REASON_H

#include "base/limits.h"

typedef enum weft_secagg_reason {
    WEFT_SECAGG_FINE = 0,
    /* a message cannot be taken, on either side */
    WEFT_SECAGG_MALFORMED = 1,     /* its bytes are no message of this protocol */
    WEFT_SECAGG_OUT_OF_ORDER = 2,  /* a message of another step than the present one */
    WEFT_SECAGG_OTHER_SESSION = 3, /* a message of another context or session */
    WEFT_SECAGG_CONFLICT = 4,      /* differs from the one that was taken for the same step */
    /* a client will not begin */
    WEFT_SECAGG_REPEATED = 5,       /* this context was used before and its state is not here */
    WEFT_SECAGG_SECOND_ATTEMPT = 6, /* masked input of this round has left the client already */
    WEFT_SECAGG_POLICY = 7,         /* the job's policy is weaker than the client's own */
    WEFT_SECAGG_PARAMETERS = 8,     /* no graph and threshold for them, or not the computed ones */
    WEFT_SECAGG_STATE_LOST = 9,     /* the stored state cannot be read or is of another context */
    /* a client does not believe the roster */
    WEFT_SECAGG_COHORT_TOO_SMALL = 10,
    WEFT_SECAGG_ROSTER_ORDER = 11,  /* ids not strictly ascending, or not valid names */
    WEFT_SECAGG_SELF_MISSING = 12,  /* its own entry is not there, or not as it sent it */
    WEFT_SECAGG_NEIGHBOURS = 13,    /* the neighbours are not those of the graph */
    WEFT_SECAGG_LEAF = 14,          /* a neighbour's keys are not those of the roster */
    WEFT_SECAGG_CHAIN = 15,         /* a neighbour that the operator has not vouched for */
    WEFT_SECAGG_KEY_CHANGED = 16,   /* a neighbour's member key is not the one seen before */
    WEFT_SECAGG_SIGNATURE = 17,     /* a neighbour has not signed the keys */
    WEFT_SECAGG_DUPLICATE_KEY = 18, /* two keys are equal */
    WEFT_SECAGG_LOW_ORDER = 19,     /* a key that gives everybody the same secret */
    /* shares */
    WEFT_SECAGG_TOO_FEW_NEIGHBOURS = 20, /* fewer than t of them sent shares */
    WEFT_SECAGG_SHARE = 21,              /* a neighbour's share does not decrypt */
    /* survivors */
    WEFT_SECAGG_SELF_DROPPED = 22,      /* the coordinator calls this client dropped */
    WEFT_SECAGG_BOTH_KINDS = 23,        /* a neighbour is named alive and dropped */
    WEFT_SECAGG_LISTS = 24,             /* names a neighbour without shares, or leaves one out */
    WEFT_SECAGG_LISTS_CHANGED = 25,     /* not the lists that this client confirmed */
    WEFT_SECAGG_TOO_FEW_ALIVE = 26,     /* fewer than t neighbours survived (curious) */
    WEFT_SECAGG_TOO_FEW_CONFIRMED = 27, /* fewer than t valid confirmations (active) */
    WEFT_SECAGG_ANSWERED = 28,          /* another unmask request was answered: never twice */
    /* the coordinator refuses a client's message, or ends its part */
    WEFT_SECAGG_LATE = 40,        /* the phase has closed */
    WEFT_SECAGG_NOT_INVITED = 41, /* not a client of this session */
    WEFT_SECAGG_LEFT = 42,        /* the client has left the session */
    /* the session has failed */
    WEFT_SECAGG_TOO_FEW_CLIENTS = 50, /* below the minimum cohort */
    WEFT_SECAGG_BELOW_THRESHOLD = 51, /* too few survive to take the masks off */
    WEFT_SECAGG_BAD_SHARES = 52,      /* more wrong shares than can be corrected */
    WEFT_SECAGG_BAD_SUM = 53,         /* what came out is no sum of inputs within their bounds */
    /* a client whose input was taken asks after the end */
    WEFT_SECAGG_ROUND_FAILED = 54 /* the round came to nothing; the detail says why */
} weft_secagg_reason;

/** "low order key", ...; "unknown reason" for other numbers. Static string. */
const char *weft_secagg_reason_name(weft_secagg_reason reason);

/* Why, and about whom. */
typedef struct weft_secagg_abort {
    weft_secagg_reason reason;
    char who[WEFT_MAX_NAME_BYTES + 1]; /* the other client, or "" */
} weft_secagg_abort;

#endif

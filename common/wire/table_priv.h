/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables behind the codec: one row a field, in the order of protoc-c's descriptor, whose i-th
 * field is the i-th row's (test_wire compares them). A row adds what the schema cannot say: where
 * the value lies in our struct, its limit, whether it must be there. Inside wire only (and for that
 * test and test_secagg_context, which walks the plan's). Static data, any thread.
 */
#ifndef WEFT_WIRE_TABLE_PRIV_H
#define WEFT_WIRE_TABLE_PRIV_H

#include <protobuf-c/protobuf-c.h>

#include "wire/wire.h"

typedef enum weft_field_kind {
    WEFT_FIELD_VERSION,   /* ProtocolVersion; not in the struct */
    WEFT_FIELD_U32,       /* uint32_t */
    WEFT_FIELD_U64,       /* uint64_t */
    WEFT_FIELD_I64,       /* int64_t */
    WEFT_FIELD_F64,       /* double, finite */
    WEFT_FIELD_BOOL,      /* bool */
    WEFT_FIELD_ENUM,      /* 4-byte enum, at most max */
    WEFT_FIELD_REFUSAL,   /* uint32_t, larger numbers of newer peers are kept */
    WEFT_FIELD_CHOICE,    /* 4-byte enum in the struct, text on the wire */
    WEFT_FIELD_NAME,      /* const char *, weft_name_valid or empty */
    WEFT_FIELD_LINE,      /* const char *, UTF-8 without control characters */
    WEFT_FIELD_TEXT,      /* const char *, UTF-8 without zeros */
    WEFT_FIELD_OWNED,     /* char *, as TEXT, NULL when empty */
    WEFT_FIELD_NAME_IN,   /* char[max + 1] in place, weft_name_valid or empty */
    WEFT_FIELD_LINE_IN,   /* char[max + 1] in place, as LINE */
    WEFT_FIELD_BYTES,     /* weft_view */
    WEFT_FIELD_DIGEST,    /* weft_view of 0 or max bytes */
    WEFT_FIELD_DIGEST_IN, /* uint8_t[32] in place and a bool at at2 */
    WEFT_FIELD_MESSAGE,   /* const T *, NULL when absent */
    WEFT_FIELD_INLINE,    /* T in place */
    WEFT_FIELD_LIST,      /* const T * and size_t at at2; at most max */
    WEFT_FIELD_METRICS    /* weft_metrics in place */
} weft_field_kind;

struct weft_table;

typedef struct weft_field {
    const char *name;
    uint32_t number;
    weft_field_kind kind;
    bool required; /* not zero, not empty, not absent */
    uint64_t max;  /* value, bytes or elements */
    size_t at;     /* offsetof */
    size_t at2;    /* of a count or a presence flag; 0: none */
    const struct weft_table *sub;
    const char *const *choices; /* [max]: text of value 1, 2, ... */
} weft_field;

typedef struct weft_table {
    const char *name;                          /* in the proto package weft.v1 */
    const ProtobufCMessageDescriptor *message; /* of the generated struct */
    const weft_field *fields;                  /* [n_fields] */
    size_t n_fields;
    size_t bytes; /* sizeof the struct */
    bool is_long; /* a reply that lists: larger limits */
    /* what no single row can say; or NULL */
    weft_status (*check)(const void *msg, weft_err *err);
} weft_table;

/** The table of a kind. */
const weft_table *weft_wire_table(weft_msg_kind kind);

/** Check a struct and all below it. */
WEFT_NODISCARD weft_status weft_wire_check(const weft_table *table, const void *msg, weft_err *err);

#define WEFT_WIRE_EXTERN(name, NAME) extern const weft_table weft_wire_table_##name;
WEFT_WIRE_MESSAGES(WEFT_WIRE_EXTERN)
#undef WEFT_WIRE_EXTERN
/* parts of other messages only */
extern const weft_table weft_wire_table_training_plan;
extern const weft_table weft_wire_table_metric;
extern const weft_table weft_wire_table_job_definition;

/* Row makers; S is the struct, F its field, N the number on the wire. */
#define WEFT_ROW(S, F, N, KIND, REQ, MAX)                                                          \
    {                                                                                              \
#F, N, WEFT_FIELD_##KIND, REQ, MAX, offsetof(S, F), 0, NULL, NULL                          \
    }
#define WEFT_ROW_VERSION                                                                           \
    {                                                                                              \
        "version", 1, WEFT_FIELD_VERSION, false, UINT32_MAX, 0, 0, NULL, NULL                      \
    }
#define WEFT_ROW_SUB(S, F, N, KIND, REQ, TABLE)                                                    \
    {                                                                                              \
#F, N, WEFT_FIELD_##KIND, REQ, 1, offsetof(S, F), 0, &weft_wire_table_##TABLE, NULL        \
    }
#define WEFT_ROW_LIST(S, F, N, MAX, TABLE)                                                         \
    {                                                                                              \
#F, N, WEFT_FIELD_LIST, false, MAX, offsetof(S, F), offsetof(S, n_##F),                    \
            &weft_wire_table_##TABLE, NULL                                                         \
    }
#define WEFT_ROW_METRICS(S, F, N)                                                                  \
    {                                                                                              \
#F, N, WEFT_FIELD_METRICS, false, WEFT_MAX_METRICS, offsetof(S, F), 0, NULL, NULL          \
    }

#define WEFT_TABLE(NAME, STRUCT, ROWS, LONG, CHECK)                                                \
    const weft_table weft_wire_table_##STRUCT = {NAME,                                             \
                                                 &weft__v1__##STRUCT##__descriptor,                \
                                                 ROWS,                                             \
                                                 sizeof(ROWS) / sizeof(ROWS)[0],                   \
                                                 sizeof(weft_msg_##STRUCT),                        \
                                                 LONG,                                             \
                                                 CHECK}

#endif

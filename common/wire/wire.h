/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages <-> bytes. The code that protoc-c generates from proto/weft/v1 packs and unpacks them;
 * one table a message says where each field lies in our struct, what it may hold and what it is
 * called, a line each (federation_tables.c, admin_tables.c). Chunks are the exception: chunk.h.
 *
 * A peer's bytes: at most WEFT_MAX_CONTROL_BYTES (WEFT_MAX_REPLY_BYTES for replies that list), at
 * most WEFT_MAX_DECODE_BYTES of memory (WEFT_MAX_DECODE_REPLY_BYTES for those). Fields that this
 * version does not know are ignored, but count: more than WEFT_MAX_UNKNOWN_FIELDS are refused, or
 * fewer whose memory passes the budget. Of a field that comes twice the last one counts.
 *
 * Pure; any thread. Each message NAME of WEFT_WIRE_MESSAGES has two functions:
 *
 * weft_msg_NAME_decode(weft_msg_NAME *ret, const void *data, size_t size, arena, err)
 *   writes ret on success only; its pointers live in the arena. WEFT_E_FORMAT: not protobuf;
 *   WEFT_E_INVALID: a field's value, named in err; WEFT_E_LIMIT: a named limit; WEFT_E_STATE: the
 *   peer speaks another version; WEFT_E_NOMEM.
 * weft_msg_NAME_encode(weft_buf *out, const weft_msg_NAME *msg, err)
 *   appends to out; with the same checks, so that nothing leaves that the peer would refuse.
 */
#ifndef WEFT_WIRE_H
#define WEFT_WIRE_H

#include "wire/arena.h"
#include "wire/messages.h"

#define WEFT_PROTOCOL_VERSION 1U
/* Replies that list jobs, rounds, models, clients: senders page before this. */
#define WEFT_MAX_REPLY_BYTES (1U << 20)
/* What decoding one of them may allocate: a page of rounds with sixteen metrics of each kind. */
#define WEFT_MAX_DECODE_REPLY_BYTES (8U << 20)
/* More unknown fields than a newer version will ever have: garbage. */
#define WEFT_MAX_UNKNOWN_FIELDS 1000U

#define WEFT_WIRE_MESSAGES(X)                                                                      \
    X(assignment, ASSIGNMENT)                                                                      \
    X(receipt, RECEIPT)                                                                            \
    X(join_file, JOIN_FILE)                                                                        \
    X(enroll_request, ENROLL_REQUEST)                                                              \
    X(enroll_reply, ENROLL_REPLY)                                                                  \
    X(renew_request, RENEW_REQUEST)                                                                \
    X(renew_reply, RENEW_REPLY)                                                                    \
    X(dataset, DATASET)                                                                            \
    X(check_in_request, CHECK_IN_REQUEST)                                                          \
    X(check_in_reply, CHECK_IN_REPLY)                                                              \
    X(fetch_model_request, FETCH_MODEL_REQUEST)                                                    \
    X(update_header, UPDATE_HEADER)                                                                \
    X(submit_reply, SUBMIT_REPLY)                                                                  \
    X(progress_request, PROGRESS_REQUEST)                                                          \
    X(progress_reply, PROGRESS_REPLY)                                                              \
    X(abandon_request, ABANDON_REQUEST)                                                            \
    X(abandon_reply, ABANDON_REPLY)                                                                \
    X(ledger_request, LEDGER_REQUEST)                                                              \
    X(ledger_reply, LEDGER_REPLY)                                                                  \
    X(job_info, JOB_INFO)                                                                          \
    X(submit_job_request, SUBMIT_JOB_REQUEST)                                                      \
    X(submit_job_reply, SUBMIT_JOB_REPLY)                                                          \
    X(control_job_request, CONTROL_JOB_REQUEST)                                                    \
    X(list_jobs_request, LIST_JOBS_REQUEST)                                                        \
    X(list_jobs_reply, LIST_JOBS_REPLY)                                                            \
    X(get_job_request, GET_JOB_REQUEST)                                                            \
    X(status_change, STATUS_CHANGE)                                                                \
    X(get_job_reply, GET_JOB_REPLY)                                                                \
    X(round_info, ROUND_INFO)                                                                      \
    X(list_rounds_request, LIST_ROUNDS_REQUEST)                                                    \
    X(list_rounds_reply, LIST_ROUNDS_REPLY)                                                        \
    X(get_round_request, GET_ROUND_REQUEST)                                                        \
    X(secure_info, SECURE_INFO)                                                                    \
    X(assignment_info, ASSIGNMENT_INFO)                                                            \
    X(get_round_reply, GET_ROUND_REPLY)                                                            \
    X(model_info, MODEL_INFO)                                                                      \
    X(list_models_request, LIST_MODELS_REQUEST)                                                    \
    X(list_models_reply, LIST_MODELS_REPLY)                                                        \
    X(fetch_version_request, FETCH_VERSION_REQUEST)                                                \
    X(import_header, IMPORT_HEADER)                                                                \
    X(tag_model_request, TAG_MODEL_REQUEST)                                                        \
    X(invite_request, INVITE_REQUEST)                                                              \
    X(invite_reply, INVITE_REPLY)                                                                  \
    X(dataset_info, DATASET_INFO)                                                                  \
    X(client_info, CLIENT_INFO)                                                                    \
    X(list_clients_request, LIST_CLIENTS_REQUEST)                                                  \
    X(list_clients_reply, LIST_CLIENTS_REPLY)                                                      \
    X(revoke_client_request, REVOKE_CLIENT_REQUEST)                                                \
    X(watch_request, WATCH_REQUEST)                                                                \
    X(watch_event, WATCH_EVENT)                                                                    \
    X(status_request, STATUS_REQUEST)                                                              \
    X(status_reply, STATUS_REPLY)                                                                  \
    X(secure_step_request, SECURE_STEP_REQUEST)                                                    \
    X(secure_step_reply, SECURE_STEP_REPLY)

typedef enum weft_msg_kind {
#define WEFT_WIRE_KIND(name, NAME) WEFT_MSG_##NAME,
    WEFT_WIRE_MESSAGES(WEFT_WIRE_KIND)
#undef WEFT_WIRE_KIND
        WEFT_MSG_COUNT
} weft_msg_kind;

/** Decode into a struct of the kind's type. */
WEFT_NODISCARD weft_status weft_wire_decode(void *ret, weft_msg_kind kind, const void *data,
                                            size_t size, weft_arena *arena, weft_err *err);
/** Encode a struct of the kind's type. */
WEFT_NODISCARD weft_status weft_wire_encode(weft_buf *out, weft_msg_kind kind, const void *msg,
                                            weft_err *err);
/** Encode an UpdatePart, an ImportPart with a header: the first message of the stream. Chunks, the
 * ones after it: chunk.h. */
WEFT_NODISCARD weft_status weft_update_part_encode(weft_buf *out,
                                                   const weft_msg_update_header *header,
                                                   weft_err *err);
WEFT_NODISCARD weft_status weft_import_part_encode(weft_buf *out,
                                                   const weft_msg_import_header *header,
                                                   weft_err *err);
/** sizeof the kind's struct, for generic callers. */
size_t weft_wire_struct_bytes(weft_msg_kind kind);
/** An arena with the budget for one decoded message of this kind. */
void weft_wire_arena_init(weft_arena *arena, weft_msg_kind kind, const weft_alloc *a);

#define WEFT_WIRE_TYPED(name, NAME)                                                                \
    WEFT_NODISCARD static inline weft_status weft_msg_##name##_decode(                             \
        weft_msg_##name *ret, const void *data, size_t size, weft_arena *arena, weft_err *err)     \
    {                                                                                              \
        return weft_wire_decode(ret, WEFT_MSG_##NAME, data, size, arena, err);                     \
    }                                                                                              \
    WEFT_NODISCARD static inline weft_status weft_msg_##name##_encode(                             \
        weft_buf *out, const weft_msg_##name *msg, weft_err *err)                                  \
    {                                                                                              \
        return weft_wire_encode(out, WEFT_MSG_##NAME, msg, err);                                   \
    }
WEFT_WIRE_MESSAGES(WEFT_WIRE_TYPED)
#undef WEFT_WIRE_TYPED

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the wire's messages and the session's types. Used by the transport and by the outbox
 * (which keeps assignments and receipts as wire messages). Pure; any thread.
 */
#ifndef WEFT_CLIENT_CONVERT_H
#define WEFT_CLIENT_CONVERT_H

#include "session.h"
#include "wire/messages.h"

/** Texts stay borrowed from the message. WEFT_E_FORMAT names the field that does not fit. */
WEFT_NODISCARD weft_status weft_convert_assignment(weft_session_assignment *ret,
                                                   const weft_msg_assignment *msg, weft_err *err);
/** The other way; everything is borrowed from assignment. */
void weft_convert_assignment_msg(weft_msg_assignment *ret,
                                 const weft_session_assignment *assignment);

/** WEFT_E_FORMAT names the field that does not fit. */
WEFT_NODISCARD weft_status weft_convert_receipt(weft_session_receipt *ret,
                                                const weft_msg_receipt *msg, weft_err *err);
/** The other way; borrowed from receipt and client. */
void weft_convert_receipt_msg(weft_msg_receipt *ret, const weft_session_receipt *receipt,
                              const char *client);
/**
 * The coordinator's signature over all of it.
 * @param client  this client's name: a receipt for another one does not hold.
 * @return WEFT_E_AUTH; WEFT_E_FORMAT.
 */
WEFT_NODISCARD weft_status weft_convert_receipt_verify(const weft_session_receipt *receipt,
                                                       const char *client,
                                                       const uint8_t receipt_key[32],
                                                       weft_err *err);

/** The header that goes before an update's bytes; borrowed from both. */
void weft_convert_update_msg(weft_msg_update_header *ret, const weft_session_assignment *assignment,
                             const weft_session_update *update, uint64_t start_offset);
/** What was kept of it. WEFT_E_FORMAT. */
WEFT_NODISCARD weft_status weft_convert_update(weft_session_update *ret,
                                               const weft_msg_update_header *msg, weft_err *err);

/** "late: the round has closed", cut to fit; detail may be empty. */
void weft_convert_refusal(char ret[WEFT_SESSION_TEXT_BYTES], uint32_t refusal, const char *detail);

#endif

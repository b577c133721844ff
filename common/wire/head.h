/* SPDX-License-Identifier: Apache-2.0 */
/* Tree heads as LedgerReply carries them, and as clients keep them. Pure; any thread. */
#ifndef WEFT_WIRE_HEAD_H
#define WEFT_WIRE_HEAD_H

#include "ledger/head.h"
#include "wire/messages.h"

/** The head of a decoded reply; its signature is the caller's to verify. */
void weft_head_from_reply(weft_tree_head *ret, const weft_msg_ledger_reply *reply);
/** A reply that holds this head and no proofs; borrows from it. */
weft_msg_ledger_reply weft_head_to_reply(const weft_tree_head *head);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What a client asks of the ledger: a signed head, that it goes on from the one it knows, and that
 * its update is in it. After the batch, so that a head covers what is durable only. Owner thread.
 */
#include "app/daemon.h"

#include "store/ledger.h"
#include "wire/head.h"

#include <stdio.h>

static weft_status sign_head(weft_daemon *d, weft_tree_head *head, weft_err *err)
{
    (void)snprintf(head->federation, sizeof head->federation, "%s",
                   d->config.federation); /* fits: checked when the configuration was read */
    WEFT_TRY(weft_store_ledger_root(d->store, &head->size, head->root, err));
    head->unix_ms = weft_daemon_unix_ms(d);
    return weft_auth_sign_head(head, d->auth, err);
}

static weft_view view(const weft_merkle_proof *proof)
{
    return (weft_view){proof->hash[0], proof->n * sizeof proof->hash[0]};
}

weft_status weft_ledger_answer(weft_daemon *d, weft_rpc_call *call, weft_arena *arena,
                               weft_err *err)
{
    (void)arena;
    const weft_msg_ledger_request *request = call->msg;
    weft_tree_head head = {.size = 0};
    weft_merkle_proof consistency = {.n = 0};
    weft_merkle_proof inclusion = {.n = 0};
    uint64_t index = 0;
    WEFT_TRY(sign_head(d, &head, err));
    if (request->known_size <= head.size) { /* else the head itself says what happened */
        WEFT_TRY(weft_store_ledger_consistency(d->store, request->known_size, &consistency, err));
    }
    if (request->assignment_id) {
        /* not there: no proof, and the client draws its conclusions with the head in its hands */
        const weft_status status = weft_store_ledger_inclusion(d->store, request->assignment_id,
                                                               call->name, &index, &inclusion, err);
        if (status != WEFT_OK && status != WEFT_E_NOTFOUND) {
            return status;
        }
    }
    weft_msg_ledger_reply reply = weft_head_to_reply(&head);
    reply.consistency = view(&consistency);
    reply.leaf_index = index;
    reply.inclusion = view(&inclusion);
    weft_rpc_reply(call, WEFT_MSG_LEDGER_REPLY, &reply);
    return WEFT_OK;
}

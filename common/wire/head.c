/* SPDX-License-Identifier: Apache-2.0 */
/* Tree heads and messages. Pure, any thread. */
#include "wire/head.h"

#include <stdio.h>
#include <string.h>

void weft_head_from_reply(weft_tree_head *ret, const weft_msg_ledger_reply *reply)
{
    /* decoded: names are short, digests and signatures whole */
    (void)snprintf(ret->federation, sizeof ret->federation, "%s", reply->federation);
    ret->size = reply->size;
    memcpy(ret->root, reply->root.data, sizeof ret->root);
    ret->unix_ms = reply->unix_ms;
    memcpy(ret->signature, reply->signature.data, sizeof ret->signature);
}

weft_msg_ledger_reply weft_head_to_reply(const weft_tree_head *head)
{
    return (weft_msg_ledger_reply){.federation = head->federation,
                                   .size = head->size,
                                   .root = {head->root, sizeof head->root},
                                   .unix_ms = head->unix_ms,
                                   .signature = {head->signature, sizeof head->signature}};
}

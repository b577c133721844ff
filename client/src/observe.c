/* SPDX-License-Identifier: Apache-2.0 */
/* What a client tells its host: identity, receipts, history. <weft/weft.h> documents it. */
#include "base/version.h"
#include "client_priv.h"

#include <stdio.h>
#include <string.h>

static weft_status get_info(const weft_client *client, weft_client_info *ret, weft_err *err)
{
    WEFT_TRY(weft_client_usable(client, err));
    if (!ret) {
        WEFT_FAIL(err, WEFT_E_INVALID, "nowhere to put the info");
    }
    weft_client_info info = WEFT_CLIENT_INFO_INIT;
    weft_outbox_identity id;
    weft_outbox_identity_init(&id, client->alloc);
    weft_err none = WEFT_ERR_INIT;
    const weft_status status = weft_outbox_load_identity(client->outbox, &id, &none);
    if (status == WEFT_OK) {
        info.enrolled = id.certificate_pem.size > 0;
        (void)snprintf(info.name, sizeof info.name, "%s", id.name);
        (void)snprintf(info.federation, sizeof info.federation, "%s", id.federation);
        (void)snprintf(info.address, sizeof info.address, "%s", id.address);
        info.certificate_expires_unix_ms = id.until_unix_ms;
        info.last_seen_unix_ms = weft_outbox_seen(client->outbox);
    }
    weft_outbox_identity_done(&id);
    if (status != WEFT_OK && status != WEFT_E_NOTFOUND) {
        return weft_err_set(err, status, none.sys, none.file, none.line, "%s", none.msg);
    }
    weft_struct_out(ret, &info, sizeof info);
    return WEFT_OK;
}

weft_status weft_client_get_info(const weft_client *client, weft_client_info *ret, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    return weft_client_tell(err, get_info(client, ret, &why), &why);
}

static weft_status get_receipt(const weft_client *client, weft_receipt *ret, weft_err *err)
{
    WEFT_TRY(weft_client_usable(client, err));
    if (!ret) {
        WEFT_FAIL(err, WEFT_E_INVALID, "nowhere to put a receipt");
    }
    weft_session_receipt r;
    WEFT_TRY(weft_outbox_last_receipt(client->outbox, &r, err));
    weft_receipt out = {.size = sizeof out,
                        .assignment_id = r.assignment_id,
                        .round = r.round,
                        .n_examples = r.n_examples,
                        .accepted_unix_ms = r.accepted_unix_ms};
    (void)snprintf(out.job, sizeof out.job, "%s", r.job);
    memcpy(out.update_digest, r.update_digest, sizeof out.update_digest);
    memcpy(out.signature, r.signature, sizeof out.signature);
    weft_struct_out(ret, &out, sizeof out);
    return WEFT_OK;
}

weft_status weft_client_receipt(const weft_client *client, weft_receipt *ret, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    return weft_client_tell(err, get_receipt(client, ret, &why), &why);
}

typedef struct history_call {
    int (*fn)(void *arg, const weft_contribution *item);
    void *arg;
} history_call;

static int tell_item(void *arg, const weft_outbox_item *item)
{
    static const char *const words[] = {"open", "accepted", "refused", "declined", "abandoned"};
    const history_call *call = arg;
    const unsigned outcome = (unsigned)item->outcome;
    char text[WEFT_SESSION_TEXT_BYTES + 16];
    (void)snprintf(text, sizeof text, "%s%s%s",
                   outcome < sizeof words / sizeof words[0] ? words[outcome] : "unknown",
                   item->reason[0] ? ": " : "", item->reason);
    const weft_contribution c = {.size = sizeof c,
                                 .job = item->job,
                                 .round = item->round,
                                 .kind = (weft_task_kind)item->task,
                                 .outcome = text,
                                 .n_examples = item->n_examples,
                                 .bytes = item->bytes,
                                 .unix_ms = item->unix_ms};
    return call->fn(call->arg, &c);
}

weft_status weft_client_history(const weft_client *client,
                                int (*fn)(void *arg, const weft_contribution *item), void *arg,
                                weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    weft_status status = weft_client_usable(client, &why);
    if (status == WEFT_OK && fn) {
        history_call call = {fn, arg};
        status = weft_outbox_history(client->outbox, tell_item, &call, &why);
    }
    return weft_client_tell(err, status, &why);
}

const char *weft_version(void)
{
    return WEFT_VERSION;
}

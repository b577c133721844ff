/* SPDX-License-Identifier: Apache-2.0 */
/* weft-client status and history: look at a state folder, also while the agent runs. */
#include "agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static weft_client *observe(const agent_options *options, int *ret_exit)
{
    weft_client *client = NULL;
    weft_client_options o = WEFT_CLIENT_OPTIONS_INIT;
    weft_error why = WEFT_ERROR_INIT;
    o.state_dir = options->state_dir;
    o.observe = 1;
    const weft_status status = weft_client_open(&client, &o, &why);
    if (status != WEFT_OK) {
        *ret_exit = agent_fail("cannot look at the client", status, why.message);
        return NULL;
    }
    return client;
}

static void print_json_text(const char *text)
{
    (void)putchar('"');
    for (const char *p = text; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\') {
            (void)printf("\\%c", c);
        } else if (c < 0x20 || c >= 0x7F) {
            (void)printf("\\u%04x", c);
        } else {
            (void)putchar(c);
        }
    }
    (void)putchar('"');
}

static void print_time(char out[32], int64_t unix_ms)
{
    const time_t seconds = (time_t)(unix_ms / 1000);
    struct tm utc = {0};
    out[0] = '-';
    out[1] = '\0';
    if (unix_ms != 0 && gmtime_r(&seconds, &utc)) {
        (void)strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
}

/* ---- status --------------------------------------------------------------------------------- */

typedef struct totals {
    uint64_t accepted, refused, declined, abandoned, bytes;
    char open_job[80];
    uint32_t open_round;
} totals;

static int add_item(void *arg, const weft_contribution *item)
{
    totals *t = arg;
    switch (item->outcome[0]) { /* accepted, abandoned, refused, declined, open */
    case 'a':
        if (item->outcome[1] == 'c') {
            t->accepted++;
            t->bytes += item->bytes;
        } else {
            t->abandoned++;
        }
        break;
    case 'r':
        t->refused++;
        break;
    case 'd':
        t->declined++;
        break;
    default:
        (void)snprintf(t->open_job, sizeof t->open_job, "%s", item->job);
        t->open_round = item->round;
        break;
    }
    return 0;
}

static void status_json(const weft_client_info *i, const totals *t)
{
    (void)printf("{\"enrolled\":%s,\"client\":", i->enrolled ? "true" : "false");
    print_json_text(i->name);
    (void)printf(",\"federation\":");
    print_json_text(i->federation);
    (void)printf(",\"address\":");
    print_json_text(i->address);
    (void)printf(",\"certificate_expires_unix_ms\":%" PRId64 ",\"last_seen_unix_ms\":%" PRId64
                 ",\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"declined\":%" PRIu64
                 ",\"abandoned\":%" PRIu64 ",\"bytes_sent\":%" PRIu64 ",\"open_job\":",
                 i->certificate_expires_unix_ms, i->last_seen_unix_ms, t->accepted, t->refused,
                 t->declined, t->abandoned, t->bytes);
    print_json_text(t->open_job);
    (void)printf(",\"open_round\":%u}\n", t->open_round);
}

static void status_text(const weft_client_info *i, const totals *t)
{
    char expires[32];
    char seen[32];
    print_time(expires, i->certificate_expires_unix_ms);
    print_time(seen, i->last_seen_unix_ms);
    if (!i->enrolled) {
        (void)printf("not enrolled\n");
        return;
    }
    (void)printf("client       %s of %s at %s\n", i->name, i->federation, i->address);
    (void)printf("certificate  until %s (renews by itself)\n", expires);
    (void)printf("last answer  %s\n", seen);
    (void)printf("updates      %" PRIu64 " accepted (%" PRIu64 " bytes), %" PRIu64
                 " refused, %" PRIu64 " declined, %" PRIu64 " abandoned\n",
                 t->accepted, t->bytes, t->refused, t->declined, t->abandoned);
    if (t->open_job[0]) {
        (void)printf("working on   %s, round %u\n", t->open_job, t->open_round);
    }
}

int agent_status(const agent_options *options)
{
    int result = AGENT_DONE;
    weft_client *client = observe(options, &result);
    if (!client) {
        return result;
    }
    totals t = {.accepted = 0};
    weft_client_info info = WEFT_CLIENT_INFO_INIT;
    weft_error why = WEFT_ERROR_INIT;
    weft_status status = weft_client_get_info(client, &info, &why);
    if (status == WEFT_OK) {
        status = weft_client_history(client, add_item, &t, &why);
    }
    if (status != WEFT_OK) {
        result = agent_fail("cannot read the state", status, why.message);
    } else if (options->format == AGENT_JSON) {
        status_json(&info, &t);
    } else {
        status_text(&info, &t);
    }
    weft_client_close(client);
    return result;
}

/* ---- history -------------------------------------------------------------------------------- */

static const char *kind_name(weft_task_kind kind)
{
    return kind == WEFT_TASK_KIND_TRAIN      ? "train"
           : kind == WEFT_TASK_KIND_EVALUATE ? "evaluate"
                                             : "stats";
}

static int print_item(void *arg, const weft_contribution *item)
{
    const agent_options *options = arg;
    if (options->format == AGENT_JSON) {
        (void)printf("{\"unix_ms\":%" PRId64 ",\"job\":", item->unix_ms);
        print_json_text(item->job);
        (void)printf(",\"round\":%u,\"task\":\"%s\",\"n_examples\":%" PRIu64 ",\"bytes\":%" PRIu64
                     ",\"outcome\":",
                     item->round, kind_name(item->kind), item->n_examples, item->bytes);
        print_json_text(item->outcome);
        (void)printf("}\n");
        return 0;
    }
    char when[32];
    print_time(when, item->unix_ms);
    (void)printf("%s  %-20s round %-5u %-8s %8" PRIu64 " examples %10" PRIu64 " bytes  %s\n", when,
                 item->job, item->round, kind_name(item->kind), item->n_examples, item->bytes,
                 item->outcome);
    return 0;
}

int agent_history(const agent_options *options)
{
    int result = AGENT_DONE;
    weft_client *client = observe(options, &result);
    if (!client) {
        return result;
    }
    weft_error why = WEFT_ERROR_INIT;
    const weft_status status =
        weft_client_history(client, print_item, (void *)(uintptr_t)options, &why);
    if (status != WEFT_OK) {
        result = agent_fail("cannot read the history", status, why.message);
    }
    weft_client_close(client);
    return result;
}

/* ---- verify-receipt ------------------------------------------------------------------------- */

static void print_hex(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)printf("%02x", bytes[i]);
    }
}

static void ledger_text(const weft_ledger_info *info, const weft_receipt *receipt)
{
    char when[32];
    print_time(when, info->signed_unix_ms);
    (void)printf("ledger       %" PRIu64 " records, signed %s, root ", info->records, when);
    print_hex(info->root, 8);
    (void)printf("...\n");
    if (info->records_known_before) {
        (void)printf("history      goes on from the %" PRIu64 " records that were known\n",
                     info->records_known_before);
    } else {
        (void)printf("history      seen for the first time; kept for the next\n");
    }
    if (info->has_receipt) {
        (void)printf("update       of job %s, round %u is record %" PRIu64 "\n", receipt->job,
                     receipt->round, info->record);
    } else {
        (void)printf("update       no receipt yet\n");
    }
}

static void ledger_json(const weft_ledger_info *info, const weft_receipt *receipt)
{
    (void)printf("{\"records\":%" PRIu64 ",\"records_known_before\":%" PRIu64
                 ",\"signed_unix_ms\":%" PRId64 ",\"root\":\"",
                 info->records, info->records_known_before, info->signed_unix_ms);
    print_hex(info->root, sizeof info->root);
    (void)printf("\",\"has_receipt\":%s,\"record\":%" PRIu64 ",\"assignment_id\":%" PRIu64
                 ",\"job\":",
                 info->has_receipt ? "true" : "false", info->record, receipt->assignment_id);
    print_json_text(receipt->job);
    (void)printf(",\"round\":%u}\n", receipt->round);
}

int agent_verify_receipt(const agent_options *options)
{
    int result = AGENT_DONE;
    weft_client *client = observe(options, &result);
    if (!client) {
        return result;
    }
    weft_ledger_info info = WEFT_LEDGER_INFO_INIT;
    weft_receipt receipt = WEFT_RECEIPT_INIT;
    weft_error why = WEFT_ERROR_INIT;
    const weft_status status = weft_client_check_ledger(client, &info, &why);
    if (status == WEFT_E_AGAIN) {
        result = agent_fail("cannot ask for the ledger", status, why.message);
    } else if (status != WEFT_OK) {
        (void)agent_fail("the ledger cannot be trusted", status, why.message);
        result = AGENT_FAILED;
    } else if (info.has_receipt && weft_client_receipt(client, &receipt, &why) != WEFT_OK) {
        result = agent_fail("cannot look at the receipt", WEFT_E_DB, why.message);
    } else if (options->format == AGENT_JSON) {
        ledger_json(&info, &receipt);
    } else {
        ledger_text(&info, &receipt);
    }
    weft_client_close(client);
    return result;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* weft client: invitations (signed here, with the operator's key), listing, revocation. */
#include "cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/file.h"
#include "config/yaml.h"
#include "wire/join.h"

#define DAY_MS UINT64_C(86400000)
enum { DEFAULT_EXPIRY_DAYS = 7, MAX_EXPIRY_DAYS = 365, PAGE_ROWS = 200 };

/* ---- invite --------------------------------------------------------------------------------- */

/* All that goes into one join file; the secrets are wiped at the end. */
typedef struct invitation {
    const char *client;
    char path[PATH_MAX];
    int64_t expires_unix_ms;
    uint8_t token[WEFT_AUTH_TOKEN_BYTES];
    weft_sign_key operator_key;
    weft_sign_key key;
    weft_buf document;
    weft_buf ca_pem;
    uint8_t receipt_public[WEFT_SIGN_PUBLIC_BYTES];
} invitation;

static weft_status read_operator_key(cli *c, invitation *inv, weft_err *err)
{
    const char *path = c->config.member_key;
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077U) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "%.140s has mode %04o, others may read the operator's key: chmod 600 it", path,
                  (unsigned)st.st_mode & 07777U);
    }
    weft_buf pem;
    weft_err inner = WEFT_ERR_INIT;
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_status status = weft_file_read(&pem, path, err);
    if (status == WEFT_OK) {
        status = weft_sign_key_from_pem(&inv->operator_key, pem.data, pem.size, &inner);
        if (status != WEFT_OK) {
            status =
                weft_err_set(err, status, 0, __FILE__, __LINE__, "%.120s: %s", path, inner.msg);
        }
    }
    weft_wipe(pem.data, pem.size);
    weft_buf_done(&pem);
    return status;
}

/* The operator's own copies, not what the coordinator says about itself. */
static weft_status read_pinned(cli *c, invitation *inv, weft_err *err)
{
    weft_buf pem;
    weft_err inner = WEFT_ERR_INIT;
    const char *path = c->config.receipt_public_key;
    WEFT_TRY(weft_file_read(&inv->ca_pem, c->config.ca_certificate, err));
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_status status = weft_file_read(&pem, path, err);
    if (status == WEFT_OK) {
        status = weft_sign_public_from_pem(inv->receipt_public, pem.data, pem.size, &inner);
        if (status != WEFT_OK) {
            status =
                weft_err_set(err, status, 0, __FILE__, __LINE__, "%.120s: %s", path, inner.msg);
        }
    }
    weft_buf_done(&pem);
    return status;
}

static weft_status choose_expiry(cli *c, invitation *inv, weft_err *err)
{
    const char *text = cli_value(c, "expires");
    uint64_t ms = DEFAULT_EXPIRY_DAYS * DAY_MS;
    if (text && (!weft_yaml_duration(text, &ms) || ms == 0 || ms > MAX_EXPIRY_DAYS * DAY_MS)) {
        return cli_usage(c, err, "--expires %.60s is not a time up to 365d: 12h, 7d", text);
    }
    inv->expires_unix_ms = cli_now_unix_ms() + (int64_t)ms;
    return WEFT_OK;
}

static weft_status choose_path(cli *c, invitation *inv, weft_err *err)
{
    const char *output = cli_value(c, "output");
    const int n = output ? snprintf(inv->path, sizeof inv->path, "%s", output)
                         : snprintf(inv->path, sizeof inv->path, "%s.join", inv->client);
    if (n < 0 || (size_t)n >= sizeof inv->path) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the name of the join file is too long");
    }
    if (access(inv->path, F_OK) == 0) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "%.160s exists: remove it, or name another with --output",
                  inv->path);
    }
    return WEFT_OK;
}

/* Token, invitation key and the operator's signature. */
static weft_status sign_invitation(cli *c, invitation *inv, weft_err *err)
{
    const weft_entropy *entropy = &weft_entropy_system;
    WEFT_TRY(entropy->fill(entropy->self, inv->token, sizeof inv->token, err));
    WEFT_TRY(weft_sign_key_generate(&inv->key, entropy, err));
    weft_invitation document;
    WEFT_TRY(weft_invitation_make(&document, &inv->operator_key, c->config.federation, inv->client,
                                  inv->expires_unix_ms, inv->key.public_key, err));
    return weft_invitation_encode(&inv->document, &document, err);
}

static weft_status write_join(cli *c, const invitation *inv, const weft_msg_invite_reply *reply,
                              weft_err *err)
{
    const char *address = cli_value(c, "join-address");
    if (!address) {
        address = *reply->address ? reply->address : cli_address(c);
    }
    const weft_msg_join_file join = {
        .address = address,
        .federation = c->config.federation,
        .client = inv->client,
        .transport_ca_pem = weft_buf_view(&inv->ca_pem),
        .token = {inv->token, sizeof inv->token},
        .operator_public_key = {inv->operator_key.public_key, WEFT_SIGN_PUBLIC_BYTES},
        .invitation_private_key = {inv->key.seed, sizeof inv->key.seed},
        .invitation = weft_buf_view(&inv->document),
        .receipt_public_key = {inv->receipt_public, sizeof inv->receipt_public},
    };
    char expires[CLI_TEXT_BYTES];
    weft_buf text;
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_JOIN_BYTES);
    weft_status status = weft_buf_addf(
        &text, err,
        "# For client %s of federation %s only. It lets one machine in, once, and\n"
        "# expires on %s. Keep it secret until it has been used:\n"
        "#   weft-client enrol --state DIR %s.join\n",
        inv->client, c->config.federation, cli_time(expires, inv->expires_unix_ms), inv->client);
    if (status == WEFT_OK) {
        status = weft_join_write(&text, &join, err);
    }
    if (status == WEFT_OK) {
        status = weft_file_create(inv->path, text.data, text.size, 0600, err);
    }
    weft_wipe(text.data, text.size);
    weft_buf_done(&text);
    return status;
}

static weft_status print_invited(cli *c, const invitation *inv, weft_err *err)
{
    char expires[CLI_TEXT_BYTES];
    if (!cli_is_text(c)) {
        return cli_print_json(c,
                              json_pack("{s:s, s:s, s:I}", "client", inv->client, "file", inv->path,
                                        "expires_unix_ms", (json_int_t)inv->expires_unix_ms),
                              err);
    }
    printf("%s   give it to %s over a channel you trust; it expires on %s\n", inv->path,
           inv->client, cli_time(expires, inv->expires_unix_ms));
    return WEFT_OK;
}

static weft_status register_invitation(cli *c, const invitation *inv, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    WEFT_TRY(weft_auth_token_digest(digest, (weft_view){inv->token, sizeof inv->token}, err));
    const weft_msg_invite_request request = {.client = inv->client,
                                             .token_digest = {digest, sizeof digest},
                                             .invitation = weft_buf_view(&inv->document)};
    weft_msg_invite_reply answer;
    cli_reply reply;
    WEFT_TRY(cli_call(c, WEFT_METHOD_INVITE, WEFT_MSG_INVITE_REQUEST, &request,
                      WEFT_MSG_INVITE_REPLY, &answer, &reply, err));
    weft_status status = WEFT_OK;
    if (strcmp(answer.federation, c->config.federation) != 0) {
        status = weft_err_set(err, WEFT_E_AUTH, 0, __FILE__, __LINE__,
                              "the coordinator at %.80s is of federation %.64s, this folder is of "
                              "%.64s",
                              cli_address(c), answer.federation, c->config.federation);
    } else {
        status = write_join(c, inv, &answer, err);
    }
    cli_reply_done(&reply);
    return status;
}

static weft_status invite(cli *c, invitation *inv, weft_err *err)
{
    if (!weft_name_valid(inv->client)) {
        return cli_usage(c, err,
                         "'%.64s' is no name for a client: 1 to %d of A-Z a-z 0-9 . _ -, not "
                         "starting with . or -",
                         inv->client, WEFT_MAX_NAME_BYTES);
    }
    WEFT_TRY(choose_expiry(c, inv, err));
    WEFT_TRY(choose_path(c, inv, err));
    WEFT_TRY(cli_load_config(c, err));
    WEFT_TRY(read_operator_key(c, inv, err));
    WEFT_TRY(read_pinned(c, inv, err));
    WEFT_TRY(sign_invitation(c, inv, err));
    WEFT_TRY(register_invitation(c, inv, err));
    return print_invited(c, inv, err);
}

static weft_status run_invite(cli *c, weft_err *err)
{
    invitation inv;
    memset(&inv, 0, sizeof inv);
    inv.client = c->argument[0];
    weft_buf_init(&inv.document, &weft_alloc_std, WEFT_MAX_INVITATION_BYTES);
    weft_buf_init(&inv.ca_pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    const weft_status status = invite(c, &inv, err);
    weft_buf_done(&inv.document);
    weft_buf_done(&inv.ca_pem);
    weft_wipe(&inv, sizeof inv);
    return status;
}

/* ---- list and show -------------------------------------------------------------------------- */

/* "digits (600), faces" into out, cut with "..." */
static const char *datasets_text(char *out, size_t out_size, const weft_msg_client_info *client)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < client->n_datasets && at < out_size; i++) {
        char count[CLI_TEXT_BYTES];
        const weft_msg_dataset_info *d = &client->datasets[i];
        const int n = d->n_examples > 0
                          ? snprintf(out + at, out_size - at, "%s%s (%s)", i ? ", " : "", d->name,
                                     cli_count(count, d->n_examples))
                          : snprintf(out + at, out_size - at, "%s%s", i ? ", " : "", d->name);
        at += n > 0 ? (size_t)n : 0;
    }
    return out;
}

static weft_status add_client(cli_table *t, const weft_msg_client_info *client, weft_err *err)
{
    if (!cli_is_text(t->c)) {
        return cli_table_object(t, cli_json_client(client), err);
    }
    char seen[CLI_TEXT_BYTES];
    char updates[CLI_TEXT_BYTES];
    char datasets[200];
    const char *const cells[] = {client->client,
                                 client->status,
                                 client->connected ? "yes" : "no",
                                 cli_time(seen, client->last_seen_unix_ms),
                                 cli_count(updates, client->updates_accepted),
                                 datasets_text(datasets, sizeof datasets, client)};
    return cli_table_row(t, cells, err);
}

/**
 * All clients, page by page.
 * @param each  called for each; stops when *stop is set.
 */
static weft_status each_client(cli *c,
                               weft_status (*each)(void *arg, const weft_msg_client_info *,
                                                   bool *stop, weft_err *),
                               void *arg, weft_err *err)
{
    char after[WEFT_MAX_NAME_BYTES + 1] = "";
    for (bool stop = false; !stop;) {
        const weft_msg_list_clients_request request = {.after = after, .limit = PAGE_ROWS};
        weft_msg_list_clients_reply answer;
        cli_reply reply;
        WEFT_TRY(cli_call(c, WEFT_METHOD_LIST_CLIENTS, WEFT_MSG_LIST_CLIENTS_REQUEST, &request,
                          WEFT_MSG_LIST_CLIENTS_REPLY, &answer, &reply, err));
        weft_status status = WEFT_OK;
        for (size_t i = 0; status == WEFT_OK && !stop && i < answer.n_clients; i++) {
            status = each(arg, &answer.clients[i], &stop, err);
        }
        if (answer.n_clients == 0) {
            stop = true;
        } else {
            (void)snprintf(after, sizeof after, "%s",
                           answer.clients[answer.n_clients - 1].client); /* fits: names do */
        }
        cli_reply_done(&reply);
        WEFT_TRY(status);
    }
    return WEFT_OK;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): each_client's callback */
static weft_status list_one(void *arg, const weft_msg_client_info *client, bool *stop,
                            weft_err *err)
{
    (void)stop;
    return add_client(arg, client, err);
}

static weft_status run_list(cli *c, weft_err *err)
{
    static const char *const heads[] = {"CLIENT",    "STATUS",  "CONNECTED",
                                        "LAST SEEN", "UPDATES", "DATA SETS"};
    cli_table t;
    cli_table_init(&t, c, heads, 6);
    const weft_status status = each_client(c, list_one, &t, err);
    if (status != WEFT_OK) {
        cli_table_done(&t);
        return status;
    }
    return cli_table_end(&t, "no clients yet: weft client invite NAME", err);
}

static weft_status print_client(cli *c, const weft_msg_client_info *client, weft_err *err)
{
    if (!cli_is_text(c)) {
        return cli_print_json(c, cli_json_client(client), err);
    }
    char text[CLI_TEXT_BYTES];
    char datasets[1000];
    cli_field("client", "%s", client->client);
    cli_field("status", "%s since %s", client->status, cli_time(text, client->since_unix_ms));
    cli_field("connected", "%s", client->connected ? "yes" : "no");
    cli_field("last seen", "%s", cli_time(text, client->last_seen_unix_ms));
    cli_field("software", "%s", client->software);
    cli_field("data sets", "%s", datasets_text(datasets, sizeof datasets, client));
    cli_field("updates", "%s accepted", cli_count(text, client->updates_accepted));
    cli_field("invitation", "%s%s", client->invitation_expires_unix_ms > 0 ? "expires on " : "",
              cli_time(text, client->invitation_expires_unix_ms));
    cli_field("certificate", "%s%s", client->certificate_expires_unix_ms > 0 ? "expires on " : "",
              cli_time(text, client->certificate_expires_unix_ms));
    return WEFT_OK;
}

typedef struct search {
    cli *c;
    const char *name;
    bool found;
} search;

static weft_status show_one(void *arg, const weft_msg_client_info *client, bool *stop,
                            weft_err *err)
{
    search *s = arg;
    if (strcmp(client->client, s->name) != 0) {
        return WEFT_OK;
    }
    s->found = true;
    *stop = true;
    return print_client(s->c, client, err);
}

static weft_status run_show(cli *c, weft_err *err)
{
    search s = {c, c->argument[0], false};
    WEFT_TRY(each_client(c, show_one, &s, err));
    if (!s.found) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no client %.64s: weft client list shows all", s.name);
    }
    return WEFT_OK;
}

/* ---- revoke --------------------------------------------------------------------------------- */

static weft_status run_revoke(cli *c, weft_err *err)
{
    const char *reason = cli_value(c, "reason");
    const weft_msg_revoke_client_request request = {.client = c->argument[0],
                                                    .reason = reason ? reason : ""};
    weft_msg_client_info answer;
    cli_reply reply;
    WEFT_TRY(cli_call(c, WEFT_METHOD_REVOKE_CLIENT, WEFT_MSG_REVOKE_CLIENT_REQUEST, &request,
                      WEFT_MSG_CLIENT_INFO, &answer, &reply, err));
    weft_status status = WEFT_OK;
    if (cli_is_text(c)) {
        printf("client %s is %s: its calls are cut and its certificates void\n", c->argument[0],
               answer.status);
    } else {
        status = cli_print_json(c, cli_json_client(&answer), err);
    }
    cli_reply_done(&reply);
    return status;
}

static const cli_option invite_options[] = {
    {"output", 'o', "FILE", "the join file; default NAME.join"},
    {"expires", 0, "TIME", "until when it can be used: 12h, 7d (default), up to 365d"},
    {"join-address", 0, "HOST:PORT", "what the join file says; default what weftd advertises"},
    {0},
};
static const cli_option revoke_options[] = {
    {"reason", 0, "TEXT", "for the record"},
    {0},
};

const cli_verb cli_client_verbs[] = {
    {"client", "invite", "NAME", 1, 1, "let a partner in: write NAME.join",
     "Signs an invitation with the operator's key, registers it with the coordinator and writes a\n"
     "join file (0600) for one machine. Inviting a name again voids its older invitation.",
     invite_options, run_invite},
    {"client", "list", "", 0, 0, "all clients", NULL, NULL, run_list},
    {"client", "show", "NAME", 1, 1, "one client", NULL, NULL, run_show},
    {"client", "revoke", "NAME", 1, 1, "shut a client out, at once", NULL, revoke_options,
     run_revoke},
    {0},
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The operator's folder and the channel to the coordinator: mutual TLS, unary calls, and what
 * their failures mean to a person. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "crypto/hash.h"

weft_status cli_load_config(cli *c, weft_err *err)
{
    if (c->has_config) {
        return WEFT_OK;
    }
    char path[WEFT_CONFIG_MAX_PATH_BYTES + 1];
    WEFT_TRY(weft_path_join(path, sizeof path, c->operator_dir, "weft.yaml", err));
    weft_err inner = WEFT_ERR_INIT;
    const weft_status status = weft_operator_config_load(&c->config, path, &weft_alloc_std, &inner);
    if (status == WEFT_E_NOTFOUND) {
        WEFT_FAIL(err, status,
                  "no operator's folder at %.120s: name it with --operator DIR or "
                  "WEFT_OPERATOR_DIR, or make a federation with weft init",
                  c->operator_dir);
    }
    if (status != WEFT_OK) {
        WEFT_FAIL(err, status, "%s", inner.msg);
    }
    c->has_config = true;
    return WEFT_OK;
}

const char *cli_address(const cli *c)
{
    return c->address ? c->address : c->config.address;
}

weft_status cli_read_pem(weft_buf *b, const char **ret, const char *path, weft_err *err)
{
    weft_buf_init(b, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    WEFT_TRY(weft_file_read(b, path, err));
    const char *text = weft_buf_text(b);
    if (!text) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %.160s", path);
    }
    *ret = text;
    return WEFT_OK;
}

weft_status cli_open_channel(cli *c, const weft_rt_tls *tls, weft_err *err)
{
    weft_rt_channel_options options = WEFT_RT_CHANNEL_OPTIONS_INIT;
    options.address = cli_address(c);
    options.tls = tls;
    options.backoff_max_ms = 1000;
    return weft_rt_channel_new(&c->channel, &options, err);
}

static weft_status open_channel(cli *c, weft_buf pem[3], weft_err *err)
{
    weft_rt_tls tls = {0};
    WEFT_TRY(cli_read_pem(&pem[0], &tls.ca_pem, c->config.ca_certificate, err));
    WEFT_TRY(cli_read_pem(&pem[1], &tls.cert_pem, c->config.certificate, err));
    WEFT_TRY(cli_read_pem(&pem[2], &tls.key_pem, c->config.key, err));
    WEFT_TRY(cli_renew_if_due(c, &tls, &pem[1], err));
    return cli_open_channel(c, &tls, err);
}

weft_status cli_connect(cli *c, weft_err *err)
{
    if (c->channel) {
        return WEFT_OK;
    }
    WEFT_TRY(cli_load_config(c, err));
    weft_buf pem[3];
    memset(pem, 0, sizeof pem);
    const weft_status status = open_channel(c, pem, err);
    for (size_t i = 0; i < 3; i++) {
        if (pem[i].alloc) {
            weft_wipe(pem[i].data, pem[i].size);
            weft_buf_done(&pem[i]);
        }
    }
    return status;
}

void cli_disconnect(cli *c)
{
    weft_rt_channel_free(c->channel);
    c->channel = NULL;
}

weft_status cli_reconnect(cli *c, weft_err *err)
{
    if (c->channel && cli_now_unix_ms() < c->certificate_due_unix_ms) {
        weft_rt_channel_retry_now(c->channel);
        return WEFT_OK;
    }
    cli_disconnect(c);
    return cli_connect(c, err);
}

/* gRPC's sentence without what it says every time. */
static const char *reason_of(const char *text)
{
    static const char *const heads[] = {"last error: ", "UNKNOWN: "};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        const char *found = strstr(text, heads[i]);
        text = found ? found + strlen(heads[i]) : text;
    }
    return text;
}

weft_status cli_call_failed(const cli *c, weft_rt_code code, const char *text, weft_err *err)
{
    const weft_status status = weft_rt_code_status(code);
    const char *address = cli_address(c);
    switch (code) {
    case WEFT_RT_UNAVAILABLE:
        WEFT_FAIL(
            err, WEFT_E_AGAIN,
            "cannot reach the coordinator at %.60s; is weftd running there, with the authority "
            "of %.40s? %.100s",
            address, c->operator_dir, reason_of(text));
    case WEFT_RT_DEADLINE_EXCEEDED:
        WEFT_FAIL(err, WEFT_E_TIMEOUT,
                  "the coordinator at %.80s has not answered within %u ms: --timeout gives it more",
                  address, c->timeout_ms);
    case WEFT_RT_UNAUTHENTICATED:
    case WEFT_RT_PERMISSION_DENIED:
        WEFT_FAIL(err, WEFT_E_AUTH, "not allowed: %s", text);
    case WEFT_RT_OK:
    case WEFT_RT_CANCELED:
    case WEFT_RT_UNKNOWN:
    case WEFT_RT_INVALID_ARGUMENT:
    case WEFT_RT_NOT_FOUND:
    case WEFT_RT_ALREADY_EXISTS:
    case WEFT_RT_RESOURCE_EXHAUSTED:
    case WEFT_RT_FAILED_PRECONDITION:
    case WEFT_RT_ABORTED:
    case WEFT_RT_OUT_OF_RANGE:
    case WEFT_RT_UNIMPLEMENTED:
    case WEFT_RT_INTERNAL:
    case WEFT_RT_DATA_LOSS:
    default:
        break;
    }
    WEFT_FAIL(err, status == WEFT_OK ? WEFT_E_INTERNAL : status, "%s",
              *text ? text : weft_rt_code_name(code));
}

void cli_reply_done(cli_reply *reply)
{
    weft_buf_done(&reply->bytes);
    weft_arena_done(&reply->arena);
}

/* Both ends of a call, without the memory. */
static weft_status call(cli *c, const char *path, weft_view request, weft_msg_kind reply_kind,
                        void *msg, cli_reply *reply, weft_err *err)
{
    weft_err inner = WEFT_ERR_INIT;
    weft_rt_code code = WEFT_RT_OK;
    const weft_status status =
        weft_rt_unary(c->channel, path, request, c->timeout_ms, &reply->bytes, &code, &inner);
    if (status != WEFT_OK && code == WEFT_RT_OK) {
        WEFT_FAIL(err, status, "%s", inner.msg);
    }
    if (status != WEFT_OK) {
        return cli_call_failed(c, code, inner.msg, err);
    }
    return weft_wire_decode(msg, reply_kind, reply->bytes.data, reply->bytes.size, &reply->arena,
                            err);
}

weft_status cli_call(cli *c, weft_method method, weft_msg_kind request_kind, const void *request,
                     weft_msg_kind reply_kind, void *msg, cli_reply *reply, weft_err *err)
{
    WEFT_TRY(cli_connect(c, err));
    weft_buf bytes;
    weft_buf_init(&bytes, &weft_alloc_std, WEFT_MAX_CONTROL_BYTES);
    weft_buf_init(&reply->bytes, &weft_alloc_std, WEFT_MAX_REPLY_BYTES + 1);
    weft_wire_arena_init(&reply->arena, reply_kind, &weft_alloc_std);
    weft_status status = weft_wire_encode(&bytes, request_kind, request, err);
    if (status == WEFT_OK) {
        status = call(c, weft_method_get(method)->path, weft_buf_view(&bytes), reply_kind, msg,
                      reply, err);
    }
    weft_buf_done(&bytes);
    if (status != WEFT_OK) {
        cli_reply_done(reply);
    }
    return status;
}

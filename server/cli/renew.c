/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's transport certificate: renewed by itself, or by weft renew. The federation's
 * operator key vouches for the renewal, so that an expired certificate has a way back and a stolen
 * one has none beyond its time. The transport key stays; only the certificate is written anew.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "auth/auth.h"
#include "base/file.h"

/* What a renewal works with. */
typedef struct renewal {
    const char *member_key; /* path of the operator key */
    const weft_rt_tls *tls; /* of the folder */
    weft_cert_info info;    /* of the present certificate */
} renewal;

static weft_status sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES], const renewal *r, weft_view csr,
                        weft_err *err)
{
    weft_buf pem;
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_sign_key key;
    weft_status status = weft_file_read(&pem, r->member_key, err);
    if (status == WEFT_OK) {
        status = weft_sign_key_from_pem(&key, pem.data, pem.size, err);
    }
    if (status == WEFT_OK) {
        status = weft_operator_renewal_sign(ret, &key, r->info.id.federation, r->info.id.name,
                                            csr.data, csr.size, err);
        weft_sign_key_done(&key);
    }
    weft_wipe(pem.data, pem.size);
    weft_buf_done(&pem);
    return status;
}

/* The answer must be this operator's, of our authority, for our key, and last. */
static weft_status check(cli *c, const renewal *r, weft_view pem, const weft_key *key,
                         weft_cert_info *ret, weft_err *err)
{
    const weft_view ca = {(const uint8_t *)r->tls->ca_pem, strlen(r->tls->ca_pem)};
    WEFT_TRY(weft_cert_check_key(pem, key, err));
    WEFT_TRY(weft_cert_verify(pem, ca, WEFT_ROLE_OPERATOR, cli_now_unix_ms(), err));
    WEFT_TRY(weft_cert_parse(ret, pem.data, pem.size, err));
    if (strcmp(ret->id.name, r->info.id.name) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "%.80s answered with a certificate of operator %s, not %s",
                  cli_address(c), ret->id.name, r->info.id.name);
    }
    return WEFT_OK;
}

/* Ask over a connection without a certificate: the present one may have expired. */
static weft_status ask(cli *c, renewal *r, const weft_key *key, weft_buf *out, weft_err *err)
{
    uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES];
    const weft_rt_tls bare = {.ca_pem = r->tls->ca_pem};
    weft_msg_renew_reply answer;
    cli_reply reply;
    weft_buf csr;
    weft_buf_init(&csr, &weft_alloc_std, WEFT_MAX_CSR_BYTES);
    weft_status status = weft_csr_make(&csr, key, err);
    if (status == WEFT_OK) {
        status = sign(signature, r, weft_buf_view(&csr), err);
    }
    if (status == WEFT_OK) {
        status = cli_open_channel(c, &bare, err);
    }
    if (status == WEFT_OK) {
        const weft_msg_renew_request request = {.client = r->info.id.name,
                                                .csr_der = weft_buf_view(&csr),
                                                .signature = {signature, sizeof signature},
                                                .operator_certificate = true};
        status = cli_call(c, WEFT_METHOD_RENEW, WEFT_MSG_RENEW_REQUEST, &request,
                          WEFT_MSG_RENEW_REPLY, &answer, &reply, err);
        cli_disconnect(c);
    }
    if (status == WEFT_OK) {
        status = check(c, r, answer.certificate_pem, key, &r->info, err);
        if (status == WEFT_OK) {
            status =
                weft_buf_add(out, answer.certificate_pem.data, answer.certificate_pem.size, err);
        }
        cli_reply_done(&reply);
    }
    weft_buf_done(&csr);
    return status;
}

static void note_times(cli *c, const renewal *r)
{
    c->certificate_until_unix_ms = r->info.not_after_unix_ms;
    c->certificate_due_unix_ms =
        weft_auth_renew_at(r->info.not_before_unix_ms, r->info.not_after_unix_ms);
}

/* r->info becomes the successor's, whose PEM is in out and, where that is allowed, on disk. */
static weft_status renew(cli *c, renewal *r, weft_buf *out, weft_err *err)
{
    weft_key *key = NULL;
    weft_err disk = WEFT_ERR_INIT;
    WEFT_TRY(
        weft_key_from_pem(&key, r->tls->key_pem, strlen(r->tls->key_pem), &weft_alloc_std, err));
    const weft_status status = ask(c, r, key, out, err);
    weft_key_free(key);
    WEFT_TRY(status);
    note_times(c, r);
    if (weft_file_write(c->config.certificate, out->data, out->size, 0644, &disk) != WEFT_OK) {
        /* a closed stderr: nothing to do about it */
        (void)fprintf(stderr, "weft: the renewed certificate could not be kept: %s\n", disk.msg);
    }
    return WEFT_OK;
}

static weft_status begin(renewal *r, const cli *c, const weft_rt_tls *tls, weft_err *err)
{
    r->member_key = c->config.member_key;
    r->tls = tls;
    WEFT_TRY(weft_cert_parse(&r->info, tls->cert_pem, strlen(tls->cert_pem), err));
    if (r->info.id.role != WEFT_ROLE_OPERATOR) {
        WEFT_FAIL(err, WEFT_E_AUTH, "%.120s is a certificate of %s %s, not of an operator",
                  c->config.certificate, weft_role_name(r->info.id.role), r->info.id.name);
    }
    return WEFT_OK;
}

/* ---- by itself ------------------------------------------------------------------------------- */

/* A renewal has failed: of a certificate that is still good, or of one that is not. */
static weft_status tell(const renewal *r, const weft_err *why, weft_err *err)
{
    char when[CLI_TEXT_BYTES];
    const bool expired = r->info.not_after_unix_ms <= cli_now_unix_ms();
    (void)cli_time(when, r->info.not_after_unix_ms);
    if (!expired && (why->code == WEFT_E_AGAIN || why->code == WEFT_E_TIMEOUT)) {
        return WEFT_OK; /* the command itself will say that nobody answers */
    }
    const char *advice = why->code == WEFT_E_NOTFOUND
                             ? "; weft renew --member-key FILE takes it from elsewhere"
                             : "";
    if (!expired) {
        /* a closed stderr: nothing to do about it */
        (void)fprintf(stderr,
                      "weft: the operator's certificate ends on %s and could not be renewed: "
                      "%s%s\n",
                      when, why->msg, advice);
        return WEFT_OK;
    }
    const bool reached = why->code != WEFT_E_AGAIN && why->code != WEFT_E_TIMEOUT;
    WEFT_FAIL(err, reached ? WEFT_E_AUTH : why->code,
              "the operator's certificate expired on %s and could not be renewed: %.120s%s", when,
              why->msg, advice);
}

weft_status cli_renew_if_due(cli *c, weft_rt_tls *tls, weft_buf *cert, weft_err *err)
{
    renewal r;
    weft_err why = WEFT_ERR_INIT;
    WEFT_TRY(begin(&r, c, tls, err));
    note_times(c, &r);
    if (cli_now_unix_ms() < c->certificate_due_unix_ms) {
        return WEFT_OK;
    }
    weft_buf fresh;
    weft_buf_init(&fresh, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_status status = renew(c, &r, &fresh, &why);
    if (status == WEFT_OK) {
        weft_buf_clear(cert);
        status = weft_buf_add(cert, fresh.data, fresh.size, err);
        tls->cert_pem = status == WEFT_OK ? weft_buf_text(cert) : NULL;
        if (status == WEFT_OK && !tls->cert_pem) {
            status = weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                                  "no memory for the operator's certificate");
        }
    } else {
        status = tell(&r, &why, err);
    }
    weft_buf_done(&fresh);
    return status;
}

/* ---- weft renew ------------------------------------------------------------------------------ */

static weft_status print_renewed(cli *c, const renewal *r, weft_err *err)
{
    if (!cli_is_text(c)) {
        return cli_print_json(c,
                              json_pack("{s:s, s:s, s:s, s:I}", "operator", r->info.id.name,
                                        "federation", r->info.id.federation, "certificate",
                                        c->config.certificate, "not_after_unix_ms",
                                        (json_int_t)r->info.not_after_unix_ms),
                              err);
    }
    char until[CLI_TEXT_BYTES];
    printf("the certificate of operator %s is good until %s\n", r->info.id.name,
           cli_time(until, r->info.not_after_unix_ms));
    return WEFT_OK;
}

static weft_status renew_now(cli *c, weft_buf pem[3], weft_buf *fresh, weft_err *err)
{
    renewal r;
    weft_rt_tls tls = {0};
    const char *member_key = cli_value(c, "member-key");
    WEFT_TRY(cli_read_pem(&pem[0], &tls.ca_pem, c->config.ca_certificate, err));
    WEFT_TRY(cli_read_pem(&pem[1], &tls.cert_pem, c->config.certificate, err));
    WEFT_TRY(cli_read_pem(&pem[2], &tls.key_pem, c->config.key, err));
    WEFT_TRY(begin(&r, c, &tls, err));
    r.member_key = member_key ? member_key : r.member_key;
    WEFT_TRY(renew(c, &r, fresh, err));
    return print_renewed(c, &r, err);
}

static weft_status run_renew(cli *c, weft_err *err)
{
    weft_buf pem[3];
    weft_buf fresh;
    WEFT_TRY(cli_load_config(c, err));
    weft_buf_init(&fresh, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    for (size_t i = 0; i < 3; i++) {
        weft_buf_init(&pem[i], &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    }
    const weft_status status = renew_now(c, pem, &fresh, err);
    for (size_t i = 0; i < 3; i++) {
        weft_wipe(pem[i].data, pem[i].size);
        weft_buf_done(&pem[i]);
    }
    weft_buf_done(&fresh);
    return status;
}

static const cli_option renew_options[] = {
    {"member-key", 0, "FILE", "the federation's operator key; default as in weft.yaml"},
    {0},
};

const cli_verb cli_renew_verbs[] = {
    {"renew", NULL, "", 0, 0, "renew the operator's certificate now",
     "Every command does this by itself once two thirds of the certificate's time have passed,\n"
     "also after it has expired, as long as operator.key lies in the operator's folder. Where "
     "that\n"
     "key is kept elsewhere, run this with --member-key from time to time.",
     renew_options, run_renew},
    {0},
};

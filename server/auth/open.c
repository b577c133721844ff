/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator's keys and certificates: loaded, checked against each other, handed out. Called
 * by the programs at start; any thread. */
#include "auth/auth.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "auth/auth_priv.h"
#include "base/file.h"

enum { MAX_LIFETIME_DAYS = 3650 };

/* The failure in inner, said of a file. */
static weft_status in_file(weft_err *err, const char *path, const weft_err *inner)
{
    return weft_err_set(err, inner->code, inner->sys, inner->file, inner->line, "%.120s: %s", path,
                        inner->msg);
}

static weft_status check_private(const char *path, weft_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        const int sys = errno;
        const weft_status code = sys == ENOENT ? WEFT_E_NOTFOUND : WEFT_E_IO;
        return weft_err_set(err, code, sys, __FILE__, __LINE__, "cannot open %.160s: %s", path,
                            strerrordesc_np(sys));
    }
    if ((st.st_mode & 077U) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "%.140s has mode %04o, others may read the private key: chmod 600 it", path,
                  (unsigned)st.st_mode & 07777U);
    }
    return WEFT_OK;
}

/* A whole PEM file as a text of its own; ret's old value must be NULL. */
static weft_status load(char **ret, const char *path, bool secret, const weft_alloc *a,
                        weft_err *err)
{
    if (secret) {
        WEFT_TRY(check_private(path, err));
    }
    weft_buf b;
    weft_buf_init(&b, a, WEFT_MAX_PEM_BYTES);
    weft_status status = weft_file_read(&b, path, err);
    if (status == WEFT_OK && b.size == 0) {
        status = weft_err_set(err, WEFT_E_FORMAT, 0, __FILE__, __LINE__, "%.160s is empty", path);
    }
    if (status == WEFT_OK) {
        *ret = weft_string_copy(a, (const char *)b.data, b.size);
        if (!*ret) {
            status = weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "no memory for %.160s",
                                  path);
        }
    }
    weft_wipe(b.data, b.size);
    weft_buf_done(&b);
    return status;
}

static void free_secret(const weft_alloc *a, char *text)
{
    if (text) {
        weft_wipe(text, strlen(text));
        weft_free(a, text);
    }
}

static weft_view view_of(const char *text)
{
    return (weft_view){(const uint8_t *)text, strlen(text)};
}

static weft_status load_authority(weft_auth *auth, const weft_auth_files *f, int64_t now,
                                  weft_err *err)
{
    const weft_alloc *a = auth->alloc;
    weft_err inner = WEFT_ERR_INIT;
    WEFT_TRY(load(&auth->ca_pem, f->ca_certificate, false, a, err));
    const weft_view pem = view_of(auth->ca_pem);
    if (weft_cert_parse(&auth->ca, pem.data, pem.size, &inner) != WEFT_OK) {
        return in_file(err, f->ca_certificate, &inner);
    }
    if (auth->ca.id.role != WEFT_ROLE_AUTHORITY) {
        WEFT_FAIL(err, WEFT_E_AUTH, "%.120s is the certificate of %s %s, not of an authority",
                  f->ca_certificate, weft_role_name(auth->ca.id.role), auth->ca.id.name);
    }
    if (now >= auth->ca.not_after_unix_ms) {
        WEFT_FAIL(err, WEFT_E_AUTH, "%.120s: the authority has expired: make a new federation",
                  f->ca_certificate);
    }
    char *key_pem = NULL;
    WEFT_TRY(load(&key_pem, f->ca_key, true, a, err));
    weft_status status = weft_key_from_pem(&auth->ca_key, key_pem, strlen(key_pem), a, &inner);
    free_secret(a, key_pem);
    if (status == WEFT_OK) {
        status = weft_cert_check_key(pem, auth->ca_key, &inner);
    }
    return status == WEFT_OK ? WEFT_OK : in_file(err, f->ca_key, &inner);
}

static weft_status load_server(weft_auth *auth, const weft_auth_files *f, int64_t now,
                               weft_err *err)
{
    const weft_alloc *a = auth->alloc;
    weft_err inner = WEFT_ERR_INIT;
    WEFT_TRY(load(&auth->certificate_pem, f->certificate, false, a, err));
    const weft_view pem = view_of(auth->certificate_pem);
    weft_cert_info *info = &auth->server;
    if (weft_cert_parse(info, pem.data, pem.size, &inner) != WEFT_OK) {
        return in_file(err, f->certificate, &inner);
    }
    /* an expired one is as good as it was: the authority is here to renew it */
    const int64_t when = now < info->not_after_unix_ms ? now : info->not_after_unix_ms - 1000;
    if (weft_cert_verify(pem, view_of(auth->ca_pem), WEFT_ROLE_COORDINATOR, when, &inner) !=
        WEFT_OK) {
        return in_file(err, f->certificate, &inner);
    }
    WEFT_TRY(load(&auth->key_pem, f->key, true, a, err));
    weft_key *key = NULL;
    weft_status status = weft_key_from_pem(&key, auth->key_pem, strlen(auth->key_pem), a, &inner);
    if (status == WEFT_OK) {
        status = weft_cert_check_key(pem, key, &inner);
    }
    weft_key_free(key);
    return status == WEFT_OK ? WEFT_OK : in_file(err, f->key, &inner);
}

static weft_status load_signers(weft_auth *auth, const weft_auth_files *f, weft_err *err)
{
    const weft_alloc *a = auth->alloc;
    weft_err inner = WEFT_ERR_INIT;
    char *pem = NULL;
    WEFT_TRY(load(&pem, f->receipt_key, true, a, err));
    weft_status status = weft_sign_key_from_pem(&auth->receipt_key, pem, strlen(pem), &inner);
    free_secret(a, pem);
    if (status != WEFT_OK) {
        return in_file(err, f->receipt_key, &inner);
    }
    pem = NULL;
    WEFT_TRY(load(&pem, f->operator_public_key, false, a, err));
    status = weft_sign_public_from_pem(auth->operator_public, pem, strlen(pem), &inner);
    weft_free(a, pem);
    return status == WEFT_OK ? WEFT_OK : in_file(err, f->operator_public_key, &inner);
}

static weft_status load_all(weft_auth *auth, const weft_auth_files *f, int64_t now, weft_err *err)
{
    WEFT_TRY(load_authority(auth, f, now, err));
    WEFT_TRY(load_server(auth, f, now, err));
    return load_signers(auth, f, err);
}

weft_status weft_auth_open(weft_auth **ret, const weft_auth_files *files, uint32_t lifetime_days,
                           int64_t now_unix_ms, const weft_alloc *a, weft_err *err)
{
    if (lifetime_days == 0 || lifetime_days > MAX_LIFETIME_DAYS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a certificate lifetime of %u days, outside 1..%d",
                  lifetime_days, MAX_LIFETIME_DAYS);
    }
    weft_auth *auth = weft_array(a, 1, sizeof *auth);
    if (!auth) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the coordinator's keys");
    }
    auth->alloc = a;
    auth->lifetime_days = lifetime_days;
    const weft_status status = load_all(auth, files, now_unix_ms, err);
    if (status != WEFT_OK) {
        weft_auth_free(auth);
        return status;
    }
    *ret = auth;
    return WEFT_OK;
}

void weft_auth_free(weft_auth *auth)
{
    if (auth) {
        const weft_alloc *a = auth->alloc;
        weft_free(a, auth->ca_pem);
        weft_free(a, auth->certificate_pem);
        free_secret(a, auth->key_pem);
        weft_key_free(auth->ca_key);
        weft_wipe(auth, sizeof *auth);
        weft_free(a, auth);
    }
}

const char *weft_auth_federation(const weft_auth *auth)
{
    return auth->ca.id.federation;
}

const char *weft_auth_ca_pem(const weft_auth *auth)
{
    return auth->ca_pem;
}

const char *weft_auth_certificate_pem(const weft_auth *auth)
{
    return auth->certificate_pem;
}

const char *weft_auth_key_pem(const weft_auth *auth)
{
    return auth->key_pem;
}

const uint8_t *weft_auth_operator_public(const weft_auth *auth)
{
    return auth->operator_public;
}

const uint8_t *weft_auth_receipt_public(const weft_auth *auth)
{
    return auth->receipt_key.public_key;
}

weft_status weft_auth_sign_receipt(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES], const weft_auth *auth,
                                   const weft_receipt_fields *fields, weft_err *err)
{
    return weft_receipt_sign(ret, &auth->receipt_key, fields, err);
}

weft_status weft_auth_sign_head(weft_tree_head *head, const weft_auth *auth, weft_err *err)
{
    return weft_tree_head_sign(head, &auth->receipt_key, err);
}

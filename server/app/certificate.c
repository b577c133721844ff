/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's own transport certificate: renewed by weftd from its own authority after two
 * thirds of its time, without a restart. The private key stays the same file; only the certificate
 * is written anew. Called at start, by SIGHUP and by the owner loop.
 */
#include "app/daemon.h"

#include "base/file.h"

/* After a renewal that failed: soon enough, as a third of the certificate's time is left. */
#define RETRY_MS (INT64_C(3600) * 1000)

static weft_status renew(weft_daemon *d, weft_buf *pem, const weft_auth *auth, weft_err *err)
{
    int64_t due = 0;
    weft_err disk = WEFT_ERR_INIT;
    WEFT_TRY(weft_auth_renew_server(pem, &due, auth, d->entropy, weft_daemon_unix_ms(d), err));
    atomic_store(&d->certificate_due_ms, due);
    if (weft_file_write(d->config.certificate, pem->data, pem->size, 0644, &disk) == WEFT_OK) {
        weft_log_line(d->log, WEFT_LOG_INFO, "event=certificate_renewed file=\"%s\"",
                      d->config.certificate);
    } else { /* what is served is renewed all the same; the next start tries again */
        weft_log_line(d->log, WEFT_LOG_WARN, "event=certificate_not_kept file=\"%s\" error=\"%s\"",
                      d->config.certificate, disk.msg);
    }
    return WEFT_OK;
}

weft_status weft_certificate_current(weft_daemon *d, weft_rt_tls *ret, weft_buf *pem,
                                     const weft_auth *auth, weft_err *err)
{
    ret->ca_pem = weft_auth_ca_pem(auth);
    ret->cert_pem = weft_auth_certificate_pem(auth);
    ret->key_pem = weft_auth_key_pem(auth);
    atomic_store(&d->certificate_due_ms, weft_auth_server_renew_at(auth));
    if (d->plain || weft_daemon_unix_ms(d) < weft_auth_server_renew_at(auth)) {
        return WEFT_OK;
    }
    WEFT_TRY(renew(d, pem, auth, err));
    ret->cert_pem = weft_buf_text(pem);
    if (!ret->cert_pem) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the coordinator's certificate");
    }
    return WEFT_OK;
}

static weft_status reload(weft_daemon *d, weft_err *err)
{
    weft_auth *fresh = NULL;
    weft_rt_tls tls;
    weft_buf pem;
    if (d->plain) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_daemon_open_auth(&fresh, d, err));
    weft_buf_init(&pem, d->alloc, WEFT_MAX_PEM_BYTES);
    weft_status status = weft_certificate_current(d, &tls, &pem, fresh, err);
    if (status == WEFT_OK) {
        status = weft_rt_server_reload(d->server, &tls, err);
    }
    weft_buf_done(&pem);
    weft_auth_free(fresh);
    return status;
}

weft_status weft_daemon_reload(weft_daemon *d, weft_err *err)
{
    (void)pthread_mutex_lock(&d->reload_lock); /* not held by this thread: cannot fail */
    const weft_status status = reload(d, err);
    (void)pthread_mutex_unlock(&d->reload_lock);
    return status;
}

void weft_certificate_tick(weft_daemon *d)
{
    weft_err err = WEFT_ERR_INIT;
    const int64_t now = weft_daemon_unix_ms(d);
    if (d->plain || now < atomic_load(&d->certificate_due_ms)) {
        return;
    }
    if (weft_daemon_reload(d, &err) != WEFT_OK) {
        weft_log_line(d->log, WEFT_LOG_ERROR, "event=certificate_renewal_failed error=\"%s\"",
                      err.msg);
        atomic_store(&d->certificate_due_ms, now + RETRY_MS);
    }
}

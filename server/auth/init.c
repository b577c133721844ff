/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new federation's keys, certificates and configuration: first all contents in memory, then the
 * files, each created and never overwritten. Called by `weft init` and by tests; any thread.
 */
#include "auth/init.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* The transport authority: the federation ends with it. */
#define AUTHORITY_YEARS 10
#define DAY_MS          INT64_C(86400000)
#define YEAR_MS         (365 * DAY_MS)

/* Keys before what depends on them, the configurations last: they are the sign of completion. */
typedef enum file_id {
    COORDINATOR_CA_KEY,
    COORDINATOR_CA,
    COORDINATOR_SERVER_KEY,
    COORDINATOR_SERVER,
    COORDINATOR_RECEIPT_KEY,
    COORDINATOR_RECEIPT_PUB,
    COORDINATOR_OPERATOR_PUB,
    OPERATOR_KEY,
    OPERATOR_PUB,
    OPERATOR_TLS_KEY,
    OPERATOR_CERTIFICATE,
    OPERATOR_CA,
    OPERATOR_RECEIPT_PUB,
    COORDINATOR_CONFIG,
    OPERATOR_CONFIG,
    N_FILES
} file_id;

static const struct {
    const char *name;
    bool operators;
    unsigned mode;
} files[N_FILES] = {
    [COORDINATOR_CA_KEY] = {"ca.key", false, 0600},
    [COORDINATOR_CA] = {"ca.pem", false, 0644},
    [COORDINATOR_SERVER_KEY] = {"server.key", false, 0600},
    [COORDINATOR_SERVER] = {"server.pem", false, 0644},
    [COORDINATOR_RECEIPT_KEY] = {"receipt.key", false, 0600},
    [COORDINATOR_RECEIPT_PUB] = {"receipt.pub", false, 0644},
    [COORDINATOR_OPERATOR_PUB] = {"operator.pub", false, 0644},
    [OPERATOR_KEY] = {"operator.key", true, 0600},
    [OPERATOR_PUB] = {"operator.pub", true, 0644},
    [OPERATOR_TLS_KEY] = {"operator-tls.key", true, 0600},
    [OPERATOR_CERTIFICATE] = {"operator.pem", true, 0644},
    [OPERATOR_CA] = {"ca.pem", true, 0644},
    [OPERATOR_RECEIPT_PUB] = {"receipt.pub", true, 0644},
    [COORDINATOR_CONFIG] = {"weftd.yaml", false, 0644},
    [OPERATOR_CONFIG] = {"weft.yaml", true, 0644},
};

typedef struct plan {
    const weft_auth_init *init;
    const weft_entropy *entropy;
    const weft_alloc *alloc;
    int64_t now_unix_ms;
    char host[WEFT_MAX_HOST_NAME_BYTES + 1]; /* of init->address */
    weft_buf content[N_FILES];
} plan;

/* ---- arguments ------------------------------------------------------------------------------ */

/* 1 to 5 digits up to 65535; 0 only where any port is fine. */
static bool port_valid(const char *text, bool any_port)
{
    uint32_t port = 0;
    const size_t n = strnlen(text, 6);
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    return n > 0 && n < 6 && port <= 65535 && (port > 0 || any_port);
}

/* "host:port" or "[v6]:port"; the host without brackets into out. */
static weft_status split_address(char out[WEFT_MAX_HOST_NAME_BYTES + 1], const char *address,
                                 bool any_port, weft_err *err)
{
    const char *colon = strrchr(address, ':');
    const char *start = address;
    const char *end = colon;
    bool good = colon && port_valid(colon + 1, any_port);
    if (good && *address == '[') {
        start++;
        end--;
        good = end > start && *end == ']';
    } else if (good) {
        good = memchr(address, ':', (size_t)(colon - address)) == NULL; /* a bare IPv6 address */
    }
    const size_t n = good ? (size_t)(end - start) : 0;
    if (n == 0 || n > WEFT_MAX_HOST_NAME_BYTES || strpbrk(address, "\"\\ \t\n")) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the address '%.100s' is not of the form host:port, 10.0.0.1:7443 or [::1]:7443",
                  address);
    }
    memcpy(out, start, n);
    out[n] = '\0';
    return WEFT_OK;
}

/* ---- contents ------------------------------------------------------------------------------- */

static weft_status copy_content(plan *p, file_id to, file_id from, weft_err *err)
{
    return weft_buf_add(&p->content[to], p->content[from].data, p->content[from].size, err);
}

static weft_status make_signer(plan *p, file_id key_file, file_id public_file, weft_err *err)
{
    weft_sign_key key;
    WEFT_TRY(weft_sign_key_generate(&key, p->entropy, err));
    weft_status status = weft_sign_key_to_pem(&p->content[key_file], &key, err);
    if (status == WEFT_OK) {
        status = weft_sign_public_to_pem(&p->content[public_file], key.public_key, err);
    }
    weft_sign_key_done(&key);
    return status;
}

/* A transport key and its certificate by the authority. */
static weft_status make_identity(plan *p, file_id key_file, file_id cert_file,
                                 const weft_cert_spec *spec, const weft_key *ca_key, weft_err *err)
{
    weft_key *key = NULL;
    WEFT_TRY(weft_key_generate(&key, p->alloc, err));
    weft_status status = weft_key_to_pem(&p->content[key_file], key, err);
    if (status == WEFT_OK) {
        status =
            weft_cert_issue(&p->content[cert_file], spec, key,
                            weft_buf_view(&p->content[COORDINATOR_CA]), ca_key, p->entropy, err);
    }
    weft_key_free(key);
    return status;
}

static weft_status make_server(plan *p, weft_cert_spec *spec, const weft_key *ca_key, weft_err *err)
{
    const weft_auth_init *init = p->init;
    const char *hosts[WEFT_MAX_CERT_HOSTS + 1];
    bool listed = false;
    if (init->n_hosts > WEFT_MAX_CERT_HOSTS) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%zu host names, above the limit of %d", init->n_hosts,
                  WEFT_MAX_CERT_HOSTS);
    }
    for (size_t i = 0; i < init->n_hosts; i++) {
        hosts[i] = init->hosts[i];
        listed = listed || strcmp(hosts[i], p->host) == 0;
    }
    hosts[init->n_hosts] = p->host;
    spec->hosts = hosts;
    spec->n_hosts = init->n_hosts + (listed ? 0 : 1);
    WEFT_TRY(weft_identity_set(&spec->id, init->federation, WEFT_ROLE_COORDINATOR, "weftd", err));
    const weft_status status =
        make_identity(p, COORDINATOR_SERVER_KEY, COORDINATOR_SERVER, spec, ca_key, err);
    spec->hosts = NULL;
    spec->n_hosts = 0;
    return status;
}

static weft_status make_certificates(plan *p, const weft_key *ca_key, weft_err *err)
{
    const weft_auth_init *init = p->init;
    weft_cert_spec spec = {.not_before_unix_ms = p->now_unix_ms - WEFT_AUTH_BACKDATE_MS,
                           .not_after_unix_ms = p->now_unix_ms + AUTHORITY_YEARS * YEAR_MS};
    WEFT_TRY(weft_key_to_pem(&p->content[COORDINATOR_CA_KEY], ca_key, err));
    WEFT_TRY(weft_cert_make_ca(&p->content[COORDINATOR_CA], ca_key, init->federation,
                               spec.not_before_unix_ms, spec.not_after_unix_ms, p->entropy, err));
    spec.not_after_unix_ms = p->now_unix_ms + WEFT_AUTH_SERVER_DAYS * DAY_MS;
    WEFT_TRY(make_server(p, &spec, ca_key, err));
    spec.not_after_unix_ms = p->now_unix_ms + WEFT_AUTH_OPERATOR_DAYS * DAY_MS;
    WEFT_TRY(weft_identity_set(&spec.id, init->federation, WEFT_ROLE_OPERATOR, init->operator_name,
                               err));
    return make_identity(p, OPERATOR_TLS_KEY, OPERATOR_CERTIFICATE, &spec, ca_key, err);
}

static weft_status make_configs(plan *p, weft_err *err)
{
    const weft_auth_init *init = p->init;
    WEFT_TRY(weft_buf_addf(&p->content[COORDINATOR_CONFIG], err,
                           "# The coordinator of federation %s, for weftd --config.\n"
                           "federation: \"%s\"\n"
                           "listen: \"%s\"\n"
                           "advertise: \"%s\"\n"
                           "data_dir: data\n"
                           "keys:\n"
                           "  ca_certificate: %s\n"
                           "  ca_key: %s\n"
                           "  certificate: %s\n"
                           "  key: %s\n"
                           "  receipt_key: %s\n"
                           "  operator_public_key: %s\n",
                           init->federation, init->federation, init->listen, init->address,
                           files[COORDINATOR_CA].name, files[COORDINATOR_CA_KEY].name,
                           files[COORDINATOR_SERVER].name, files[COORDINATOR_SERVER_KEY].name,
                           files[COORDINATOR_RECEIPT_KEY].name,
                           files[COORDINATOR_OPERATOR_PUB].name));
    return weft_buf_addf(&p->content[OPERATOR_CONFIG], err,
                         "# The operator of federation %s, for weft --operator.\n"
                         "federation: \"%s\"\n"
                         "address: \"%s\"\n"
                         "keys:\n"
                         "  ca_certificate: %s\n"
                         "  certificate: %s\n"
                         "  key: %s\n"
                         "  member_key: %s\n"
                         "  receipt_public_key: %s\n",
                         init->federation, init->federation, init->address, files[OPERATOR_CA].name,
                         files[OPERATOR_CERTIFICATE].name, files[OPERATOR_TLS_KEY].name,
                         files[OPERATOR_KEY].name, files[OPERATOR_RECEIPT_PUB].name);
}

static weft_status make_contents(plan *p, weft_err *err)
{
    weft_key *ca_key = NULL;
    WEFT_TRY(weft_key_generate(&ca_key, p->alloc, err));
    const weft_status status = make_certificates(p, ca_key, err);
    weft_key_free(ca_key);
    WEFT_TRY(status);
    WEFT_TRY(make_signer(p, COORDINATOR_RECEIPT_KEY, COORDINATOR_RECEIPT_PUB, err));
    WEFT_TRY(make_signer(p, OPERATOR_KEY, OPERATOR_PUB, err));
    WEFT_TRY(copy_content(p, COORDINATOR_OPERATOR_PUB, OPERATOR_PUB, err));
    WEFT_TRY(copy_content(p, OPERATOR_CA, COORDINATOR_CA, err));
    WEFT_TRY(copy_content(p, OPERATOR_RECEIPT_PUB, COORDINATOR_RECEIPT_PUB, err));
    return make_configs(p, err);
}

/* ---- files ---------------------------------------------------------------------------------- */

static weft_status path_of(char out[PATH_MAX], const plan *p, file_id id, weft_err *err)
{
    return weft_path_join(out, PATH_MAX,
                          files[id].operators ? p->init->operator_dir : p->init->coordinator_dir,
                          files[id].name, err);
}

static weft_status check_free(const plan *p, weft_err *err)
{
    char path[PATH_MAX];
    for (file_id id = 0; id < N_FILES; id++) {
        WEFT_TRY(path_of(path, p, id, err));
        struct stat st;
        if (lstat(path, &st) == 0) {
            WEFT_FAIL(err, WEFT_E_CONFLICT,
                      "%.160s exists: a federation lives there; nothing was changed", path);
        }
    }
    return WEFT_OK;
}

/* The operator's key must not be where the coordinator runs. */
static weft_status check_apart(const plan *p, weft_err *err)
{
    char coordinator[PATH_MAX];
    char operator_dir[PATH_MAX];
    if (!realpath(p->init->coordinator_dir, coordinator) ||
        !realpath(p->init->operator_dir, operator_dir)) {
        WEFT_FAIL_SYS(err, errno, "cannot resolve %.100s or %.100s: %s", p->init->coordinator_dir,
                      p->init->operator_dir, strerrordesc_np(errno));
    }
    const size_t n = strlen(coordinator);
    if (strncmp(coordinator, operator_dir, n) == 0 &&
        (operator_dir[n] == '\0' || operator_dir[n] == '/')) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the operator's folder %.100s is inside the coordinator's: its key must be kept "
                  "apart, best on another machine",
                  operator_dir);
    }
    return WEFT_OK;
}

static weft_status create_files(const plan *p, weft_err *err)
{
    char path[PATH_MAX];
    for (file_id id = 0; id < N_FILES; id++) {
        weft_status status = path_of(path, p, id, err);
        if (status == WEFT_OK) {
            status = weft_file_create(path, p->content[id].data, p->content[id].size,
                                      files[id].mode, err);
        }
        if (status == WEFT_OK) {
            continue;
        }
        while (id-- > 0) { /* all of it or nothing */
            if (path_of(path, p, id, NULL) == WEFT_OK) {
                (void)unlink(path); /* best effort: the first failure is what is told */
            }
        }
        return status;
    }
    return WEFT_OK;
}

static weft_status make_all(plan *p, weft_err *err)
{
    const weft_auth_init *init = p->init;
    char host[WEFT_MAX_HOST_NAME_BYTES + 1];
    weft_identity id;
    WEFT_TRY(
        weft_identity_set(&id, init->federation, WEFT_ROLE_OPERATOR, init->operator_name, err));
    WEFT_TRY(split_address(p->host, init->address, false, err));
    WEFT_TRY(split_address(host, init->listen, true, err));
    WEFT_TRY(check_free(p, err));
    WEFT_TRY(make_contents(p, err));
    WEFT_TRY(weft_dir_make(init->coordinator_dir, 0700, err));
    WEFT_TRY(weft_dir_make(init->operator_dir, 0700, err));
    WEFT_TRY(check_apart(p, err));
    return create_files(p, err);
}

weft_status weft_auth_init_federation(const weft_auth_init *init, const weft_entropy *entropy,
                                      int64_t now_unix_ms, const weft_alloc *a, weft_err *err)
{
    plan p = {.init = init, .entropy = entropy, .alloc = a, .now_unix_ms = now_unix_ms};
    for (file_id id = 0; id < N_FILES; id++) {
        weft_buf_init(&p.content[id], a, WEFT_MAX_PEM_BYTES);
    }
    const weft_status status = make_all(&p, err);
    for (file_id id = 0; id < N_FILES; id++) {
        weft_wipe(p.content[id].data, p.content[id].size);
        weft_buf_done(&p.content[id]);
    }
    return status;
}

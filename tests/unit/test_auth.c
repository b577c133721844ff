/* SPDX-License-Identifier: Apache-2.0 */
/* server/auth: a federation made, loaded, damaged; invitations, enrolments and renewals decided. */
#include "support/support.h"

#include "auth/auth.h"
#include "auth/init.h"
#include "base/file.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW INT64_C(1700000000000)
#define DAY INT64_C(86400000)

/* ---- one federation for all tests ----------------------------------------------------------- */

static char *root;
static char coordinator[PATH_MAX];
static char operator_dir[PATH_MAX];
static weft_auth *auth;
static weft_sign_key operator_key;

static weft_auth_init init_of(const char *a, const char *b)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1"};
    return (weft_auth_init){.coordinator_dir = a,
                            .operator_dir = b,
                            .federation = "north",
                            .operator_name = "operator",
                            .listen = "0.0.0.0:0",
                            .address = "weft.example.org:7443",
                            .hosts = hosts,
                            .n_hosts = 2};
}

static weft_status init_federation(const weft_auth_init *init, weft_err *err)
{
    return weft_auth_init_federation(init, &weft_entropy_system, NOW, &weft_alloc_std, err);
}

static const char *path_in(const char *dir, const char *name)
{
    static char path[4][PATH_MAX];
    static size_t turn;
    turn = (turn + 1) % 4;
    assert_int_equal(weft_path_join(path[turn], PATH_MAX, dir, name, NULL), WEFT_OK);
    return path[turn];
}

static weft_status open_with(weft_auth **ret, const weft_alloc *a, const char *replaced,
                             const char *with, int64_t now, weft_err *err)
{
    static const char *const names[] = {"ca.pem",     "ca.key",      "server.pem",
                                        "server.key", "receipt.key", "operator.pub"};
    static char paths[6][PATH_MAX];
    for (size_t i = 0; i < 6; i++) {
        const bool swap = replaced && strcmp(replaced, names[i]) == 0;
        const int n = swap ? snprintf(paths[i], PATH_MAX, "%s", with)
                           : snprintf(paths[i], PATH_MAX, "%s/%s", coordinator, names[i]);
        assert_true(n > 0 && n < PATH_MAX);
    }
    const weft_auth_files files = {paths[0], paths[1], paths[2], paths[3], paths[4], paths[5]};
    return weft_auth_open(ret, &files, WEFT_AUTH_LIFETIME_DAYS, now, a, err);
}

static int set_up(void **state)
{
    (void)state;
    root = test_dir_new();
    (void)snprintf(coordinator, sizeof coordinator, "%s/coordinator", root); /* fits: short */
    (void)snprintf(operator_dir, sizeof operator_dir, "%s/operator", root);
    const weft_auth_init init = init_of(coordinator, operator_dir);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    const bool good = init_federation(&init, NULL) == WEFT_OK &&
                      open_with(&auth, &weft_alloc_std, NULL, NULL, NOW, NULL) == WEFT_OK &&
                      weft_file_read(&b, path_in(operator_dir, "operator.key"), NULL) == WEFT_OK &&
                      weft_sign_key_from_pem(&operator_key, b.data, b.size, NULL) == WEFT_OK;
    weft_buf_done(&b);
    return good ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    weft_auth_free(auth);
    test_dir_done(root);
    return 0;
}

static void assert_says(const weft_err *err, const char *words)
{
    if (!strstr(err->msg, words)) {
        fail_msg("'%s' does not say '%s'", err->msg, words);
    }
}

/* ---- init ----------------------------------------------------------------------------------- */

static void assert_modes(const char *dir, size_t want)
{
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    DIR *d = opendir(dir);
    assert_non_null(d);
    size_t n = 0;
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (e->d_name[0] == '.') {
            continue;
        }
        n++;
        assert_int_equal(stat(path_in(dir, e->d_name), &st), 0);
        const bool secret = strstr(e->d_name, ".key") != NULL;
        assert_int_equal(st.st_mode & 0777, secret ? 0600 : 0644);
    }
    assert_int_equal(closedir(d), 0);
    assert_int_equal(n, want);
}

static void test_init__private_keys_are_private(void **state)
{
    (void)state;
    assert_modes(coordinator, 8);
    assert_modes(operator_dir, 7);
    assert_string_equal(weft_auth_federation(auth), "north");
    assert_memory_equal(weft_auth_operator_public(auth), operator_key.public_key, 32);
}

/* The operator's private key is in no file of the coordinator. */
static void test_init__operator_key_stays_with_the_operator(void **state)
{
    (void)state;
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    DIR *d = opendir(coordinator);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        weft_buf_clear(&b);
        weft_sign_key key;
        if (e->d_name[0] != '.' &&
            weft_file_read(&b, path_in(coordinator, e->d_name), NULL) == WEFT_OK &&
            weft_sign_key_from_pem(&key, b.data, b.size, NULL) == WEFT_OK) {
            assert_memory_not_equal(key.public_key, operator_key.public_key, 32);
        }
    }
    assert_int_equal(closedir(d), 0);
    weft_buf_done(&b);
}

static void test_init__never_overwrites(void **state)
{
    (void)state;
    weft_buf before;
    weft_buf after;
    weft_buf_init(&before, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_buf_init(&after, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    assert_int_equal(weft_file_read(&before, path_in(operator_dir, "operator.key"), NULL), WEFT_OK);
    const char *elsewhere = path_in(root, "elsewhere");
    weft_auth_init init = init_of(elsewhere, operator_dir);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(init_federation(&init, &err), WEFT_E_CONFLICT);
    assert_says(&err, "exists: a federation lives there; nothing was changed");
    assert_int_equal(access(elsewhere, F_OK), -1);
    assert_int_equal(weft_file_read(&after, path_in(operator_dir, "operator.key"), NULL), WEFT_OK);
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, after.size);
    weft_buf_done(&before);
    weft_buf_done(&after);
}

static void assert_no_init(weft_auth_init *init, weft_status want, const char *words)
{
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(init_federation(init, &err), want);
    assert_says(&err, words);
    assert_int_equal(access(path_in(root, "x/ca.key"), F_OK), -1);
    assert_int_equal(access(path_in(root, "y/operator.key"), F_OK), -1);
    *init = init_of(init->coordinator_dir, path_in(root, "y"));
}

static void test_init__refuses_bad_arguments(void **state)
{
    (void)state;
    char x[PATH_MAX];
    char inside[PATH_MAX];
    (void)snprintf(x, sizeof x, "%s/x", root);
    (void)snprintf(inside, sizeof inside, "%s/x/operator", root);
    weft_auth_init init = init_of(x, path_in(root, "y"));
    init.federation = "no rth";
    assert_no_init(&init, WEFT_E_INVALID, "federation's name 'no rth' is not acceptable");
    static const char *const bad[] = {"",          "host",       "host:",    ":7443",
                                      "host:0",    "host:65536", "host:12a", "::1:7443",
                                      "[::1:7443", "a b:7443",   "h\":7443", "host:123456",
                                      "[]:7443",   "host:-1",    "host:+1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        init.address = bad[i];
        assert_no_init(&init, WEFT_E_INVALID, "is not of the form host:port");
    }
    init.address = "a_b:7443";
    assert_no_init(&init, WEFT_E_INVALID, "neither a host name nor an IP address");
    init.operator_dir = inside;
    assert_no_init(&init, WEFT_E_INVALID, "is inside the coordinator's");
    init.operator_dir = x;
    assert_no_init(&init, WEFT_E_INVALID, "is inside the coordinator's");
    init.address = "[::1]:7443";
    assert_int_equal(init_federation(&init, NULL), WEFT_OK);
}

/* No file can be made in /proc: the coordinator's, made before the operator's, are removed. */
static void test_init__a_failure_on_the_way_removes_what_it_made(void **state)
{
    (void)state;
    char half[PATH_MAX];
    (void)snprintf(half, sizeof half, "%s/half", root); /* fits: short */
    const weft_auth_init init = init_of(half, "/proc");
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(init_federation(&init, &err), WEFT_E_IO);
    assert_says(&err, "cannot create /proc/operator.key");
    DIR *d = opendir(half);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        assert_int_equal(e->d_name[0], '.');
    }
    assert_int_equal(closedir(d), 0);
}

static weft_status try_init(const weft_alloc *a, void *arg)
{
    (void)arg;
    char *dir = test_dir_new();
    char one[PATH_MAX];
    char two[PATH_MAX];
    (void)snprintf(one, sizeof one, "%s/a", dir); /* fits: short */
    (void)snprintf(two, sizeof two, "%s/b", dir);
    const weft_auth_init init = init_of(one, two);
    const weft_status status = weft_auth_init_federation(&init, &weft_entropy_system, NOW, a, NULL);
    if (status != WEFT_OK) {
        assert_int_equal(access(path_in(one, "ca.key"), F_OK), -1);
    }
    test_dir_done(dir);
    return status;
}

static void test_init__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(try_init, NULL);
}

/* ---- open ----------------------------------------------------------------------------------- */

static void assert_not_open(const char *replaced, const char *with, int64_t now, weft_status want,
                            const char *words)
{
    weft_auth *x = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(open_with(&x, &weft_alloc_std, replaced, with, now, &err), want);
    assert_null(x);
    assert_says(&err, words);
}

static void test_open__says_which_file_is_wrong(void **state)
{
    (void)state;
    char missing[PATH_MAX];
    (void)snprintf(missing, sizeof missing, "%s/missing", root); /* fits: short */
    assert_not_open("ca.pem", missing, NOW, WEFT_E_NOTFOUND, "missing");
    assert_not_open("ca.key", missing, NOW, WEFT_E_NOTFOUND, "missing");
    assert_not_open("ca.pem", path_in(coordinator, "server.pem"), NOW, WEFT_E_AUTH,
                    "certificate of coordinator weftd, not of an authority");
    assert_not_open("ca.key", path_in(coordinator, "server.key"), NOW, WEFT_E_AUTH,
                    "server.key: the certificate is for another private key");
    assert_not_open("server.key", path_in(coordinator, "ca.key"), NOW, WEFT_E_AUTH,
                    "ca.key: the certificate is for another private key");
    assert_not_open("server.pem", path_in(operator_dir, "operator.pem"), NOW, WEFT_E_AUTH,
                    "wanted is role coordinator");
    assert_not_open("receipt.key", path_in(coordinator, "ca.key"), NOW, WEFT_E_FORMAT,
                    "wanted is ED25519");
    assert_not_open("operator.pub", path_in(coordinator, "ca.pem"), NOW, WEFT_E_FORMAT,
                    "ca.pem: no PEM public key");
    assert_not_open(NULL, NULL, NOW + 3651 * DAY, WEFT_E_AUTH, "authority has expired");
    assert_not_open(NULL, NULL, NOW - DAY, WEFT_E_AUTH, "is a clock wrong?");
    const char *loose = path_in(root, "loose.key");
    assert_int_equal(weft_file_create(loose, "x", 1, 0640, NULL), WEFT_OK);
    assert_int_equal(chmod(loose, 0640), 0);
    assert_not_open("server.key", loose, NOW, WEFT_E_AUTH, "mode 0640, others may read");
    const char *empty = path_in(root, "empty");
    assert_int_equal(weft_file_create(empty, "", 0, 0600, NULL), WEFT_OK);
    assert_not_open("receipt.key", empty, NOW, WEFT_E_FORMAT, "is empty");
}

static weft_status try_open(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_auth *x = NULL;
    const weft_status status = open_with(&x, a, NULL, NULL, NOW, NULL);
    weft_auth_free(x);
    return status;
}

static void test_open__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(try_open, NULL);
    weft_auth_free(NULL);
}

/* ---- a client at the door ------------------------------------------------------------------- */

/* Everything that one client and its record are made of. */
typedef struct visitor {
    uint8_t token[WEFT_AUTH_TOKEN_BYTES];
    weft_sign_key member;
    weft_key *key;
    weft_buf invitation;
    weft_buf chain;
    weft_buf csr;
    weft_auth_record record;
} visitor;

static visitor arrive(const char *name, uint8_t fill)
{
    visitor v;
    memset(&v, 0, sizeof v);
    memset(v.token, fill, sizeof v.token);
    weft_sign_key invitation_key;
    weft_invitation i;
    weft_member_chain chain;
    assert_int_equal(weft_sign_key_generate(&invitation_key, &weft_entropy_system, NULL), WEFT_OK);
    assert_int_equal(weft_sign_key_generate(&v.member, &weft_entropy_system, NULL), WEFT_OK);
    assert_int_equal(weft_invitation_make(&i, &operator_key, "north", name, NOW + DAY,
                                          invitation_key.public_key, NULL),
                     WEFT_OK);
    assert_int_equal(weft_member_make(&chain, &i, &invitation_key, v.member.public_key, NULL),
                     WEFT_OK);
    weft_buf_init(&v.invitation, &weft_alloc_std, WEFT_MAX_INVITATION_BYTES);
    weft_buf_init(&v.chain, &weft_alloc_std, WEFT_MAX_CHAIN_BYTES);
    weft_buf_init(&v.csr, &weft_alloc_std, WEFT_MAX_CSR_BYTES);
    assert_int_equal(weft_invitation_encode(&v.invitation, &i, NULL), WEFT_OK);
    assert_int_equal(weft_member_encode(&v.chain, &chain, NULL), WEFT_OK);
    assert_int_equal(weft_key_generate(&v.key, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_csr_make(&v.csr, v.key, NULL), WEFT_OK);
    v.record.client = name;
    v.record.state = WEFT_AUTH_INVITED;
    v.record.invitation = weft_buf_view(&v.invitation);
    assert_int_equal(weft_sha256(v.record.token_digest, v.token, sizeof v.token, NULL), WEFT_OK);
    return v;
}

static void leave(visitor *v)
{
    weft_buf_done(&v->invitation);
    weft_buf_done(&v->chain);
    weft_buf_done(&v->csr);
    weft_key_free(v->key);
}

static weft_status enroll(weft_auth_grant *ret, const visitor *v, int64_t now, weft_err *err)
{
    const weft_auth_enrolment request = {
        {v->token, sizeof v->token}, weft_buf_view(&v->csr), weft_buf_view(&v->chain)};
    return weft_auth_enroll(ret, auth, &v->record, &request, &weft_entropy_system, now, err);
}

/* What the store does with a grant. */
static void record(visitor *v, const weft_auth_grant *grant)
{
    v->record.state = WEFT_AUTH_ENROLLED;
    memcpy(v->record.csr_key_digest, grant->csr_key_digest, 32);
    memcpy(v->record.member_key, grant->member_key, 32);
}

static void assert_refused(const visitor *v, int64_t now, weft_status want, const char *words)
{
    weft_auth_grant grant;
    memset(&grant, 0x55, sizeof grant);
    const weft_auth_grant before = grant;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(enroll(&grant, v, now, &err), want);
    assert_says(&err, words);
    assert_memory_equal(&grant, &before, sizeof grant);
}

static void test_enroll__grants_a_certificate_that_verifies(void **state)
{
    (void)state;
    visitor v = arrive("clinic-1", 1);
    weft_auth_grant grant;
    assert_int_equal(enroll(&grant, &v, NOW, NULL), WEFT_OK);
    assert_string_equal(grant.client, "clinic-1");
    assert_false(grant.repeated);
    assert_true(grant.not_after_unix_ms == NOW + 30 * DAY);
    assert_memory_equal(grant.member_key, v.member.public_key, 32);
    const weft_view pem = {(const uint8_t *)grant.pem, grant.pem_size};
    const char *ca = weft_auth_ca_pem(auth);
    assert_int_equal(weft_cert_verify(pem, (weft_view){(const uint8_t *)ca, strlen(ca)},
                                      WEFT_ROLE_CLIENT, NOW - WEFT_AUTH_BACKDATE_MS, NULL),
                     WEFT_OK);
    assert_int_equal(weft_cert_check_key(pem, v.key, NULL), WEFT_OK);
    weft_cert_info info;
    assert_int_equal(weft_cert_parse(&info, pem.data, pem.size, NULL), WEFT_OK);
    assert_string_equal(info.id.name, "clinic-1");
    assert_memory_equal(info.fingerprint, grant.fingerprint, 32);
    assert_memory_equal(info.key_digest, grant.csr_key_digest, 32);
    leave(&v);
}

static void test_enroll__a_lost_reply_does_not_burn_the_token(void **state)
{
    (void)state;
    visitor v = arrive("clinic-1", 1);
    weft_auth_grant grant;
    assert_int_equal(enroll(&grant, &v, NOW, NULL), WEFT_OK);
    record(&v, &grant);
    assert_int_equal(enroll(&grant, &v, NOW, NULL), WEFT_OK);
    assert_true(grant.repeated);
    assert_int_equal(enroll(&grant, &v, NOW + 2 * DAY, NULL), WEFT_OK); /* invitation expired */
    assert_true(grant.not_after_unix_ms == NOW + 32 * DAY);
    /* another request by the same key is the same key */
    weft_buf_clear(&v.csr);
    assert_int_equal(weft_csr_make(&v.csr, v.key, NULL), WEFT_OK);
    assert_int_equal(enroll(&grant, &v, NOW, NULL), WEFT_OK);
    leave(&v);
}

static void test_enroll__a_used_token_serves_no_other_key(void **state)
{
    (void)state;
    visitor v = arrive("clinic-1", 1);
    weft_auth_grant grant;
    assert_int_equal(enroll(&grant, &v, NOW, NULL), WEFT_OK);
    record(&v, &grant);
    visitor thief = arrive("clinic-1", 1);
    weft_buf_clear(&v.csr);
    assert_int_equal(weft_csr_make(&v.csr, thief.key, NULL), WEFT_OK);
    assert_refused(&v, NOW, WEFT_E_AUTH, "used with another key already");
    /* the right transport key with another member key */
    weft_buf_clear(&v.csr);
    assert_int_equal(weft_csr_make(&v.csr, v.key, NULL), WEFT_OK);
    v.record.member_key[0] ^= 1;
    assert_refused(&v, NOW, WEFT_E_AUTH, "used with another key already");
    leave(&thief);
    leave(&v);
}

static void test_enroll__refuses_with_precise_reasons(void **state)
{
    (void)state;
    visitor v = arrive("clinic-1", 1);
    v.token[31] ^= 1;
    assert_refused(&v, NOW, WEFT_E_AUTH, "this token is not known here");
    v.token[31] ^= 1;
    assert_refused(&v, NOW + DAY, WEFT_E_AUTH, "invitation of client clinic-1 expired 0 seconds");
    v.record.state = WEFT_AUTH_REVOKED;
    assert_refused(&v, NOW, WEFT_E_AUTH, "client clinic-1 is revoked");
    v.record.state = WEFT_AUTH_INVITED;
    v.csr.size--;
    assert_refused(&v, NOW, WEFT_E_FORMAT, "not PKCS#10");
    v.csr.size++;
    v.chain.data[v.chain.size - 1] ^= 1;
    assert_refused(&v, NOW, WEFT_E_AUTH, "not signed by its invitation key");
    v.chain.data[v.chain.size - 1] ^= 1;
    v.chain.size--;
    assert_refused(&v, NOW, WEFT_E_FORMAT, "the member chain is cut off");
    v.chain.size++;
    /* a chain on an older invitation of the same client */
    visitor newer = arrive("clinic-1", 1);
    v.record.invitation = weft_buf_view(&newer.invitation);
    assert_refused(&v, NOW, WEFT_E_AUTH, "built on another invitation");
    leave(&newer);
    leave(&v);
}

static void test_token_digest__wants_32_bytes(void **state)
{
    (void)state;
    static const uint8_t token[33];
    uint8_t digest[32];
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_auth_token_digest(digest, (weft_view){token, 31}, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_auth_token_digest(digest, (weft_view){token, 33}, &err), WEFT_E_INVALID);
    assert_says(&err, "a token of 33 bytes, wanted are 32");
    assert_int_equal(weft_auth_token_digest(digest, (weft_view){token, 32}, NULL), WEFT_OK);
}

/* ---- invitations ---------------------------------------------------------------------------- */

static void test_check_invitation__only_our_operators(void **state)
{
    (void)state;
    visitor v = arrive("clinic-1", 1);
    const weft_view digest = {v.record.token_digest, 32};
    weft_invitation i;
    assert_int_equal(
        weft_auth_check_invitation(&i, auth, "clinic-1", digest, v.record.invitation, NOW, NULL),
        WEFT_OK);
    assert_string_equal(i.client, "clinic-1");
    assert_true(i.expires_unix_ms == NOW + DAY);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(
        weft_auth_check_invitation(&i, auth, "clinic-2", digest, v.record.invitation, NOW, &err),
        WEFT_E_INVALID);
    assert_says(&err, "for client clinic-1, not clinic-2");
    assert_int_equal(weft_auth_check_invitation(&i, auth, "clinic-1", (weft_view){v.token, 31},
                                                v.record.invitation, NOW, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(weft_auth_check_invitation(&i, auth, "clinic-1", digest, v.record.invitation,
                                                NOW + DAY, NULL),
                     WEFT_E_AUTH);
    v.invitation.data[v.invitation.size - 1] ^= 1;
    assert_int_equal(
        weft_auth_check_invitation(&i, auth, "clinic-1", digest, v.record.invitation, NOW, NULL),
        WEFT_E_AUTH);
    leave(&v);
}

/* ---- renewals ------------------------------------------------------------------------------- */

static weft_status renew(weft_auth_grant *ret, const visitor *v, const uint8_t signature[64],
                         size_t n, weft_err *err)
{
    return weft_auth_renew(ret, auth, &v->record, weft_buf_view(&v->csr), (weft_view){signature, n},
                           &weft_entropy_system, NOW + 400 * DAY, err);
}

static void test_renew__the_member_key_vouches_for_a_new_key(void **state)
{
    (void)state;
    visitor v = arrive("clinic-1", 1);
    weft_auth_grant grant;
    assert_int_equal(enroll(&grant, &v, NOW, NULL), WEFT_OK);
    record(&v, &grant);
    weft_key_free(v.key);
    v.key = NULL;
    assert_int_equal(weft_key_generate(&v.key, &weft_alloc_std, NULL), WEFT_OK);
    weft_buf_clear(&v.csr);
    assert_int_equal(weft_csr_make(&v.csr, v.key, NULL), WEFT_OK);
    uint8_t signature[64];
    assert_int_equal(
        weft_renewal_sign(signature, &v.member, "north", "clinic-1", v.csr.data, v.csr.size, NULL),
        WEFT_OK);
    /* long after the certificate expired */
    assert_int_equal(renew(&grant, &v, signature, 64, NULL), WEFT_OK);
    assert_true(grant.not_after_unix_ms == NOW + 430 * DAY);
    assert_int_equal(
        weft_cert_check_key((weft_view){(const uint8_t *)grant.pem, grant.pem_size}, v.key, NULL),
        WEFT_OK);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(renew(&grant, &v, signature, 63, &err), WEFT_E_FORMAT);
    assert_says(&err, "a signature of 63 bytes");
    weft_err_clear(&err);
    signature[5] ^= 1;
    assert_int_equal(renew(&grant, &v, signature, 64, &err), WEFT_E_AUTH);
    assert_says(&err, "not signed by its member key");
    signature[5] ^= 1;
    weft_err_clear(&err);
    v.record.state = WEFT_AUTH_REVOKED;
    assert_int_equal(renew(&grant, &v, signature, 64, &err), WEFT_E_AUTH);
    assert_says(&err, "client clinic-1 is revoked");
    weft_err_clear(&err);
    v.record.state = WEFT_AUTH_INVITED;
    assert_int_equal(renew(&grant, &v, signature, 64, &err), WEFT_E_AUTH);
    assert_says(&err, "has not enrolled yet");
    leave(&v);
}

static void test_renew__certificates_end_with_the_authority(void **state)
{
    (void)state;
    visitor v = arrive("clinic-1", 1);
    v.record.state = WEFT_AUTH_ENROLLED;
    memcpy(v.record.member_key, v.member.public_key, 32);
    uint8_t signature[64];
    assert_int_equal(
        weft_renewal_sign(signature, &v.member, "north", "clinic-1", v.csr.data, v.csr.size, NULL),
        WEFT_OK);
    weft_auth_grant grant;
    const weft_view s = {signature, 64};
    assert_int_equal(weft_auth_renew(&grant, auth, &v.record, weft_buf_view(&v.csr), s,
                                     &weft_entropy_system, NOW + 3649 * DAY, NULL),
                     WEFT_OK);
    assert_true(grant.not_after_unix_ms == NOW + 3650 * DAY);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_auth_renew(&grant, auth, &v.record, weft_buf_view(&v.csr), s,
                                     &weft_entropy_system, NOW + 3650 * DAY, &err),
                     WEFT_E_AUTH);
    assert_says(&err, "authority has expired");
    leave(&v);
}

static void test_renew_operator__only_the_operator_key_vouches(void **state)
{
    (void)state;
    visitor v = arrive("olga", 1);
    weft_auth_grant grant;
    weft_err err = WEFT_ERR_INIT;
    uint8_t signature[64];
    const weft_view s = {signature, 64};
    const int64_t when = NOW + 400 * DAY; /* long after the certificate expired */
    assert_int_equal(weft_operator_renewal_sign(signature, &operator_key, "north", "olga",
                                                v.csr.data, v.csr.size, NULL),
                     WEFT_OK);
    assert_int_equal(weft_auth_renew_operator(&grant, auth, "olga", weft_buf_view(&v.csr), s,
                                              &weft_entropy_system, when, NULL),
                     WEFT_OK);
    weft_cert_info info;
    const weft_view pem = {(const uint8_t *)grant.pem, grant.pem_size};
    const weft_view ca = {(const uint8_t *)weft_auth_ca_pem(auth), strlen(weft_auth_ca_pem(auth))};
    assert_int_equal(weft_cert_verify(pem, ca, WEFT_ROLE_OPERATOR, when, NULL), WEFT_OK);
    assert_int_equal(weft_cert_check_key(pem, v.key, NULL), WEFT_OK);
    assert_int_equal(weft_cert_parse(&info, pem.data, pem.size, NULL), WEFT_OK);
    assert_string_equal(info.id.name, "olga");
    assert_true(info.not_after_unix_ms == when + WEFT_AUTH_OPERATOR_DAYS * DAY);
    assert_int_equal(weft_auth_renew_operator(&grant, auth, "oleg", weft_buf_view(&v.csr), s,
                                              &weft_entropy_system, when, &err),
                     WEFT_E_AUTH);
    assert_says(&err, "renewal of operator oleg is not signed by this federation's operator key");
    weft_err_clear(&err);
    assert_int_equal(weft_auth_renew_operator(&grant, auth, "olga", weft_buf_view(&v.csr),
                                              (weft_view){signature, 63}, &weft_entropy_system,
                                              when, &err),
                     WEFT_E_FORMAT);
    /* a member's key is no operator's */
    assert_int_equal(weft_operator_renewal_sign(signature, &v.member, "north", "olga", v.csr.data,
                                                v.csr.size, NULL),
                     WEFT_OK);
    assert_int_equal(weft_auth_renew_operator(&grant, auth, "olga", weft_buf_view(&v.csr), s,
                                              &weft_entropy_system, when, NULL),
                     WEFT_E_AUTH);
    leave(&v);
}

static void test_renew_server__the_same_key_and_hosts(void **state)
{
    (void)state;
    weft_auth *late = NULL;
    weft_buf pem;
    weft_cert_info before;
    weft_cert_info after;
    int64_t due = 0;
    const char *old = weft_auth_certificate_pem(auth);
    assert_int_equal(weft_cert_parse(&before, old, strlen(old), NULL), WEFT_OK);
    assert_true(weft_auth_server_renew_at(auth) > NOW + 59 * DAY);
    assert_true(weft_auth_server_renew_at(auth) < NOW + 61 * DAY);
    /* it opens with what has expired: here is who can renew it */
    const int64_t when = NOW + 200 * DAY;
    assert_int_equal(open_with(&late, &weft_alloc_std, NULL, NULL, when, NULL), WEFT_OK);
    assert_true(weft_auth_server_renew_at(late) < when);
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    assert_int_equal(weft_auth_renew_server(&pem, &due, late, &weft_entropy_system, when, NULL),
                     WEFT_OK);
    assert_true(due > when + 59 * DAY && due < when + 61 * DAY);
    assert_int_equal(weft_cert_parse(&after, pem.data, pem.size, NULL), WEFT_OK);
    assert_memory_equal(after.key_digest, before.key_digest, sizeof after.key_digest);
    assert_memory_not_equal(after.fingerprint, before.fingerprint, sizeof after.fingerprint);
    assert_true(after.not_after_unix_ms == when + WEFT_AUTH_SERVER_DAYS * DAY);
    weft_buf_clear(&pem);
    /* with the authority's end in sight there is nothing to be won by another one */
    assert_int_equal(
        weft_auth_renew_server(&pem, &due, late, &weft_entropy_system, NOW + 3600 * DAY, NULL),
        WEFT_OK);
    assert_true(due == INT64_MAX);
    weft_buf_clear(&pem);
    assert_int_equal(
        weft_auth_renew_server(&pem, &due, late, &weft_entropy_system, NOW + 3650 * DAY, NULL),
        WEFT_E_AUTH);
    weft_buf_done(&pem);
    weft_auth_free(late);
}

static void test_renew_at__two_thirds(void **state)
{
    (void)state;
    assert_true(weft_auth_renew_at(NOW, NOW + 30 * DAY) == NOW + 20 * DAY);
}

static void test_sign_receipt__verifies_with_the_published_key(void **state)
{
    (void)state;
    const weft_receipt_fields f = {.assignment_id = 1, .job = "j", .client = "c"};
    uint8_t signature[64];
    assert_int_equal(weft_auth_sign_receipt(signature, auth, &f, NULL), WEFT_OK);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    assert_int_equal(weft_file_read(&b, path_in(operator_dir, "receipt.pub"), NULL), WEFT_OK);
    uint8_t public_key[32];
    assert_int_equal(weft_sign_public_from_pem(public_key, b.data, b.size, NULL), WEFT_OK);
    assert_memory_equal(public_key, weft_auth_receipt_public(auth), 32);
    assert_int_equal(weft_receipt_verify(public_key, &f, signature, NULL), WEFT_OK);
    weft_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init__private_keys_are_private),
        cmocka_unit_test(test_init__operator_key_stays_with_the_operator),
        cmocka_unit_test(test_init__never_overwrites),
        cmocka_unit_test(test_init__refuses_bad_arguments),
        cmocka_unit_test(test_init__a_failure_on_the_way_removes_what_it_made),
        cmocka_unit_test(test_init__every_allocation_may_fail),
        cmocka_unit_test(test_open__says_which_file_is_wrong),
        cmocka_unit_test(test_open__every_allocation_may_fail),
        cmocka_unit_test(test_enroll__grants_a_certificate_that_verifies),
        cmocka_unit_test(test_enroll__a_lost_reply_does_not_burn_the_token),
        cmocka_unit_test(test_enroll__a_used_token_serves_no_other_key),
        cmocka_unit_test(test_enroll__refuses_with_precise_reasons),
        cmocka_unit_test(test_token_digest__wants_32_bytes),
        cmocka_unit_test(test_check_invitation__only_our_operators),
        cmocka_unit_test(test_renew__the_member_key_vouches_for_a_new_key),
        cmocka_unit_test(test_renew__certificates_end_with_the_authority),
        cmocka_unit_test(test_renew_operator__only_the_operator_key_vouches),
        cmocka_unit_test(test_renew_server__the_same_key_and_hosts),
        cmocka_unit_test(test_renew_at__two_thirds),
        cmocka_unit_test(test_sign_receipt__verifies_with_the_published_key),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/cert: identities, P-256 keys, requests, certificates issued, read, verified, refused. */
#include "support/support.h"

#include "base/buf.h"
#include "crypto/cert.h"
#include "crypto/sign.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <string.h>

#define NOW INT64_C(1700000000000)
#define DAY INT64_C(86400000)

/* One authority and one key, made once: generating keys is the slow part. */
static weft_key *ca_key;
static weft_key *key;
static weft_buf ca;

static weft_view ca_view(void)
{
    return weft_buf_view(&ca);
}

static int set_up(void **state)
{
    (void)state;
    weft_buf_init(&ca, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    const bool good = weft_key_generate(&ca_key, &weft_alloc_std, NULL) == WEFT_OK &&
                      weft_key_generate(&key, &weft_alloc_std, NULL) == WEFT_OK &&
                      weft_cert_make_ca(&ca, ca_key, "north", NOW - DAY, NOW + 3650 * DAY,
                                        &weft_entropy_system, NULL) == WEFT_OK;
    return good ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    weft_buf_done(&ca);
    weft_key_free(ca_key);
    weft_key_free(key);
    return 0;
}

static weft_cert_spec spec_of(weft_role role, const char *name)
{
    weft_cert_spec spec = {.not_before_unix_ms = NOW, .not_after_unix_ms = NOW + 30 * DAY};
    assert_int_equal(weft_identity_set(&spec.id, "north", role, name, NULL), WEFT_OK);
    return spec;
}

static weft_buf issue(const weft_cert_spec *spec)
{
    weft_buf pem;
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_err err = WEFT_ERR_INIT;
    if (weft_cert_issue(&pem, spec, key, ca_view(), ca_key, &weft_entropy_system, &err) !=
        WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    return pem;
}

static void assert_says(const weft_err *err, const char *words)
{
    if (!strstr(err->msg, words)) {
        fail_msg("'%s' does not say '%s'", err->msg, words);
    }
}

/* ---- identities ----------------------------------------------------------------------------- */

static void test_identity__prints_and_parses_at_the_limits(void **state)
{
    (void)state;
    char name[WEFT_MAX_NAME_BYTES + 2];
    memset(name, 'n', sizeof name);
    name[WEFT_MAX_NAME_BYTES + 1] = '\0';
    weft_identity id;
    assert_int_equal(weft_identity_set(&id, "f", WEFT_ROLE_CLIENT, name, NULL), WEFT_E_INVALID);
    name[WEFT_MAX_NAME_BYTES] = '\0';
    assert_int_equal(weft_identity_set(&id, name, WEFT_ROLE_COORDINATOR, name, NULL), WEFT_OK);
    char uri[WEFT_MAX_IDENTITY_URI_BYTES + 1];
    weft_identity_print(uri, &id);
    assert_int_equal(strlen(uri), WEFT_MAX_IDENTITY_URI_BYTES);
    weft_identity back;
    assert_int_equal(weft_identity_parse(&back, uri, strlen(uri), NULL), WEFT_OK);
    assert_memory_equal(&back, &id, sizeof id);
    assert_int_equal(weft_identity_set(&id, "f", WEFT_ROLE_NONE, "n", NULL), WEFT_E_INVALID);
}

static void test_identity_parse__refuses_everything_else(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "weft://",
        "weft:///client/a",
        "weft://north",
        "weft://north/",
        "weft://north/client",
        "weft://north/client/",
        "weft://north/client/a/",
        "weft://north/client/a/b",
        "weft://north/none/a",
        "weft://north/root/a",
        "weft://north/Client/a",
        "weft://north/client/..",
        "weft://north/client/a%20b",
        "weft://no rth/client/a",
        "http://north/client/a",
        "spiffe://north/client/a",
    };
    weft_identity id;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (weft_identity_parse(&id, bad[i], strlen(bad[i]), NULL) != WEFT_E_FORMAT) {
            fail_msg("'%s' was taken", bad[i]);
        }
    }
    /* a zero byte ends no name */
    assert_int_equal(weft_identity_parse(&id, "weft://north/client/a\0b", 23, NULL), WEFT_E_FORMAT);
    assert_int_equal(weft_identity_parse(&id, "weft://north/client/a", 21, NULL), WEFT_OK);
    assert_int_equal(id.role, WEFT_ROLE_CLIENT);
    assert_string_equal(id.federation, "north");
    assert_string_equal(id.name, "a");
}

/* ---- keys and requests ---------------------------------------------------------------------- */

static void test_key_pem__round_trips_and_has_one_digest(void **state)
{
    (void)state;
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4096);
    assert_int_equal(weft_key_to_pem(&b, key, NULL), WEFT_OK);
    assert_memory_equal(b.data, "-----BEGIN PRIVATE KEY-----\n", 28);
    weft_key *back = NULL;
    assert_int_equal(weft_key_from_pem(&back, b.data, b.size, &weft_alloc_std, NULL), WEFT_OK);
    uint8_t one[32];
    uint8_t two[32];
    assert_int_equal(weft_key_digest(one, key, NULL), WEFT_OK);
    assert_int_equal(weft_key_digest(two, back, NULL), WEFT_OK);
    assert_memory_equal(one, two, 32);
    assert_int_equal(weft_key_digest(two, ca_key, NULL), WEFT_OK);
    assert_memory_not_equal(one, two, 32);
    weft_key_free(back);
    weft_buf_done(&b);
}

/* openssl ecparam -name prime256v1 -genkey -noout; the same with secp384r1 */
static const char sec1_p256[] = "-----BEGIN EC PRIVATE KEY-----\n"
                                "MHcCAQEEIHR/WYVJTUshVLZL5W9dT0GSn8V0HzFVKDmpkZPJxyTNoAoGCCqGSM49\n"
                                "AwEHoUQDQgAEfp1iqmtrUDGCBzcr/zoTOYKrv2IuAVNTkf85JvICcRXZ2aOM0A0b\n"
                                "KTARzcEu8RJcQ9Ol3W1kTUEW6LJK1o9fTA==\n"
                                "-----END EC PRIVATE KEY-----\n";

static void assert_key_refused(const char *pem, size_t n, weft_status want, const char *words)
{
    weft_key *k = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_key_from_pem(&k, pem, n, &weft_alloc_std, &err), want);
    assert_null(k);
    assert_says(&err, words);
}

static void test_key_from_pem__only_p256(void **state)
{
    (void)state;
    assert_key_refused("x", 1, WEFT_E_FORMAT, "no PEM private key");
    weft_sign_key ed = {.seed = {1}};
    assert_int_equal(weft_sign_key_from_seed(&ed, ed.seed, NULL), WEFT_OK);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4096);
    assert_int_equal(weft_sign_key_to_pem(&b, &ed, NULL), WEFT_OK);
    assert_key_refused((const char *)b.data, b.size, WEFT_E_FORMAT, "wanted is EC P-256");
    weft_buf_done(&b);

    EVP_PKEY *p384 = EVP_EC_gen("P-384");
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, p384, NULL, NULL, 0, NULL, NULL), 1);
    char *text = NULL;
    const long n = BIO_get_mem_data(bio, &text);
    assert_key_refused(text, (size_t)n, WEFT_E_FORMAT, "EC secp384r1, wanted is EC P-256");
    BIO_free(bio);
    EVP_PKEY_free(p384);
}

static void test_csr__round_trips_and_proves_the_key(void **state)
{
    (void)state;
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_CSR_BYTES + 2);
    assert_int_equal(weft_csr_make(&b, key, NULL), WEFT_OK);
    weft_key *sent = NULL;
    assert_int_equal(weft_csr_open(&sent, b.data, b.size, &weft_alloc_std, NULL), WEFT_OK);
    uint8_t one[32];
    uint8_t two[32];
    assert_int_equal(weft_key_digest(one, key, NULL), WEFT_OK);
    assert_int_equal(weft_key_digest(two, sent, NULL), WEFT_OK);
    assert_memory_equal(one, two, 32);
    weft_key_free(sent);
    /* every single bit flipped, no request is taken */
    for (size_t bit = 0; bit < 8 * b.size; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        sent = NULL;
        const weft_status status = weft_csr_open(&sent, b.data, b.size, &weft_alloc_std, NULL);
        assert_true(status == WEFT_E_FORMAT || status == WEFT_E_AUTH);
        assert_null(sent);
        b.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    /* no byte fewer, no byte more, not above the limit */
    assert_int_equal(weft_csr_open(&sent, b.data, b.size - 1, &weft_alloc_std, NULL),
                     WEFT_E_FORMAT);
    assert_int_equal(weft_csr_open(&sent, b.data, 0, &weft_alloc_std, NULL), WEFT_E_FORMAT);
    assert_int_equal(weft_buf_add(&b, "", 1, NULL), WEFT_OK);
    assert_int_equal(weft_csr_open(&sent, b.data, b.size, &weft_alloc_std, NULL), WEFT_E_FORMAT);
    static const uint8_t big[WEFT_MAX_CSR_BYTES + 1];
    assert_int_equal(weft_csr_open(&sent, big, sizeof big - 1, &weft_alloc_std, NULL),
                     WEFT_E_FORMAT);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_csr_open(&sent, big, sizeof big, &weft_alloc_std, &err), WEFT_E_LIMIT);
    assert_says(&err, "2049 bytes, above the limit of 2048");
    weft_buf_done(&b);
}

/* A point may be written compressed; the key is the same, and so is its digest. */
static void test_csr_open__compressed_points_have_the_same_digest(void **state)
{
    (void)state;
    weft_buf pem;
    weft_buf_init(&pem, &weft_alloc_std, 4096);
    assert_int_equal(weft_key_to_pem(&pem, key, NULL), WEFT_OK);
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    assert_non_null(pkey);
    assert_int_equal(EVP_PKEY_set_utf8_string_param(pkey, "point-format", "compressed"), 1);
    X509_REQ *req = X509_REQ_new();
    assert_int_equal(X509_REQ_set_pubkey(req, pkey), 1);
    assert_true(X509_REQ_sign(req, pkey, EVP_sha256()) > 0);
    uint8_t *der = NULL;
    const int n = i2d_X509_REQ(req, &der);
    weft_key *sent = NULL;
    assert_int_equal(weft_csr_open(&sent, der, (size_t)n, &weft_alloc_std, NULL), WEFT_OK);
    uint8_t one[32];
    uint8_t two[32];
    assert_int_equal(weft_key_digest(one, key, NULL), WEFT_OK);
    assert_int_equal(weft_key_digest(two, sent, NULL), WEFT_OK);
    assert_memory_equal(one, two, 32);
    weft_key_free(sent);
    OPENSSL_free(der);
    X509_REQ_free(req);
    EVP_PKEY_free(pkey);
    BIO_free(bio);
    weft_buf_done(&pem);
}

/* ---- certificates --------------------------------------------------------------------------- */

static X509 *read_x509(weft_view pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(cert);
    return cert;
}

static void test_cert_issue__says_what_it_should(void **state)
{
    (void)state;
    const weft_cert_spec spec = spec_of(WEFT_ROLE_CLIENT, "clinic-1");
    weft_buf pem = issue(&spec);
    weft_cert_info info;
    assert_int_equal(weft_cert_parse(&info, pem.data, pem.size, NULL), WEFT_OK);
    assert_memory_equal(&info.id, &spec.id, sizeof info.id);
    assert_true(info.not_before_unix_ms == NOW);
    assert_true(info.not_after_unix_ms == NOW + 30 * DAY);
    uint8_t digest[32];
    assert_int_equal(weft_key_digest(digest, key, NULL), WEFT_OK);
    assert_memory_equal(info.key_digest, digest, 32);
    assert_int_equal(weft_cert_check_key(weft_buf_view(&pem), key, NULL), WEFT_OK);
    assert_int_equal(weft_cert_check_key(weft_buf_view(&pem), ca_key, NULL), WEFT_E_AUTH);

    X509 *cert = read_x509(weft_buf_view(&pem));
    uint8_t fingerprint[32];
    assert_int_equal(X509_digest(cert, EVP_sha256(), fingerprint, NULL), 1);
    assert_memory_equal(info.fingerprint, fingerprint, 32);
    assert_int_equal(X509_get_version(cert), 2);
    assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_CLIENT);
    assert_int_equal(X509_check_ca(cert), 0);
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    assert_int_equal(ASN1_STRING_length(serial), 16);
    assert_int_equal(ASN1_STRING_type(serial), V_ASN1_INTEGER); /* positive */
    X509_free(cert);
    weft_buf_done(&pem);
}

static void test_cert_issue__coordinators_name_their_hosts(void **state)
{
    (void)state;
    static const char *const hosts[] = {"weft.example.org", "10.1.2.3", "::1"};
    weft_cert_spec spec = spec_of(WEFT_ROLE_COORDINATOR, "weftd");
    spec.hosts = hosts;
    spec.n_hosts = 3;
    weft_buf pem = issue(&spec);
    X509 *cert = read_x509(weft_buf_view(&pem));
    assert_int_equal(X509_check_host(cert, "weft.example.org", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "other.example.org", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(cert, "10.1.2.3", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "10.1.2.4", 0), 0);
    assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER);
    X509_free(cert);
    weft_buf_done(&pem);
}

static void test_cert_reissue__says_the_same_for_longer(void **state)
{
    (void)state;
    static const char *const hosts[] = {"weft.example.org", "10.1.2.3"};
    weft_cert_spec spec = spec_of(WEFT_ROLE_COORDINATOR, "weftd");
    spec.hosts = hosts;
    spec.n_hosts = 2;
    weft_buf old = issue(&spec);
    weft_buf pem;
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    assert_int_equal(weft_cert_reissue(&pem, weft_buf_view(&old), NOW + 40 * DAY, NOW + 70 * DAY,
                                       ca_view(), ca_key, &weft_entropy_system, NULL),
                     WEFT_OK);
    assert_int_equal(weft_cert_verify(weft_buf_view(&pem), ca_view(), WEFT_ROLE_COORDINATOR,
                                      NOW + 69 * DAY, NULL),
                     WEFT_OK);
    assert_int_equal(weft_cert_verify(weft_buf_view(&pem), ca_view(), WEFT_ROLE_COORDINATOR,
                                      NOW + 39 * DAY, NULL),
                     WEFT_E_AUTH);
    assert_int_equal(weft_cert_check_key(weft_buf_view(&pem), key, NULL), WEFT_OK);
    X509 *a = read_x509(weft_buf_view(&old));
    X509 *b = read_x509(weft_buf_view(&pem));
    assert_int_equal(X509_check_host(b, "weft.example.org", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(b, "10.1.2.3", 0), 1);
    assert_int_equal(X509_get_extended_key_usage(b), XKU_SSL_SERVER);
    assert_int_equal(X509_get_ext_count(a), X509_get_ext_count(b));
    assert_int_equal(X509_NAME_cmp(X509_get_subject_name(a), X509_get_subject_name(b)), 0);
    assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)), 0);
    X509_free(a);
    X509_free(b);
    weft_err err = WEFT_ERR_INIT;
    weft_buf_clear(&pem);
    assert_int_equal(weft_cert_reissue(&pem, weft_buf_view(&old), NOW, NOW + DAY, ca_view(), key,
                                       &weft_entropy_system, &err),
                     WEFT_E_AUTH);
    assert_says(&err, "the authority's key does not belong to its certificate");
    weft_err_clear(&err);
    assert_int_equal(weft_cert_reissue(&pem, ca_view(), NOW, NOW + DAY, ca_view(), ca_key,
                                       &weft_entropy_system, &err),
                     WEFT_E_AUTH);
    assert_says(&err, "an authority's certificate is not issued to anybody");
    assert_int_equal(weft_cert_reissue(&pem, weft_buf_view(&old), NOW, NOW, ca_view(), ca_key,
                                       &weft_entropy_system, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(pem.size, 0);
    weft_buf_done(&pem);
    weft_buf_done(&old);
}

static void assert_not_issued(const weft_cert_spec *spec, weft_status want, const char *words)
{
    weft_buf pem;
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(
        weft_cert_issue(&pem, spec, key, ca_view(), ca_key, &weft_entropy_system, &err), want);
    assert_says(&err, words);
    assert_int_equal(pem.size, 0);
    weft_buf_done(&pem);
}

static void test_cert_issue__refuses_bad_specs(void **state)
{
    (void)state;
    const weft_cert_spec good = spec_of(WEFT_ROLE_COORDINATOR, "weftd");
    static const char *const bad_hosts[] = {"a b", "-x", "", "*.example.org", "a/b", "host:1"};
    for (size_t i = 0; i < sizeof bad_hosts / sizeof bad_hosts[0]; i++) {
        weft_cert_spec spec = good;
        spec.hosts = &bad_hosts[i];
        spec.n_hosts = 1;
        assert_not_issued(&spec, WEFT_E_INVALID, "neither a host name nor an IP address");
    }
    static const char *const one_host[] = {"a"};
    weft_cert_spec spec = spec_of(WEFT_ROLE_CLIENT, "c");
    spec.hosts = one_host;
    spec.n_hosts = 1;
    assert_not_issued(&spec, WEFT_E_INVALID, "only a coordinator's");
    const char *many[WEFT_MAX_CERT_HOSTS + 1];
    for (size_t i = 0; i <= WEFT_MAX_CERT_HOSTS; i++) {
        many[i] = "a";
    }
    spec = good;
    spec.hosts = many;
    spec.n_hosts = WEFT_MAX_CERT_HOSTS + 1;
    assert_not_issued(&spec, WEFT_E_LIMIT, "17 host names, above the limit of 16");
    spec.n_hosts = WEFT_MAX_CERT_HOSTS;
    weft_buf pem = issue(&spec);
    weft_buf_done(&pem);
    spec = good;
    spec.not_after_unix_ms = spec.not_before_unix_ms;
    assert_not_issued(&spec, WEFT_E_INVALID, "valid from");
    spec = good;
    spec.id.role = WEFT_ROLE_AUTHORITY;
    assert_not_issued(&spec, WEFT_E_INVALID, "not issued to anybody");
    spec = good;
    spec.id.name[0] = '/';
    assert_not_issued(&spec, WEFT_E_INVALID, "not acceptable");
}

static void test_cert_issue__needs_the_authoritys_own_key(void **state)
{
    (void)state;
    const weft_cert_spec spec = spec_of(WEFT_ROLE_CLIENT, "c");
    weft_buf pem;
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_cert_issue(&pem, &spec, key, ca_view(), key, &weft_entropy_system, &err),
                     WEFT_E_AUTH);
    assert_says(&err, "the authority's key does not belong to its certificate");
    weft_buf_done(&pem);
}

static void assert_verdict(weft_view pem, weft_view authority, weft_role role, int64_t now,
                           weft_status want, const char *words)
{
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_cert_verify(pem, authority, role, now, &err), want);
    assert_says(&err, words);
}

static void test_cert_verify__time_role_and_authority(void **state)
{
    (void)state;
    const weft_cert_spec spec = spec_of(WEFT_ROLE_CLIENT, "clinic-1");
    weft_buf pem = issue(&spec);
    const weft_view v = weft_buf_view(&pem);
    const weft_view a = ca_view();
    assert_verdict(v, a, WEFT_ROLE_CLIENT, NOW, WEFT_OK, "");
    assert_verdict(v, a, WEFT_ROLE_NONE, NOW + 30 * DAY - 1000, WEFT_OK, "");
    assert_verdict(v, a, WEFT_ROLE_CLIENT, NOW - 1000, WEFT_E_AUTH,
                   "client clinic-1 is valid from 2023-11-14 22:13:20 UTC only");
    assert_verdict(v, a, WEFT_ROLE_CLIENT, NOW + 30 * DAY + 1000, WEFT_E_AUTH,
                   "client clinic-1 expired on 2023-12-14 22:13:20 UTC");
    assert_verdict(v, a, WEFT_ROLE_OPERATOR, NOW, WEFT_E_AUTH, "wanted is role operator");
    assert_verdict(v, v, WEFT_ROLE_CLIENT, NOW, WEFT_E_AUTH, "is no authority");
    assert_verdict(a, a, WEFT_ROLE_NONE, NOW, WEFT_E_AUTH, "");
    /* an authority of the same name with another key */
    weft_buf other;
    weft_buf_init(&other, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    assert_int_equal(weft_cert_make_ca(&other, key, "north", NOW - DAY, NOW + 365 * DAY,
                                       &weft_entropy_system, NULL),
                     WEFT_OK);
    assert_verdict(v, weft_buf_view(&other), WEFT_ROLE_CLIENT, NOW, WEFT_E_AUTH,
                   "issued by another authority");
    weft_buf_done(&other);
    weft_buf_done(&pem);
}

/* An authority signs for its own federation only. */
static void test_cert_verify__another_federation(void **state)
{
    (void)state;
    weft_cert_spec spec = spec_of(WEFT_ROLE_CLIENT, "c");
    memcpy(spec.id.federation, "south", 6);
    weft_buf pem = issue(&spec);
    assert_verdict(weft_buf_view(&pem), ca_view(), WEFT_ROLE_CLIENT, NOW, WEFT_E_AUTH,
                   "for federation south, not north");
    weft_buf_done(&pem);
}

static void test_cert_parse__says_what_is_wrong(void **state)
{
    (void)state;
    weft_cert_info info;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_cert_parse(&info, "nothing", 7, &err), WEFT_E_FORMAT);
    assert_says(&err, "no PEM certificate");
    weft_err_clear(&err);
    assert_int_equal(weft_cert_parse(&info, sec1_p256, strlen(sec1_p256), &err), WEFT_E_FORMAT);
    assert_says(&err, "no PEM certificate");
    /* a certificate of somebody else: no weft:// name */
    X509 *cert = X509_new();
    assert_true(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) == 1);
    BIO *bio = BIO_new(BIO_s_mem());
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    assert_int_equal(X509_set_pubkey(cert, pkey), 1);
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(cert), 0));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(cert), 1));
    assert_true(X509_sign(cert, pkey, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
    char *text = NULL;
    const long n = BIO_get_mem_data(bio, &text);
    weft_err_clear(&err);
    assert_int_equal(weft_cert_parse(&info, text, (size_t)n, &err), WEFT_E_FORMAT);
    assert_says(&err, "names 0 identities");
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    X509_free(cert);
}

static weft_status try_keys(const weft_alloc *a, void *arg)
{
    const weft_buf *csr = arg;
    weft_key *sent = NULL;
    WEFT_TRY(weft_csr_open(&sent, csr->data, csr->size, a, NULL));
    weft_buf b;
    weft_buf_init(&b, a, 4096);
    weft_status status = weft_key_to_pem(&b, key, NULL);
    weft_key *back = NULL;
    if (status == WEFT_OK) {
        status = weft_key_from_pem(&back, b.data, b.size, a, NULL);
    }
    if (status == WEFT_OK) {
        const weft_cert_spec spec = spec_of(WEFT_ROLE_CLIENT, "c");
        weft_buf_clear(&b);
        status = weft_cert_issue(&b, &spec, sent, ca_view(), ca_key, &weft_entropy_system, NULL);
    }
    weft_key_free(back);
    weft_key_free(sent);
    weft_buf_done(&b);
    return status;
}

static void test_keys__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_buf csr;
    weft_buf_init(&csr, &weft_alloc_std, 4096);
    assert_int_equal(weft_csr_make(&csr, key, NULL), WEFT_OK);
    test_every_allocation_may_fail(try_keys, &csr);
    weft_buf_done(&csr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity__prints_and_parses_at_the_limits),
        cmocka_unit_test(test_identity_parse__refuses_everything_else),
        cmocka_unit_test(test_key_pem__round_trips_and_has_one_digest),
        cmocka_unit_test(test_key_from_pem__only_p256),
        cmocka_unit_test(test_csr__round_trips_and_proves_the_key),
        cmocka_unit_test(test_csr_open__compressed_points_have_the_same_digest),
        cmocka_unit_test(test_cert_issue__says_what_it_should),
        cmocka_unit_test(test_cert_issue__coordinators_name_their_hosts),
        cmocka_unit_test(test_cert_reissue__says_the_same_for_longer),
        cmocka_unit_test(test_cert_issue__refuses_bad_specs),
        cmocka_unit_test(test_cert_issue__needs_the_authoritys_own_key),
        cmocka_unit_test(test_cert_verify__time_role_and_authority),
        cmocka_unit_test(test_cert_verify__another_federation),
        cmocka_unit_test(test_cert_parse__says_what_is_wrong),
        cmocka_unit_test(test_keys__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

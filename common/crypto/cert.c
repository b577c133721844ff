/* SPDX-License-Identifier: Apache-2.0 */
/* Issuing certificates: the authority's own and those it signs. No state of its own, any thread. */
#include "crypto/cert.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <string.h>

#include "crypto/cert_priv.h"

/* 9999-12-31T23:59:59Z, the last time that a certificate can name */
#define MAX_UNIX_MS INT64_C(253402300799000)

static weft_status set_times(X509 *cert, int64_t not_before_ms, int64_t not_after_ms, weft_err *err)
{
    if (not_before_ms < 0 || not_after_ms > MAX_UNIX_MS || not_after_ms <= not_before_ms) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a certificate valid from %lld to %lld ms",
                  (long long)not_before_ms, (long long)not_after_ms);
    }
    if (!ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(not_before_ms / 1000)) ||
        !ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(not_after_ms / 1000))) {
        return weft_openssl_fail(err, "a certificate's times");
    }
    return WEFT_OK;
}

/* 16 bytes, positive and never zero (RFC 5280, 4.1.2.2): 126 of the bits are random. */
static weft_status set_serial(X509 *cert, const weft_entropy *entropy, weft_err *err)
{
    uint8_t bytes[16];
    WEFT_TRY(entropy->fill(entropy->self, bytes, sizeof bytes, err));
    bytes[0] = (uint8_t)((bytes[0] & 0x7fU) | 0x40U);
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    const bool good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    return good ? WEFT_OK : weft_openssl_fail(err, "a serial number");
}

static weft_status add_name_part(X509_NAME *name, const char *field, const char *value,
                                 weft_err *err)
{
    if (X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC, (const unsigned char *)value, -1, -1,
                                   0) != 1) {
        return weft_openssl_fail(err, "a certificate's subject");
    }
    return WEFT_OK;
}

/* For people and for tools that print subjects; identity is the SAN URI alone. */
static weft_status set_subject(X509 *cert, const weft_identity *id, weft_err *err)
{
    X509_NAME *name = X509_NAME_new();
    if (!name) {
        return weft_openssl_fail(err, "a certificate's subject");
    }
    weft_status status = add_name_part(name, "O", id->federation, err);
    if (status == WEFT_OK) {
        status = add_name_part(name, "OU", weft_role_name(id->role), err);
    }
    if (status == WEFT_OK) {
        status = add_name_part(name, "CN", id->name, err);
    }
    if (status == WEFT_OK && X509_set_subject_name(cert, name) != 1) {
        status = weft_openssl_fail(err, "a certificate's subject");
    }
    X509_NAME_free(name);
    return status;
}

static weft_status add_extension(X509 *cert, X509 *issuer, int nid, const char *value,
                                 weft_err *err)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    const bool good = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return good ? WEFT_OK : weft_openssl_fail(err, "a certificate's extension");
}

/* Takes text or bytes into an ASN.1 string of its own; text_type as OpenSSL names it. */
static weft_status add_general_name(GENERAL_NAMES *names, int type, int text_type, const void *data,
                                    size_t n, weft_err *err)
{
    ASN1_STRING *value = ASN1_STRING_type_new(text_type);
    GENERAL_NAME *name = GENERAL_NAME_new();
    if (!value || !name || ASN1_STRING_set(value, data, (int)n) != 1) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(name);
        return weft_openssl_fail(err, "a certificate's name");
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) <= 0) {
        GENERAL_NAME_free(name);
        return weft_openssl_fail(err, "a certificate's name");
    }
    return WEFT_OK;
}

static bool dns_name_valid(const char *host)
{
    const size_t n = strnlen(host, WEFT_MAX_HOST_NAME_BYTES + 1);
    if (n == 0 || n > WEFT_MAX_HOST_NAME_BYTES || host[0] == '.' || host[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char c = host[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '.') {
            return false;
        }
    }
    return true;
}

static weft_status add_host(GENERAL_NAMES *names, const char *host, weft_err *err)
{
    uint8_t ip[16];
    if (inet_pton(AF_INET, host, ip) == 1) {
        return add_general_name(names, GEN_IPADD, V_ASN1_OCTET_STRING, ip, 4, err);
    }
    if (inet_pton(AF_INET6, host, ip) == 1) {
        return add_general_name(names, GEN_IPADD, V_ASN1_OCTET_STRING, ip, 16, err);
    }
    if (!dns_name_valid(host)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "'%.100s' is neither a host name nor an IP address", host);
    }
    return add_general_name(names, GEN_DNS, V_ASN1_IA5STRING, host, strlen(host), err);
}

static weft_status fill_names(GENERAL_NAMES *names, const weft_cert_spec *spec, weft_err *err)
{
    char uri[WEFT_MAX_IDENTITY_URI_BYTES + 1];
    weft_identity_print(uri, &spec->id);
    WEFT_TRY(add_general_name(names, GEN_URI, V_ASN1_IA5STRING, uri, strlen(uri), err));
    for (size_t i = 0; i < spec->n_hosts; i++) {
        WEFT_TRY(add_host(names, spec->hosts[i], err));
    }
    return WEFT_OK;
}

static weft_status add_alt_names(X509 *cert, const weft_cert_spec *spec, weft_err *err)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    if (!names) {
        return weft_openssl_fail(err, "a certificate's names");
    }
    weft_status status = fill_names(names, spec, err);
    if (status == WEFT_OK &&
        X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1) {
        status = weft_openssl_fail(err, "a certificate's names");
    }
    GENERAL_NAMES_free(names);
    return status;
}

static weft_status add_cert_pem(weft_buf *out, X509 *cert, weft_err *err)
{
    WEFT_AUTO_BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || PEM_write_bio_X509(bio, cert) != 1) {
        return weft_openssl_fail(err, "a certificate as PEM");
    }
    return weft_openssl_add_bio(out, bio, err);
}

/* signer: the issuer, or cert itself where it is self-signed */
static weft_status add_purposes(X509 *cert, X509 *signer, const weft_cert_spec *spec, weft_err *err)
{
    const bool authority = spec->id.role == WEFT_ROLE_AUTHORITY;
    const bool server = spec->id.role == WEFT_ROLE_COORDINATOR;
    const struct {
        int nid;
        const char *value;
    } extensions[] = {
        {NID_basic_constraints, authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE"},
        {NID_key_usage, authority ? "critical,keyCertSign" : "critical,digitalSignature"},
        {NID_subject_key_identifier, "hash"},
        {NID_authority_key_identifier, "keyid:always"},
        {NID_ext_key_usage, server ? "serverAuth" : "clientAuth"},
    };
    const size_t n = sizeof extensions / sizeof extensions[0] - (authority ? 1 : 0);
    for (size_t i = 0; i < n; i++) {
        WEFT_TRY(add_extension(cert, signer, extensions[i].nid, extensions[i].value, err));
    }
    return WEFT_OK;
}

/* All that authority and issued certificates have in common; issuer NULL: self-signed. */
static weft_status build(X509 *cert, const weft_cert_spec *spec, const weft_key *subject,
                         X509 *issuer, const weft_entropy *entropy, weft_err *err)
{
    X509 *signer = issuer ? issuer : cert;
    if (X509_set_version(cert, X509_VERSION_3) != 1 || X509_set_pubkey(cert, subject->pkey) != 1) {
        return weft_openssl_fail(err, "a certificate");
    }
    WEFT_TRY(set_serial(cert, entropy, err));
    WEFT_TRY(set_times(cert, spec->not_before_unix_ms, spec->not_after_unix_ms, err));
    WEFT_TRY(set_subject(cert, &spec->id, err));
    if (X509_set_issuer_name(cert, X509_get_subject_name(signer)) != 1) {
        return weft_openssl_fail(err, "a certificate's issuer");
    }
    WEFT_TRY(add_purposes(cert, signer, spec, err));
    return add_alt_names(cert, spec, err);
}

static weft_status sign_into(weft_buf *out, X509 *cert, const weft_key *key, weft_err *err)
{
    if (X509_sign(cert, key->pkey, EVP_sha256()) <= 0) {
        return weft_openssl_fail(err, "a certificate's signature");
    }
    return add_cert_pem(out, cert, err);
}

weft_status weft_cert_make_ca(weft_buf *out, const weft_key *key, const char *federation,
                              int64_t not_before_unix_ms, int64_t not_after_unix_ms,
                              const weft_entropy *entropy, weft_err *err)
{
    weft_cert_spec spec = {.not_before_unix_ms = not_before_unix_ms,
                           .not_after_unix_ms = not_after_unix_ms};
    WEFT_TRY(weft_identity_set(&spec.id, federation, WEFT_ROLE_AUTHORITY, "ca", err));
    WEFT_AUTO_X509 *cert = X509_new();
    if (!cert) {
        return weft_openssl_fail(err, "a certificate");
    }
    WEFT_TRY(build(cert, &spec, key, NULL, entropy, err));
    return sign_into(out, cert, key, err);
}

static weft_status check_spec(const weft_cert_spec *spec, weft_err *err)
{
    weft_identity id;
    WEFT_TRY(weft_identity_set(&id, spec->id.federation, spec->id.role, spec->id.name, err));
    if (id.role == WEFT_ROLE_AUTHORITY) {
        WEFT_FAIL(err, WEFT_E_INVALID, "an authority's certificate is not issued to anybody");
    }
    if (spec->n_hosts > 0 && id.role != WEFT_ROLE_COORDINATOR) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "only a coordinator's certificate names hosts, not that of "
                  "%s %s",
                  weft_role_name(id.role), id.name);
    }
    if (spec->n_hosts > WEFT_MAX_CERT_HOSTS) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%zu host names, above the limit of %d", spec->n_hosts,
                  WEFT_MAX_CERT_HOSTS);
    }
    return WEFT_OK;
}

weft_status weft_cert_issue(weft_buf *out, const weft_cert_spec *spec, const weft_key *subject,
                            weft_view ca_pem, const weft_key *ca_key, const weft_entropy *entropy,
                            weft_err *err)
{
    WEFT_TRY(check_spec(spec, err));
    WEFT_AUTO_X509 *ca = NULL;
    WEFT_TRY(weft_cert_read_pem(&ca, ca_pem, err));
    if (!weft_cert_has_key(ca, ca_key)) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the authority's key does not belong to its certificate");
    }
    WEFT_AUTO_X509 *cert = X509_new();
    if (!cert) {
        return weft_openssl_fail(err, "a certificate");
    }
    WEFT_TRY(build(cert, spec, subject, ca, entropy, err));
    return sign_into(out, cert, ca_key, err);
}

/* The earlier one's subject, key and names; the rest is the authority's to say anew. */
static weft_status fill_successor(X509 *cert, X509 *old, X509 *ca, const weft_identity *id,
                                  weft_err *err)
{
    const weft_cert_spec spec = {.id = *id};
    const int names = X509_get_ext_by_NID(old, NID_subject_alt_name, -1);
    if (X509_set_version(cert, X509_VERSION_3) != 1 ||
        X509_set_pubkey(cert, X509_get0_pubkey(old)) != 1 ||
        X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1 ||
        X509_set_subject_name(cert, X509_get_subject_name(old)) != 1) {
        return weft_openssl_fail(err, "a certificate");
    }
    WEFT_TRY(add_purposes(cert, ca, &spec, err));
    if (X509_add_ext(cert, X509_get_ext(old, names), -1) != 1) {
        return weft_openssl_fail(err, "a certificate's names");
    }
    return WEFT_OK;
}

weft_status weft_cert_reissue(weft_buf *out, weft_view pem, int64_t not_before_unix_ms,
                              int64_t not_after_unix_ms, weft_view ca_pem, const weft_key *ca_key,
                              const weft_entropy *entropy, weft_err *err)
{
    weft_cert_info info;
    WEFT_AUTO_X509 *old = NULL;
    WEFT_AUTO_X509 *ca = NULL;
    WEFT_TRY(weft_cert_parse(&info, pem.data, pem.size, err));
    if (info.id.role == WEFT_ROLE_AUTHORITY) {
        WEFT_FAIL(err, WEFT_E_AUTH, "an authority's certificate is not issued to anybody");
    }
    WEFT_TRY(weft_cert_read_pem(&old, pem, err));
    WEFT_TRY(weft_cert_read_pem(&ca, ca_pem, err));
    if (!weft_cert_has_key(ca, ca_key)) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the authority's key does not belong to its certificate");
    }
    WEFT_AUTO_X509 *cert = X509_new();
    if (!cert) {
        return weft_openssl_fail(err, "a certificate");
    }
    WEFT_TRY(fill_successor(cert, old, ca, &info.id, err));
    WEFT_TRY(set_serial(cert, entropy, err));
    WEFT_TRY(set_times(cert, not_before_unix_ms, not_after_unix_ms, err));
    return sign_into(out, cert, ca_key, err);
}

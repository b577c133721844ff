/* SPDX-License-Identifier: Apache-2.0 */
/* Invitations, member chains and renewals: made, encoded, decoded, verified. Pure, any thread. */
#include "crypto/member.h"

#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "crypto/cert.h"
#include "crypto/hash.h"
#include "crypto/statement.h"

enum { MAGIC_BYTES = 4 };
static const char invitation_magic[MAGIC_BYTES + 1] = "WFI1";
static const char chain_magic[MAGIC_BYTES + 1] = "WFM1";

/* ---- invitation ----------------------------------------------------------------------------- */

static weft_status state_invitation(weft_statement *s, const weft_invitation *i, weft_err *err)
{
    WEFT_TRY(weft_statement_init(s, "weft invitation 1", err));
    WEFT_TRY(weft_statement_add_text(s, i->federation, err));
    WEFT_TRY(weft_statement_add_text(s, i->client, err));
    WEFT_TRY(weft_statement_add_u64(s, (uint64_t)i->expires_unix_ms, err));
    return weft_statement_add(s, i->public_key, sizeof i->public_key, err);
}

static weft_status check_name(const char *name, const char *what, weft_status code, weft_err *err)
{
    if (!weft_name_valid(name)) {
        WEFT_FAIL(err, code,
                  "the %s's name '%.64s' is not acceptable: 1 to %d of A-Z a-z 0-9 . _ -, not "
                  "starting with . or -",
                  what, name, WEFT_MAX_NAME_BYTES);
    }
    return WEFT_OK;
}

/* code: WEFT_E_INVALID for our caller's values, WEFT_E_FORMAT for a peer's. */
static weft_status check_fields(const weft_invitation *i, weft_status code, weft_err *err)
{
    WEFT_TRY(check_name(i->federation, "federation", code, err));
    WEFT_TRY(check_name(i->client, "client", code, err));
    if (i->expires_unix_ms <= 0) {
        WEFT_FAIL(err, code, "the invitation's expiry %lld ms is out of range",
                  (long long)i->expires_unix_ms);
    }
    return WEFT_OK;
}

static weft_status set_name(char out[WEFT_MAX_NAME_BYTES + 1], const char *name, weft_err *err)
{
    const size_t n = strnlen(name, WEFT_MAX_NAME_BYTES + 1);
    if (n > WEFT_MAX_NAME_BYTES) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the name '%.20s...' has more than %d bytes", name,
                  WEFT_MAX_NAME_BYTES);
    }
    memset(out, 0, WEFT_MAX_NAME_BYTES + 1);
    memcpy(out, name, n);
    return WEFT_OK;
}

weft_status weft_invitation_make(weft_invitation *ret, const weft_sign_key *operator_key,
                                 const char *federation, const char *client,
                                 int64_t expires_unix_ms, const uint8_t invitation_key[32],
                                 weft_err *err)
{
    weft_invitation i = {.expires_unix_ms = expires_unix_ms};
    WEFT_TRY(set_name(i.federation, federation, err));
    WEFT_TRY(set_name(i.client, client, err));
    memcpy(i.public_key, invitation_key, sizeof i.public_key);
    WEFT_TRY(check_fields(&i, WEFT_E_INVALID, err));
    weft_statement s;
    WEFT_TRY(state_invitation(&s, &i, err));
    WEFT_TRY(weft_sign(i.signature, operator_key, s.data, s.n, err));
    *ret = i;
    return WEFT_OK;
}

static weft_status add_counted(weft_buf *out, const void *data, size_t n, weft_err *err)
{
    WEFT_TRY(weft_buf_add_u32(out, (uint32_t)n, err));
    return weft_buf_add(out, data, n, err);
}

weft_status weft_invitation_encode(weft_buf *out, const weft_invitation *i, weft_err *err)
{
    WEFT_TRY(check_fields(i, WEFT_E_INVALID, err));
    WEFT_TRY(weft_buf_add(out, invitation_magic, MAGIC_BYTES, err));
    WEFT_TRY(add_counted(out, i->federation, strlen(i->federation), err));
    WEFT_TRY(add_counted(out, i->client, strlen(i->client), err));
    WEFT_TRY(weft_buf_add_u64(out, (uint64_t)i->expires_unix_ms, err));
    WEFT_TRY(weft_buf_add(out, i->public_key, sizeof i->public_key, err));
    return weft_buf_add(out, i->signature, sizeof i->signature, err);
}

static weft_status read_magic(weft_reader *r, const char *magic, const char *what, weft_err *err)
{
    const uint8_t *p = weft_reader_take(r, MAGIC_BYTES);
    if (!p || memcmp(p, magic, MAGIC_BYTES) != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "no %s: it does not start with %s", what, magic);
    }
    return WEFT_OK;
}

/* A name with an embedded zero would print shorter than what was signed: check_fields sees only
 * the part before it, so the length is compared here. */
static weft_status read_name(weft_reader *r, char out[WEFT_MAX_NAME_BYTES + 1], const char *what,
                             weft_err *err)
{
    const uint32_t n = weft_reader_u32(r);
    if (n > WEFT_MAX_NAME_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the %s's name has %u bytes, above the limit of %d", what, n,
                  WEFT_MAX_NAME_BYTES);
    }
    const uint8_t *p = weft_reader_take(r, n);
    if (!p || memchr(p, 0, n)) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the %s's name is cut off or holds a zero byte", what);
    }
    memset(out, 0, WEFT_MAX_NAME_BYTES + 1);
    memcpy(out, p, n);
    return WEFT_OK;
}

static void read_bytes(weft_reader *r, uint8_t *out, size_t n)
{
    const uint8_t *p = weft_reader_take(r, n);
    if (p) {
        memcpy(out, p, n);
    }
}

static weft_status read_end(const weft_reader *r, const char *what, weft_err *err)
{
    if (r->failed) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the %s is cut off", what);
    }
    if (weft_reader_left(r) != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%zu bytes too many after the %s", weft_reader_left(r), what);
    }
    return WEFT_OK;
}

weft_status weft_invitation_decode(weft_invitation *ret, const void *data, size_t n, weft_err *err)
{
    if (n > WEFT_MAX_INVITATION_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "an invitation of %zu bytes, above the limit of %d", n,
                  WEFT_MAX_INVITATION_BYTES);
    }
    weft_reader r;
    weft_reader_init(&r, data, n);
    weft_invitation i = {.expires_unix_ms = 0};
    WEFT_TRY(read_magic(&r, invitation_magic, "invitation", err));
    WEFT_TRY(read_name(&r, i.federation, "federation", err));
    WEFT_TRY(read_name(&r, i.client, "client", err));
    const uint64_t expires = weft_reader_u64(&r);
    read_bytes(&r, i.public_key, sizeof i.public_key);
    read_bytes(&r, i.signature, sizeof i.signature);
    WEFT_TRY(read_end(&r, "invitation", err));
    i.expires_unix_ms = expires > INT64_MAX ? -1 : (int64_t)expires;
    WEFT_TRY(check_fields(&i, WEFT_E_FORMAT, err));
    *ret = i;
    return WEFT_OK;
}

weft_status weft_invitation_verify(const weft_invitation *i, const uint8_t operator_public[32],
                                   const char *federation, int64_t now_unix_ms, weft_err *err)
{
    weft_statement s;
    WEFT_TRY(state_invitation(&s, i, err));
    if (weft_sign_verify(operator_public, s.data, s.n, i->signature, NULL) != WEFT_OK) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the invitation of client %s is not signed by this federation's operator",
                  i->client);
    }
    if (federation && strcmp(federation, i->federation) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the invitation of client %s is for federation %s, not %s",
                  i->client, i->federation, federation);
    }
    if (now_unix_ms != WEFT_MEMBER_ANY_TIME && now_unix_ms >= i->expires_unix_ms) {
        const int64_t late_s = (now_unix_ms - i->expires_unix_ms) / 1000;
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the invitation of client %s expired %lld seconds ago: ask the operator for a "
                  "new one",
                  i->client, (long long)late_s);
    }
    return WEFT_OK;
}

/* ---- chain ---------------------------------------------------------------------------------- */

static weft_status state_member(weft_statement *s, const weft_invitation *i,
                                const uint8_t member_key[32], weft_err *err)
{
    WEFT_TRY(weft_statement_init(s, "weft member 1", err));
    WEFT_TRY(weft_statement_add_text(s, i->federation, err));
    WEFT_TRY(weft_statement_add_text(s, i->client, err));
    WEFT_TRY(weft_statement_add(s, i->public_key, sizeof i->public_key, err));
    return weft_statement_add(s, member_key, WEFT_SIGN_PUBLIC_BYTES, err);
}

weft_status weft_member_make(weft_member_chain *ret, const weft_invitation *invitation,
                             const weft_sign_key *invitation_key, const uint8_t member_key[32],
                             weft_err *err)
{
    if (memcmp(invitation_key->public_key, invitation->public_key, WEFT_SIGN_PUBLIC_BYTES) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the key is not the one that client %s was invited with",
                  invitation->client);
    }
    weft_member_chain chain = {.invitation = *invitation};
    memcpy(chain.member_key, member_key, sizeof chain.member_key);
    weft_statement s;
    WEFT_TRY(state_member(&s, invitation, member_key, err));
    WEFT_TRY(weft_sign(chain.signature, invitation_key, s.data, s.n, err));
    *ret = chain;
    return WEFT_OK;
}

static size_t invitation_bytes(const weft_invitation *i)
{
    return MAGIC_BYTES + 4 + strlen(i->federation) + 4 + strlen(i->client) + 8 +
           sizeof i->public_key + sizeof i->signature;
}

weft_status weft_member_encode(weft_buf *out, const weft_member_chain *chain, weft_err *err)
{
    WEFT_TRY(weft_buf_add(out, chain_magic, MAGIC_BYTES, err));
    WEFT_TRY(weft_buf_add_u32(out, (uint32_t)invitation_bytes(&chain->invitation), err));
    WEFT_TRY(weft_invitation_encode(out, &chain->invitation, err));
    WEFT_TRY(weft_buf_add(out, chain->member_key, sizeof chain->member_key, err));
    return weft_buf_add(out, chain->signature, sizeof chain->signature, err);
}

weft_status weft_member_decode(weft_member_chain *ret, const void *data, size_t n, weft_err *err)
{
    if (n > WEFT_MAX_CHAIN_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a member chain of %zu bytes, above the limit of %d", n,
                  WEFT_MAX_CHAIN_BYTES);
    }
    weft_reader r;
    weft_reader_init(&r, data, n);
    weft_member_chain chain;
    memset(&chain, 0, sizeof chain);
    WEFT_TRY(read_magic(&r, chain_magic, "member chain", err));
    const uint32_t size = weft_reader_u32(&r);
    const uint8_t *invitation = weft_reader_take(&r, size);
    if (!invitation) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the member chain is cut off");
    }
    WEFT_TRY(weft_invitation_decode(&chain.invitation, invitation, size, err));
    read_bytes(&r, chain.member_key, sizeof chain.member_key);
    read_bytes(&r, chain.signature, sizeof chain.signature);
    WEFT_TRY(read_end(&r, "member chain", err));
    *ret = chain;
    return WEFT_OK;
}

weft_status weft_member_verify(const weft_member_chain *chain, const uint8_t operator_public[32],
                               const char *federation, int64_t now_unix_ms, weft_err *err)
{
    const weft_invitation *i = &chain->invitation;
    WEFT_TRY(weft_invitation_verify(i, operator_public, federation, now_unix_ms, err));
    weft_statement s;
    WEFT_TRY(state_member(&s, i, chain->member_key, err));
    if (weft_sign_verify(i->public_key, s.data, s.n, chain->signature, NULL) != WEFT_OK) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the member key of client %s is not signed by its invitation key", i->client);
    }
    return WEFT_OK;
}

/* ---- renewal -------------------------------------------------------------------------------- */

/* Domains: what vouches for a client never vouches for an operator of the same name. */
static const char client_renewal[] = "weft renew 1";
static const char operator_renewal[] = "weft renew operator 1";

static weft_status state_renewal(weft_statement *s, const char *domain, const char *federation,
                                 const char *name, const void *csr, size_t n, weft_err *err)
{
    if (n == 0 || n > WEFT_MAX_CSR_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a certificate request of %zu bytes, outside 1..%d", n,
                  WEFT_MAX_CSR_BYTES);
    }
    WEFT_TRY(weft_statement_init(s, domain, err));
    WEFT_TRY(weft_statement_add_text(s, federation, err));
    WEFT_TRY(weft_statement_add_text(s, name, err));
    return weft_statement_add(s, csr, n, err);
}

weft_status weft_renewal_sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES],
                              const weft_sign_key *member_key, const char *federation,
                              const char *client, const void *csr, size_t n, weft_err *err)
{
    weft_statement s = {.n = 0};
    WEFT_TRY(state_renewal(&s, client_renewal, federation, client, csr, n, err));
    return weft_sign(ret, member_key, s.data, s.n, err);
}

weft_status weft_renewal_verify(const uint8_t member_public[32], const char *federation,
                                const char *client, const void *csr, size_t n,
                                const uint8_t signature[64], weft_err *err)
{
    weft_statement s = {.n = 0};
    WEFT_TRY(state_renewal(&s, client_renewal, federation, client, csr, n, err));
    if (weft_sign_verify(member_public, s.data, s.n, signature, NULL) != WEFT_OK) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the renewal of client %.64s is not signed by its member key",
                  client);
    }
    return WEFT_OK;
}

weft_status weft_operator_renewal_sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES],
                                       const weft_sign_key *operator_key, const char *federation,
                                       const char *name, const void *csr, size_t n, weft_err *err)
{
    weft_statement s = {.n = 0};
    WEFT_TRY(state_renewal(&s, operator_renewal, federation, name, csr, n, err));
    return weft_sign(ret, operator_key, s.data, s.n, err);
}

weft_status weft_operator_renewal_verify(const uint8_t operator_public[32], const char *federation,
                                         const char *name, const void *csr, size_t n,
                                         const uint8_t signature[64], weft_err *err)
{
    weft_statement s = {.n = 0};
    WEFT_TRY(state_renewal(&s, operator_renewal, federation, name, csr, n, err));
    if (weft_sign_verify(operator_public, s.data, s.n, signature, NULL) != WEFT_OK) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the renewal of operator %.64s is not signed by this federation's operator key",
                  name);
    }
    return WEFT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/member: invitations, chains, renewals; every byte tampered with, every limit. */
#include "support/support.h"

#include "base/buf.h"
#include "crypto/cert.h"
#include "crypto/member.h"

#include <string.h>

#define NOW   INT64_C(1700000000000)
#define LATER (NOW + 86400000)

static weft_sign_key make_key(uint8_t fill)
{
    uint8_t seed[32];
    memset(seed, fill, sizeof seed);
    weft_sign_key key;
    assert_int_equal(weft_sign_key_from_seed(&key, seed, NULL), WEFT_OK);
    return key;
}

static weft_invitation invite(const char *federation, const char *client)
{
    const weft_sign_key operator_key = make_key(1);
    const weft_sign_key invitation_key = make_key(2);
    weft_invitation i;
    assert_int_equal(weft_invitation_make(&i, &operator_key, federation, client, LATER,
                                          invitation_key.public_key, NULL),
                     WEFT_OK);
    return i;
}

static weft_member_chain join(void)
{
    const weft_invitation i = invite("north", "clinic-1");
    const weft_sign_key invitation_key = make_key(2);
    const weft_sign_key member_key = make_key(3);
    weft_member_chain chain;
    assert_int_equal(weft_member_make(&chain, &i, &invitation_key, member_key.public_key, NULL),
                     WEFT_OK);
    return chain;
}

static void assert_verdict(const weft_member_chain *chain, uint8_t operator_fill,
                           const char *federation, int64_t now, weft_status want, const char *words)
{
    weft_err err = WEFT_ERR_INIT;
    const weft_sign_key operator_key = make_key(operator_fill);
    assert_int_equal(weft_member_verify(chain, operator_key.public_key, federation, now, &err),
                     want);
    if (!strstr(err.msg, words)) {
        fail_msg("'%s' does not say '%s'", err.msg, words);
    }
}

static void test_member_verify__a_good_chain_and_its_end(void **state)
{
    (void)state;
    const weft_member_chain chain = join();
    assert_verdict(&chain, 1, "north", NOW, WEFT_OK, "");
    assert_verdict(&chain, 1, NULL, NOW, WEFT_OK, "");
    assert_verdict(&chain, 1, "north", LATER - 1, WEFT_OK, "");
    assert_verdict(&chain, 1, "north", LATER, WEFT_E_AUTH, "expired 0 seconds ago");
    assert_verdict(&chain, 1, "north", LATER + 60000, WEFT_E_AUTH,
                   "client clinic-1 expired 60 seconds ago: ask the operator");
    assert_verdict(&chain, 1, "north", WEFT_MEMBER_ANY_TIME, WEFT_OK, "");
    assert_verdict(&chain, 1, "south", NOW, WEFT_E_AUTH, "for federation north, not south");
    assert_verdict(&chain, 9, "north", NOW, WEFT_E_AUTH,
                   "not signed by this federation's operator");
}

static void test_member_verify__every_field_is_signed(void **state)
{
    (void)state;
    static const char by_operator[] = "not signed by this federation's operator";
    static const char by_invitation[] = "not signed by its invitation key";
    weft_member_chain c = join();
    c.invitation.federation[0] = 'N';
    assert_verdict(&c, 1, NULL, NOW, WEFT_E_AUTH, by_operator);
    c = join();
    c.invitation.client[7] = '2';
    assert_verdict(&c, 1, "north", NOW, WEFT_E_AUTH, by_operator);
    c = join();
    c.invitation.expires_unix_ms++;
    assert_verdict(&c, 1, "north", NOW, WEFT_E_AUTH, by_operator);
    c = join();
    c.invitation.public_key[0] ^= 1;
    assert_verdict(&c, 1, "north", NOW, WEFT_E_AUTH, by_operator);
    c = join();
    c.invitation.signature[63] ^= 1;
    assert_verdict(&c, 1, "north", NOW, WEFT_E_AUTH, by_operator);
    c = join();
    c.member_key[31] ^= 1;
    assert_verdict(&c, 1, "north", NOW, WEFT_E_AUTH, by_invitation);
    c = join();
    c.signature[0] ^= 1;
    assert_verdict(&c, 1, "north", NOW, WEFT_E_AUTH, by_invitation);
    /* the member's signature of one invitation does not serve under another one */
    c = join();
    const weft_sign_key operator_key = make_key(1);
    const weft_sign_key invitation_key = make_key(2);
    assert_int_equal(weft_invitation_make(&c.invitation, &operator_key, "north", "clinic-2", LATER,
                                          invitation_key.public_key, NULL),
                     WEFT_OK);
    assert_verdict(&c, 1, "north", NOW, WEFT_E_AUTH, by_invitation);
}

/* Letters cannot move from the federation's name to the client's. */
static void test_invitation__names_do_not_run_together(void **state)
{
    (void)state;
    const weft_invitation a = invite("ab", "c");
    const weft_invitation b = invite("a", "bc");
    assert_memory_not_equal(a.signature, b.signature, sizeof a.signature);
}

/* A coordinator that swaps in a member key of its own would have to sign with the invitation key.
 */
static void test_member_make__needs_the_invitations_key(void **state)
{
    (void)state;
    const weft_invitation i = invite("north", "clinic-1");
    const weft_sign_key wrong = make_key(7);
    weft_member_chain chain;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_member_make(&chain, &i, &wrong, wrong.public_key, &err), WEFT_E_AUTH);
    assert_non_null(strstr(err.msg, "not the one that client clinic-1 was invited with"));
}

static void test_invitation_make__refuses_bad_fields(void **state)
{
    (void)state;
    const weft_sign_key key = make_key(1);
    weft_invitation i;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_invitation_make(&i, &key, "north", "../x", LATER, key.public_key, &err),
                     WEFT_E_INVALID);
    assert_non_null(strstr(err.msg, "client's name '../x' is not acceptable"));
    assert_int_equal(weft_invitation_make(&i, &key, "", "c", LATER, key.public_key, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(weft_invitation_make(&i, &key, "n", "c", 0, key.public_key, NULL),
                     WEFT_E_INVALID);
    char name[WEFT_MAX_NAME_BYTES + 2];
    memset(name, 'n', sizeof name);
    name[WEFT_MAX_NAME_BYTES + 1] = '\0';
    assert_int_equal(weft_invitation_make(&i, &key, name, "c", LATER, key.public_key, NULL),
                     WEFT_E_INVALID);
}

/* ---- encoding ------------------------------------------------------------------------------- */

static weft_buf encoded(const weft_member_chain *chain)
{
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_CHAIN_BYTES + 1);
    assert_int_equal(weft_member_encode(&b, chain, NULL), WEFT_OK);
    return b;
}

static void test_member_encode__round_trips_at_the_limits(void **state)
{
    (void)state;
    char name[WEFT_MAX_NAME_BYTES + 1];
    memset(name, 'n', sizeof name);
    name[WEFT_MAX_NAME_BYTES] = '\0';
    weft_member_chain chain = join();
    chain.invitation = invite(name, name);
    weft_buf b = encoded(&chain);
    assert_int_equal(b.size, WEFT_MAX_CHAIN_BYTES);
    weft_member_chain back;
    assert_int_equal(weft_member_decode(&back, b.data, b.size, NULL), WEFT_OK);
    assert_memory_equal(&back, &chain, sizeof chain);
    assert_int_equal(weft_buf_add(&b, "", 1, NULL), WEFT_OK);
    assert_int_equal(weft_member_decode(&back, b.data, b.size, NULL), WEFT_E_LIMIT);
    weft_buf_clear(&b);
    assert_int_equal(weft_invitation_encode(&b, &chain.invitation, NULL), WEFT_OK);
    assert_int_equal(b.size, WEFT_MAX_INVITATION_BYTES);
    weft_invitation i;
    assert_int_equal(weft_invitation_decode(&i, b.data, b.size, NULL), WEFT_OK);
    assert_memory_equal(&i, &chain.invitation, sizeof i);
    assert_int_equal(weft_buf_add(&b, "", 1, NULL), WEFT_OK);
    assert_int_equal(weft_invitation_decode(&i, b.data, b.size, NULL), WEFT_E_LIMIT);
    weft_buf_done(&b);
}

/* The layout is fixed: members outlive versions of weft. */
static void test_invitation_encode__is_the_documented_layout(void **state)
{
    (void)state;
    const weft_invitation i = invite("ab", "c");
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_INVITATION_BYTES);
    assert_int_equal(weft_invitation_encode(&b, &i, NULL), WEFT_OK);
    static const uint8_t head[] = {'W', 'F', 'I', '1',  2,    0,    0,    0,    'a',  'b',  1,   0,
                                   0,   0,   'c', 0x00, 0xc4, 0x2b, 0xf4, 0x8b, 0x01, 0x00, 0x00};
    assert_int_equal(b.size, sizeof head + 32 + 64);
    assert_memory_equal(b.data, head, 15);
    uint64_t expires = 0;
    for (size_t k = 0; k < 8; k++) {
        expires |= (uint64_t)b.data[15 + k] << (8 * k);
    }
    assert_true(expires == (uint64_t)LATER);
    assert_memory_equal(b.data + 23, i.public_key, 32);
    assert_memory_equal(b.data + 55, i.signature, 64);
    weft_buf_done(&b);
}

static void test_member_decode__no_prefix_and_no_changed_byte_verifies(void **state)
{
    (void)state;
    const weft_sign_key operator_key = make_key(1);
    const weft_member_chain chain = join();
    weft_buf b = encoded(&chain);
    weft_member_chain back;
    for (size_t n = 0; n < b.size; n++) {
        assert_int_equal(weft_member_decode(&back, b.data, n, NULL), WEFT_E_FORMAT);
    }
    for (size_t i = 0; i < b.size; i++) {
        b.data[i] ^= 0x41;
        const weft_status read = weft_member_decode(&back, b.data, b.size, NULL);
        assert_true(read != WEFT_OK ||
                    weft_member_verify(&back, operator_key.public_key, NULL, WEFT_MEMBER_ANY_TIME,
                                       NULL) == WEFT_E_AUTH);
        b.data[i] ^= 0x41;
    }
    weft_buf_done(&b);
}

static void assert_not_decoded(weft_buf *b, weft_status want, const char *words)
{
    weft_invitation i;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_invitation_decode(&i, b->data, b->size, &err), want);
    if (!strstr(err.msg, words)) {
        fail_msg("'%s' does not say '%s'", err.msg, words);
    }
    weft_buf_clear(b);
    assert_int_equal(
        weft_invitation_encode(b, &(weft_invitation){"north", "clinic", LATER, {0}, {0}}, NULL),
        WEFT_OK);
}

static void test_invitation_decode__says_what_is_wrong(void **state)
{
    (void)state;
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_INVITATION_BYTES);
    assert_not_decoded(&b, WEFT_E_FORMAT, "does not start with WFI1");
    b.data[3] = '2'; /* a later version */
    assert_not_decoded(&b, WEFT_E_FORMAT, "does not start with WFI1");
    b.data[4] = WEFT_MAX_NAME_BYTES + 1;
    assert_not_decoded(&b, WEFT_E_LIMIT, "federation's name has 65 bytes, above the limit of 64");
    b.data[4] = 0;
    assert_not_decoded(&b, WEFT_E_LIMIT, "client's name has"); /* reads on at the wrong place */
    b.data[8] = '\0';
    assert_not_decoded(&b, WEFT_E_FORMAT, "holds a zero byte");
    b.data[8] = '/';
    assert_not_decoded(&b, WEFT_E_FORMAT, "is not acceptable");
    b.data[4 + 9 + 10 + 7] = 0x80; /* the expiry's sign */
    assert_not_decoded(&b, WEFT_E_FORMAT, "expiry -1 ms is out of range");
    b.size--;
    assert_not_decoded(&b, WEFT_E_FORMAT, "the invitation is cut off");
    assert_int_equal(weft_buf_add(&b, "", 1, NULL), WEFT_OK);
    assert_not_decoded(&b, WEFT_E_FORMAT, "1 bytes too many");
    weft_buf_done(&b);
}

static weft_status try_encode(const weft_alloc *a, void *arg)
{
    weft_buf b;
    weft_buf_init(&b, a, WEFT_MAX_CHAIN_BYTES);
    const weft_status status = weft_member_encode(&b, arg, NULL);
    weft_buf_done(&b);
    return status;
}

static void test_member_encode__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_member_chain chain = join();
    test_every_allocation_may_fail(try_encode, &chain);
}

/* ---- renewals ------------------------------------------------------------------------------- */

static void test_renewal__every_part_is_signed(void **state)
{
    (void)state;
    const weft_sign_key member = make_key(3);
    const uint8_t csr[] = {1, 2, 3};
    const uint8_t changed[] = {1, 2, 4};
    uint8_t signature[64];
    assert_int_equal(weft_renewal_sign(signature, &member, "north", "c", csr, sizeof csr, NULL),
                     WEFT_OK);
    assert_int_equal(
        weft_renewal_verify(member.public_key, "north", "c", csr, sizeof csr, signature, NULL),
        WEFT_OK);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(
        weft_renewal_verify(member.public_key, "south", "c", csr, sizeof csr, signature, &err),
        WEFT_E_AUTH);
    assert_non_null(strstr(err.msg, "renewal of client c is not signed by its member key"));
    assert_int_equal(
        weft_renewal_verify(member.public_key, "north", "d", csr, sizeof csr, signature, NULL),
        WEFT_E_AUTH);
    assert_int_equal(weft_renewal_verify(member.public_key, "north", "c", changed, sizeof changed,
                                         signature, NULL),
                     WEFT_E_AUTH);
    assert_int_equal(weft_renewal_verify(member.public_key, "north", "c", csr, 2, signature, NULL),
                     WEFT_E_AUTH);
    assert_int_equal(
        weft_renewal_verify(make_key(4).public_key, "north", "c", csr, sizeof csr, signature, NULL),
        WEFT_E_AUTH);
}

static void test_operator_renewal__is_no_clients_renewal(void **state)
{
    (void)state;
    const weft_sign_key key = make_key(1);
    const uint8_t csr[] = {1, 2, 3};
    uint8_t signature[64];
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_operator_renewal_sign(signature, &key, "north", "o", csr, 3, NULL),
                     WEFT_OK);
    assert_int_equal(
        weft_operator_renewal_verify(key.public_key, "north", "o", csr, 3, signature, NULL),
        WEFT_OK);
    assert_int_equal(weft_renewal_verify(key.public_key, "north", "o", csr, 3, signature, NULL),
                     WEFT_E_AUTH);
    assert_int_equal(
        weft_operator_renewal_verify(key.public_key, "south", "o", csr, 3, signature, &err),
        WEFT_E_AUTH);
    assert_non_null(strstr(err.msg, "renewal of operator o is not signed by this federation's"));
    assert_int_equal(
        weft_operator_renewal_verify(key.public_key, "north", "p", csr, 3, signature, NULL),
        WEFT_E_AUTH);
    assert_int_equal(
        weft_operator_renewal_verify(key.public_key, "north", "o", csr, 2, signature, NULL),
        WEFT_E_AUTH);
    assert_int_equal(
        weft_operator_renewal_verify(make_key(4).public_key, "north", "o", csr, 3, signature, NULL),
        WEFT_E_AUTH);
    assert_int_equal(weft_renewal_sign(signature, &key, "north", "o", csr, 3, NULL), WEFT_OK);
    assert_int_equal(
        weft_operator_renewal_verify(key.public_key, "north", "o", csr, 3, signature, NULL),
        WEFT_E_AUTH);
}

static void test_renewal__requests_have_a_limit(void **state)
{
    (void)state;
    const weft_sign_key member = make_key(3);
    char name[WEFT_MAX_NAME_BYTES + 1];
    memset(name, 'n', sizeof name);
    name[WEFT_MAX_NAME_BYTES] = '\0';
    static const uint8_t csr[WEFT_MAX_CSR_BYTES + 1];
    uint8_t signature[64];
    assert_int_equal(weft_renewal_sign(signature, &member, name, name, csr, 0, NULL), WEFT_E_LIMIT);
    assert_int_equal(weft_renewal_sign(signature, &member, name, name, csr, sizeof csr - 1, NULL),
                     WEFT_OK);
    assert_int_equal(weft_renewal_sign(signature, &member, name, name, csr, sizeof csr, NULL),
                     WEFT_E_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_verify__a_good_chain_and_its_end),
        cmocka_unit_test(test_member_verify__every_field_is_signed),
        cmocka_unit_test(test_invitation__names_do_not_run_together),
        cmocka_unit_test(test_member_make__needs_the_invitations_key),
        cmocka_unit_test(test_invitation_make__refuses_bad_fields),
        cmocka_unit_test(test_member_encode__round_trips_at_the_limits),
        cmocka_unit_test(test_invitation_encode__is_the_documented_layout),
        cmocka_unit_test(test_member_decode__no_prefix_and_no_changed_byte_verifies),
        cmocka_unit_test(test_invitation_decode__says_what_is_wrong),
        cmocka_unit_test(test_member_encode__every_allocation_may_fail),
        cmocka_unit_test(test_renewal__every_part_is_signed),
        cmocka_unit_test(test_operator_renewal__is_no_clients_renewal),
        cmocka_unit_test(test_renewal__requests_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

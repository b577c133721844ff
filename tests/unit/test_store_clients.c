/* SPDX-License-Identifier: Apache-2.0 */
/* store: invitations, enrolment, certificates, revocation, check-ins, and their history. */
#include "support/support.h"

#include "store/clients.h"
#include "store/queries.h"

#include <stdio.h>
#include <string.h>

#define T0      INT64_C(1700000000000)
#define EXPIRES (T0 + 86400000)

static const uint8_t token_a[32] = {1};
static const uint8_t token_b[32] = {2};
static const uint8_t csr_a[32] = {11};
static const uint8_t csr_b[32] = {12};
static const uint8_t member_a[32] = {21};
static const uint8_t member_b[32] = {22};
static const uint8_t print_a[32] = {31};
static const uint8_t print_b[32] = {32};

static weft_view view(const char *text)
{
    return (weft_view){(const uint8_t *)text, strlen(text)};
}

/* A row with its borrowed bytes as text. */
typedef struct seen {
    uint32_t n;
    weft_store_client_row row;
    char names[256];
    char invitation[64];
    char chain[64];
    char pem[64];
} seen;

static void copy(char *out, size_t size, weft_view from)
{
    assert_true(from.size < size);
    memcpy(out, from.data ? from.data : (const uint8_t *)"", from.size);
    out[from.size] = '\0';
}

static weft_status see(void *arg, const weft_store_client_row *row, weft_err *err)
{
    (void)err;
    seen *s = arg;
    s->n++;
    s->row = *row;
    copy(s->invitation, sizeof s->invitation, row->invitation);
    copy(s->chain, sizeof s->chain, row->member_chain);
    copy(s->pem, sizeof s->pem, row->certificate_pem);
    const size_t at = strlen(s->names);
    (void)snprintf(s->names + at, sizeof s->names - at, "%s ", row->name);
    return WEFT_OK;
}

typedef struct fixture {
    char *dir;
    weft_store *store;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    f.dir = test_dir_new();
    assert_ok(weft_store_open(&f.store, f.dir, &options, &weft_alloc_std, &assert_err));
    assert_ok(weft_store_begin(f.store, T0, &assert_err));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    weft_store_close(f->store);
    test_dir_done(f->dir);
    return 0;
}

/* One batch ends, the next begins a second later. */
static void next_batch(weft_store *store, int64_t unix_ms)
{
    assert_ok(weft_store_commit(store, 1, &assert_err));
    assert_ok(weft_store_begin(store, unix_ms, &assert_err));
}

static void invite_and_enrol(weft_store *store)
{
    assert_ok(
        weft_store_client_invite(store, "clinic-a", token_a, view("inv-a"), EXPIRES, &assert_err));
    next_batch(store, T0 + 1000);
    assert_ok(
        weft_store_client_enrol(store, token_a, csr_a, view("chain-a"), member_a, &assert_err));
    assert_ok(weft_store_client_certificate(store, "clinic-a", print_a, csr_a, view("pem-a"),
                                            EXPIRES, &assert_err));
    next_batch(store, T0 + 2000);
}

static void test_client_invite__again_replaces_the_token(void **state)
{
    weft_store *store = ((fixture *)*state)->store;
    assert_ok(
        weft_store_client_invite(store, "clinic-a", token_a, view("inv"), EXPIRES, &assert_err));
    /* the request came twice */
    assert_ok(
        weft_store_client_invite(store, "clinic-a", token_a, view("inv"), EXPIRES, &assert_err));
    assert_int_equal(weft_store_client_invite(store, "clinic-b", token_a, view("inv"), 1, NULL),
                     WEFT_E_CONFLICT);
    assert_ok(weft_store_client_invite(store, "clinic-a", token_b, view("inv-2"), EXPIRES + 1,
                                       &assert_err));
    seen s = {0};
    assert_int_equal(weft_store_client_by_token(store, token_a, see, &s, NULL), WEFT_E_NOTFOUND);
    assert_ok(weft_store_client_by_token(store, token_b, see, &s, &assert_err));
    assert_string_equal(s.row.name, "clinic-a");
    assert_string_equal(s.invitation, "inv-2");
    assert_int_equal(s.row.status, WEFT_STORE_CLIENT_INVITED);
    assert_true(s.row.invitation_expires_unix_ms == EXPIRES + 1 && s.row.since_unix_ms == T0);
    /* a token that was replaced never comes back */
    assert_int_equal(weft_store_client_invite(store, "clinic-a", token_a, view("inv"), 1, NULL),
                     WEFT_E_CONFLICT);
}

static void test_client_invite__limits(void **state)
{
    weft_store *store = ((fixture *)*state)->store;
    static const uint8_t big[WEFT_STORE_MAX_CHAIN_BYTES + 1];
    assert_int_equal(
        weft_store_client_invite(store, "a", token_a, (weft_view){big, sizeof big}, EXPIRES, NULL),
        WEFT_E_LIMIT);
    assert_int_equal(weft_store_client_invite(store, "a", token_a, (weft_view){big, 0}, 1, NULL),
                     WEFT_E_LIMIT);
    assert_int_equal(weft_store_client_invite(store, "-a", token_a, view("i"), 1, NULL),
                     WEFT_E_INVALID);
    assert_ok(weft_store_client_invite(store, "a", token_a, (weft_view){big, sizeof big - 1},
                                       EXPIRES, &assert_err));
}

static void test_client_enrol__is_idempotent_per_token_and_key(void **state)
{
    weft_store *store = ((fixture *)*state)->store;
    assert_int_equal(
        weft_store_client_enrol(store, token_a, csr_a, view("chain-a"), member_a, NULL),
        WEFT_E_NOTFOUND);
    invite_and_enrol(store);
    for (int i = 0; i < 2; i++) {
        assert_ok(
            weft_store_client_enrol(store, token_a, csr_a, view("chain-a"), member_a, &assert_err));
        assert_int_equal(
            weft_store_client_enrol(store, token_a, csr_b, view("chain-a"), member_a, NULL),
            WEFT_E_CONFLICT);
        assert_int_equal(
            weft_store_client_enrol(store, token_a, csr_a, view("chain-b"), member_a, NULL),
            WEFT_E_CONFLICT);
        assert_int_equal(
            weft_store_client_enrol(store, token_a, csr_a, view("chain-a"), member_b, NULL),
            WEFT_E_CONFLICT);
        /* a renewal under another key changes none of this */
        if (i == 0) {
            assert_ok(weft_store_client_certificate(store, "clinic-a", print_b, csr_b,
                                                    view("pem-b"), EXPIRES + 5, &assert_err));
        }
    }
    seen s = {0};
    assert_ok(weft_store_client_by_name(store, "clinic-a", see, &s, &assert_err));
    assert_int_equal(s.row.status, WEFT_STORE_CLIENT_ENROLLED);
    assert_true(s.row.since_unix_ms == T0 + 1000);
    assert_string_equal(s.chain, "chain-a");
    assert_string_equal(s.pem, "pem-b"); /* the newest */
    assert_true(s.row.certificate_expires_unix_ms == EXPIRES + 5);
    assert_memory_equal(s.row.member_public_key, member_a, 32);
    assert_memory_equal(s.row.csr_key_digest, csr_b, 32);
    assert_int_equal(weft_store_client_invite(store, "clinic-a", token_b, view("i"), 1, NULL),
                     WEFT_E_CONFLICT);
}

static void test_client_enrol__one_member_key_a_client(void **state)
{
    weft_store *store = ((fixture *)*state)->store;
    invite_and_enrol(store);
    assert_ok(
        weft_store_client_invite(store, "clinic-b", token_b, view("i"), EXPIRES, &assert_err));
    assert_int_equal(
        weft_store_client_enrol(store, token_b, csr_b, view("chain-b"), member_a, NULL),
        WEFT_E_CONFLICT);
    assert_ok(
        weft_store_client_enrol(store, token_b, csr_b, view("chain-b"), member_b, &assert_err));
}

static weft_status count(void *arg, const weft_store_certificate *item, weft_err *err)
{
    (void)err;
    assert_string_equal(item->client, "clinic-a");
    *(uint32_t *)arg += item->fingerprint[0];
    return WEFT_OK;
}

static void test_client_certificate__is_found_until_revoked(void **state)
{
    weft_store *store = ((fixture *)*state)->store;
    assert_int_equal(
        weft_store_client_certificate(store, "nobody", print_a, csr_a, view("p"), 1, NULL),
        WEFT_E_NOTFOUND);
    invite_and_enrol(store);
    assert_int_equal(weft_store_client_certificate(store, "clinic-a", print_a, csr_a, view("pem-a"),
                                                   EXPIRES, NULL),
                     WEFT_E_CONFLICT);
    assert_ok(weft_store_client_certificate(store, "clinic-a", print_b, csr_a, view("pem-b"),
                                            EXPIRES, &assert_err));
    seen s = {0};
    assert_ok(weft_store_client_by_certificate(store, print_a, see, &s, &assert_err));
    assert_ok(weft_store_client_by_certificate(store, print_b, see, &s, &assert_err));
    assert_int_equal(s.n, 2);
    assert_int_equal(weft_store_client_by_certificate(store, token_a, see, &s, NULL),
                     WEFT_E_NOTFOUND);
    uint32_t sum = 0;
    assert_ok(weft_store_each_certificate(store, count, &sum, &assert_err));
    assert_int_equal(sum, 31 + 32);
    assert_ok(weft_store_client_revoke(store, "clinic-a", "left", &assert_err));
    sum = 0;
    assert_ok(weft_store_each_certificate(store, count, &sum, &assert_err));
    assert_int_equal(sum, 0);
    assert_int_equal(weft_store_client_by_certificate(store, print_a, see, &s, NULL), WEFT_E_AUTH);
}

static weft_status join_status(void *arg, const weft_store_change *change, weft_err *err)
{
    return weft_buf_addf(arg, err, "%lld:%u:%s ", (long long)(change->unix_ms - T0),
                         (unsigned)change->status, change->reason);
}

static void test_client_revoke__voids_all_and_a_new_invitation_starts_over(void **state)
{
    weft_store *store = ((fixture *)*state)->store;
    assert_int_equal(weft_store_client_revoke(store, "clinic-a", "r", NULL), WEFT_E_NOTFOUND);
    invite_and_enrol(store);
    assert_ok(weft_store_client_revoke(store, "clinic-a", "left the study", &assert_err));
    next_batch(store, T0 + 3000);
    assert_ok(weft_store_client_revoke(store, "clinic-a", "again", &assert_err)); /* harmless */
    seen s = {0};
    assert_ok(weft_store_client_by_name(store, "clinic-a", see, &s, &assert_err));
    assert_int_equal(s.row.status, WEFT_STORE_CLIENT_REVOKED);
    assert_string_equal(s.row.reason, "left the study");
    assert_true(s.row.since_unix_ms == T0 + 2000);
    assert_int_equal(
        weft_store_client_enrol(store, token_a, csr_a, view("chain-a"), member_a, NULL),
        WEFT_E_AUTH);
    assert_int_equal(
        weft_store_client_certificate(store, "clinic-a", print_b, csr_a, view("p"), 1, NULL),
        WEFT_E_AUTH);
    assert_int_equal(weft_store_client_invite(store, "clinic-a", token_a, view("inv-a"), 1, NULL),
                     WEFT_E_CONFLICT); /* the old token stays void */
    assert_ok(
        weft_store_client_invite(store, "clinic-a", token_b, view("inv-b"), EXPIRES, &assert_err));
    assert_ok(
        weft_store_client_enrol(store, token_b, csr_b, view("chain-b"), member_b, &assert_err));
    assert_int_equal(weft_store_client_by_certificate(store, print_a, see, &s, NULL),
                     WEFT_E_AUTH); /* and so does its old certificate */
    assert_ok(weft_store_client_by_name(store, "clinic-a", see, &s, &assert_err));
    assert_string_equal(s.pem, "");
    weft_buf history;
    weft_buf_init(&history, &weft_alloc_std, 512);
    assert_ok(weft_store_client_history(store, "clinic-a", join_status, &history, &assert_err));
    assert_string_equal(weft_buf_text(&history),
                        "0:1: 1000:2: 2000:3:left the study 3000:1: 3000:2: ");
    weft_buf_done(&history);
}

static void test_client_seen__keeps_the_newest_declaration(void **state)
{
    weft_store *store = ((fixture *)*state)->store;
    static weft_store_dataset many[WEFT_MAX_DATASETS + 1];
    for (int i = 0; i <= WEFT_MAX_DATASETS; i++) {
        (void)snprintf(many[i].name, sizeof many[i].name, "set-%02d", i);
        many[i].n_examples = (uint64_t)i;
    }
    assert_int_equal(weft_store_client_seen(store, "clinic-a", "s", many, 1, NULL),
                     WEFT_E_NOTFOUND);
    invite_and_enrol(store);
    assert_int_equal(
        weft_store_client_seen(store, "clinic-a", "s", many, WEFT_MAX_DATASETS + 1, NULL),
        WEFT_E_LIMIT);
    assert_ok(weft_store_client_seen(store, "clinic-a", "s", many, WEFT_MAX_DATASETS, &assert_err));
    seen s = {0};
    assert_ok(weft_store_client_by_name(store, "clinic-a", see, &s, &assert_err));
    assert_int_equal(s.row.n_datasets, WEFT_MAX_DATASETS);
    assert_int_equal(s.row.datasets[31].n_examples, 31);
    const char *long_software =
        "0123456789012345678901234567890123456789012345678901234567890123456789";
    assert_ok(weft_store_client_seen(store, "clinic-a", long_software, many, 1, &assert_err));
    assert_ok(weft_store_client_by_name(store, "clinic-a", see, &s, &assert_err));
    assert_int_equal(s.row.n_datasets, 1);
    assert_int_equal(strlen(s.row.software), WEFT_STORE_MAX_SOFTWARE_BYTES);
    assert_true(s.row.last_seen_unix_ms == T0 + 2000);
}

static void test_each_client__is_sorted_and_survives(void **state)
{
    fixture *f = *state;
    const char *const names[] = {"zeta", "alpha", "mid"};
    for (uint8_t i = 0; i < 3; i++) {
        const uint8_t token[32] = {100, i};
        assert_ok(
            weft_store_client_invite(f->store, names[i], token, view("i"), EXPIRES, &assert_err));
    }
    assert_ok(weft_store_commit(f->store, 1, &assert_err));
    weft_store_close(f->store);
    f->store = NULL;
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    assert_ok(weft_store_open(&f->store, f->dir, &options, &weft_alloc_std, &assert_err));
    seen s = {0};
    assert_ok(weft_store_each_client(f->store, see, &s, &assert_err));
    assert_string_equal(s.names, "alpha mid zeta ");
    assert_int_equal(weft_store_client_by_name(f->store, "other", see, &s, NULL), WEFT_E_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_client_invite__again_replaces_the_token, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_client_invite__limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_enrol__is_idempotent_per_token_and_key, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_client_enrol__one_member_key_a_client, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_client_certificate__is_found_until_revoked, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_client_revoke__voids_all_and_a_new_invitation_starts_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_seen__keeps_the_newest_declaration, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_each_client__is_sorted_and_survives, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

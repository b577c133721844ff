/* SPDX-License-Identifier: Apache-2.0 */
/* A peer's bytes at, above and below each limit, and bytes that are not messages at all. */
#include "support/support.h"

#include "wire/wire.h"

#include <math.h>
#include <string.h>

typedef struct fixture {
    weft_buf bytes;
    weft_arena arena;
    weft_err err;
} fixture;

static void begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    weft_buf_init(&f->bytes, &weft_alloc_std, 2U << 20);
    weft_arena_init(&f->arena, &weft_alloc_std, WEFT_MAX_DECODE_BYTES);
}

static void end(fixture *f)
{
    weft_buf_done(&f->bytes);
    weft_arena_done(&f->arena);
}

static void add(fixture *f, const void *data, size_t n)
{
    assert_int_equal(weft_buf_add(&f->bytes, data, n, NULL), WEFT_OK);
}

static void add_varint(fixture *f, uint64_t v)
{
    do {
        const uint8_t byte = (uint8_t)((v & 0x7F) | (v > 0x7F ? 0x80 : 0));
        add(f, &byte, 1);
        v >>= 7;
    } while (v);
}

static void add_number(fixture *f, uint32_t field, uint64_t v)
{
    add_varint(f, (uint64_t)field << 3);
    add_varint(f, v);
}

static void add_bytes(fixture *f, uint32_t field, const void *data, size_t n)
{
    add_varint(f, (uint64_t)field << 3 | 2);
    add_varint(f, n);
    add(f, data, n);
}

/* A CheckInRequest is the smallest message with a version and a list. */
static weft_status decode(fixture *f, weft_msg_check_in_request *ret)
{
    weft_msg_check_in_request ignored;
    weft_err_clear(&f->err);
    return weft_msg_check_in_request_decode(ret ? ret : &ignored, f->bytes.data, f->bytes.size,
                                            &f->arena, &f->err);
}

static void test_decode__tells_another_version(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    assert_int_equal(decode(&f, NULL), WEFT_E_STATE); /* none at all */
    add_number(&f, 1, 2);
    add_bytes(&f, 3, "\x01", 1); /* what else it holds does not matter */
    assert_int_equal(decode(&f, NULL), WEFT_E_STATE);
    assert_non_null(strstr(f.err.msg, "version 2"));
    assert_non_null(strstr(f.err.msg, "this side 1"));
    weft_buf_clear(&f.bytes);
    add_number(&f, 1, 1);
    assert_int_equal(decode(&f, NULL), WEFT_OK);
    end(&f);
}

/* What another version may have done to every other field. */
static void test_decode__tells_another_version_before_other_types(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        fixture f;
        begin(&f);
        add_bytes(&f, 4, "text", 4); /* hold_ms is a number here */
        add_number(&f, 1, version);
        assert_int_equal(decode(&f, NULL), version == 1 ? WEFT_E_FORMAT : WEFT_E_STATE);
        end(&f);
    }
}

/* ---- fields of a newer version --------------------------------------------------------------- */

static void test_decode__tolerates_newer_fields(void **state)
{
    (void)state;
    fixture f;
    static const uint8_t zeros[64];
    begin(&f);
    add_number(&f, 1, 1);
    for (unsigned i = 0; i < WEFT_MAX_UNKNOWN_FIELDS; i++) {
        add_bytes(&f, 100 + i, zeros, sizeof zeros);
    }
    assert_int_equal(decode(&f, NULL), WEFT_OK); /* at the limit */
    add_number(&f, 9999, 1);
    assert_int_equal(decode(&f, NULL), WEFT_E_LIMIT); /* one above */
    assert_non_null(strstr(f.err.msg, "more than 1000 unknown fields"));
    assert_true(f.arena.used <= WEFT_MAX_DECODE_BYTES);
    end(&f);
}

static void test_decode__keeps_the_known_among_newer_fields(void **state)
{
    (void)state;
    fixture f;
    fixture again;
    weft_msg_check_in_request back;
    begin(&f);
    begin(&again);
    add_bytes(&f, 77, "newer", 5);
    add_bytes(&f, 2,
              "\x0a\x01"
              "d\x7a\x03new\x10\x07",
              10); /* inside of a data set, too */
    add_number(&f, 4, 5);
    add_number(&f, 100000, UINT64_MAX);
    add_bytes(&f, 3, "weft 9", 6);
    add_number(&f, 1, 1);
    assert_int_equal(decode(&f, &back), WEFT_OK);
    assert_int_equal(back.n_datasets, 1);
    assert_string_equal(back.datasets[0].name, "d");
    assert_int_equal(back.datasets[0].n_examples, 7);
    assert_int_equal(back.hold_ms, 5);
    assert_string_equal(back.software, "weft 9");
    /* what this version writes again is what it knows */
    assert_int_equal(weft_msg_check_in_request_encode(&again.bytes, &back, &again.err), WEFT_OK);
    static const uint8_t known[] = "\x08\x01\x12\x05\x0a\x01"
                                   "d\x10\x07\x1a\x06weft 9\x20\x05";
    assert_int_equal(again.bytes.size, sizeof known - 1);
    assert_memory_equal(again.bytes.data, known, sizeof known - 1);
    end(&f);
    end(&again);
}

/* Fields of two bytes, the dearest garbage: protobuf-c would keep it at 47 times its size. The
 * budget below the arena counts on its own: were the arena's maximum passed, it would answer NOMEM.
 */
static void refuse_garbage(weft_msg_kind kind, size_t size, size_t max)
{
    fixture f;
    weft_arena arena;
    weft_budget budget;
    weft_msg_list_rounds_reply reply;
    weft_msg_check_in_request request;
    begin(&f);
    weft_budget_init(&budget, &weft_alloc_std, max + max / 64);
    weft_wire_arena_init(&arena, kind, &budget.alloc);
    assert_int_equal(arena.max, max);
    add_number(&f, 1, 1);
    while (f.bytes.size + 2 <= size) {
        add(&f, "\x78\x01", 2); /* 15: 1 */
    }
    assert_int_equal(f.bytes.size, size);
    void *ret = kind == WEFT_MSG_CHECK_IN_REQUEST ? (void *)&request : (void *)&reply;
    assert_int_equal(weft_wire_decode(ret, kind, f.bytes.data, size, &arena, &f.err), WEFT_E_LIMIT);
    assert_non_null(strstr(f.err.msg, "bytes of memory"));
    assert_in_range(arena.used, 1, max);
    weft_arena_done(&arena);
    assert_int_equal(budget.used, 0);
    end(&f);
}

static void test_decode__bounds_memory_of_unknown_fields(void **state)
{
    (void)state;
    refuse_garbage(WEFT_MSG_CHECK_IN_REQUEST, WEFT_MAX_CONTROL_BYTES, WEFT_MAX_DECODE_BYTES);
}

static void test_decode__bounds_memory_of_a_mebibyte_of_unknown_fields(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    add_number(&f, 1, 1);
    while (f.bytes.size < WEFT_MAX_REPLY_BYTES) {
        add(&f, "\x78\x01", 2);
    }
    assert_int_equal(decode(&f, NULL), WEFT_E_LIMIT); /* no request is that large */
    assert_int_equal(f.arena.used, 0);
    end(&f);
    refuse_garbage(WEFT_MSG_LIST_ROUNDS_REPLY, WEFT_MAX_REPLY_BYTES, WEFT_MAX_DECODE_REPLY_BYTES);
}

static void test_decode__skips_unknown_fields_of_every_type(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    add_number(&f, 1, 1);
    add_number(&f, 50, UINT64_MAX);
    add_bytes(&f, 51, "abc", 3);
    add(&f, "\xa1\x03\0\0\0\0\0\0\0\0", 10); /* 52: 64 bits */
    add(&f, "\xad\x03\0\0\0\0", 6);          /* 53: 32 bits */
    add_number(&f, 4, 5);
    weft_msg_check_in_request back;
    assert_int_equal(decode(&f, &back), WEFT_OK);
    assert_int_equal(back.hold_ms, 5);
    add(&f, "\xb3\x03", 2); /* 54: a group, which nobody sends any more */
    assert_int_equal(decode(&f, NULL), WEFT_E_FORMAT);
    end(&f);
}

static void test_decode__limits_the_message(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    static uint8_t zeros[WEFT_MAX_CONTROL_BYTES];
    add_number(&f, 1, 1);
    const size_t head = f.bytes.size + 2 + 3; /* number and length of the field below */
    add_bytes(&f, 100, zeros, WEFT_MAX_CONTROL_BYTES - head);
    assert_int_equal(f.bytes.size, WEFT_MAX_CONTROL_BYTES);
    assert_int_equal(decode(&f, NULL), WEFT_OK);
    add(&f, zeros, 1);
    assert_int_equal(decode(&f, NULL), WEFT_E_LIMIT);
    assert_true(f.arena.used <= WEFT_MAX_DECODE_BYTES);
    end(&f);
}

static void test_decode__limits_lists(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    add_number(&f, 1, 1);
    for (int i = 0; i < WEFT_MAX_DATASETS; i++) {
        add_bytes(&f, 2,
                  "\x0a\x01"
                  "d",
                  3);
    }
    weft_msg_check_in_request back;
    assert_int_equal(decode(&f, &back), WEFT_OK);
    assert_int_equal(back.n_datasets, WEFT_MAX_DATASETS);
    add_bytes(&f, 2,
              "\x0a\x01"
              "d",
              3);
    assert_int_equal(decode(&f, NULL), WEFT_E_LIMIT);
    assert_non_null(strstr(f.err.msg, "CheckInRequest.datasets"));
    end(&f);
}

static void test_decode__limits_names(void **state)
{
    (void)state;
    static const char letters[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    for (size_t n = 63; n <= 65; n++) {
        fixture f;
        uint8_t set[80];
        begin(&f);
        add_number(&f, 1, 1);
        set[0] = 0x0a;
        set[1] = (uint8_t)n;
        memcpy(set + 2, letters, n);
        add_bytes(&f, 2, set, n + 2);
        assert_int_equal(decode(&f, NULL), n <= 64 ? WEFT_OK : WEFT_E_LIMIT);
        end(&f);
    }
}

static weft_status decode_dataset(const char *name, size_t n)
{
    fixture f;
    weft_msg_dataset back;
    begin(&f);
    add_bytes(&f, 1, name, n);
    const weft_status status =
        weft_msg_dataset_decode(&back, f.bytes.data, f.bytes.size, &f.arena, NULL);
    end(&f);
    return status;
}

static void test_decode__refuses_bad_names(void **state)
{
    (void)state;
    assert_int_equal(decode_dataset("digits", 6), WEFT_OK);
    assert_int_equal(decode_dataset("", 0), WEFT_E_INVALID);
    assert_int_equal(decode_dataset("../x", 4), WEFT_E_INVALID);
    assert_int_equal(decode_dataset("a b", 3), WEFT_E_INVALID);
    assert_int_equal(decode_dataset("a\0b", 3), WEFT_E_INVALID);
    assert_int_equal(decode_dataset("-a", 2), WEFT_E_INVALID);
}

static weft_status decode_reason(const char *text, size_t n)
{
    fixture f;
    weft_msg_abandon_request back;
    begin(&f);
    add_number(&f, 1, 1);
    add_number(&f, 2, 7);
    add_bytes(&f, 3, text, n);
    const weft_status status =
        weft_msg_abandon_request_decode(&back, f.bytes.data, f.bytes.size, &f.arena, NULL);
    end(&f);
    return status;
}

static void test_decode__wants_utf8_lines(void **state)
{
    (void)state;
    static char longest[WEFT_MAX_REASON_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    assert_int_equal(decode_reason("disk full \xe2\x82\xac", 13), WEFT_OK);
    assert_int_equal(decode_reason("\xf0\x9f\x92\xa9", 4), WEFT_OK);
    assert_int_equal(decode_reason("two\nlines", 9), WEFT_E_INVALID);
    assert_int_equal(decode_reason("\x1b[2J", 4), WEFT_E_INVALID);
    assert_int_equal(decode_reason("\xff", 1), WEFT_E_INVALID);
    assert_int_equal(decode_reason("\xc3", 1), WEFT_E_INVALID);         /* cut */
    assert_int_equal(decode_reason("\xc0\xaf", 2), WEFT_E_INVALID);     /* overlong */
    assert_int_equal(decode_reason("\xed\xa0\x80", 3), WEFT_E_INVALID); /* surrogate */
    assert_int_equal(decode_reason("\xf4\x90\x80\x80", 4), WEFT_E_INVALID);
    assert_int_equal(decode_reason(longest, WEFT_MAX_REASON_BYTES), WEFT_OK);
    assert_int_equal(decode_reason(longest, WEFT_MAX_REASON_BYTES + 1), WEFT_E_LIMIT);
}

static weft_msg_update_header good_header(void)
{
    static const uint8_t digest[32] = {1};
    return (weft_msg_update_header){.assignment_id = 1,
                                    .base_digest = {digest, 32},
                                    .total_bytes = 8,
                                    .update_digest = {digest, 32},
                                    .n_examples = 3,
                                    .encoding = "f32"};
}

static weft_status encode_header(const weft_msg_update_header *header)
{
    fixture f;
    begin(&f);
    const weft_status status = weft_msg_update_header_encode(&f.bytes, header, &f.err);
    end(&f);
    return status;
}

static void test_encode__checks_update_headers(void **state)
{
    (void)state;
    weft_msg_update_header h = good_header();
    assert_int_equal(encode_header(&h), WEFT_OK);
    h.base_digest.size = 31;
    assert_int_equal(encode_header(&h), WEFT_E_INVALID);
    h = good_header();
    h.start_offset = 8;
    assert_int_equal(encode_header(&h), WEFT_OK);
    h.start_offset = 9;
    assert_int_equal(encode_header(&h), WEFT_E_INVALID);
    h = good_header();
    h.update_digest.size = 0;
    assert_int_equal(encode_header(&h), WEFT_E_INVALID);
    h.total_bytes = 0;
    assert_int_equal(encode_header(&h), WEFT_OK); /* an evaluation */
    h = good_header();
    h.metrics.n = 1;
    memcpy(h.metrics.item[0].name, "loss", 5);
    h.metrics.item[0].value = (double)NAN;
    assert_int_equal(encode_header(&h), WEFT_E_INVALID);
    h = good_header();
    h.total_bytes = 4 * WEFT_MAX_PARAMS;
    assert_int_equal(encode_header(&h), WEFT_OK);
    h.total_bytes++;
    assert_int_equal(encode_header(&h), WEFT_E_INVALID);
}

static void test_decode__limits_metrics(void **state)
{
    (void)state;
    for (unsigned n = WEFT_MAX_METRICS; n <= WEFT_MAX_METRICS + 1; n++) {
        fixture f;
        weft_msg_update_header h = good_header();
        weft_msg_update_header back;
        begin(&f);
        assert_int_equal(weft_msg_update_header_encode(&f.bytes, &h, NULL), WEFT_OK);
        for (unsigned i = 0; i < n; i++) {
            const uint8_t metric[3] = {0x0a, 1, (uint8_t)('a' + i)};
            add_bytes(&f, 7, metric, sizeof metric);
        }
        const weft_status status =
            weft_msg_update_header_decode(&back, f.bytes.data, f.bytes.size, &f.arena, &f.err);
        assert_int_equal(status, n <= WEFT_MAX_METRICS ? WEFT_OK : WEFT_E_LIMIT);
        end(&f);
    }
}

static void test_decode__bounds_memory(void **state)
{
    (void)state;
    fixture f;
    weft_msg_list_models_reply back;
    begin(&f);
    /* an empty element costs 2 bytes on the wire and some hundred here */
    for (int i = 0; i < 500; i++) {
        add(&f, "\x0a\x00", 2);
    }
    const weft_status status =
        weft_msg_list_models_reply_decode(&back, f.bytes.data, f.bytes.size, &f.arena, &f.err);
    assert_int_equal(status, WEFT_E_INVALID); /* 500 models without a digest */
    assert_true(f.arena.used <= WEFT_MAX_DECODE_BYTES);
    add(&f, "\x0a\x00", 2);
    weft_err_clear(&f.err);
    assert_int_equal(
        weft_msg_list_models_reply_decode(&back, f.bytes.data, f.bytes.size, &f.arena, &f.err),
        WEFT_E_LIMIT);
    weft_arena small;
    weft_arena_init(&small, &weft_alloc_std, 4096);
    weft_err_clear(&f.err);
    assert_int_equal(weft_msg_list_models_reply_decode(&back, f.bytes.data, 1000, &small, &f.err),
                     WEFT_E_LIMIT);
    assert_true(small.used <= 4096);
    weft_arena_done(&small);
    end(&f);
}

static void test_decode__refuses_what_is_no_message(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x08", 1},             /* no value */
        {"\x08\x01\x22", 3},     /* field 4 as bytes */
        {"\x08\x01\x12\x05", 4}, /* 5 bytes that are not there */
        {"\x08\x01\x00\x00", 4}, /* field 0 */
        {"\x08\x01\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 14}, /* 11 bytes */
        {"\xff\xff\xff\xff\x7f", 5},
        {"GET / HTTP/1.1\r\n\r\n", 18},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fixture f;
        begin(&f);
        add(&f, bad[i].bytes, bad[i].n);
        const weft_status status = decode(&f, NULL);
        assert_true(status == WEFT_E_FORMAT || status == WEFT_E_STATE);
        end(&f);
    }
}

/* No sender writes so. Protobuf says: the last one counts, and submessages are merged; protobuf-c
 * keeps only texts and bytes of the earlier ones, so half a message is refused for what it lacks.
 */
static void test_decode__takes_the_last_of_what_comes_twice(void **state)
{
    (void)state;
    fixture f;
    weft_msg_submit_reply back;
    uint8_t receipt[] = "\x08\x05\x12\x01j\x18\x02\x28\x07\x3a\x01"
                        "c\x42\x40"
                        "................................................................";
    begin(&f);
    add_number(&f, 2, 7);
    add_number(&f, 2, 1);
    add_bytes(&f, 1, receipt, sizeof receipt - 1);
    receipt[1] = 6;
    receipt[4] = 'k';
    add_bytes(&f, 1, receipt, sizeof receipt - 1);
    assert_int_equal(
        weft_msg_submit_reply_decode(&back, f.bytes.data, f.bytes.size, &f.arena, &f.err), WEFT_OK);
    assert_int_equal(back.refusal, 1);
    assert_int_equal(back.receipt->assignment_id, 6);
    assert_string_equal(back.receipt->job, "k");
    assert_int_equal(back.receipt->signature.size, 64);
    add_bytes(&f, 1, "", 0);
    assert_int_equal(
        weft_msg_submit_reply_decode(&back, f.bytes.data, f.bytes.size, &f.arena, &f.err),
        WEFT_E_INVALID);
    assert_non_null(strstr(f.err.msg, "Receipt.assignment_id is missing"));
    end(&f);
}

/* ---- pages ----------------------------------------------------------------------------------- */

static weft_metrics all_metrics(void)
{
    weft_metrics m = {.n = 0};
    for (char i = 0; i < WEFT_MAX_METRICS; i++) {
        const char name[] = {'m', (char)('a' + i), 0};
        assert_int_equal(weft_metrics_set(&m, name, 0.5, NULL), WEFT_OK);
    }
    return m;
}

static void test_decode__has_memory_for_the_largest_pages(void **state)
{
    (void)state;
    enum { ROUNDS = 500, CLIENTS = 500 };
    static weft_msg_round_info rounds[ROUNDS];
    static weft_msg_client_info clients[CLIENTS];
    static weft_msg_dataset_info sets[WEFT_MAX_DATASETS];
    fixture f;
    weft_arena arena;
    begin(&f);
    for (size_t i = 0; i < ROUNDS; i++) {
        rounds[i] = (weft_msg_round_info){.job = "digits",
                                          .round = 1,
                                          .attempt = 1,
                                          .state = "closed",
                                          .train_metrics = all_metrics(),
                                          .eval_metrics = all_metrics(),
                                          .central_metrics = all_metrics()};
    }
    const weft_msg_list_rounds_reply page = {rounds, ROUNDS};
    weft_msg_list_rounds_reply page_back;
    weft_wire_arena_init(&arena, WEFT_MSG_LIST_ROUNDS_REPLY, &weft_alloc_std);
    assert_int_equal(weft_msg_list_rounds_reply_encode(&f.bytes, &page, &f.err), WEFT_OK);
    assert_int_equal(
        weft_msg_list_rounds_reply_decode(&page_back, f.bytes.data, f.bytes.size, &arena, &f.err),
        WEFT_OK);
    assert_int_equal(page_back.rounds[ROUNDS - 1].central_metrics.n, WEFT_MAX_METRICS);
    weft_arena_done(&arena);

    for (size_t i = 0; i < WEFT_MAX_DATASETS; i++) {
        sets[i] = (weft_msg_dataset_info){"a-data-set", 1000};
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (weft_msg_client_info){.client = "a-client-of-some-hospital",
                                            .status = "enrolled",
                                            .software = "weft-client 0.1.0",
                                            .datasets = sets,
                                            .n_datasets = WEFT_MAX_DATASETS};
    }
    const weft_msg_list_clients_reply list = {clients, CLIENTS};
    weft_msg_list_clients_reply list_back;
    weft_buf_clear(&f.bytes);
    assert_int_equal(weft_msg_list_clients_reply_encode(&f.bytes, &list, &f.err), WEFT_OK);
    assert_int_equal(
        weft_msg_list_clients_reply_decode(&list_back, f.bytes.data, f.bytes.size, &arena, &f.err),
        WEFT_OK);
    assert_int_equal(list_back.clients[CLIENTS - 1].n_datasets, WEFT_MAX_DATASETS);
    weft_arena_done(&arena);
    end(&f);
}

static void test_decode__leaves_ret_alone_on_failure(void **state)
{
    (void)state;
    fixture f;
    weft_msg_check_in_request back = {.hold_ms = 77};
    begin(&f);
    add_number(&f, 1, 1);
    add_number(&f, 4, 5);
    add(&f, "\x12", 1);
    assert_int_equal(decode(&f, &back), WEFT_E_FORMAT);
    assert_int_equal(back.hold_ms, 77);
    end(&f);
}

static void test_encode__leaves_out_alone_on_failure(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    add(&f, "before", 6);
    const weft_msg_dataset bad = {"no good name", 1, ""};
    assert_int_equal(weft_msg_dataset_encode(&f.bytes, &bad, &f.err), WEFT_E_INVALID);
    assert_int_equal(f.bytes.size, 6);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode__tells_another_version),
        cmocka_unit_test(test_decode__tells_another_version_before_other_types),
        cmocka_unit_test(test_decode__tolerates_newer_fields),
        cmocka_unit_test(test_decode__keeps_the_known_among_newer_fields),
        cmocka_unit_test(test_decode__bounds_memory_of_unknown_fields),
        cmocka_unit_test(test_decode__bounds_memory_of_a_mebibyte_of_unknown_fields),
        cmocka_unit_test(test_decode__skips_unknown_fields_of_every_type),
        cmocka_unit_test(test_decode__limits_the_message),
        cmocka_unit_test(test_decode__limits_lists),
        cmocka_unit_test(test_decode__limits_names),
        cmocka_unit_test(test_decode__refuses_bad_names),
        cmocka_unit_test(test_decode__wants_utf8_lines),
        cmocka_unit_test(test_encode__checks_update_headers),
        cmocka_unit_test(test_decode__limits_metrics),
        cmocka_unit_test(test_decode__bounds_memory),
        cmocka_unit_test(test_decode__refuses_what_is_no_message),
        cmocka_unit_test(test_decode__takes_the_last_of_what_comes_twice),
        cmocka_unit_test(test_decode__has_memory_for_the_largest_pages),
        cmocka_unit_test(test_decode__leaves_ret_alone_on_failure),
        cmocka_unit_test(test_encode__leaves_out_alone_on_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks over pieces that are cut anywhere, the order of a stream, and join files. */
#include "support/support.h"

#include "wire/chunk.h"
#include "wire/join.h"
#include "wire/pace.h"

#include "weft/v1/federation.pb-c.h"
#include "weft/v1/types.pb-c.h"

#include <stdlib.h>
#include <string.h>

/* ---- chunks ---------------------------------------------------------------------------------- */

enum { DATA_BYTES = 300, MESSAGE_BYTES = 1024 };

static weft_chunk sample(void)
{
    weft_chunk c = {.offset = 1U << 20, .total_bytes = 5000000000, .has_digest = true};
    c.data_bytes = DATA_BYTES;
    for (size_t i = 0; i < sizeof c.digest; i++) {
        c.digest[i] = (uint8_t)(i + 1);
    }
    return c;
}

static size_t write_message(uint8_t *out, const weft_chunk *c, bool in_part)
{
    const size_t n = weft_chunk_write_head(out, c, in_part);
    assert_true(n <= WEFT_CHUNK_MAX_HEAD_BYTES);
    for (size_t i = 0; i < c->data_bytes; i++) {
        out[n + i] = (uint8_t)(i * 7);
    }
    return n + c->data_bytes;
}

static void test_chunk_write_head__is_protobuf(void **state)
{
    (void)state;
    uint8_t bytes[MESSAGE_BYTES];
    const weft_chunk c = sample();
    size_t n = write_message(bytes, &c, false);
    Weft__V1__Chunk *theirs = weft__v1__chunk__unpack(NULL, n, bytes);
    assert_non_null(theirs);
    assert_int_equal(theirs->offset, c.offset);
    assert_int_equal(theirs->total_bytes, c.total_bytes);
    assert_int_equal(theirs->digest.len, 32);
    assert_memory_equal(theirs->digest.data, c.digest, 32);
    assert_int_equal(theirs->data.len, DATA_BYTES);
    assert_int_equal(theirs->data.data[299], (uint8_t)(299 * 7));
    uint8_t again[MESSAGE_BYTES];
    assert_int_equal(weft__v1__chunk__pack(theirs, again), n); /* the same bytes, no less */
    assert_memory_equal(again, bytes, n);
    weft__v1__chunk__free_unpacked(theirs, NULL);

    n = write_message(bytes, &c, true);
    Weft__V1__UpdatePart *part = weft__v1__update_part__unpack(NULL, n, bytes);
    assert_non_null(part);
    assert_int_equal(part->part_case, WEFT__V1__UPDATE_PART__PART_CHUNK);
    assert_int_equal(part->chunk->data.len, DATA_BYTES);
    weft__v1__update_part__free_unpacked(part, NULL);
}

static void test_update_part_encode__is_read_as_a_header(void **state)
{
    (void)state;
    static const uint8_t digest[32] = {7};
    const weft_msg_update_header header = {
        .assignment_id = 9, .base_digest = {digest, 32}, .n_examples = 3, .encoding = "f32"};
    weft_err err = WEFT_ERR_INIT;
    weft_buf part;
    weft_buf alone;
    weft_buf_init(&part, &weft_alloc_std, MESSAGE_BYTES);
    weft_buf_init(&alone, &weft_alloc_std, MESSAGE_BYTES);
    assert_int_equal(weft_update_part_encode(&part, &header, &err), WEFT_OK);
    assert_int_equal(weft_msg_update_header_encode(&alone, &header, &err), WEFT_OK);
    weft_part_kind kind = WEFT_PART_CHUNK;
    size_t at = 0;
    size_t size = 0;
    const weft_view piece = weft_buf_view(&part);
    assert_int_equal(weft_part_parse(&kind, &at, &size, &piece, 1, &err), WEFT_OK);
    assert_int_equal(kind, WEFT_PART_HEADER);
    assert_int_equal(at + size, part.size);
    assert_int_equal(size, alone.size);
    assert_memory_equal(part.data + at, alone.data, size);
    weft_buf_clear(&part);
    const weft_msg_update_header bad = {.assignment_id = 0};
    assert_int_equal(weft_update_part_encode(&part, &bad, &err), WEFT_E_INVALID);
    assert_int_equal(part.size, 0);
    weft_buf_done(&part);
    weft_buf_done(&alone);
}

static void parse_cut(const uint8_t *bytes, size_t n, const size_t *cuts, size_t n_cuts)
{
    weft_view pieces[8];
    size_t from = 0;
    size_t n_pieces = 0;
    for (size_t i = 0; i <= n_cuts; i++) {
        const size_t to = i < n_cuts ? cuts[i] : n;
        pieces[n_pieces++] = (weft_view){bytes + from, to - from};
        from = to;
    }
    weft_err err = WEFT_ERR_INIT;
    weft_part_kind kind = WEFT_PART_HEADER;
    size_t at = 0;
    size_t size = 0;
    size_t data_at = 0;
    weft_chunk c;
    const weft_chunk want = sample();
    assert_int_equal(weft_part_parse(&kind, &at, &size, pieces, n_pieces, &err), WEFT_OK);
    assert_int_equal(kind, WEFT_PART_CHUNK);
    assert_int_equal(weft_chunk_parse(&c, &data_at, pieces, n_pieces, at, size, &err), WEFT_OK);
    assert_int_equal(c.offset, want.offset);
    assert_int_equal(c.total_bytes, want.total_bytes);
    assert_memory_equal(c.digest, want.digest, 32);
    assert_int_equal(c.data_bytes, DATA_BYTES);
    uint8_t data[DATA_BYTES];
    assert_true(weft_pieces_copy(data, pieces, n_pieces, data_at, c.data_bytes));
    assert_memory_equal(data, bytes + n - DATA_BYTES, DATA_BYTES);
    weft_view range[8];
    const size_t n_range = weft_pieces_range(range, pieces, n_pieces, data_at, c.data_bytes);
    assert_int_equal(weft_pieces_bytes(range, n_range), DATA_BYTES);
}

static void test_chunk_parse__does_not_care_about_cuts(void **state)
{
    (void)state;
    uint8_t bytes[MESSAGE_BYTES];
    const weft_chunk c = sample();
    const size_t n = write_message(bytes, &c, true);
    for (size_t a = 0; a <= n; a++) {
        parse_cut(bytes, n, &a, 1);
        for (size_t b = a; b <= n && b < a + 70; b++) {
            const size_t cuts[2] = {a, b};
            parse_cut(bytes, n, cuts, 2);
        }
    }
}

static void test_chunk_parse__refuses_every_truncation(void **state)
{
    (void)state;
    uint8_t bytes[MESSAGE_BYTES];
    const weft_chunk c = sample();
    const size_t n = write_message(bytes, &c, false);
    for (size_t cut = 0; cut < n; cut++) {
        const weft_view piece = {bytes, cut};
        weft_chunk back;
        size_t data_at = 0;
        const weft_status status = weft_chunk_parse(&back, &data_at, &piece, 1, 0, cut, NULL);
        /* between two fields a message may end */
        assert_true(status == WEFT_E_FORMAT || back.data_bytes == 0);
        assert_int_equal(weft_chunk_parse(&back, &data_at, &piece, 1, 0, n, NULL), WEFT_E_FORMAT);
    }
}

static void test_chunk_parse__limits_data(void **state)
{
    (void)state;
    uint8_t *bytes = calloc(1, WEFT_MAX_CHUNK_BYTES + 100);
    assert_non_null(bytes);
    for (uint32_t over = 0; over <= 1; over++) {
        const weft_chunk c = {.total_bytes = 1U << 30, .data_bytes = WEFT_MAX_CHUNK_BYTES + over};
        const size_t n = weft_chunk_write_head(bytes, &c, false) + c.data_bytes;
        const weft_view piece = {bytes, n};
        weft_chunk back;
        size_t data_at = 0;
        assert_int_equal(weft_chunk_parse(&back, &data_at, &piece, 1, 0, n, NULL),
                         over ? WEFT_E_LIMIT : WEFT_OK);
    }
    free(bytes);
}

static void test_part_parse__wants_exactly_one(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        weft_status want;
    } cases[] = {
        {"", 0, WEFT_E_FORMAT},
        {"\x0a\x00", 2, WEFT_OK},
        {"\x12\x00", 2, WEFT_OK},
        {"\x0a\x00\x12\x00", 4, WEFT_E_FORMAT},
        {"\x0a\x00\x0a\x00", 4, WEFT_E_FORMAT},
        {"\x98\x06\x01\x0a\x00", 5, WEFT_OK}, /* an unknown field before it */
        {"\x08\x01", 2, WEFT_E_FORMAT},       /* field 1, another type */
        {"\x0a\x05\x00", 3, WEFT_E_FORMAT},
        {"\xff", 1, WEFT_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const weft_view piece = {(const uint8_t *)cases[i].bytes, cases[i].n};
        weft_part_kind kind = WEFT_PART_HEADER;
        size_t at = 0;
        size_t size = 0;
        assert_int_equal(weft_part_parse(&kind, &at, &size, &piece, 1, NULL), cases[i].want);
    }
}

/* ---- order ----------------------------------------------------------------------------------- */

static weft_status take(weft_chunk_stream *s, uint64_t offset, uint64_t total, uint32_t data)
{
    const weft_chunk c = {.offset = offset, .total_bytes = total, .data_bytes = data};
    return weft_chunk_stream_take(s, &c, NULL);
}

static void test_chunk_stream__wants_order(void **state)
{
    (void)state;
    weft_chunk_stream s;
    weft_chunk_stream_init(&s, 0, 100);
    assert_int_equal(take(&s, 0, 101, 10), WEFT_E_LIMIT);
    assert_int_equal(take(&s, 1, 100, 10), WEFT_E_FORMAT); /* a gap */
    assert_int_equal(take(&s, 0, 100, 0), WEFT_E_FORMAT);  /* nothing in it */
    assert_int_equal(take(&s, 0, 100, 101), WEFT_E_FORMAT);
    assert_int_equal(take(&s, 0, 100, 60), WEFT_OK);
    assert_false(weft_chunk_stream_complete(&s));
    assert_int_equal(take(&s, 0, 100, 60), WEFT_E_FORMAT);  /* again */
    assert_int_equal(take(&s, 60, 99, 39), WEFT_E_FORMAT);  /* another total */
    assert_int_equal(take(&s, 60, 100, 41), WEFT_E_FORMAT); /* one too many */
    assert_int_equal(take(&s, 60, 100, 40), WEFT_OK);
    assert_true(weft_chunk_stream_complete(&s));

    weft_chunk_stream_init(&s, 7, 100);
    weft_chunk_stream_expect(&s, 20);
    assert_int_equal(take(&s, 0, 20, 20), WEFT_E_FORMAT);
    assert_int_equal(take(&s, 7, 20, 13), WEFT_OK);
    assert_true(weft_chunk_stream_complete(&s));

    weft_chunk_stream_init(&s, 0, 100);
    assert_int_equal(take(&s, 0, 0, 0), WEFT_OK); /* an empty whole */
    assert_true(weft_chunk_stream_complete(&s));
}

static void test_chunk_stream__wants_one_digest(void **state)
{
    (void)state;
    weft_chunk_stream s;
    weft_chunk c = {.total_bytes = 20, .data_bytes = 10, .has_digest = true, .digest = {1}};
    weft_chunk_stream_init(&s, 0, 100);
    assert_int_equal(weft_chunk_stream_take(&s, &c, NULL), WEFT_OK);
    c.offset = 10;
    c.digest[0] = 2;
    assert_int_equal(weft_chunk_stream_take(&s, &c, NULL), WEFT_E_FORMAT);
    c.has_digest = false;
    assert_int_equal(weft_chunk_stream_take(&s, &c, NULL), WEFT_OK);
    assert_int_equal(s.digest[0], 1);
}

/* ---- join files ------------------------------------------------------------------------------ */

static weft_msg_join_file sample_join(void)
{
    static const uint8_t key[32] = {9, 8, 7};
    static const uint8_t pem[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    return (weft_msg_join_file){.address = "weft.example.org:7443",
                                .federation = "hospitals",
                                .client = "north",
                                .transport_ca_pem = {pem, sizeof pem - 1},
                                .token = {key, 32},
                                .operator_public_key = {key, 32},
                                .invitation_private_key = {key, 32},
                                .invitation = {key, 5},
                                .receipt_public_key = {key, 32}};
}

static weft_status parse(const char *text, size_t n, weft_msg_join_file *ret, weft_arena *arena)
{
    weft_arena_init(arena, &weft_alloc_std, WEFT_MAX_DECODE_BYTES);
    return weft_join_parse(ret, text, n, arena, NULL);
}

static void test_join_parse__reads_what_write_wrote(void **state)
{
    (void)state;
    weft_err err = WEFT_ERR_INIT;
    weft_buf text;
    weft_arena arena;
    weft_msg_join_file back;
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_JOIN_BYTES);
    assert_int_equal(weft_buf_add(&text, "Dear partner,\r\n\r\n", 17, &err), WEFT_OK);
    /* every length of base64's last group */
    for (size_t extra = 0; extra < 3; extra++) {
        weft_msg_join_file join = sample_join();
        join.invitation.size = 5 + extra;
        const size_t at = text.size;
        assert_int_equal(weft_join_write(&text, &join, &err), WEFT_OK);
        assert_int_equal(parse((const char *)text.data, text.size, &back, &arena), WEFT_OK);
        assert_string_equal(back.address, join.address);
        assert_string_equal(back.client, "north");
        assert_int_equal(back.invitation.size, 5 + extra);
        assert_memory_equal(back.token.data, join.token.data, 32);
        assert_int_equal(back.transport_ca_pem.size, join.transport_ca_pem.size);
        weft_arena_done(&arena);
        text.size = at;
    }
    weft_buf_done(&text);
}

static void test_join_parse__refuses_damage(void **state)
{
    (void)state;
    weft_buf text;
    weft_arena arena;
    weft_msg_join_file back;
    const weft_msg_join_file join = sample_join();
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_JOIN_BYTES);
    assert_int_equal(weft_join_write(&text, &join, NULL), WEFT_OK);
    for (size_t cut = 0; cut < text.size; cut++) {
        const weft_status status = parse((const char *)text.data, cut, &back, &arena);
        /* the last new line may go */
        assert_int_equal(status, cut == text.size - 1 ? WEFT_OK : WEFT_E_FORMAT);
        weft_arena_done(&arena);
    }
    text.data[40] = '*';
    assert_int_equal(parse((const char *)text.data, text.size, &back, &arena), WEFT_E_FORMAT);
    weft_arena_done(&arena);
    char *large = calloc(1, WEFT_MAX_JOIN_BYTES + 1);
    assert_non_null(large);
    assert_int_equal(parse(large, WEFT_MAX_JOIN_BYTES, &back, &arena), WEFT_E_FORMAT);
    assert_int_equal(parse(large, WEFT_MAX_JOIN_BYTES + 1, &back, &arena), WEFT_E_LIMIT);
    free(large);
    weft_buf_done(&text);
}

static void test_join_parse__wants_canonical_base64(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "A", "AA", "AAA", "AA=A", "AB==", "AAB=", "====", "AA==AAAA", "A===", "AA===", "=AAA"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        weft_buf text;
        weft_arena arena;
        weft_msg_join_file back;
        weft_buf_init(&text, &weft_alloc_std, 256);
        assert_int_equal(weft_buf_addf(&text, NULL,
                                       "-----BEGIN WEFT JOIN-----\n%s\n-----END WEFT JOIN-----",
                                       bad[i]),
                         WEFT_OK);
        assert_int_equal(parse((const char *)text.data, text.size, &back, &arena), WEFT_E_FORMAT);
        weft_buf_done(&text);
    }
}

static weft_status join_once(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_buf text;
    weft_arena arena;
    weft_msg_join_file back;
    const weft_msg_join_file join = sample_join();
    weft_buf_init(&text, a, WEFT_MAX_JOIN_BYTES);
    weft_arena_init(&arena, a, WEFT_MAX_DECODE_BYTES);
    weft_status status = weft_join_write(&text, &join, NULL);
    if (status == WEFT_OK) {
        status = weft_join_parse(&back, (const char *)text.data, text.size, &arena, NULL);
    }
    weft_buf_done(&text);
    weft_arena_done(&arena);
    return status;
}

static void test_join__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(join_once, NULL);
}

/* ---- pace ------------------------------------------------------------------------------------ */

static void test_pace__follows_the_link(void **state)
{
    (void)state;
    weft_pace fast = {0};
    uint64_t now = 5;
    assert_int_equal(weft_pace_next(&fast, now), 256U << 10);
    assert_int_equal(weft_pace_next(&fast, now += 249), 512U << 10);
    assert_int_equal(weft_pace_next(&fast, now += 250), 512U << 10); /* as it should be */
    assert_int_equal(weft_pace_next(&fast, now += 1000), 512U << 10);
    assert_int_equal(weft_pace_next(&fast, now += 1), WEFT_MAX_CHUNK_BYTES);
    assert_int_equal(weft_pace_next(&fast, now += 1), WEFT_MAX_CHUNK_BYTES); /* never above */
    assert_int_equal(weft_pace_next(&fast, now += 1001), 512U << 10);
    /* 10 kB a second: after the first chunk, a minute passes without news never again */
    weft_pace slow = {0};
    uint64_t longest = 0;
    for (int i = 0; i < 20; i++) {
        const uint64_t took = weft_pace_next(&slow, now) / 10;
        longest = i > 0 && took > longest ? took : longest;
        now += took;
    }
    assert_int_equal(slow.bytes, WEFT_PACE_MIN_BYTES);
    assert_true(longest < 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunk_write_head__is_protobuf),
        cmocka_unit_test(test_update_part_encode__is_read_as_a_header),
        cmocka_unit_test(test_chunk_parse__does_not_care_about_cuts),
        cmocka_unit_test(test_chunk_parse__refuses_every_truncation),
        cmocka_unit_test(test_chunk_parse__limits_data),
        cmocka_unit_test(test_part_parse__wants_exactly_one),
        cmocka_unit_test(test_chunk_stream__wants_order),
        cmocka_unit_test(test_chunk_stream__wants_one_digest),
        cmocka_unit_test(test_join_parse__reads_what_write_wrote),
        cmocka_unit_test(test_join_parse__refuses_damage),
        cmocka_unit_test(test_join_parse__wants_canonical_base64),
        cmocka_unit_test(test_join__every_allocation_may_fail),
        cmocka_unit_test(test_pace__follows_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

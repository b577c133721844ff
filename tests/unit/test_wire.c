/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The message tables against the schema: every field of every message is compared with protoc-c's
 * descriptor, every message travels both ways, and an assignment that is filled through the
 * generated struct arrives field by field.
 */
#include "support/support.h"

#include "wire/methods.h"
#include "wire/table_priv.h"
#include "wire/wire.h"

#include "weft/v1/admin.pb-c.h"
#include "weft/v1/federation.pb-c.h"
#include "weft/v1/types.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ProtobufCMessageDescriptor *const descriptors[] = {
#define DESCRIPTOR(name, NAME) &weft__v1__##name##__descriptor,
    WEFT_WIRE_MESSAGES(DESCRIPTOR)
#undef DESCRIPTOR
};

/* ---- tables ---------------------------------------------------------------------------------- */

static ProtobufCType expected_type(weft_field_kind kind)
{
    switch (kind) {
    case WEFT_FIELD_VERSION:
    case WEFT_FIELD_ENUM:
    case WEFT_FIELD_REFUSAL:
        return PROTOBUF_C_TYPE_ENUM;
    case WEFT_FIELD_U32:
        return PROTOBUF_C_TYPE_UINT32;
    case WEFT_FIELD_U64:
        return PROTOBUF_C_TYPE_UINT64;
    case WEFT_FIELD_I64:
        return PROTOBUF_C_TYPE_INT64;
    case WEFT_FIELD_F64:
        return PROTOBUF_C_TYPE_DOUBLE;
    case WEFT_FIELD_BOOL:
        return PROTOBUF_C_TYPE_BOOL;
    case WEFT_FIELD_CHOICE:
    case WEFT_FIELD_NAME:
    case WEFT_FIELD_LINE:
    case WEFT_FIELD_TEXT:
    case WEFT_FIELD_OWNED:
    case WEFT_FIELD_NAME_IN:
    case WEFT_FIELD_LINE_IN:
        return PROTOBUF_C_TYPE_STRING;
    case WEFT_FIELD_BYTES:
    case WEFT_FIELD_DIGEST:
    case WEFT_FIELD_DIGEST_IN:
        return PROTOBUF_C_TYPE_BYTES;
    case WEFT_FIELD_MESSAGE:
    case WEFT_FIELD_INLINE:
    case WEFT_FIELD_LIST:
    case WEFT_FIELD_METRICS:
        break;
    }
    return PROTOBUF_C_TYPE_MESSAGE;
}

static void compare(const weft_table *table, const ProtobufCMessageDescriptor *d)
{
    assert_string_equal(table->name, d->short_name);
    assert_ptr_equal(table->message, d);
    assert_int_equal(table->n_fields, d->n_fields);
    for (size_t i = 0; i < table->n_fields; i++) {
        const weft_field *f = &table->fields[i];
        const ProtobufCFieldDescriptor *g = &d->fields[i];
        assert_int_equal(f->number, g->id);
        assert_string_equal(f->name, g->name);
        assert_int_equal(expected_type(f->kind), g->type);
        /* the codec writes "" where a text did not come, also for the others of a oneof */
        assert_false(g->type == PROTOBUF_C_TYPE_STRING && (g->flags & PROTOBUF_C_FIELD_FLAG_ONEOF));
        const bool repeated = f->kind == WEFT_FIELD_LIST || f->kind == WEFT_FIELD_METRICS;
        assert_int_equal(repeated, g->label == PROTOBUF_C_LABEL_REPEATED);
        if (f->sub) {
            const ProtobufCMessageDescriptor *sub = g->descriptor;
            assert_ptr_equal(f->sub->message, sub);
        }
    }
}

static void test_tables__are_the_schema(void **state)
{
    (void)state;
    for (int kind = 0; kind < WEFT_MSG_COUNT; kind++) {
        compare(weft_wire_table((weft_msg_kind)kind), descriptors[kind]);
    }
    compare(&weft_wire_table_metric, &weft__v1__metric__descriptor);
    compare(&weft_wire_table_training_plan, &weft__v1__training_plan__descriptor);
    compare(&weft_wire_table_job_definition, &weft__v1__job_definition__descriptor);
}

static void test_refusals__are_the_schema(void **state)
{
    (void)state;
    const ProtobufCEnumDescriptor *d = &weft__v1__refusal__descriptor;
    assert_int_equal(d->n_values, WEFT_REFUSAL_ENCODING + 1);
    assert_int_equal(WEFT_REFUSAL_LATE, WEFT__V1__REFUSAL__REFUSAL_LATE);
    assert_int_equal(WEFT_REFUSAL_UNKNOWN, WEFT__V1__REFUSAL__REFUSAL_UNKNOWN);
    assert_int_equal(WEFT_REFUSAL_WRONG_BASE, WEFT__V1__REFUSAL__REFUSAL_WRONG_BASE);
    assert_int_equal(WEFT_REFUSAL_WRONG_SHAPE, WEFT__V1__REFUSAL__REFUSAL_WRONG_SHAPE);
    assert_int_equal(WEFT_REFUSAL_WRONG_DIGEST, WEFT__V1__REFUSAL__REFUSAL_WRONG_DIGEST);
    assert_int_equal(WEFT_REFUSAL_NON_FINITE, WEFT__V1__REFUSAL__REFUSAL_NON_FINITE);
    assert_int_equal(WEFT_REFUSAL_NORM, WEFT__V1__REFUSAL__REFUSAL_NORM);
    assert_int_equal(WEFT_REFUSAL_WEIGHT, WEFT__V1__REFUSAL__REFUSAL_WEIGHT);
    assert_int_equal(WEFT_REFUSAL_METRICS, WEFT__V1__REFUSAL__REFUSAL_METRICS);
    assert_int_equal(WEFT_REFUSAL_CONFLICT, WEFT__V1__REFUSAL__REFUSAL_CONFLICT);
    assert_int_equal(WEFT_REFUSAL_ENCODING, WEFT__V1__REFUSAL__REFUSAL_ENCODING);
    assert_int_equal(WEFT_TASK_TRAIN, WEFT__V1__TASK__TASK_TRAIN);
    assert_int_equal(WEFT_TASK_EVALUATE, WEFT__V1__TASK__TASK_EVALUATE);
    assert_int_equal(WEFT_TASK_STATS, WEFT__V1__TASK__TASK_STATS);
    assert_int_equal(WEFT_PROTOCOL_VERSION, WEFT__V1__PROTOCOL_VERSION__PROTOCOL_VERSION_1);
}

static void test_methods__are_the_services(void **state)
{
    (void)state;
    const ProtobufCServiceDescriptor *const services[] = {&weft__v1__federation__descriptor,
                                                          &weft__v1__admin__descriptor};
    int m = 0;
    for (size_t s = 0; s < 2; s++) {
        for (unsigned i = 0; i < services[s]->n_methods; i++, m++) {
            char path[128];
            (void)snprintf(path, sizeof path, "/%s/%s", services[s]->name,
                           services[s]->methods[i].name);
            assert_true(m < WEFT_METHOD_COUNT);
            const weft_method_info *info = weft_method_get((weft_method)m);
            assert_string_equal(info->path, path);
            assert_int_equal(info->role == WEFT_METHOD_ROLE_OPERATOR, s == 1);
            const char *input = services[s]->methods[i].input->short_name;
            const char *output = services[s]->methods[i].output->short_name;
            assert_int_equal(info->client_streams, strstr(input, "Part") != NULL);
            assert_int_equal(info->server_streams,
                             strcmp(output, "Chunk") == 0 || strcmp(output, "WatchEvent") == 0);
        }
    }
    assert_int_equal(m, WEFT_METHOD_COUNT);
    assert_int_equal(weft_method_get(WEFT_METHOD_ENROLL)->role, WEFT_METHOD_ROLE_ANYONE);
    assert_int_equal(weft_method_get(WEFT_METHOD_RENEW)->role, WEFT_METHOD_ROLE_ANYONE);
    for (m = WEFT_METHOD_CHECK_IN; m < WEFT_METHOD_COUNT; m++) {
        assert_int_not_equal(weft_method_get((weft_method)m)->role, WEFT_METHOD_ROLE_ANYONE);
    }
}

/* ---- both ways ------------------------------------------------------------------------------- */

/* Fill a struct with values that every table accepts; full: also what is not required. */
static void fill(const weft_table *table, unsigned char *out, bool full, weft_arena *arena);

static void put(void *at, const void *value, size_t n)
{
    memcpy(at, value, n);
}

static void fill_sub(const weft_field *f, unsigned char *out, bool full, weft_arena *arena)
{
    const size_t n = f->kind == WEFT_FIELD_LIST ? 2 : 1;
    unsigned char *sub = out + f->at;
    if (f->kind != WEFT_FIELD_INLINE) {
        sub = weft_arena_take(arena, n, f->sub->bytes);
        assert_non_null(sub);
        put(out + f->at, &sub, sizeof sub);
    }
    if (f->kind == WEFT_FIELD_LIST) {
        put(out + f->at2, &n, sizeof n);
    }
    for (size_t i = 0; i < n; i++) {
        fill(f->sub, sub + i * f->sub->bytes, full, arena);
    }
}

static void fill_field(const weft_field *f, unsigned char *out, bool full, weft_arena *arena)
{
    static const uint8_t bytes[64] = {0xAB, 1, 2};
    const uint32_t u32 = 7;
    const uint32_t one = 1;
    const uint64_t u64 = 7;
    const int64_t i64 = -5;
    const double f64 = 0.5;
    const bool yes = true;
    const char *text = f->kind == WEFT_FIELD_TEXT || f->kind == WEFT_FIELD_OWNED ? "a\n\xc3\xa4"
                       : f->kind == WEFT_FIELD_NAME                              ? "n-1"
                                                                                 : "one line";
    weft_view view = {bytes, f->kind == WEFT_FIELD_DIGEST ? (size_t)f->max : 3};
    weft_metrics metrics = {.n = 0};
    unsigned char *at = out + f->at;
    switch (f->kind) {
    case WEFT_FIELD_VERSION:
        break;
    case WEFT_FIELD_U32:
    case WEFT_FIELD_REFUSAL:
        put(at, &u32, sizeof u32);
        break;
    case WEFT_FIELD_U64:
        put(at, &u64, sizeof u64);
        break;
    case WEFT_FIELD_I64:
        put(at, &i64, sizeof i64);
        break;
    case WEFT_FIELD_F64:
        put(at, &f64, sizeof f64);
        break;
    case WEFT_FIELD_BOOL:
        put(at, &yes, sizeof yes);
        break;
    case WEFT_FIELD_ENUM:
    case WEFT_FIELD_CHOICE:
        put(at, &one, sizeof one);
        break;
    case WEFT_FIELD_NAME:
    case WEFT_FIELD_LINE:
    case WEFT_FIELD_TEXT:
    case WEFT_FIELD_OWNED:
        put(at, &text, sizeof text);
        break;
    case WEFT_FIELD_NAME_IN:
    case WEFT_FIELD_LINE_IN:
        put(at, "name", 5);
        break;
    case WEFT_FIELD_BYTES:
    case WEFT_FIELD_DIGEST:
        put(at, &view, sizeof view);
        break;
    case WEFT_FIELD_DIGEST_IN:
        put(at, bytes, 32);
        put(out + f->at2, &yes, sizeof yes);
        break;
    case WEFT_FIELD_MESSAGE:
    case WEFT_FIELD_INLINE:
    case WEFT_FIELD_LIST:
        fill_sub(f, out, full, arena);
        break;
    case WEFT_FIELD_METRICS:
        assert_ok(weft_metrics_set(&metrics, "loss", 0.25, NULL));
        assert_ok(weft_metrics_set(&metrics, "accuracy", 1.0, NULL));
        put(at, &metrics, sizeof metrics);
        break;
    }
}

static void fill(const weft_table *table, unsigned char *out, bool full, weft_arena *arena)
{
    for (size_t i = 0; i < table->n_fields; i++) {
        const weft_field *f = &table->fields[i];
        if (full || f->required || table == &weft_wire_table_training_plan) {
            fill_field(f, out, full, arena);
        }
    }
    if (table == &weft_wire_table_check_in_reply) { /* one answer, not all of them */
        weft_msg_check_in_reply *reply = (void *)out;
        reply->has_come_back = !full;
        reply->nothing_more = false;
    }
    if (table == &weft_wire_table_secure_step_reply && full) { /* the piece lies within */
        weft_msg_secure_step_reply *reply = (void *)out;
        reply->total_bytes = reply->offset + reply->message.size;
    }
    if (table == &weft_wire_table_fetch_version_request && !full) {
        ((weft_msg_fetch_version_request *)(void *)out)->job = "j";
    }
}

static void travel(weft_msg_kind kind, bool full)
{
    weft_err assert_err = WEFT_ERR_INIT;
    const weft_table *table = weft_wire_table(kind);
    weft_arena arena;
    weft_buf ours;
    weft_buf again;
    weft_arena_init(&arena, &weft_alloc_std, 4U << 20);
    weft_buf_init(&ours, &weft_alloc_std, 1U << 20);
    weft_buf_init(&again, &weft_alloc_std, 1U << 20);
    unsigned char *msg = weft_arena_take(&arena, 1, table->bytes);
    unsigned char *back = weft_arena_take(&arena, 1, table->bytes);
    fill(table, msg, full, &arena);
    assert_int_equal(weft_wire_encode(&ours, kind, msg, &assert_err), WEFT_OK);

    /* the generated code reads it and writes the same bytes */
    ProtobufCMessage *theirs =
        protobuf_c_message_unpack(descriptors[kind], NULL, ours.size, ours.data);
    assert_non_null(theirs);
    assert_int_equal(theirs->n_unknown_fields, 0);
    assert_int_equal(protobuf_c_message_get_packed_size(theirs), ours.size);
    uint8_t *packed = malloc(ours.size + 1);
    assert_non_null(packed);
    assert_int_equal(protobuf_c_message_pack(theirs, packed), ours.size);
    if (ours.size) {
        assert_memory_equal(packed, ours.data, ours.size);
    }
    protobuf_c_message_free_unpacked(theirs, NULL);

    /* and what it writes, we read */
    assert_int_equal(weft_wire_decode(back, kind, packed, ours.size, &arena, &assert_err), WEFT_OK);
    assert_int_equal(weft_wire_encode(&again, kind, back, &assert_err), WEFT_OK);
    assert_int_equal(again.size, ours.size);
    if (ours.size) {
        assert_memory_equal(again.data, ours.data, ours.size);
    }
    free(packed);
    weft_buf_done(&ours);
    weft_buf_done(&again);
    weft_arena_done(&arena);
}

static void test_decode__reads_what_generated_code_writes(void **state)
{
    (void)state;
    for (int kind = 0; kind < WEFT_MSG_COUNT; kind++) {
        travel((weft_msg_kind)kind, true);
        travel((weft_msg_kind)kind, false);
    }
}

static void test_decode__keeps_values(void **state)
{
    (void)state;
    weft_err err = WEFT_ERR_INIT;
    weft_buf out;
    weft_arena arena;
    weft_buf_init(&out, &weft_alloc_std, 4096);
    weft_arena_init(&arena, &weft_alloc_std, WEFT_MAX_DECODE_BYTES);
    const weft_msg_dataset sets[] = {{"digits", 60000, ""}, {"faces", 0, "age f32\n"}};
    const weft_msg_check_in_request request = {sets, 2, "weft-client 0.1.0", 30000};
    weft_msg_check_in_request back;
    assert_int_equal(weft_msg_check_in_request_encode(&out, &request, &err), WEFT_OK);
    assert_int_equal(weft_msg_check_in_request_decode(&back, out.data, out.size, &arena, &err),
                     WEFT_OK);
    assert_int_equal(back.n_datasets, 2);
    assert_string_equal(back.datasets[0].name, "digits");
    assert_int_equal(back.datasets[0].n_examples, 60000);
    assert_string_equal(back.datasets[0].schema, "");
    assert_string_equal(back.datasets[1].schema, "age f32\n");
    assert_string_equal(back.software, "weft-client 0.1.0");
    assert_int_equal(back.hold_ms, 30000);
    weft_buf_done(&out);
    weft_arena_done(&arena);
}

static void test_decode__keeps_an_empty_come_back(void **state)
{
    (void)state;
    weft_err err = WEFT_ERR_INIT;
    weft_buf out;
    weft_arena arena;
    weft_buf_init(&out, &weft_alloc_std, 64);
    weft_arena_init(&arena, &weft_alloc_std, WEFT_MAX_DECODE_BYTES);
    const weft_msg_check_in_reply reply = {.has_come_back = true, .come_back_ms = 0};
    weft_msg_check_in_reply back;
    assert_int_equal(weft_msg_check_in_reply_encode(&out, &reply, &err), WEFT_OK);
    assert_int_equal(weft_msg_check_in_reply_decode(&back, out.data, out.size, &arena, &err),
                     WEFT_OK);
    assert_true(back.has_come_back); /* an answer of zero is an answer */
    const weft_msg_check_in_reply none = {0};
    assert_int_equal(weft_msg_check_in_reply_encode(&out, &none, &err), WEFT_E_INVALID);
    weft_buf_done(&out);
    weft_arena_done(&arena);
}

static void test_decode__reads_the_generated_struct(void **state)
{
    (void)state;
    weft_err err = WEFT_ERR_INIT;
    weft_arena arena;
    uint8_t digest[32] = {9, 8, 7};
    uint8_t packed[512];
    char job[] = "digits";
    char set[] = "hospital-a";
    char spec[] = "input 2\n";
    char encoding[] = "f32";
    char optimizer[] = "adam";
    Weft__V1__TrainingPlan plan;
    Weft__V1__Assignment assignment;
    Weft__V1__CheckInReply reply = WEFT__V1__CHECK_IN_REPLY__INIT;
    weft__v1__training_plan__init(&plan);
    weft__v1__assignment__init(&assignment);
    plan.optimizer = optimizer;
    plan.learning_rate = 0.125;
    plan.beta1 = 0.5;
    plan.beta2 = 0.75;
    plan.epsilon = 1e-8;
    plan.batch_size = 10;
    plan.epochs = 3;
    plan.seed = UINT64_MAX;
    assignment.assignment_id = 1ULL << 40;
    assignment.job = job;
    assignment.job_id = 2;
    assignment.round = 3;
    assignment.attempt = 4;
    assignment.task = WEFT__V1__TASK__TASK_EVALUATE;
    assignment.dataset = set;
    assignment.model_spec = spec;
    assignment.plan = &plan;
    assignment.base_digest = (ProtobufCBinaryData){sizeof digest, digest};
    assignment.base_bytes = 12;
    assignment.clip_norm = 2.5;
    assignment.max_examples = 100;
    assignment.deadline_ms = 5000;
    assignment.lease_ms = 1000;
    assignment.cohort = 8;
    assignment.secure_aggregation = 1;
    assignment.encoding = encoding;
    reply.version = WEFT__V1__PROTOCOL_VERSION__PROTOCOL_VERSION_1;
    reply.answer_case = WEFT__V1__CHECK_IN_REPLY__ANSWER_ASSIGNMENT;
    reply.assignment = &assignment;
    assert_in_range(weft__v1__check_in_reply__get_packed_size(&reply), 1, sizeof packed);
    const size_t n = weft__v1__check_in_reply__pack(&reply, packed);

    weft_msg_check_in_reply back;
    weft_arena_init(&arena, &weft_alloc_std, WEFT_MAX_DECODE_BYTES);
    assert_int_equal(weft_msg_check_in_reply_decode(&back, packed, n, &arena, &err), WEFT_OK);
    assert_false(back.has_come_back);
    assert_false(back.nothing_more);
    const weft_msg_assignment *a = back.assignment;
    assert_non_null(a);
    assert_int_equal(a->assignment_id, 1ULL << 40);
    assert_string_equal(a->job, "digits");
    assert_int_equal(a->job_id, 2);
    assert_int_equal(a->round, 3);
    assert_int_equal(a->attempt, 4);
    assert_int_equal(a->task, WEFT_TASK_EVALUATE);
    assert_string_equal(a->dataset, "hospital-a");
    assert_string_equal(a->model_spec, "input 2\n");
    assert_string_equal(a->data_schema, "");
    assert_int_equal(a->plan.optimizer, 2);
    assert_true(a->plan.learning_rate == 0.125 && a->plan.beta1 == 0.5 && a->plan.beta2 == 0.75);
    assert_true(a->plan.momentum == 0 && a->plan.prox_mu == 0);
    assert_int_equal(a->plan.batch_size, 10);
    assert_int_equal(a->plan.epochs, 3);
    assert_true(a->plan.seed == UINT64_MAX);
    assert_int_equal(a->base_digest.size, 32);
    assert_memory_equal(a->base_digest.data, digest, 32);
    assert_int_equal(a->base_bytes, 12);
    assert_true(a->clip_norm == 2.5);
    assert_int_equal(a->max_examples, 100);
    assert_int_equal(a->deadline_ms, 5000);
    assert_int_equal(a->lease_ms, 1000);
    assert_int_equal(a->cohort, 8);
    assert_true(a->secure_aggregation);
    assert_string_equal(a->encoding, "f32");
    weft_arena_done(&arena);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static weft_status decode_once(const weft_alloc *a, void *arg)
{
    const weft_buf *bytes = arg;
    weft_arena arena;
    weft_msg_get_round_reply back;
    weft_wire_arena_init(&arena, WEFT_MSG_GET_ROUND_REPLY, a);
    const weft_status status =
        weft_msg_get_round_reply_decode(&back, bytes->data, bytes->size, &arena, NULL);
    weft_arena_done(&arena);
    return status;
}

static void test_decode__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_err err = WEFT_ERR_INIT;
    weft_arena arena;
    weft_buf bytes;
    weft_arena_init(&arena, &weft_alloc_std, 1U << 20);
    weft_buf_init(&bytes, &weft_alloc_std, 1U << 20);
    weft_msg_get_round_reply msg = {0};
    fill(weft_wire_table(WEFT_MSG_GET_ROUND_REPLY), (void *)&msg, true, &arena);
    /* enough of it for several blocks */
    static weft_msg_assignment_info many[200];
    for (size_t i = 0; i < 200; i++) {
        many[i] = msg.assignments[0];
    }
    msg.assignments = many;
    msg.n_assignments = 200;
    assert_int_equal(weft_msg_get_round_reply_encode(&bytes, &msg, &err), WEFT_OK);
    test_every_allocation_may_fail(decode_once, &bytes);
    weft_buf_done(&bytes);
    weft_arena_done(&arena);
}

static weft_status encode_once(const weft_alloc *a, void *arg)
{
    weft_buf out;
    weft_buf_init(&out, a, 1U << 20);
    const weft_status status = weft_msg_assignment_encode(&out, arg, NULL);
    weft_buf_done(&out);
    return status;
}

static void test_encode__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_arena arena;
    weft_arena_init(&arena, &weft_alloc_std, 1U << 20);
    weft_msg_assignment msg = {0};
    fill(weft_wire_table(WEFT_MSG_ASSIGNMENT), (void *)&msg, true, &arena);
    test_every_allocation_may_fail(encode_once, &msg);
    weft_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables__are_the_schema),
        cmocka_unit_test(test_refusals__are_the_schema),
        cmocka_unit_test(test_methods__are_the_services),
        cmocka_unit_test(test_decode__reads_what_generated_code_writes),
        cmocka_unit_test(test_decode__keeps_values),
        cmocka_unit_test(test_decode__reads_the_generated_struct),
        cmocka_unit_test(test_decode__keeps_an_empty_come_back),
        cmocka_unit_test(test_decode__every_allocation_may_fail),
        cmocka_unit_test(test_encode__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

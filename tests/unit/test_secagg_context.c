/* SPDX-License-Identifier: Apache-2.0 */
/* secagg/context: clients that were told different plans are in different sessions, and the plan as
 * it arrives makes the same context as the plan that was sent. */
#include "support/support.h"

#include "secagg/context.h"
#include "wire/table_priv.h"

#include <string.h>

static const weft_table *const plan_table = &weft_wire_table_training_plan;

static void ctx_of(uint8_t ret[WEFT_SECAGG_DIGEST_BYTES], const weft_plan *plan)
{
    const weft_secagg_context context = {.federation = "test",
                                         .job = "digits",
                                         .job_id = 3,
                                         .round = 1,
                                         .attempt = 1,
                                         .task = WEFT_TASK_TRAIN,
                                         .plan = *plan,
                                         .policy = WEFT_SECAGG_POLICY_INIT,
                                         .encoding = {(const uint8_t *)"grid", 4}};
    assert_int_equal(weft_secagg_ctx(ret, &context, NULL), WEFT_OK);
}

static size_t bytes_of(const weft_field *field)
{
    if (field->kind == WEFT_FIELD_BOOL) {
        return 1;
    }
    if (field->kind == WEFT_FIELD_U32 || field->kind == WEFT_FIELD_CHOICE) {
        return 4;
    }
    if (field->kind != WEFT_FIELD_U64 && field->kind != WEFT_FIELD_F64) {
        fail_msg("%s is of a kind that this test does not know", field->name);
    }
    return 8;
}

/* Each field that travels, its lowest and its highest byte: whoever adds one to the wire must add
 * it to the context. */
static void test_ctx__binds_each_field_of_the_plan(void **state)
{
    (void)state;
    const weft_plan plan = WEFT_PLAN_INIT;
    uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES];
    ctx_of(ctx, &plan);
    assert_true(plan_table->n_fields >= 21);
    for (size_t i = 0; i < plan_table->n_fields; i++) {
        const weft_field *field = &plan_table->fields[i];
        const size_t ends[] = {field->at, field->at + bytes_of(field) - 1};
        for (size_t j = 0; j < sizeof ends / sizeof ends[0]; j++) {
            weft_plan other = plan;
            uint8_t changed[WEFT_SECAGG_DIGEST_BYTES];
            ((uint8_t *)&other)[ends[j]] ^= 1;
            ctx_of(changed, &other);
            if (memcmp(ctx, changed, sizeof ctx) == 0) {
                fail_msg("%s, byte %zu, is not bound", field->name, ends[j] - field->at);
            }
        }
    }
}

/* The coordinator has the plan of the job, a client has what the codec leaves: zeros elsewhere. */
static void test_ctx__binds_nothing_that_does_not_travel(void **state)
{
    (void)state;
    const weft_plan sent = WEFT_PLAN_INIT;
    weft_plan arrived;
    uint8_t of_sent[WEFT_SECAGG_DIGEST_BYTES];
    uint8_t of_arrived[WEFT_SECAGG_DIGEST_BYTES];
    memset(&arrived, 0, sizeof arrived);
    for (size_t i = 0; i < plan_table->n_fields; i++) {
        const weft_field *field = &plan_table->fields[i];
        memcpy((uint8_t *)&arrived + field->at, (const uint8_t *)&sent + field->at,
               bytes_of(field));
    }
    ctx_of(of_sent, &sent);
    ctx_of(of_arrived, &arrived);
    assert_memory_equal(of_sent, of_arrived, sizeof of_sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ctx__binds_each_field_of_the_plan),
        cmocka_unit_test(test_ctx__binds_nothing_that_does_not_travel),
    };
    return cmocka_run_group_tests_name("secagg_context", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* store: what a restart reads of rounds that have ended. */
#include "support/support.h"

#include "store/store.h"

#include <string.h>

typedef struct seen_ended {
    uint32_t n;
    uint64_t assignment_id[4];
    uint32_t round[4];
    char reason[WEFT_REASON_BYTES];
} seen_ended;

static weft_status see_ended(void *arg, const weft_assignment_row *row, const weft_round_row *round,
                             weft_err *err)
{
    (void)err;
    seen_ended *s = arg;
    assert_true(s->n < 4);
    assert_int_equal(row->round, round->round);
    s->assignment_id[s->n] = row->assignment_id;
    s->round[s->n++] = round->round;
    memcpy(s->reason, round->reason, sizeof s->reason);
    return WEFT_OK;
}

static void test_store_ended__is_the_newest_of_each_client(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    weft_store *store = NULL;
    assert_ok(weft_store_open(&store, dir, &options, &weft_alloc_std, &assert_err));
    seen_ended s = {0};
    assert_ok(weft_store_restore_ended(store, see_ended, &s, &assert_err));
    assert_int_equal(s.n, 0);
    weft_round_row round = {.job_id = 1,
                            .round = 1,
                            .attempt = 1,
                            .state = WEFT_ROUND_DONE,
                            .eligible = 2,
                            .cohort = 2};
    weft_assignment_row row = {.job_id = 1,
                               .round = 2,
                               .attempt = 1,
                               .task = WEFT_TASK_TRAIN,
                               .state = WEFT_ASSIGNMENT_LATE};
    weft_job_def def;
    weft_job_def_init(&def);
    memcpy(def.name, "job", 4);
    memcpy(def.dataset, "d", 2);
    const weft_job_row job = {.job_id = 1, .def = &def, .status = WEFT_JOB_RUNNING, .round = 3};
    assert_ok(weft_store_begin(store, 1000, &assert_err));
    assert_ok(weft_store_put_job(store, &job, "def", 3, &assert_err));
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    round.round = 2;
    round.state = WEFT_ROUND_FAILED;
    memcpy(round.reason, "why", 4);
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    round.round = 3;
    round.state = WEFT_ROUND_TRAINING;
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    const struct {
        uint64_t id;
        uint32_t round;
        char client[2];
    } rows[] = {{5, 1, "c"}, {6, 1, "d"}, {7, 2, "d"}, {8, 2, "e"}, {9, 3, "e"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        row.assignment_id = rows[i].id;
        row.round = rows[i].round;
        memcpy(row.client, rows[i].client, sizeof rows[i].client);
        assert_ok(weft_store_put_assignment(store, &row, &assert_err));
    }
    assert_ok(weft_store_commit(store, 778, &assert_err));
    assert_ok(weft_store_restore_ended(store, see_ended, &s, &assert_err));
    assert_int_equal(s.n, 2); /* e works in round 3, which is open */
    assert_int_equal(s.assignment_id[0], 5);
    assert_int_equal(s.round[0], 1);
    assert_int_equal(s.assignment_id[1], 7);
    assert_int_equal(s.round[1], 2);
    assert_string_equal(s.reason, "why");
    weft_store_close(store);
    weft_job_def_done(&def, &weft_alloc_std);
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_ended__is_the_newest_of_each_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

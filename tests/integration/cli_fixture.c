/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "cli_fixture.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>

const char *weft;
char *root;
char operator_dir[PATH_MAX];
admin coordinator;

void assert_fails(const ended *e, int status, const char *words)
{
    assert_says(e->err, words);
    assert_int_equal(e->status, status);
}

void assert_done(const ended *e)
{
    if (e->status != 0) {
        fail_msg("exit status %d: %s", e->status, e->err);
    }
}

json_t *json_of(const ended *e)
{
    assert_done(e);
    json_error_t error;
    json_t *value = json_loads(e->out, 0, &error);
    if (!value) {
        fail_msg("line %d: %s in '%s'", error.line, error.text, e->out);
    }
    return value;
}

const char *string_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

json_int_t int_at(const json_t *object, const char *key)
{
    assert_true(json_is_integer(json_object_get(object, key)));
    return json_integer_value(json_object_get(object, key));
}

const char *in_root(const char *name)
{
    static char path[4][PATH_MAX];
    static size_t turn;
    turn = (turn + 1) % 4;
    assert_int_equal(weft_path_join(path[turn], PATH_MAX, root, name, NULL), WEFT_OK);
    return path[turn];
}

int set_up(void **state)
{
    (void)state;
    char dir[PATH_MAX];
    root = test_dir_new();
    (void)snprintf(dir, sizeof dir, "%s/weftd", root); /* fits: short */
    (void)snprintf(operator_dir, sizeof operator_dir, "%s/operator", root);
    const ended *e =
        run_program(root, (const char *const[]){weft, "init", "--federation", "north", "--dir", dir,
                                                "--operator", operator_dir, NULL});
    if (e->status == 0) {
        admin_start(&coordinator, dir);
    }
    return e->status;
}

int tear_down(void **state)
{
    (void)state;
    admin_stop(&coordinator);
    test_dir_done(root);
    return 0;
}

int forget(void **state)
{
    (void)state;
    admin_forget(&coordinator);
    return 0;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

weft_msg_job_info job_info(const char *status, uint32_t rounds_done)
{
    weft_msg_job_info job = {.job_id = 7,
                             .name = "digits",
                             .status = status,
                             .reason = "",
                             .round = rounds_done + 1,
                             .rounds_done = rounds_done,
                             .rounds_total = 3,
                             .dataset = "digits",
                             .round_state = "training",
                             .cohort = 4,
                             .accepted = 1,
                             .created_unix_ms = 1700000000000};
    assert_int_equal(weft_metrics_set(&job.metrics, "accuracy", 0.5, NULL), WEFT_OK);
    return job;
}

const char job_text[] = "name: digits\n"
                        "dataset: digits\n"
                        "model: |\n"
                        "  input 2\n"
                        "  dense units=1\n"
                        "  loss mse\n"
                        "round: {target: 4, minimum: 3}\n"
                        "stop: {rounds: 3}\n";

void says_event(const char *kind, const weft_msg_job_info *job, const weft_msg_round_info *round)
{
    const weft_msg_watch_event event = {1700000000000, kind, job, round, "", ""};
    admin_says(&coordinator, WEFT_METHOD_WATCH, WEFT_MSG_WATCH_EVENT, &event);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SDK's ABI: every published size of every public struct goes on working. A struct that grows
 * gets a new row in `published`; rows are never changed. And: the header's copy of weft_status is
 * the same as base/status.h.
 */
#include "support/support.h"

#include "base/file.h"
#include "client_priv.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Sizes on 64-bit machines, by version. */
static const struct {
    const char *name;
    size_t published; /* in 0.1.0 */
    size_t now;
} structs[] = {
    {"weft_error", 272, sizeof(weft_error)},
    {"weft_task_info", 208, sizeof(weft_task_info)},
    {"weft_task_result", 792, sizeof(weft_task_result)},
    {"weft_trainer", 24, sizeof(weft_trainer)},
    {"weft_dataset", 32, sizeof(weft_dataset)},
    {"weft_client_options", 88, sizeof(weft_client_options)},
    {"weft_client_event", 56, sizeof(weft_client_event)},
    {"weft_receipt", 200, sizeof(weft_receipt)},
    {"weft_contribution", 56, sizeof(weft_contribution)},
    {"weft_client_info", 416, sizeof(weft_client_info)},
};

static void test_structs__never_shrink(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof structs / sizeof structs[0]; i++) {
        if (structs[i].now != structs[i].published) {
            fail_msg("%s has %zu bytes, published were %zu: append a row for the new version",
                     structs[i].name, structs[i].now, structs[i].published);
        }
    }
}

static void test_init_macros__set_the_size_and_the_defaults(void **state)
{
    (void)state;
    const weft_error e = WEFT_ERROR_INIT;
    const weft_dataset d = WEFT_DATASET_INIT;
    const weft_client_options o = WEFT_CLIENT_OPTIONS_INIT;
    const weft_receipt r = WEFT_RECEIPT_INIT;
    const weft_client_info i = WEFT_CLIENT_INFO_INIT;
    assert_int_equal(e.size, sizeof e);
    assert_int_equal(d.size, sizeof d);
    assert_int_equal(o.size, sizeof o);
    assert_int_equal(r.size, sizeof r);
    assert_int_equal(i.size, sizeof i);
    assert_int_equal(o.connect_backoff_max_ms, 20000);
    assert_int_equal(o.observe, 0);
    assert_int_equal(o.sync_above_ms, 0);
    assert_null(o.allowed_jobs);
    assert_int_equal(o.min_cohort, 3);
    assert_int_equal(o.require_secure_aggregation, 1);
    assert_int_equal(o.adversary, WEFT_POLICY_ACTIVE);
    assert_true(o.gamma == 0.05);
}

static void test_struct_in__gives_older_applications_the_defaults(void **state)
{
    (void)state;
    weft_client_options given = WEFT_CLIENT_OPTIONS_INIT;
    given.state_dir = "here";
    given.min_cohort = 7;
    given.observe = 1;
    given.size = offsetof(weft_client_options, observe); /* as before observe was appended */
    weft_client_options o = WEFT_CLIENT_OPTIONS_INIT;
    assert_ok(weft_struct_in(&o, sizeof o, &given, 16, "options", &assert_err));
    assert_int_equal(o.size, sizeof o);
    assert_string_equal(o.state_dir, "here");
    assert_int_equal(o.min_cohort, 7);
    assert_int_equal(o.observe, 0);
    given.size = offsetof(weft_client_options, allowed_jobs); /* the smallest that makes sense */
    weft_client_options least = WEFT_CLIENT_OPTIONS_INIT;
    assert_ok(weft_struct_in(&least, sizeof least, &given, given.size, "options", &assert_err));
    assert_int_equal(least.min_cohort, 3); /* the owner's policy does not weaken with age */
    assert_int_equal(least.require_secure_aggregation, 1);
    assert_int_equal(least.connect_backoff_max_ms, 20000);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_struct_in(&o, sizeof o, &given, given.size + 1, "options", &err),
                     WEFT_E_INVALID);
    assert_non_null(strstr(err.msg, "INIT macro"));
}

static void test_struct_in__newer_applications_may_use_what_is_known(void **state)
{
    (void)state;
    struct {
        weft_dataset known;
        uint64_t newer;
    } given = {{sizeof given, "d", 5, NULL}, 0};
    weft_dataset d = WEFT_DATASET_INIT;
    assert_ok(weft_struct_in(&d, sizeof d, &given, 16, "dataset", &assert_err));
    assert_int_equal(d.size, sizeof d);
    assert_int_equal(d.n_examples, 5);
    given.newer = 1;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_struct_in(&d, sizeof d, &given, 16, "dataset", &err), WEFT_E_INVALID);
    assert_non_null(strstr(err.msg, "does not know"));
    given.known.size = SIZE_MAX; /* garbage */
    assert_int_equal(weft_struct_in(&d, sizeof d, &given, 16, "dataset", NULL), WEFT_E_INVALID);
}

static void test_struct_out__writes_no_byte_too_many(void **state)
{
    (void)state;
    weft_client_info full = WEFT_CLIENT_INFO_INIT;
    full.enrolled = 1;
    strcpy(full.name, "alice");
    full.last_seen_unix_ms = 99;
    struct {
        weft_client_info info;
        uint64_t guard;
    } to;
    memset(&to, 0x5A, sizeof to);
    to.info.size = offsetof(weft_client_info, last_seen_unix_ms);
    weft_struct_out(&to.info, &full, sizeof full);
    assert_int_equal(to.info.size, offsetof(weft_client_info, last_seen_unix_ms));
    assert_string_equal(to.info.name, "alice");
    assert_true(to.info.last_seen_unix_ms == INT64_C(0x5A5A5A5A5A5A5A5A));
    to.info.size = sizeof to; /* newer than we are: its own part stays */
    weft_struct_out(&to.info, &full, sizeof full);
    assert_int_equal(to.info.last_seen_unix_ms, 99);
    assert_true(to.guard == UINT64_C(0x5A5A5A5A5A5A5A5A));
    to.info.size = 0;
    to.info.enrolled = 3;
    weft_struct_out(&to.info, &full, sizeof full);
    assert_int_equal(to.info.enrolled, 3);
}

static void test_tell__cuts_a_message_to_the_room_there_is(void **state)
{
    (void)state;
    weft_err from = WEFT_ERR_INIT;
    assert_int_equal(
        weft_err_set(&from, WEFT_E_LIMIT, 5, "f", 1, "a sentence of some length in here"),
        WEFT_E_LIMIT);
    weft_error to = WEFT_ERROR_INIT;
    assert_int_equal(weft_client_tell(&to, WEFT_E_LIMIT, &from), WEFT_E_LIMIT);
    assert_int_equal(to.code, WEFT_E_LIMIT);
    assert_int_equal(to.sys, 5);
    assert_string_equal(to.message, "a sentence of some length in here");
    memset(&to, 0x5A, sizeof to);
    to.size = offsetof(weft_error, message) + 8;
    assert_int_equal(weft_client_tell(&to, WEFT_E_LIMIT, &from), WEFT_E_LIMIT);
    assert_string_equal(to.message, "a sente");
    assert_int_equal(to.message[8], 0x5A);
    assert_int_equal(weft_client_tell(NULL, WEFT_E_LIMIT, &from), WEFT_E_LIMIT);
    weft_err silent = WEFT_ERR_INIT;
    weft_error named = WEFT_ERROR_INIT;
    assert_int_equal(weft_client_tell(&named, WEFT_E_DB, &silent), WEFT_E_DB);
    assert_string_equal(named.message, weft_status_name(WEFT_E_DB));
    weft_error untouched = WEFT_ERROR_INIT;
    assert_int_equal(weft_client_tell(&untouched, WEFT_OK, &silent), WEFT_OK);
    assert_int_equal(untouched.message[0], 0);
}

/* "WEFT_E_X = n" of a header, in order. */
static void read_statuses(const char *name_in_tree, char out[1024])
{
    char file[4096];
    assert_ok(weft_path_join(file, sizeof file, test_source_root(), name_in_tree, &assert_err));
    weft_buf text;
    weft_buf_init(&text, &weft_alloc_std, 1U << 20);
    assert_ok(weft_file_read(&text, file, &assert_err));
    const char *at = weft_buf_text(&text);
    assert_non_null(at);
    size_t n = 0;
    out[0] = '\0';
    for (at = strstr(at, "typedef enum weft_status {"); at && *at != '}'; at++) {
        char name[32];
        int value = 0;
        if (strncmp(at, "WEFT_", 5) == 0 && sscanf(at, "%31[A-Z_] = %d", name, &value) == 2) {
            n += (size_t)snprintf(out + n, 1024 - n, "%s=%d ", name, value);
            at += strlen(name);
        }
    }
    weft_buf_done(&text);
}

static void test_status__is_the_same_in_both_headers(void **state)
{
    (void)state;
    char a[1024];
    char b[1024];
    read_statuses("common/base/status.h", a);
    read_statuses("client/include/weft/weft.h", b);
    assert_non_null(strstr(a, "WEFT_E_INTERNAL=15"));
    assert_string_equal(a, b);
}

/* The session's notices are handed to applications as event kinds. */
static void test_enums__agree_with_the_sessions(void **state)
{
    (void)state;
    assert_int_equal(WEFT_CLIENT_CONNECTED, WEFT_SESSION_CONNECTED);
    assert_int_equal(WEFT_CLIENT_DISCONNECTED, WEFT_SESSION_DISCONNECTED);
    assert_int_equal(WEFT_CLIENT_ASSIGNED, WEFT_SESSION_ASSIGNED);
    assert_int_equal(WEFT_CLIENT_TRAINED, WEFT_SESSION_WAS_TRAINED);
    assert_int_equal(WEFT_CLIENT_UPLOADED, WEFT_SESSION_UPLOADED);
    assert_int_equal(WEFT_CLIENT_REFUSED, WEFT_SESSION_REFUSED);
    assert_int_equal(WEFT_CLIENT_DECLINED, WEFT_SESSION_DECLINED);
    assert_int_equal(WEFT_CLIENT_ABANDONED, WEFT_SESSION_GAVE_UP);
    assert_int_equal(WEFT_CLIENT_RENEWED, WEFT_SESSION_CERTIFIED);
    assert_int_equal(WEFT_TASK_KIND_TRAIN, WEFT_TASK_TRAIN);
    assert_int_equal(WEFT_TASK_KIND_EVALUATE, WEFT_TASK_EVALUATE);
    assert_int_equal(WEFT_TASK_KIND_STATS, WEFT_TASK_STATS);
    assert_int_equal(WEFT_SEVERITY_DEBUG, WEFT_LOG_DEBUG);
    assert_int_equal(WEFT_SEVERITY_ERROR, WEFT_LOG_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structs__never_shrink),
        cmocka_unit_test(test_init_macros__set_the_size_and_the_defaults),
        cmocka_unit_test(test_struct_in__gives_older_applications_the_defaults),
        cmocka_unit_test(test_struct_in__newer_applications_may_use_what_is_known),
        cmocka_unit_test(test_struct_out__writes_no_byte_too_many),
        cmocka_unit_test(test_tell__cuts_a_message_to_the_room_there_is),
        cmocka_unit_test(test_status__is_the_same_in_both_headers),
        cmocka_unit_test(test_enums__agree_with_the_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

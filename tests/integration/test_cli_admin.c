/* SPDX-License-Identifier: Apache-2.0 */
/* weft against a coordinator that says what it is told (admin.h): the verbs over real mutual TLS,
 * but for those of models (test_cli_models.c). argv[1] is the program. */
#include "cli_fixture.h"

#include "base/file.h"
#include "config/job.h"
#include "wire/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- invitations ----------------------------------------------------------------------------- */

static void says_invited(const char *federation)
{
    static const uint8_t other_key[32] = {1};
    const weft_msg_invite_reply reply = {.federation = federation,
                                         .address = "weft.example.org:7443",
                                         .transport_ca_pem = {(const uint8_t *)"no PEM", 6},
                                         .receipt_public_key = {other_key, 32}};
    admin_says(&coordinator, WEFT_METHOD_INVITE, WEFT_MSG_INVITE_REPLY, &reply);
}

static void check_join(const weft_msg_join_file *join)
{
    const weft_auth *auth = coordinator.auth;
    assert_string_equal(join->address, "weft.example.org:7443");
    assert_string_equal(join->federation, "north");
    assert_string_equal(join->client, "alice");
    /* what the operator has pinned, whatever the coordinator says about itself */
    assert_int_equal(join->transport_ca_pem.size, strlen(weft_auth_ca_pem(auth)));
    assert_memory_equal(join->transport_ca_pem.data, weft_auth_ca_pem(auth),
                        join->transport_ca_pem.size);
    assert_memory_equal(join->receipt_public_key.data, weft_auth_receipt_public(auth), 32);
    assert_memory_equal(join->operator_public_key.data, weft_auth_operator_public(auth), 32);
    /* the invitation is the operator's, and its private key is the one in the file */
    weft_invitation invitation;
    weft_sign_key key;
    assert_int_equal(
        weft_invitation_decode(&invitation, join->invitation.data, join->invitation.size, NULL),
        WEFT_OK);
    assert_int_equal(weft_invitation_verify(&invitation, weft_auth_operator_public(auth), "north",
                                            WEFT_MEMBER_ANY_TIME, NULL),
                     WEFT_OK);
    assert_int_equal(weft_sign_key_from_seed(&key, join->invitation_private_key.data, NULL),
                     WEFT_OK);
    assert_memory_equal(key.public_key, invitation.public_key, 32);
}

/* The coordinator gets the token's digest, never the token. */
static void check_registered(const weft_msg_join_file *join)
{
    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_INVITE);
    weft_arena arena;
    weft_msg_invite_request request;
    uint8_t digest[32];
    weft_wire_arena_init(&arena, WEFT_MSG_INVITE_REQUEST, &weft_alloc_std);
    assert_int_equal(weft_msg_invite_request_decode(&request, heard.data, heard.size, &arena, NULL),
                     WEFT_OK);
    assert_string_equal(request.client, "alice");
    assert_int_equal(weft_auth_token_digest(digest, join->token, NULL), WEFT_OK);
    assert_memory_equal(request.token_digest.data, digest, 32);
    assert_int_equal(request.invitation.size, join->invitation.size);
    assert_memory_equal(request.invitation.data, join->invitation.data, join->invitation.size);
    assert_null(memmem(heard.data, heard.size, join->token.data, join->token.size));
    assert_null(memmem(heard.data, heard.size, join->invitation_private_key.data, 32));
    weft_arena_done(&arena);
}

static void test_invite__writes_a_join_file_that_holds(void **state)
{
    (void)state;
    const char *path = in_root("alice.join");
    says_invited("north");
    const ended *e = RUN("client", "invite", "alice", "--output", path);
    assert_done(e);
    assert_says(e->out, "alice.join");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    weft_buf text;
    weft_arena arena;
    weft_msg_join_file join;
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_JOIN_BYTES);
    weft_wire_arena_init(&arena, WEFT_MSG_JOIN_FILE, &weft_alloc_std);
    assert_int_equal(weft_file_read(&text, path, NULL), WEFT_OK);
    assert_says(weft_buf_text(&text), "# For client alice of federation north only.");
    assert_int_equal(weft_join_parse(&join, (const char *)text.data, text.size, &arena, NULL),
                     WEFT_OK);
    check_join(&join);
    check_registered(&join);
    weft_arena_done(&arena);
    weft_buf_done(&text);
    /* it is not overwritten, and nobody is asked for a second token */
    assert_fails(RUN("client", "invite", "alice", "--output", path), 1, "exists: remove it");
    assert_int_equal(coordinator.method[WEFT_METHOD_INVITE].n_calls, 1);
}

static void test_invite__no_file_without_the_coordinators_yes(void **state)
{
    (void)state;
    const char *path = in_root("bob.join");
    admin_refuses(&coordinator, WEFT_METHOD_INVITE, WEFT_RT_ALREADY_EXISTS, "bob is enrolled");
    assert_fails(RUN("client", "invite", "bob", "--output", path), 1, "weft: bob is enrolled");
    assert_int_equal(access(path, F_OK), -1);
    says_invited("south");
    assert_fails(RUN("client", "invite", "bob", "--output", path), 2,
                 "is of federation south, this folder is of north");
    assert_int_equal(access(path, F_OK), -1);
    char key[PATH_MAX + 32];
    (void)snprintf(key, sizeof key, "%s/operator.key", operator_dir); /* fits */
    assert_int_equal(chmod(key, 0644), 0);
    assert_fails(RUN("client", "invite", "bob", "--output", path), 2, "mode 0644, others may read");
    assert_int_equal(chmod(key, 0600), 0);
}

/* ---- clients --------------------------------------------------------------------------------- */

static void says_clients(void)
{
    const weft_msg_dataset_info digits = {"digits", 600};
    const weft_msg_client_info page[2] = {{.client = "alice",
                                           .status = "enrolled",
                                           .connected = true,
                                           .since_unix_ms = 1700000000000,
                                           .last_seen_unix_ms = 1700000000000,
                                           .software = "weft-client 0.1.0",
                                           .datasets = &digits,
                                           .n_datasets = 1,
                                           .updates_accepted = 1234},
                                          {.client = "bob", .status = "invited", .software = ""}};
    const weft_msg_list_clients_reply one = {page, 2};
    admin_says(&coordinator, WEFT_METHOD_LIST_CLIENTS, WEFT_MSG_LIST_CLIENTS_REPLY, &one);
    const weft_msg_client_info carol = {.client = "carol", .status = "revoked", .software = ""};
    const weft_msg_list_clients_reply two = {&carol, 1};
    admin_says(&coordinator, WEFT_METHOD_LIST_CLIENTS, WEFT_MSG_LIST_CLIENTS_REPLY, &two);
}

static void test_client_list__all_pages_in_every_format(void **state)
{
    (void)state;
    says_clients();
    const ended *e = RUN("client", "list");
    assert_done(e);
    assert_says(e->out, "CLIENT  STATUS    CONNECTED  LAST SEEN");
    assert_says(e->out, "alice   enrolled  yes        2023-11-14 22:13:20 UTC  1,234    "
                        "digits (600)");
    assert_says(e->out, "\ncarol   revoked");
    admin_forget(&coordinator);
    says_clients();
    json_t *list = json_of(RUN("--format", "json", "client", "list"));
    assert_int_equal(json_array_size(list), 3);
    const json_t *alice = json_array_get(list, 0);
    assert_string_equal(string_at(alice, "client"), "alice");
    assert_int_equal(int_at(alice, "updates_accepted"), 1234);
    assert_true(json_is_null(json_object_get(json_array_get(list, 1), "last_seen_unix_ms")));
    json_decref(list);
    admin_forget(&coordinator);
    says_clients();
    e = RUN("client", "list", "--format", "jsonl");
    assert_done(e);
    size_t lines = 0;
    for (const char *at = e->out; *at; at++) {
        lines += *at == '\n';
    }
    assert_int_equal(lines, 3);
    admin_forget(&coordinator);
    e = RUN("client", "list");
    assert_says(e->out, "no clients yet");
    json_t *none = json_of(RUN("client", "list", "--format", "json"));
    assert_int_equal(json_array_size(none), 0);
    json_decref(none);
}

static void test_client_show__finds_on_a_later_page(void **state)
{
    (void)state;
    says_clients();
    const ended *e = RUN("client", "show", "carol");
    assert_done(e);
    assert_says(e->out, "status          revoked");
    admin_forget(&coordinator);
    says_clients();
    assert_fails(RUN("client", "show", "dave"), 1, "no client dave");
}

static void test_client_revoke__names_client_and_reason(void **state)
{
    (void)state;
    const weft_msg_client_info info = {.client = "alice", .status = "revoked", .software = ""};
    admin_says(&coordinator, WEFT_METHOD_REVOKE_CLIENT, WEFT_MSG_CLIENT_INFO, &info);
    const ended *e = RUN("client", "revoke", "alice", "--reason", "laptop lost");
    assert_done(e);
    assert_says(e->out, "client alice is revoked");
    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_REVOKE_CLIENT);
    assert_non_null(memmem(heard.data, heard.size, "laptop lost", 11));
    admin_forget(&coordinator);
    admin_refuses(&coordinator, WEFT_METHOD_REVOKE_CLIENT, WEFT_RT_PERMISSION_DENIED, "not you");
    assert_fails(RUN("client", "revoke", "alice"), 2, "not allowed: not you");
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static const char *job_file(void)
{
    const char *path = in_root("digits.yaml");
    assert_int_equal(weft_file_write(path, job_text, strlen(job_text), 0600, NULL), WEFT_OK);
    return path;
}

static void test_job_submit__sends_what_the_file_says(void **state)
{
    (void)state;
    const weft_msg_job_info job = job_info("running", 0);
    const weft_msg_submit_job_reply reply = {&job, 3, 12};
    admin_says(&coordinator, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    const ended *e = RUN("job", "submit", job_file());
    assert_done(e);
    assert_says(e->out, "job digits runs: 3 parameters, 12 B a model, 6 clients a round");
    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_SUBMIT_JOB);
    weft_arena arena;
    weft_msg_submit_job_request request;
    weft_wire_arena_init(&arena, WEFT_MSG_SUBMIT_JOB_REQUEST, &weft_alloc_std);
    assert_int_equal(
        weft_msg_submit_job_request_decode(&request, heard.data, heard.size, &arena, NULL),
        WEFT_OK);
    assert_false(request.dry_run);
    assert_false(request.plain);
    assert_int_equal(request.job->target, 4);
    assert_int_equal(request.job->rounds, 3);
    weft_arena_done(&arena);
    admin_forget(&coordinator);
    admin_refuses(&coordinator, WEFT_METHOD_SUBMIT_JOB, WEFT_RT_ALREADY_EXISTS,
                  "there is a job digits");
    assert_fails(RUN("job", "submit", job_file()), 1, "weft: there is a job digits");
    admin_says(&coordinator, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    e = RUN("job", "plan", job_file(), "--check");
    assert_done(e);
    assert_says(e->out, "the coordinator would take it");
}

static void test_job_list_show_control(void **state)
{
    (void)state;
    const weft_msg_job_info job = job_info("running", 1);
    const weft_msg_list_jobs_reply list = {&job, 1};
    admin_says(&coordinator, WEFT_METHOD_LIST_JOBS, WEFT_MSG_LIST_JOBS_REPLY, &list);
    const ended *e = RUN("job", "list");
    assert_done(e);
    assert_says(e->out, "digits  running  1/3     digits");
    assert_says(e->out, "accuracy 0.5");

    weft_job_def def;
    assert_int_equal(
        weft_job_yaml_parse(&def, "digits.yaml", job_text, strlen(job_text), &weft_alloc_std, NULL),
        WEFT_OK);
    const weft_msg_status_change history[2] = {{1700000000000, "running", ""},
                                               {1700000100000, "paused", "by the operator"}};
    const weft_msg_get_job_reply reply = {&job, &def, history, 2};
    for (int i = 0; i < 3; i++) {
        admin_says(&coordinator, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REPLY, &reply);
    }
    e = RUN("job", "show", "digits");
    assert_done(e);
    assert_says(e->out, "rounds          1 of 3 done");
    assert_says(e->out, "2023-11-14 22:15:00 UTC  paused: by the operator");
    json_t *object = json_of(RUN("job", "show", "digits", "--format", "json"));
    assert_int_equal(int_at(object, "rounds_done"), 1);
    assert_int_equal(json_array_size(json_object_get(object, "history")), 2);
    json_decref(object);
    e = RUN("job", "show", "digits", "--definition");
    assert_done(e);
    weft_job_def back;
    assert_int_equal(
        weft_job_yaml_parse(&back, "shown", e->out, strlen(e->out), &weft_alloc_std, NULL),
        WEFT_OK);
    assert_string_equal(back.model_spec, def.model_spec);
    weft_job_def_done(&back, &weft_alloc_std);
    weft_job_def_done(&def, &weft_alloc_std);

    const weft_msg_job_info paused = job_info("paused", 1);
    admin_says(&coordinator, WEFT_METHOD_CONTROL_JOB, WEFT_MSG_JOB_INFO, &paused);
    e = RUN("job", "pause", "digits", "--reason", "tea");
    assert_done(e);
    assert_says(e->out, "job digits is paused");
    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_CONTROL_JOB);
    assert_non_null(memmem(heard.data, heard.size, "pause", 5));
    assert_non_null(memmem(heard.data, heard.size, "tea", 3));
}

/* ---- watch ----------------------------------------------------------------------------------- */

static weft_msg_round_info round_info(uint32_t round, const char *state)
{
    weft_msg_round_info r = {.job = "digits",
                             .round = round,
                             .attempt = 1,
                             .state = state,
                             .reason = "",
                             .eligible = 5,
                             .cohort = 4,
                             .accepted = 4,
                             .n_examples = 2400,
                             .opened_unix_ms = 1700000000000,
                             .closed_unix_ms = 1700000002500,
                             .bytes_up = 4000000,
                             .bytes_down = 4000000};
    assert_int_equal(weft_metrics_set(&r.train_metrics, "loss", 0.25, NULL), WEFT_OK);
    return r;
}

static void says_progress(const char *end)
{
    const weft_msg_job_info running = job_info("running", 1);
    weft_msg_job_info over = job_info(end, 2);
    over.reason = "all rounds";
    weft_msg_round_info failed = round_info(2, "failed");
    failed.reason = "1 of 2 updates came";
    const weft_msg_round_info done = round_info(2, "done");
    const weft_msg_list_rounds_reply rounds = {&done, 1};
    admin_says(&coordinator, WEFT_METHOD_LIST_ROUNDS, WEFT_MSG_LIST_ROUNDS_REPLY, &rounds);
    says_event("snapshot", &running, NULL);
    says_event("round", &running, &failed);
    says_event("job", &over, &done);
}

static void test_job_watch__tells_rounds_until_the_end(void **state)
{
    (void)state;
    says_progress("done");
    const ended *e = RUN("job", "watch", "digits");
    assert_done(e);
    assert_string_equal(e->out, "digits round 2 attempt 1 failed: 1 of 2 updates came\n"
                                "digits round 2 of 3  4 of 4 updates  loss 0.25  8.0 MB  2.5 s\n"
                                "digits is done: all rounds  loss 0.25\n");
    assert_string_equal(e->err, "");
    admin_forget(&coordinator);
    says_progress("canceled");
    e = RUN("job", "watch", "digits");
    assert_int_equal(e->status, 1);
    assert_says(e->out, "digits is canceled: all rounds");
}

static void test_job_watch__jsonl_is_one_event_a_line(void **state)
{
    (void)state;
    says_progress("done");
    const ended *e = RUN("job", "watch", "digits", "--format", "jsonl");
    assert_done(e);
    size_t n = 0;
    for (const char *at = e->out; *at; n++) {
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        json_t *event = json_loadb(at, (size_t)(end - at), 0, NULL);
        assert_non_null(event);
        assert_string_equal(string_at(event, "kind"), n == 0   ? "snapshot"
                                                      : n == 1 ? "round"
                                                               : "job");
        json_decref(event);
        at = end + 1;
    }
    assert_int_equal(n, 3);
}

static void test_job_watch__refusals_and_time(void **state)
{
    (void)state;
    admin_refuses(&coordinator, WEFT_METHOD_WATCH, WEFT_RT_NOT_FOUND, "no job nix");
    assert_fails(RUN("job", "watch", "nix"), 1, "weft: no job nix");
    /* the coordinator ends the stream again and again: it is away, then time is up */
    const weft_msg_job_info running = job_info("running", 1);
    says_event("snapshot", &running, NULL);
    assert_fails(RUN("job", "watch", "digits", "--timeout", "500ms"), 3,
                 "job digits is still running");
}

/* ---- rounds and status ----------------------------------------------------------------------- */

static void test_round_list_and_show(void **state)
{
    (void)state;
    const weft_msg_round_info rounds[2] = {round_info(1, "done"), round_info(2, "training")};
    const weft_msg_list_rounds_reply list = {rounds, 2};
    admin_says(&coordinator, WEFT_METHOD_LIST_ROUNDS, WEFT_MSG_LIST_ROUNDS_REPLY, &list);
    const ended *e = RUN("round", "list", "digits");
    assert_done(e);
    assert_says(e->out, "1      done      4/4      2,400     2.5 s");
    const weft_msg_assignment_info a = {.assignment_id = 9,
                                        .client = "alice",
                                        .state = "accepted",
                                        .reason = "",
                                        .n_examples = 600,
                                        .task = WEFT_TASK_TRAIN};
    const weft_msg_secure_info secure = {"mask", 3, 5, 6, 5, 4};
    const weft_msg_get_round_reply reply = {&rounds[0], &a, 1, NULL, 0, &secure};
    const weft_msg_get_round_reply last = {&rounds[0], NULL, 0, NULL, 0, NULL};
    for (int i = 0; i < 2; i++) {
        admin_says(&coordinator, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REPLY, &reply);
        admin_says(&coordinator, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REPLY, &last);
    }
    e = RUN("round", "show", "digits", "1");
    assert_done(e);
    assert_says(e->out, "clients         5 were there, 4 asked, 4 accepted with 2,400 examples");
    assert_says(e->out, "alice   train  accepted  600");
    assert_says(e->out, "secure          phase mask: 3 of 5 clients have answered");
    assert_says(e->out, "6 clients, 5 neighbours each (k), 4 must answer (t)");
    json_t *object = json_of(RUN("round", "show", "digits", "1", "--format", "jsonl"));
    assert_int_equal(json_array_size(json_object_get(object, "assignments")), 1);
    json_decref(object);
}

static void test_status__in_both_forms(void **state)
{
    (void)state;
    const weft_msg_status_reply reply = {"north", "weftd 0.1.0", 65000, 3, 8, 1, "localhost:7443"};
    admin_says(&coordinator, WEFT_METHOD_STATUS, WEFT_MSG_STATUS_REPLY, &reply);
    admin_says(&coordinator, WEFT_METHOD_STATUS, WEFT_MSG_STATUS_REPLY, &reply);
    const ended *e = RUN("status");
    assert_done(e);
    assert_says(e->out, "clients         3 connected of 8 enrolled");
    json_t *object = json_of(RUN("status", "--format", "json"));
    assert_int_equal(int_at(object, "clients_enrolled"), 8);
    json_decref(object);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    weft = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_invite__writes_a_join_file_that_holds, forget),
        cmocka_unit_test_teardown(test_invite__no_file_without_the_coordinators_yes, forget),
        cmocka_unit_test_teardown(test_client_list__all_pages_in_every_format, forget),
        cmocka_unit_test_teardown(test_client_show__finds_on_a_later_page, forget),
        cmocka_unit_test_teardown(test_client_revoke__names_client_and_reason, forget),
        cmocka_unit_test_teardown(test_job_submit__sends_what_the_file_says, forget),
        cmocka_unit_test_teardown(test_job_list_show_control, forget),
        cmocka_unit_test_teardown(test_job_watch__tells_rounds_until_the_end, forget),
        cmocka_unit_test_teardown(test_job_watch__jsonl_is_one_event_a_line, forget),
        cmocka_unit_test_teardown(test_job_watch__refusals_and_time, forget),
        cmocka_unit_test_teardown(test_round_list_and_show, forget),
        cmocka_unit_test_teardown(test_status__in_both_forms, forget),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* weft against a coordinator that says what it is told (admin.h): every verb over real mutual TLS.
 * argv[1] is the program. */
#include "admin.h"

#include "base/file.h"
#include "config/job.h"
#include "data/stats.h"
#include "weights/weights.h"
#include "wire/chunk.h"
#include "wire/join.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *weft;
static char *root;
static char operator_dir[PATH_MAX];
static admin coordinator;

#define RUN(...)                                                                                   \
    run_program(root, (const char *const[]){weft, "--operator", operator_dir, "--address",         \
                                            coordinator.address, __VA_ARGS__, NULL})

static void assert_says(const char *text, const char *words)
{
    if (!strstr(text, words)) {
        fail_msg("'%s' does not say '%s'", text, words);
    }
}

static void assert_fails(const ended *e, int status, const char *words)
{
    assert_says(e->err, words);
    assert_int_equal(e->status, status);
}

static void assert_done(const ended *e)
{
    if (e->status != 0) {
        fail_msg("exit status %d: %s", e->status, e->err);
    }
}

/* One result as JSON; the caller's to decref. */
static json_t *json_of(const ended *e)
{
    assert_done(e);
    json_error_t error;
    json_t *value = json_loads(e->out, 0, &error);
    if (!value) {
        fail_msg("line %d: %s in '%s'", error.line, error.text, e->out);
    }
    return value;
}

static const char *string_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static json_int_t int_at(const json_t *object, const char *key)
{
    assert_true(json_is_integer(json_object_get(object, key)));
    return json_integer_value(json_object_get(object, key));
}

static const char *in_root(const char *name)
{
    static char path[4][PATH_MAX];
    static size_t turn;
    turn = (turn + 1) % 4;
    assert_int_equal(weft_path_join(path[turn], PATH_MAX, root, name, NULL), WEFT_OK);
    return path[turn];
}

static int set_up(void **state)
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

static int tear_down(void **state)
{
    (void)state;
    admin_stop(&coordinator);
    test_dir_done(root);
    return 0;
}

static int forget(void **state)
{
    (void)state;
    admin_forget(&coordinator);
    return 0;
}

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

static weft_msg_job_info job_info(const char *status, uint32_t rounds_done)
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

static const char job_text[] = "name: digits\n"
                               "dataset: digits\n"
                               "model: |\n"
                               "  input 2\n"
                               "  dense units=1\n"
                               "  loss mse\n"
                               "round: {target: 4, minimum: 3}\n"
                               "stop: {rounds: 3}\n";

static const char *job_file(void)
{
    const char *path = in_root("digits.yaml");
    assert_int_equal(weft_file_write(path, job_text, sizeof job_text - 1, 0600, NULL), WEFT_OK);
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
    assert_int_equal(weft_job_yaml_parse(&def, "digits.yaml", job_text, sizeof job_text - 1,
                                         &weft_alloc_std, NULL),
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

static void says_event(const char *kind, const weft_msg_job_info *job,
                       const weft_msg_round_info *round)
{
    const weft_msg_watch_event event = {1700000000000, kind, job, round, "", ""};
    admin_says(&coordinator, WEFT_METHOD_WATCH, WEFT_MSG_WATCH_EVENT, &event);
}

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

/* ---- models ---------------------------------------------------------------------------------- */

static const float weights[3] = {1.5F, -2.0F, 0.25F};
static const char spec_text[] = "input 2\ndense units=1\nloss mse\n";

static void says_model(const uint8_t digest[32], const char *spec, uint64_t bytes)
{
    const weft_msg_model_info model = {.digest = {digest, 32},
                                       .job = "digits",
                                       .round = 3,
                                       .bytes = bytes,
                                       .created_unix_ms = 1700000000000,
                                       .release_name = "",
                                       .current = true,
                                       .model_spec = spec,
                                       .data_schema = ""};
    const weft_msg_list_models_reply reply = {&model, 1};
    admin_says(&coordinator, WEFT_METHOD_LIST_MODELS, WEFT_MSG_LIST_MODELS_REPLY, &reply);
}

static void says_current(const uint8_t digest[32])
{
    weft_job_def def;
    assert_int_equal(weft_job_yaml_parse(&def, "digits.yaml", job_text, sizeof job_text - 1,
                                         &weft_alloc_std, NULL),
                     WEFT_OK);
    weft_msg_job_info job = job_info("done", 3);
    job.current_version = (weft_view){digest, 32};
    const weft_msg_get_job_reply reply = {&job, &def, NULL, 0};
    admin_says(&coordinator, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REPLY, &reply);
    weft_job_def_done(&def, &weft_alloc_std);
}

/* The bytes in chunks of at most `step`. */
static void says_chunks(const void *data, size_t size, size_t step)
{
    for (size_t at = 0; at < size; at += step) {
        const size_t n = size - at < step ? size - at : step;
        const weft_chunk chunk = {.offset = at, .total_bytes = size, .data_bytes = (uint32_t)n};
        uint8_t head[WEFT_CHUNK_MAX_HEAD_BYTES];
        weft_buf b;
        weft_buf_init(&b, &weft_alloc_std, 1U << 20);
        assert_int_equal(weft_buf_add(&b, head, weft_chunk_write_head(head, &chunk, false), NULL),
                         WEFT_OK);
        assert_int_equal(weft_buf_add(&b, (const uint8_t *)data + at, n, NULL), WEFT_OK);
        admin_says_bytes(&coordinator, WEFT_METHOD_FETCH_VERSION, b.data, b.size);
        weft_buf_done(&b);
    }
}

static void check_exported(const char *path)
{
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    float *back = NULL;
    weft_weights_meta meta;
    weft_err err = WEFT_ERR_INIT;
    if (weft_weights_load(path, NULL, &spec, &layout, &back, &meta, &weft_alloc_std, &err) !=
        WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    assert_memory_equal(back, weights, sizeof weights);
    assert_string_equal(meta.job, "digits");
    assert_int_equal(meta.round, 3);
    weft_free(&weft_alloc_std, back);
    weft_layout_free(layout);
    weft_spec_free(spec);
}

static void test_model_export__both_formats_verified(void **state)
{
    (void)state;
    uint8_t digest[32];
    assert_int_equal(weft_sha256(digest, weights, sizeof weights, NULL), WEFT_OK);
    static const char *const names[] = {"m.safetensors", "m.npz"};
    for (size_t i = 0; i < 2; i++) {
        const char *path = in_root(names[i]);
        admin_forget(&coordinator);
        says_current(digest);
        says_model(digest, spec_text, sizeof weights);
        says_chunks(weights, sizeof weights, 5);
        const ended *e = RUN("model", "export", "digits", "-o", path);
        assert_done(e);
        assert_says(e->out, "3 parameters in 2 tensors");
        check_exported(path);
    }
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    assert_fails(RUN("model", "export", "digits", "-o", in_root("m.npz")), 1, "or --force");
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    assert_fails(RUN("model", "export", "digits", "-o", in_root("m.txt")), 64, "m.txt");
}

static void assert_no_export(const char *words)
{
    const char *path = in_root("bad.npz");
    assert_fails(RUN("model", "export", "digits", "-o", path), 1, words);
    assert_int_equal(access(path, F_OK), -1);
    admin_forget(&coordinator);
}

static void test_model_export__nothing_is_written_when_the_bytes_are_wrong(void **state)
{
    (void)state;
    uint8_t digest[32];
    assert_int_equal(weft_sha256(digest, weights, sizeof weights, NULL), WEFT_OK);
    const float other[3] = {1.5F, -2.0F, 0.5F};
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    says_chunks(other, sizeof other, 12);
    assert_no_export("does not have the digest");
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    says_chunks(weights, 8, 8); /* another total */
    assert_no_export("");
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    assert_no_export("0 of 12 bytes came");
    says_current(digest);
    says_model(digest, "input 3\ndense units=1\nloss mse\n", sizeof weights);
    assert_no_export("the spec wants 16 bytes, the model has 12");
    admin_refuses(&coordinator, WEFT_METHOD_GET_JOB, WEFT_RT_NOT_FOUND, "no job digits");
    assert_no_export("weft: no job digits");
}

static void test_model_show__by_the_first_digits(void **state)
{
    (void)state;
    uint8_t digest[32];
    char hex[65];
    assert_int_equal(weft_sha256(digest, weights, sizeof weights, NULL), WEFT_OK);
    weft_hex_encode(hex, digest, 32);
    hex[8] = '\0';
    admin_refuses(&coordinator, WEFT_METHOD_GET_JOB, WEFT_RT_NOT_FOUND, "no such job");
    says_model(digest, spec_text, 12); /* the page of all */
    const weft_msg_list_models_reply none = {NULL, 0};
    admin_says(&coordinator, WEFT_METHOD_LIST_MODELS, WEFT_MSG_LIST_MODELS_REPLY, &none);
    says_model(digest, spec_text, 12); /* the one */
    const ended *e = RUN("model", "show", hex);
    assert_done(e);
    assert_says(e->out, hex);
    assert_says(e->out, "job digits, round 3: its current version");
    assert_says(e->out, spec_text);
    admin_forget(&coordinator);
    admin_refuses(&coordinator, WEFT_METHOD_GET_JOB, WEFT_RT_NOT_FOUND, "no such job");
    assert_fails(RUN("model", "show", "ffffff"), 1, "no model's digest begins with ffffff");
}

static void test_model_release_and_rollback(void **state)
{
    (void)state;
    uint8_t digest[32] = {0xab};
    const weft_msg_model_info tagged = {.digest = {digest, 32},
                                        .job = "digits",
                                        .round = 3,
                                        .bytes = 12,
                                        .released = true,
                                        .release_name = "digits-3",
                                        .model_spec = "",
                                        .data_schema = ""};
    says_current(digest);
    says_model(digest, spec_text, 12);
    admin_says(&coordinator, WEFT_METHOD_TAG_MODEL, WEFT_MSG_MODEL_INFO, &tagged);
    const ended *e = RUN("model", "release", "digits");
    assert_done(e);
    assert_string_equal(e->out, "ab0000000000 is released as digits-3\n");
    admin_forget(&coordinator);
    says_model(digest, spec_text, 12);
    admin_says(&coordinator, WEFT_METHOD_TAG_MODEL, WEFT_MSG_MODEL_INFO, &tagged);
    e = RUN("model", "rollback", "digits@3");
    assert_done(e);
    assert_string_equal(e->out, "job digits goes on from ab0000000000\n");
    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_TAG_MODEL);
    assert_non_null(memmem(heard.data, heard.size, "rollback", 8));
}

/* ImportPart{header}, then ImportPart{chunk}, one after the other as the coordinator got them. */
static void test_model_import__sends_header_and_bytes(void **state)
{
    (void)state;
    uint8_t digest[32];
    assert_int_equal(weft_sha256(digest, weights, sizeof weights, NULL), WEFT_OK);
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    const char *path = in_root("import.safetensors");
    assert_int_equal(weft_spec_parse(&spec, spec_text, strlen(spec_text), &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_int_equal(weft_layout_new(&layout, spec, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_weights_save(path, spec, layout, weights, NULL, &weft_alloc_std, NULL),
                     WEFT_OK);
    weft_layout_free(layout);
    weft_spec_free(spec);
    const weft_msg_model_info model = {.digest = {digest, 32},
                                       .job = "",
                                       .bytes = 12,
                                       .release_name = "",
                                       .model_spec = "",
                                       .data_schema = ""};
    admin_says(&coordinator, WEFT_METHOD_IMPORT_MODEL, WEFT_MSG_MODEL_INFO, &model);
    const ended *e = RUN("model", "import", path);
    assert_done(e);
    assert_says(e->out, "12 B stored; start from it: weft job submit --from ");

    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_IMPORT_MODEL);
    assert_int_equal(heard.data[0], 0x0A);
    const size_t n = heard.data[1]; /* below 128: one byte of length */
    weft_arena arena;
    weft_msg_import_header header;
    weft_wire_arena_init(&arena, WEFT_MSG_IMPORT_HEADER, &weft_alloc_std);
    assert_int_equal(weft_msg_import_header_decode(&header, heard.data + 2, n, &arena, NULL),
                     WEFT_OK);
    assert_int_equal(header.total_bytes, 12);
    assert_memory_equal(header.digest.data, digest, 32);
    assert_non_null(strstr(header.model_spec, "dense"));
    weft_arena_done(&arena);
    assert_memory_equal(heard.data + heard.size - 12, weights, 12);
    assert_int_equal(heard.data[2 + n], 0x12);
}

/* A dense layer of side inputs and outputs, saved. @return its weights, the caller's to free. */
static float *save_square(const char *path, unsigned side, size_t *ret_n)
{
    char text[128];
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    (void)snprintf(text, sizeof text, "input %u\ndense units=%u\nloss mse\n", side, side);
    assert_int_equal(weft_spec_parse(&spec, text, strlen(text), &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_layout_new(&layout, spec, &weft_alloc_std, NULL), WEFT_OK);
    float *values = malloc((size_t)layout->n_params * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < layout->n_params; i++) {
        values[i] = (float)(i % 1021);
    }
    assert_int_equal(weft_weights_save(path, spec, layout, values, NULL, &weft_alloc_std, NULL),
                     WEFT_OK);
    *ret_n = (size_t)layout->n_params * sizeof *values;
    weft_layout_free(layout);
    weft_spec_free(spec);
    return values;
}

static void says_imported(void)
{
    static const uint8_t digest[32] = {0xab};
    const weft_msg_model_info model = {.digest = {digest, 32}, .bytes = 12};
    admin_forget(&coordinator);
    admin_says(&coordinator, WEFT_METHOD_IMPORT_MODEL, WEFT_MSG_MODEL_INFO, &model);
}

/* 1.4 MB: above what the heap gets, in two chunks, and in another order than the file's. */
static void test_model_import__sends_what_lies_in_files(void **state)
{
    (void)state;
    size_t n = 0;
    uint8_t digest[32];
    const char *path = in_root("square.safetensors");
    float *values = save_square(path, 600, &n);
    assert_int_equal(weft_sha256(digest, values, n, NULL), WEFT_OK);
    says_imported();
    assert_done(RUN("model", "import", path));
    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_IMPORT_MODEL);
    const size_t second = n - WEFT_MAX_CHUNK_BYTES;
    assert_true(heard.size > n);
    assert_non_null(memmem(heard.data, 256, digest, sizeof digest)); /* in the header */
    assert_memory_equal(heard.data + heard.size - second,
                        (const uint8_t *)values + WEFT_MAX_CHUNK_BYTES, second);
    free(values);
}

static void test_model_import__says_where_there_is_no_room(void **state)
{
    (void)state;
    size_t n = 0;
    const char *path = in_root("square.safetensors");
    free(save_square(path, 600, &n));
    assert_fails(run_program(root, (const char *const[]){"/usr/bin/env", "TMPDIR=/nowhere", weft,
                                                         "--operator", operator_dir, "--address",
                                                         coordinator.address, "model", "import",
                                                         path, NULL}),
                 1, "temporary file in /nowhere/: No such file or directory");
}

/* ---- statistics ------------------------------------------------------------------------------ */

static const char stats_job[] = "name: heart\n"
                                "dataset: heart\n"
                                "model: |\n"
                                "  input 2\n"
                                "  dense units=2\n"
                                "  loss softmax_cross_entropy\n"
                                "data: |\n"
                                "  csv\n"
                                "  column age numeric\n"
                                "  column chol numeric\n"
                                "  target num classes=2\n"
                                "round: {target: 2, minimum: 2}\n"
                                "aggregation: {secure: false}\n"
                                "stop: {rounds: 5}\n";
static const char stats_schema[] =
    "csv\ncolumn age numeric\ncolumn chol numeric\ntarget num classes=2\n";
static const char stats_csv[] = "age,chol,num\n40,200,0\n60,260,1\n50,230,1\n";

/* One federated round's worth of coordinator: submitted, watched to its end, fetched. */
static void says_stats_round(const float *vector, uint32_t n, const uint8_t digest[32])
{
    weft_msg_job_info over = job_info("done", 1);
    over.name = "heart-stats";
    const weft_msg_submit_job_reply submitted = {&over, n, n * sizeof(float)};
    admin_says(&coordinator, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REPLY, &submitted);
    says_event("snapshot", &over, NULL);
    says_current(digest);
    char spec[64];
    (void)snprintf(spec, sizeof spec, "tensor stats %u\n", n); /* fits */
    says_model(digest, spec, n * sizeof(float));
    says_chunks(vector, n * sizeof(float), 64);
}

static void test_job_stats__fills_the_schema_in(void **state)
{
    (void)state;
    weft_schema *schema = NULL;
    float vector[256];
    uint64_t n_examples = 0;
    uint8_t digest[32];
    const char *file = in_root("heart.yaml");
    const char *csv = in_root("heart.csv");
    assert_int_equal(
        weft_schema_parse(&schema, stats_schema, strlen(stats_schema), &weft_alloc_std, NULL),
        WEFT_OK);
    const uint32_t n = weft_stats_length(schema);
    assert_true(n > 0 && n <= 256);
    assert_int_equal(weft_file_write(csv, stats_csv, sizeof stats_csv - 1, 0600, NULL), WEFT_OK);
    assert_int_equal(weft_stats_load(vector, &n_examples, schema, csv, &weft_alloc_std, NULL),
                     WEFT_OK);
    weft_schema_free(schema);
    assert_int_equal(weft_sha256(digest, vector, n * sizeof(float), NULL), WEFT_OK);
    assert_int_equal(weft_file_write(file, stats_job, sizeof stats_job - 1, 0600, NULL), WEFT_OK);
    says_stats_round(vector, n, digest);
    const ended *e = RUN("job", "stats", file, "--name", "heart-stats");
    assert_done(e);
    weft_job_def def;
    weft_err err = WEFT_ERR_INIT;
    if (weft_job_yaml_parse(&def, "printed", e->out, strlen(e->out), &weft_alloc_std, &err) !=
        WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(def.name, "heart");
    assert_int_equal(def.rounds, 5);
    assert_int_equal(
        weft_schema_parse(&schema, def.data_schema, strlen(def.data_schema), &weft_alloc_std, NULL),
        WEFT_OK);
    /* the population's mean and deviation of the three rows */
    assert_true(schema->columns[0].mean > 49.999 && schema->columns[0].mean < 50.001);
    assert_true(schema->columns[0].std > 8.16 && schema->columns[0].std < 8.17);
    assert_true(schema->columns[1].mean > 229.99 && schema->columns[1].mean < 230.01);
    assert_true(schema->columns[1].std > 24.49 && schema->columns[1].std < 24.50);
    weft_schema_free(schema);
    weft_job_def_done(&def, &weft_alloc_std);
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
        cmocka_unit_test_teardown(test_model_export__both_formats_verified, forget),
        cmocka_unit_test_teardown(test_model_export__nothing_is_written_when_the_bytes_are_wrong,
                                  forget),
        cmocka_unit_test_teardown(test_model_show__by_the_first_digits, forget),
        cmocka_unit_test_teardown(test_model_release_and_rollback, forget),
        cmocka_unit_test_teardown(test_model_import__sends_header_and_bytes, forget),
        cmocka_unit_test_teardown(test_model_import__sends_what_lies_in_files, forget),
        cmocka_unit_test_teardown(test_model_import__says_where_there_is_no_room, forget),
        cmocka_unit_test_teardown(test_job_stats__fills_the_schema_in, forget),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* weft without a coordinator: its command line, weft init, plans, and what is said when nobody
 * answers. argv[1] is the program. */
#include "admin.h"

#include "auth/auth.h"
#include "base/clock.h"
#include "base/file.h"
#include "config/operator.h"
#include "config/server.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *weft;
static char *root;
static char coordinator[PATH_MAX];
static char operator_dir[PATH_MAX];

#define RUN(...) run_program(root, (const char *const[]){weft, __VA_ARGS__, NULL})

static void assert_fails(const ended *e, int status, const char *words)
{
    assert_string_equal(e->out, "");
    assert_says(e->err, words);
    assert_int_equal(strncmp(e->err, "weft: ", 6), 0);
    assert_int_equal(e->status, status);
}

static int set_up(void **state)
{
    (void)state;
    root = test_dir_new();
    (void)snprintf(coordinator, sizeof coordinator, "%s/weftd", root); /* fits: short */
    (void)snprintf(operator_dir, sizeof operator_dir, "%s/operator", root);
    const ended *e =
        RUN("init", "--federation", "north", "--dir", coordinator, "--operator", operator_dir,
            "--address", "localhost:17443", "--hosts", "10.9.8.7,weft.test", "--format", "json");
    return e->status;
}

static int tear_down(void **state)
{
    (void)state;
    test_dir_done(root);
    return 0;
}

/* ---- the command line ------------------------------------------------------------------------ */

static void test_usage__mistakes_end_with_64_and_advice(void **state)
{
    (void)state;
    assert_fails(run_program(root, (const char *const[]){weft, NULL}), 64, "needs a noun");
    assert_fails(RUN("jobs"), 64, "weft has no noun jobs");
    assert_fails(RUN("job"), 64, "weft job needs a verb");
    assert_fails(RUN("job", "lst"), 64, "weft job has no verb lst");
    assert_fails(RUN("job", "list", "--al"), 64, "there is no option --al here");
    assert_fails(RUN("job", "submit", "--al", "FILE"), 64, "there is no option --al here");
    assert_fails(RUN("job", "submit", "FILE", "--al"), 64, "there is no option --al here");
    assert_fails(RUN("job", "submit", "FILE", "-wz"), 64, "there is no option -z here");
    assert_fails(RUN("--al", "job", "list"), 64, "there is no option --al here");
    assert_fails(RUN("job", "list", "extra"), 64, "no arguments; 1 given");
    assert_fails(RUN("job", "submit"), 64, "takes: FILE; 0 given");
    assert_fails(RUN("job", "list", "--format"), 64, "--format needs a value");
    assert_fails(RUN("job", "list", "--format", "xml"), 64, "--format xml is unknown");
    assert_fails(RUN("job", "list", "--timeout", "soon"), 64, "--timeout soon is no time");
    assert_fails(RUN("round", "show", "j", "x"), 64, "'x' is no round");
    assert_fails(RUN("init"), 64, "needs --federation NAME");
    assert_fails(RUN("--operator", "", "status"), 64, "a name of 0 bytes");
    assert_fails(RUN("--operator", operator_dir, "client", "invite", "a/b"), 64,
                 "'a/b' is no name for a client");
    assert_fails(RUN("--operator", operator_dir, "client", "invite", "a", "--expires", "400d"), 64,
                 "not a time up to 365d");
    assert_fails(RUN("--operator", operator_dir, "model", "show", "j@0"), 64,
                 "'j@0' names no model");
    assert_fails(RUN("--operator", operator_dir, "model", "rollback", "j"), 64,
                 "to which version?");
}

/* Every verb of the overview tells about itself. */
static void test_help__every_verb_has_its_own(void **state)
{
    (void)state;
    static char overview[1U << 16];
    const ended *e = RUN("--help");
    assert_int_equal(e->status, 0);
    memcpy(overview, e->out, sizeof overview);
    size_t n = 0;
    char *rest = NULL;
    for (char *line = strtok_r(overview, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char noun[16];
        char verb[16];
        const int words = sscanf(line, "  %15[a-z] %15[a-z] ", noun, verb);
        if (words < 1 || strncmp(line, "  ", 2) != 0) {
            continue;
        }
        const bool alone = words == 1 || strcmp(noun, "init") == 0 || strcmp(noun, "status") == 0 ||
                           strcmp(noun, "renew") == 0 || strcmp(noun, "doctor") == 0;
        e = alone ? RUN(noun, "--help") : RUN(noun, verb, "--help");
        assert_int_equal(e->status, 0);
        assert_says(e->out, "usage: weft ");
        assert_says(e->out, "general options:");
        assert_string_equal(e->err, "");
        n++;
    }
    assert_int_equal(n, 31);
    e = RUN("model", "--help");
    assert_int_equal(e->status, 0);
    assert_says(e->out, "model export MODEL");
    e = RUN("--version");
    assert_int_equal(e->status, 0);
    assert_says(e->out, "weft 0.");
}

/* ---- init ------------------------------------------------------------------------------------ */

static void test_init__writes_what_the_programs_read(void **state)
{
    (void)state;
    char path[PATH_MAX + 32];
    weft_err err = WEFT_ERR_INIT;
    weft_server_config server;
    weft_operator_config op;
    (void)snprintf(path, sizeof path, "%s/weftd.yaml", coordinator); /* fits */
    if (weft_server_config_load(&server, path, &weft_alloc_std, &err) != WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(server.federation, "north");
    assert_string_equal(server.listen, "0.0.0.0:17443");
    assert_string_equal(server.advertise, "localhost:17443");
    (void)snprintf(path, sizeof path, "%s/weft.yaml", operator_dir); /* fits */
    if (weft_operator_config_load(&op, path, &weft_alloc_std, &err) != WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(op.federation, "north");
    assert_string_equal(op.address, "localhost:17443");
    const weft_auth_files files = {server.ca_certificate, server.ca_key,
                                   server.certificate,    server.key,
                                   server.receipt_key,    server.operator_public_key};
    weft_auth *auth = NULL;
    if (weft_auth_open(&auth, &files, server.lifetime_days,
                       weft_clock_system.unix_ms(weft_clock_system.self), &weft_alloc_std,
                       &err) != WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(weft_auth_federation(auth), "north");
    weft_auth_free(auth);
    const char *const private_keys[] = {server.ca_key, server.key, server.receipt_key, op.key,
                                        op.member_key};
    for (size_t i = 0; i < 5; i++) {
        struct stat st;
        assert_int_equal(stat(private_keys[i], &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void test_init__refuses_to_overwrite(void **state)
{
    (void)state;
    assert_fails(
        RUN("init", "--federation", "north", "--dir", coordinator, "--operator", operator_dir), 1,
        "exists: a federation lives there; nothing was changed");
    char elsewhere[PATH_MAX + 16];
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", root); /* fits */
    assert_fails(RUN("init", "--federation", "n/o", "--dir", elsewhere, "--operator", elsewhere), 1,
                 "'n/o' is not acceptable");
    assert_fails(RUN("init", "--federation", "no", "--dir", elsewhere, "--operator", elsewhere), 1,
                 "inside the coordinator's");
    assert_fails(RUN("init", "--federation", "no", "--dir", elsewhere, "--operator", operator_dir,
                     "--address", "nowhere"),
                 1, "not of the form host:port");
}

/* ---- nobody there ---------------------------------------------------------------------------- */

static void test_status__says_what_is_missing(void **state)
{
    (void)state;
    assert_fails(RUN("--operator", "/nonexistent", "status"), 1, "no operator's folder at");
    assert_int_equal(setenv("WEFT_OPERATOR_DIR", "/also/nonexistent", 1), 0);
    assert_fails(RUN("status"), 1, "no operator's folder at /also/nonexistent");
    assert_int_equal(setenv("WEFT_OPERATOR_DIR", operator_dir, 1), 0);
    /* port 1 of the loopback address: nothing listens there */
    assert_fails(RUN("status", "--address", "127.0.0.1:1"), 2,
                 "cannot reach the coordinator at 127.0.0.1:1; is weftd running there");
    assert_fails(RUN("job", "watch", "digits", "--address", "127.0.0.1:1"), 2, "cannot reach");
    assert_int_equal(unsetenv("WEFT_OPERATOR_DIR"), 0);
}

/* Somebody who accepts connections and says nothing. */
static void test_status__times_out_with_3(void **state)
{
    (void)state;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(a.sin_port)); /* fits */
    assert_fails(
        RUN("--operator", operator_dir, "--address", address, "--timeout", "300ms", "status"), 3,
        "has not answered within 300 ms");
    assert_int_equal(close(fd), 0);
}

static void test_status__broken_keys_are_named(void **state)
{
    (void)state;
    char broken[PATH_MAX + 16];
    char path[PATH_MAX + 32];
    (void)snprintf(broken, sizeof broken, "%s/broken", root); /* fits */
    assert_int_equal(weft_dir_make(broken, 0700, NULL), WEFT_OK);
    (void)snprintf(path, sizeof path, "%s/weft.yaml", broken); /* fits */
    const char yaml[] = "federation: north\naddress: localhost:1\n";
    assert_int_equal(weft_file_create(path, yaml, sizeof yaml - 1, 0600, NULL), WEFT_OK);
    assert_fails(RUN("--operator", broken, "status"), 1, "broken/ca.pem");
    const char bad[] = "federation: north\naddress: localhost\n";
    assert_int_equal(weft_file_write(path, bad, sizeof bad - 1, 0600, NULL), WEFT_OK);
    assert_fails(RUN("--operator", broken, "status"), 1, "weft.yaml:2: address");
}

/* ---- plans ----------------------------------------------------------------------------------- */

/* The 2NN of McMahan et al.: 199,210 parameters. */
static const char job_2nn[] = "name: digits\n"
                              "dataset: mnist\n"
                              "model: |\n"
                              "  input 784\n"
                              "  dense units=200\n"
                              "  relu\n"
                              "  dense units=200\n"
                              "  relu\n"
                              "  dense units=10\n"
                              "  loss softmax_cross_entropy\n"
                              "train: {optimizer: sgd, learning_rate: 0.1, batch_size: 10}\n"
                              "round: {target: 10, minimum: 5, over_selection: 1.2, deadline: 2m}\n"
                              "evaluation: {clients: 5, every: 10}\n"
                              "stop: {rounds: 100, target: {metric: accuracy, value: 0.97}}\n";

static const char *write_job(const char *name, const char *text)
{
    static char path[PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/%s", root, name); /* fits */
    assert_int_equal(weft_file_write(path, text, strlen(text), 0600, NULL), WEFT_OK);
    return path;
}

static json_int_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void test_plan__numbers_of_the_2nn(void **state)
{
    (void)state;
    const char *file = write_job("2nn.yaml", job_2nn);
    const ended *e = RUN("job", "plan", file, "--format", "json");
    assert_int_equal(e->status, 0);
    json_t *plan = json_loads(e->out, 0, NULL);
    assert_non_null(plan);
    assert_int_equal(number(plan, "n_params"), 199210);
    assert_int_equal(number(plan, "model_bytes"), 796840);
    assert_int_equal(number(plan, "cohort"), 12);
    /* masked words: the parameters, the number one, the weight, and for two metrics weight and sum
     */
    const json_int_t up = 796840 + 4 * (1 + 1 + 2 * (1 + 2));
    assert_int_equal(number(plan, "round_up_bytes"), 12 * up);
    assert_int_equal(number(plan, "coordinator_memory_bytes"), 2 * 796840 + up);
    assert_int_equal(number(plan, "rounds"), 100);
    const json_t *training = json_object_get(plan, "training");
    assert_int_equal(number(training, "parameters_bytes"), 796840);
    assert_int_equal(number(training, "optimizer_bytes"), 0); /* plain SGD changes the weights */
    assert_int_equal(number(plan, "client_memory_bytes"),
                     2 * 796840 + number(training, "activations_bytes") +
                         number(training, "scratch_bytes"));
    json_decref(plan);
    e = RUN("job", "plan", file);
    assert_int_equal(e->status, 0);
    assert_says(e->out, "sgd, batch 10, 1 epoch, numerics fast");
    assert_says(e->out, "0.1, the same in all rounds");
    assert_says(e->out, "1.6 MB weights and base, 0 B optimizer");
    assert_says(e->out, "199,210 parameters in 6 tensors, 796.8 kB");
    assert_says(e->out, "12 clients asked, 10 wanted, at least 5 needed");
    assert_says(e->out, "after 100 rounds, or when accuracy reaches 0.97");
    e = RUN("job", "plan", file, "--format", "jsonl");
    assert_int_equal(e->status, 0);
    assert_ptr_equal(strchr(e->out, '\n'), e->out + strlen(e->out) - 1); /* one line */
}

/* What a plan may say besides: each in the text and in JSON, and the memory that it takes. */
static void test_plan__how_training_goes(void **state)
{
    (void)state;
    const char *file =
        write_job("course.yaml",
                  "name: course\ndataset: d\nmodel: |\n  input 8x8x1\n  flatten\n  dense units=10\n"
                  "  loss softmax_cross_entropy\n"
                  "train: {optimizer: adam, learning_rate: 0.01, batch_size: 4, epochs: 9, "
                  "schedule: cosine,\n"
                  "  schedule_factor: 0.25, warmup_rounds: 2, clip_gradient: 1.5, early_stop: 3,\n"
                  "  augment_shift: 2, augment_crop: 1, augment_flip: true}\n"
                  "round: {target: 3, minimum: 3}\nstop: {rounds: 40}\n");
    const ended *e = RUN("job", "plan", file);
    assert_int_equal(e->status, 0);
    assert_says(e->out,
                "adam, batch 4, 9 epochs, fewer after 3 without a lower loss, gradients up to "
                "norm 1.5, numerics fast");
    assert_says(e->out, "0.01, a cosine down to 0.25 of it within 40 rounds, rising from 0 for 2 "
                        "rounds");
    assert_says(e->out, "images cut by up to 1 pixels, moved by up to 2, half of them mirrored");
    e = RUN("job", "plan", file, "--format", "json");
    assert_int_equal(e->status, 0);
    json_t *plan = json_loads(e->out, 0, NULL);
    const json_t *training = json_object_get(plan, "training");
    assert_string_equal(json_string_value(json_object_get(training, "schedule")), "cosine");
    assert_int_equal(number(training, "schedule_rounds"), 40);
    assert_true(json_real_value(json_object_get(training, "schedule_factor")) == 0.25);
    assert_true(json_real_value(json_object_get(training, "warmup_rounds")) == 2.0);
    assert_true(json_real_value(json_object_get(training, "clip_gradient")) == 1.5);
    assert_int_equal(number(training, "early_stop"), 3);
    assert_int_equal(number(training, "augment_shift"), 2);
    assert_true(json_is_true(json_object_get(training, "augment_flip")));
    /* the gradient and two moments */
    assert_int_equal(number(training, "optimizer_bytes"), 3 * number(plan, "model_bytes"));
    json_decref(plan);
}

/* Six clients: the complete graph; one colluder against a lying coordinator. */
static void test_plan__who_must_answer_in_a_secure_job(void **state)
{
    (void)state;
    char text[1024];
    static const char head[] = "name: digits\ndataset: mnist\nmodel: |\n  input 784\n  dense "
                               "units=10\n  loss softmax_cross_entropy\n";
    (void)snprintf(text, sizeof text,
                   "%sround: {target: 6, minimum: 3}\naggregation: {secure: true, clip_norm: 10, "
                   "max_examples: 1000}\n",
                   head); /* fits */
    const ended *e = RUN("job", "plan", write_job("six.yaml", text), "--format", "json");
    assert_int_equal(e->status, 0);
    json_t *plan = json_loads(e->out, 0, NULL);
    assert_non_null(plan);
    const json_t *secure = json_object_get(plan, "secure");
    assert_non_null(secure);
    assert_int_equal(number(secure, "clients"), 6);
    assert_int_equal(number(secure, "k"), 5);
    assert_int_equal(number(secure, "t"), 4); /* floor((6 - 1 + 1) / 2) + 1 */
    assert_int_equal(number(secure, "colluders"), 1);
    assert_int_equal(number(secure, "dropouts"), 1);
    assert_int_equal(number(secure, "bits"), 30); /* (2^31 - 1) / 6, and the sign */
    json_decref(plan);
    e = RUN("job", "plan", write_job("six.yaml", text));
    assert_says(e->out, "6 clients: 5 neighbours each (k), 4 must answer (t)");
    assert_null(strstr(e->out, "coarse"));
    (void)snprintf(text, sizeof text,
                   "%sround: {target: 6, minimum: 3}\naggregation: {max_examples: 10000000}\n",
                   head); /* fits */
    e = RUN("job", "plan", write_job("coarse.yaml", text));
    assert_int_equal(e->status, 0);
    assert_says(e->out, "the grid of the secure sum is coarse");
    assert_says(e->out, "lower aggregation.max_examples, 10000000");
    (void)snprintf(text, sizeof text,
                   "%sround: {target: 6, minimum: 2}\naggregation: {secure: true}\n",
                   head); /* fits */
    assert_fails(RUN("job", "plan", write_job("two.yaml", text)), 1, "round.minimum is 2");
    (void)snprintf(text, sizeof text,
                   "%sround: {target: 6, minimum: 3}\naggregation: {secure: true}\nsecure: {gamma: "
                   "0.8, delta: 0.5}\n",
                   head); /* fits */
    assert_fails(RUN("job", "plan", write_job("gamma.yaml", text)), 1, "gamma");
}

static void test_plan__mistakes_have_file_and_line(void **state)
{
    (void)state;
    assert_fails(RUN("job", "plan", write_job("bad.yaml", "name: digits\nrond: {}\n")), 1,
                 "bad.yaml:2: rond");
    assert_fails(RUN("job", "plan", "/nonexistent.yaml"), 1, "/nonexistent.yaml");
    assert_fails(RUN("job", "stats", write_job("2nn.yaml", job_2nn)), 1, "has no data schema");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    weft = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage__mistakes_end_with_64_and_advice),
        cmocka_unit_test(test_help__every_verb_has_its_own),
        cmocka_unit_test(test_init__writes_what_the_programs_read),
        cmocka_unit_test(test_init__refuses_to_overwrite),
        cmocka_unit_test(test_status__says_what_is_missing),
        cmocka_unit_test(test_status__times_out_with_3),
        cmocka_unit_test(test_status__broken_keys_are_named),
        cmocka_unit_test(test_plan__numbers_of_the_2nn),
        cmocka_unit_test(test_plan__how_training_goes),
        cmocka_unit_test(test_plan__who_must_answer_in_a_secure_job),
        cmocka_unit_test(test_plan__mistakes_have_file_and_line),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

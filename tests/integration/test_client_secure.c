/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libweft's secure aggregation against a scripted coordinator over real TLS: whole rounds, broken
 * lines, kill -9 at each step, the owner's policy, and a coordinator that lies: the client leaves
 * with the precise reason and tells its owner.
 */
#include "client_host.h"

#include "base/file.h"
#include "secagg/message.h"

#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static const char *this_program;

/* Enrolled, with one secure assignment to come. */
static void begin_secure(host *h, uint64_t n_params)
{
    begin_enrolled(h, n_params, true);
    script s = coordinator_script(&h->c);
    s.n_assignments = 1;
    s.secure_aggregation = true;
    tell(h, s);
}

static void assert_file_gone(const host *h, const char *name)
{
    char path[4200];
    struct stat st;
    assert_ok(weft_path_join(path, sizeof path, h->state, name, &assert_err));
    assert_int_not_equal(stat(path, &st), 0);
}

/* Is this text in any file of the state folder? */
static bool on_disk(const host *h, const void *what, size_t n)
{
    static const char *const names[] = {"client.db", "client.db-wal", "update-1.bin"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[4200];
        weft_buf b;
        weft_buf_init(&b, &weft_alloc_std, 64U << 20);
        assert_ok(weft_path_join(path, sizeof path, h->state, names[i], &assert_err));
        if (weft_file_read(&b, path, NULL) == WEFT_OK) {
            found = found || memmem(b.data, b.size, what, n);
        }
        weft_buf_done(&b);
    }
    return found;
}

/* ---- rounds --------------------------------------------------------------------------------- */

static void test_secure__round_by_round(void **state)
{
    (void)state;
    host h;
    begin_secure(&h, 5000);
    script s = coordinator_script(&h.c);
    s.n_assignments = 3;
    coordinator_tell(&h.c, &s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.sums, 3);
    assert_int_equal(n.receipts, 3);
    assert_int_equal(h.trained, 3);
    assert_int_equal(n.sum_weight, 40); /* of all four */
    assert_true(n.sum_mean > 0.999F && n.sum_mean < 1.001F);
    double loss = 0.0;
    assert_true(weft_metrics_get(&n.sum_metrics, "loss", &loss));
    assert_true(loss > 0.2499 && loss < 0.2501);
    /* nothing of alice alone has left */
    assert_string_equal(n.encoding, "masked_u32");
    assert_int_equal(n.n_examples, 0);
    assert_int_equal(n.metrics.n, 0);
    assert_string_equal(h.steps,
                        "shares for 3 neighbours of 4 clients, threshold 3; masking; survivors "
                        "confirmed; unmasking answered; done; "
                        "shares for 3 neighbours of 4 clients, threshold 3; masking; survivors "
                        "confirmed; unmasking answered; done; "
                        "shares for 3 neighbours of 4 clients, threshold 3; masking; survivors "
                        "confirmed; unmasking answered; done; ");
    assert_last_outcome(&h, "sums round 3: accepted");
    assert_file_gone(&h, "encoded-3.bin");
    end(&h);
}

static void test_secure__evaluates_under_the_mask(void **state)
{
    (void)state;
    host h;
    begin_secure(&h, 100);
    script s = coordinator_script(&h.c);
    s.task = WEFT_TASK_EVALUATE;
    coordinator_tell(&h.c, &s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.sums, 1);
    assert_int_equal(n.sum_weight, 40);
    assert_int_equal(n.metrics.n, 0);
    assert_int_equal(n.n_examples, 0);
    assert_true(n.task_bytes > 0 && n.task_bytes < 100);
    end(&h);
}

static void test_secure__goes_on_over_broken_lines(void **state)
{
    (void)state;
    host h;
    begin_secure(&h, 1000000);
    script s = coordinator_script(&h.c);
    s.cut_step = true;
    s.cut_upload_at = 1500000;
    s.lose_receipt = true;
    coordinator_tell(&h.c, &s);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).sums, 1);
    assert_int_equal(h.trained, 1);
    assert_last_outcome(&h, "sums round 1: accepted");
    end(&h);
}

/* ---- crashes -------------------------------------------------------------------------------- */

/* What the process that is killed does: argv is STATE STEP KIND. */
static int run_and_die(char **argv)
{
    host h;
    memset(&h, 0, sizeof h);
    const weft_client_options defaults = WEFT_CLIENT_OPTIONS_INIT;
    h.options = defaults;
    (void)snprintf(h.state, sizeof h.state, "%s", argv[0]);
    h.kill_at_step = (int)strtol(argv[1], NULL, 10);
    h.kill_at = (int)strtol(argv[2], NULL, 10);
    open_host(&h);
    (void)!weft_client_run(h.client, NULL);
    return 1;
}

/* Another process works with the host's folder until it is killed at that step, or event. */
static void kill_another(host *h, int step, int kind)
{
    char words[2][16];
    (void)snprintf(words[0], sizeof words[0], "%d", step);
    (void)snprintf(words[1], sizeof words[1], "%d", kind);
    close_host(h);
    char *const argv[] = {(char *)(uintptr_t)this_program,
                          (char *)(uintptr_t) "--die",
                          h->state,
                          words[0],
                          words[1],
                          NULL};
    pid_t pid = 0;
    int how = 0;
    assert_int_equal(posix_spawn(&pid, this_program, NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

/* The process is killed at an event, and a new one goes on with what lies in the folder. The
 * coordinator takes no second version of any message, and the sum is right. */
static void die_and_go_on(int step, int kind)
{
    host h;
    begin_secure(&h, 1000);
    kill_another(&h, step, kind);
    open_host(&h);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).sums, 1);
    assert_int_equal(h.trained, 0); /* not again */
    assert_last_outcome(&h, "sums round 1: accepted");
    end(&h);
}

static void test_secure__kill_9_at_any_step(void **state)
{
    (void)state;
    die_and_go_on(0, WEFT_CLIENT_TRAINED);
    for (int step = 1; step <= 4; step++) {
        die_and_go_on(step, 0);
    }
    die_and_go_on(0, WEFT_CLIENT_UPLOADED);
}

/* ---- lies ----------------------------------------------------------------------------------- */

/* Until the client has told somebody what became of its assignment. */
static void run_until_told(host *h)
{
    weft_status status = WEFT_E_AGAIN;
    while (status == WEFT_E_AGAIN && !h->given_up[0]) {
        status = weft_client_step(h->client, 50, NULL);
    }
    while (status == WEFT_E_AGAIN && coordinator_seen(&h->c).abandons == 0) {
        status = weft_client_step(h->client, 50, NULL);
    }
}

typedef struct lie {
    uint32_t type;
    size_t offset;
    size_t again;
    uint8_t value;
    const char *why;
    uint32_t reason;
} lie;

static void test_secure__leaves_a_lying_coordinator(void **state)
{
    (void)state;
    /* roster: 36 bytes, n, k, t, entries of alice, bob, carol, dave, bob's index, his c_pk ... */
    const size_t bobs_key = 36 + 8 + 4 * 33 + 5 + 3 + 5 + 4 + 4;
    const lie lies[] = {
        {WEFT_SECAGG_ROSTER, bobs_key, 0, 1, "keys not those of the roster (bob)",
         WEFT_SECAGG_LEAF},
        {WEFT_SECAGG_ROSTER, 40, 0, 1, "secure aggregation: ", 0},
        {WEFT_SECAGG_DELIVERY, 36 + 2 + 1 + 7, 0, 1, "share does not decrypt (bob)",
         WEFT_SECAGG_SHARE},
        {WEFT_SECAGG_SURVIVORS, 36 + 2, 0, 1, "called dropped", WEFT_SECAGG_SELF_DROPPED},
        {WEFT_SECAGG_SURVIVORS, 36 + 2 + 1 + 1, 0, 1, "both kinds of share (bob)",
         WEFT_SECAGG_BOTH_KINDS},
        {WEFT_SECAGG_UNMASK, 36 + 2 + 1, 36 + 2 + 1 + 1, 1, "too few alive",
         WEFT_SECAGG_TOO_FEW_ALIVE},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        host h;
        begin_secure(&h, 100);
        script s = coordinator_script(&h.c);
        s.lie_type = lies[i].type;
        s.lie_offset = lies[i].offset;
        s.lie_again = lies[i].again;
        s.lie_value = lies[i].value;
        coordinator_tell(&h.c, &s);
        run_until_told(&h);
        const seen n = coordinator_seen(&h.c);
        if (!strstr(h.given_up, lies[i].why) || !strstr(n.reason, lies[i].why)) {
            fail_msg("lie %zu: owner hears '%s', coordinator '%s', wanted '%s'", i, h.given_up,
                     n.reason, lies[i].why);
        }
        if (lies[i].reason) {
            assert_int_equal(n.left_reason, lies[i].reason);
        }
        assert_int_equal(h.n_of_kind[WEFT_CLIENT_ABANDONED], 1);
        assert_int_equal(n.sums, 0);
        assert_last_outcome_says(&h, lies[i].why);
        end(&h);
    }
}

static void test_secure__masks_no_round_twice(void **state)
{
    (void)state;
    host h;
    begin_secure(&h, 100);
    script s = coordinator_script(&h.c);
    s.n_assignments = 2;
    s.round = 5; /* both */
    coordinator_tell(&h.c, &s);
    run_until_told(&h);
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_DECLINED], 1);
    assert_int_equal(h.trained, 1);
    assert_int_equal(coordinator_seen(&h.c).sums, 1);
    assert_non_null(strstr(coordinator_seen(&h.c).reason, "second attempt after masked input"));
    end(&h);
}

static void test_secure__remembers_members(void **state)
{
    (void)state;
    host h;
    begin_secure(&h, 100);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).sums, 1);
    script s = coordinator_script(&h.c);
    s.n_assignments = 2;
    s.strange_member = true;
    coordinator_tell(&h.c, &s);
    close_host(&h);
    open_host(&h); /* another process remembers, too */
    run_until_told(&h);
    assert_non_null(strstr(h.given_up, "member key changed (bob)"));
    assert_int_equal(coordinator_seen(&h.c).left_reason, WEFT_SECAGG_KEY_CHANGED);
    assert_int_equal(coordinator_seen(&h.c).sums, 1);
    end(&h);
}

/* ---- the owner's policy --------------------------------------------------------------------- */

static void test_secure__declines_less_than_the_owner_wants(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        host h;
        begin_secure(&h, 100);
        script s = coordinator_script(&h.c);
        s.curious = i == 0;
        s.secure_aggregation = i != 1;
        if (i == 2) {
            close_host(&h);
            h.options.gamma = 0.2;
            open_host(&h);
        }
        coordinator_tell(&h.c, &s);
        run_until_told(&h);
        static const char *const why[] = {"against curious coordinators", "no secure aggregation",
                                          "gamma 0.05"};
        assert_non_null(strstr(h.given_up, why[i]));
        assert_int_equal(h.n_of_kind[WEFT_CLIENT_DECLINED], 1);
        assert_int_equal(h.trained, 0);
        end(&h);
    }
}

static void test_secure__options_have_ranges(void **state)
{
    (void)state;
    weft_client *client = NULL;
    weft_client_options o = WEFT_CLIENT_OPTIONS_INIT;
    weft_error err = WEFT_ERROR_INIT;
    o.state_dir = "/nonexistent/x";
    o.adversary = 3;
    assert_int_equal(weft_client_open(&client, &o, &err), WEFT_E_INVALID);
    assert_non_null(strstr(err.message, "adversary 3"));
    o.adversary = WEFT_POLICY_CURIOUS;
    o.gamma = 0.91;
    assert_int_equal(weft_client_open(&client, &o, &err), WEFT_E_INVALID);
    assert_non_null(strstr(err.message, "gamma 0.91"));
}

/* ---- the disk ------------------------------------------------------------------------------- */

/* While the session is open its state lies in client.db, which is its owner's alone; when it has
 * ended nothing of it is left. */
static void test_secure__leaves_no_secret_on_disk(void **state)
{
    (void)state;
    host h;
    begin_secure(&h, 100);
    kill_another(&h, 2, 0); /* masking: shares and keys are there */
    char path[4200];
    struct stat st;
    assert_ok(weft_path_join(path, sizeof path, h.state, "client.db", &assert_err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    uint8_t piece[32];
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT secure FROM work", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    const int n = sqlite3_column_bytes(stmt, 0);
    assert_true(n > 200);
    memcpy(piece, (const uint8_t *)sqlite3_column_blob(stmt, 0) + n / 3, sizeof piece);
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_true(on_disk(&h, piece, sizeof piece)); /* the search can find it */
    open_host(&h);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).sums, 1);
    assert_false(on_disk(&h, piece, sizeof piece));
    assert_file_gone(&h, "encoded-1.bin");
    end(&h);
}

static int count_of(const host *h, const char *query)
{
    char path[4200];
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_ok(weft_path_join(path, sizeof path, h->state, "client.db", &assert_err));
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    const int n = sqlite3_column_int(stmt, 0);
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return n;
}

/* One row a job stands for all its rounds: what a client remembers does not grow with them. */
static void test_secure__forgets_the_contexts_of_masked_rounds(void **state)
{
    (void)state;
    host h;
    begin_secure(&h, 100);
    kill_another(&h, 2, 0); /* masking: a context was begun, and its round not masked */
    assert_int_equal(count_of(&h, "SELECT count(*) FROM context WHERE round = 1"), 1);
    assert_int_equal(count_of(&h, "SELECT count(*) FROM masked_round"), 0);
    open_host(&h);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).sums, 1);
    assert_int_equal(count_of(&h, "SELECT count(*) FROM context"), 0);
    assert_int_equal(count_of(&h, "SELECT count(*) FROM masked_round WHERE round = 1"), 1);
    end(&h);
}

int main(int argc, char **argv)
{
    this_program = argv[0];
    if (argc == 5 && strcmp(argv[1], "--die") == 0) {
        return run_and_die(argv + 2);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secure__round_by_round),
        cmocka_unit_test(test_secure__evaluates_under_the_mask),
        cmocka_unit_test(test_secure__goes_on_over_broken_lines),
        cmocka_unit_test(test_secure__kill_9_at_any_step),
        cmocka_unit_test(test_secure__leaves_a_lying_coordinator),
        cmocka_unit_test(test_secure__masks_no_round_twice),
        cmocka_unit_test(test_secure__remembers_members),
        cmocka_unit_test(test_secure__declines_less_than_the_owner_wants),
        cmocka_unit_test(test_secure__options_have_ranges),
        cmocka_unit_test(test_secure__leaves_no_secret_on_disk),
        cmocka_unit_test(test_secure__forgets_the_contexts_of_masked_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Central evaluation over a CSV and over drawn digits. */
#include "support/support.h"

#include "base/file.h"
#include "eval/eval.h"
#include "model/layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char spec_text[] = "input 2\ndense units=2\nloss softmax_cross_entropy\n";
static const char schema_text[] = "column a numeric\ncolumn b numeric\ntarget c classes=2\n";
static const char train_csv[] = "a,b,c\n1,0,0\n0,1,1\n";
static const char test_csv[] = "a,b,c\n1,0,0\n0,1,1\n0,1,0\n1,1,0\n";

/* Logits a and b: weights [2][2] the identity, no bias. */
static const float identity[6] = {1.0F, 0.0F, 0.0F, 1.0F, 0.0F, 0.0F};

static void put(const char *dir, const char *name, const char *text)
{
    char path[4096];
    assert_ok(weft_path_join(path, sizeof path, dir, name, &assert_err));
    assert_ok(weft_file_write(path, text, strlen(text), 0600, &assert_err));
}

static weft_eval *eval_of(const char *dir)
{
    weft_eval *eval = NULL;
    assert_ok(weft_eval_new(&eval, spec_text, schema_text, dir, &weft_alloc_std, &assert_err));
    return eval;
}

static double metric(const weft_eval_result *r, const char *name)
{
    double v = nan("");
    assert_true(weft_metrics_get(&r->metrics, name, &v));
    return v;
}

static void test_eval_run__of_four_lines(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    put(dir, "train.csv", train_csv);
    weft_eval *eval = eval_of(dir); /* there is no test part */
    weft_eval_result r;
    assert_ok(weft_eval_run(&r, eval, identity, 6, NULL, NULL, &assert_err));
    assert_int_equal(r.n_examples, 2);
    assert_true(fabs(metric(&r, "loss") - log1p(exp(-1.0))) < 1e-6);
    assert_true(metric(&r, "accuracy") == 1.0);
    weft_eval_free(eval);
    put(dir, "test.csv", test_csv);
    eval = eval_of(dir);
    assert_ok(weft_eval_run(&r, eval, identity, 6, NULL, NULL, &assert_err));
    assert_int_equal(r.n_examples, 4);
    const double want = (2.0 * log1p(exp(-1.0)) + log1p(exp(1.0)) + log(2.0)) / 4.0;
    assert_true(fabs(metric(&r, "loss") - want) < 1e-6);
    assert_true(metric(&r, "accuracy") == 0.75); /* a tie is the first class's */
    weft_eval_free(eval);
    test_dir_done(dir);
}

static bool at_once(void *arg)
{
    (void)arg;
    return true;
}

static void test_eval_run__refuses_and_stops(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    put(dir, "test.csv", test_csv);
    weft_eval *eval = eval_of(dir);
    weft_eval_result r = {.n_examples = 77};
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_eval_run(&r, eval, identity, 5, NULL, NULL, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, "the version has 5 weights, the model 6");
    assert_int_equal(weft_eval_run(&r, eval, identity, 6, at_once, NULL, NULL), WEFT_E_CANCELED);
    const float broken[6] = {NAN, 0.0F, 0.0F, 1.0F, 0.0F, 0.0F};
    assert_int_equal(weft_eval_run(&r, eval, broken, 6, NULL, NULL, NULL), WEFT_E_INVALID);
    assert_int_equal(r.n_examples, 77);
    weft_eval_free(eval);
    test_dir_done(dir);
}

static void assert_refused(const char *spec, const char *schema, const char *path, weft_status want)
{
    weft_eval *eval = NULL;
    weft_err err = WEFT_ERR_INIT;
    const weft_status status = weft_eval_new(&eval, spec, schema, path, &weft_alloc_std, &err);
    if (status != want) {
        fail_msg("%s: %s", weft_status_name(status), err.msg);
    }
    assert_null(eval);
    assert_true(err.msg[0] != '\0');
}

static void test_eval_new__says_what_is_wrong(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    assert_refused(spec_text, schema_text, dir, WEFT_E_NOTFOUND);
    put(dir, "test.csv", test_csv);
    assert_refused(spec_text, NULL, dir, WEFT_E_INVALID);
    assert_refused(spec_text, "column a nonsense\n", dir, WEFT_E_FORMAT);
    assert_refused("input 2\n", schema_text, dir, WEFT_E_FORMAT);
    assert_refused("tensor a 4\n", schema_text, dir, WEFT_E_INVALID);
    assert_refused("input 3\ndense units=2\nloss softmax_cross_entropy\n", schema_text, dir,
                   WEFT_E_INVALID);
    put(dir, "test.csv", "a,b,c\n1,x,0\n");
    assert_refused(spec_text, schema_text, dir, WEFT_E_FORMAT);
    test_dir_done(dir);
}

static void test_eval_run__of_images(void **state)
{
    (void)state;
    static const char text[] =
        "input 28x28x1\nflatten\ndense units=10 init=zero\nloss softmax_cross_entropy\n";
    weft_eval *eval = NULL;
    float *w = calloc(7850, sizeof *w);
    assert_non_null(w);
    assert_ok(weft_eval_new(&eval, text, "", "digits:7:130", &weft_alloc_std, &assert_err));
    weft_eval_result r;
    assert_ok(weft_eval_run(&r, eval, w, 7850, NULL, NULL, &assert_err));
    assert_int_equal(r.n_examples, 130);
    assert_true(fabs(metric(&r, "loss") - log(10.0)) < 1e-5); /* of a model that knows nothing */
    weft_eval_free(eval);
    free(w);
}

static weft_status new_eval(const weft_alloc *a, void *arg)
{
    weft_eval *eval = NULL;
    weft_status status = weft_eval_new(&eval, spec_text, schema_text, arg, a, NULL);
    if (status == WEFT_OK) {
        weft_eval_result r;
        status = weft_eval_run(&r, eval, identity, 6, NULL, NULL, NULL);
    }
    weft_eval_free(eval);
    return status;
}

static void test_eval_new__every_allocation_may_fail(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    put(dir, "test.csv", test_csv);
    test_every_allocation_may_fail(new_eval, dir);
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_run__of_four_lines),
        cmocka_unit_test(test_eval_run__refuses_and_stops),
        cmocka_unit_test(test_eval_new__says_what_is_wrong),
        cmocka_unit_test(test_eval_run__of_images),
        cmocka_unit_test(test_eval_new__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

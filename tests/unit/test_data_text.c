/* SPDX-License-Identifier: Apache-2.0 */
/* data/text: characters, roles, windows; parts by role; and an LSTM that learns from them. */
#include "support/support.h"

#include "base/file.h"
#include "base/limits.h"
#include "data/load.h"
#include "data/text.h"
#include "nn/train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static weft_status read_text(weft_data **ret, const char *text, size_t size, uint32_t window,
                             uint32_t stride, const weft_alloc *a, weft_err *err)
{
    weft_source source;
    weft_source_init_bytes(&source, text, size, "input");
    return weft_text_read(ret, &source, window, stride, a, err);
}

static const char play[] = "A:\nab\n\nB:\nxyz\n\nA:\nc\n";

/* A says "ab\nc\n", B says "xyz\n". */
static void test_text_read__windows_of_each_role(void **state)
{
    (void)state;
    weft_data *d = NULL;
    assert_ok(read_text(&d, play, sizeof play - 1, 3, 1, &weft_alloc_std, &assert_err));
    const uint8_t want[][4] = {
        {'a', 0, 0, 'b'}, {'a', 'b', 0, '\n'}, {'a', 'b', '\n', 'c'}, {'b', '\n', 'c', '\n'},
        {'x', 0, 0, 'y'}, {'x', 'y', 0, 'z'},  {'x', 'y', 'z', '\n'},
    };
    assert_int_equal(d->n, 7);
    assert_int_equal(d->n_features, 3);
    assert_int_equal(d->shape.rank, 2);
    assert_int_equal(d->n_classes, WEFT_TEXT_CLASSES);
    for (uint32_t i = 0; i < 7; i++) {
        for (uint32_t k = 0; k < 3; k++) {
            const float x = d->f32[i * 3 + k];
            assert_true(want[i][k] ? x == (float)weft_text_class(want[i][k]) : x == -1.0F);
        }
        assert_int_equal(d->classes[i], weft_text_class(want[i][3]));
        assert_int_equal(d->groups[i], i >= 4);
    }
    assert_int_equal(d->n_groups, 2);
    assert_string_equal(d->group_names[0], "A");
    assert_string_equal(d->group_names[1], "B");
    weft_data_free(d);
    assert_ok(read_text(&d, play, sizeof play - 1, 3, 2, &weft_alloc_std, &assert_err));
    assert_int_equal(d->n, 4); /* b and c, y and the end of the line */
    assert_int_equal(d->classes[1], weft_text_class('c'));
    weft_data_free(d);
}

static void test_text_class__of_each_byte(void **state)
{
    (void)state;
    assert_int_equal(weft_text_class('\n'), 0);
    assert_int_equal(weft_text_class(' '), 1);
    assert_int_equal(weft_text_class('~'), 95);
    assert_int_equal(weft_text_class(0x7f), 96);
    assert_int_equal(weft_text_class('\t'), 96);
    assert_int_equal(weft_text_class(0xff), 96);
}

static void test_text_read__limits(void **state)
{
    (void)state;
    weft_data *d = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(read_text(&d, "A:\nab", 5, 0, 1, &weft_alloc_std, NULL), WEFT_E_LIMIT);
    assert_int_equal(read_text(&d, "A:\nab", 5, 1, 0, &weft_alloc_std, NULL), WEFT_E_LIMIT);
    assert_int_equal(read_text(&d, "A:\nab", 5, WEFT_MAX_TEXT_WINDOW + 1, 1, &weft_alloc_std, NULL),
                     WEFT_E_LIMIT);
    assert_ok(read_text(&d, "A:\nab", 5, WEFT_MAX_TEXT_WINDOW, 1, &weft_alloc_std, &assert_err));
    assert_int_equal(d->n, 2);
    weft_data_free(d);
    assert_int_equal(read_text(&d, "A:\n\nB:\n", 7, 5, 1, &weft_alloc_std, &err), WEFT_E_FORMAT);
    assert_string_equal(err.msg, "the text has no role with two characters");
    assert_int_equal(read_text(&d, "", 0, 5, 1, &weft_alloc_std, NULL), WEFT_E_FORMAT);
    /* the size, one below, at and one above; a stride that leaves one example */
    char *text = malloc(WEFT_MAX_TEXT_BYTES + 1);
    assert_non_null(text);
    memset(text, 'a', WEFT_MAX_TEXT_BYTES + 1);
    for (size_t size = WEFT_MAX_TEXT_BYTES - 1; size <= WEFT_MAX_TEXT_BYTES; size++) {
        assert_ok(read_text(&d, text, size, 2, UINT32_MAX, &weft_alloc_std, &assert_err));
        assert_int_equal(d->n, 1);
        weft_data_free(d);
    }
    assert_int_equal(read_text(&d, text, WEFT_MAX_TEXT_BYTES + 1, 2, 1, &weft_alloc_std, NULL),
                     WEFT_E_LIMIT);
    /* roles */
    size_t n = 0;
    for (unsigned i = 0; i <= WEFT_MAX_TEXT_ROLES; i++) {
        if (i == WEFT_MAX_TEXT_ROLES) {
            assert_ok(read_text(&d, text, n, 1, 1, &weft_alloc_std, &assert_err));
            assert_int_equal(d->n_groups, WEFT_MAX_TEXT_ROLES);
            weft_data_free(d);
        }
        n += (size_t)snprintf(text + n, 32, "R%u:\nab\n\n", i);
    }
    assert_int_equal(read_text(&d, text, n, 1, 1, &weft_alloc_std, NULL), WEFT_E_LIMIT);
    free(text);
}

static weft_status try_read(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_data *d = NULL;
    const weft_status status = read_text(&d, play, sizeof play - 1, 3, 1, a, NULL);
    if (status == WEFT_OK) {
        weft_data_free(d);
    }
    return status;
}

static void test_text_read__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(try_read, NULL);
}

static void test_data_load__parts_of_a_text_are_roles(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char path[512];
    char locator[600];
    weft_data *d = NULL;
    weft_err err = WEFT_ERR_INIT;
    (void)snprintf(path, sizeof path, "%s/play.txt", dir);
    assert_ok(weft_file_write(path, play, sizeof play - 1, 0600, &assert_err));
    const uint32_t counts[] = {4, 3};
    for (uint32_t part = 1; part <= 2; part++) {
        (void)snprintf(locator, sizeof locator, "text:3:1:%s#%u/2", path, part);
        assert_ok(
            weft_data_load(&d, locator, WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, &assert_err));
        assert_int_equal(d->n, counts[part - 1]);
        weft_data_free(d);
    }
    (void)snprintf(locator, sizeof locator, "text:3:1:%s#3/3", path);
    assert_int_equal(weft_data_load(&d, locator, WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, &err),
                     WEFT_E_INVALID);
    assert_string_equal(err.msg, "part 3 of 3 has no text: there are 2 roles");
    static const char *const bad[] = {"text:3:1:",     "text:0:1:p", "text:3:0:p", "text:3:p",
                                      "text:4097:1:p", "text:x:1:p", "text:"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(weft_data_load(&d, bad[i], WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, NULL),
                         WEFT_E_INVALID);
    }
    test_dir_done(dir);
}

/* The character behind each one is fixed by the two before it: what an LSTM must find. */
static void test_train__an_lstm_learns_a_small_text(void **state)
{
    (void)state;
    static const char model[] = "input tokens=6 vocab=97\nembedding dims=8\nlstm units=24\nlast\n"
                                "dense units=97\nloss softmax_cross_entropy\n";
    char text[400] = "A:\n";
    while (strlen(text) < 300) {
        strcat(text, "to be or not to bo ");
    }
    weft_data *d = NULL;
    assert_ok(read_text(&d, text, strlen(text), 6, 1, &weft_alloc_std, &assert_err));
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    weft_trainer_state *trainer = NULL;
    assert_ok(weft_spec_parse(&spec, model, strlen(model), &weft_alloc_std, &assert_err));
    assert_ok(weft_data_fits(d, spec, &assert_err));
    assert_ok(weft_layout_new(&layout, spec, &weft_alloc_std, &assert_err));
    assert_ok(weft_trainer_state_new(&trainer, spec, NULL, &weft_alloc_std, &assert_err));
    float *w = calloc((size_t)layout->n_params, sizeof *w);
    assert_non_null(w);
    weft_layout_init_weights(w, layout, spec, 1);
    const weft_arrays arrays = {
        .n_examples = d->n, .n_features = d->n_features, .features = d->f32, .labels = d->classes};
    const weft_batch_source source = weft_arrays_source(&arrays);
    weft_plan plan = WEFT_PLAN_INIT;
    plan.optimizer = WEFT_OPTIMIZER_ADAM;
    plan.learning_rate = 0.01;
    plan.batch_size = 10;
    plan.epochs = 20;
    plan.numerics = WEFT_NUMERICS_PORTABLE;
    weft_train_result before;
    weft_train_result after;
    assert_ok(weft_evaluate(&before, trainer, w, &source, NULL, &assert_err));
    assert_ok(weft_train(&after, trainer, w, &plan, 1, &source, NULL, &assert_err));
    assert_ok(weft_evaluate(&after, trainer, w, &source, NULL, &assert_err));
    assert_true(before.accuracy < 0.3);
    assert_true(after.accuracy > 0.9);
    free(w);
    weft_trainer_state_free(trainer);
    weft_layout_free(layout);
    weft_spec_free(spec);
    weft_data_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_read__windows_of_each_role),
        cmocka_unit_test(test_text_class__of_each_byte),
        cmocka_unit_test(test_text_read__limits),
        cmocka_unit_test(test_text_read__every_allocation_may_fail),
        cmocka_unit_test(test_data_load__parts_of_a_text_are_roles),
        cmocka_unit_test(test_train__an_lstm_learns_a_small_text),
    };
    return cmocka_run_group_tests_name("data_text", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* config: job files, each mistake with its line, and back to YAML. */
#include "support/support.h"

#include "base/file.h"
#include "base/limits.h"
#include "config/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD                                                                                       \
    "name: j\n"                                                                                    \
    "dataset: d\n"                                                                                 \
    "model: |\n"                                                                                   \
    "  input 3\n"                                                                                  \
    "  dense units=2\n"                                                                            \
    "  loss softmax_cross_entropy\n"
/* what follows HEAD begins in line 7 */

static weft_status parse(weft_job_def *def, const char *text, weft_err *err)
{
    return weft_job_yaml_parse(def, "job.yaml", text, strlen(text), &weft_alloc_std, err);
}

static void assert_refused(const char *text, weft_status status, const char *message)
{
    weft_job_def def;
    weft_err err = WEFT_ERR_INIT;
    const weft_status got = parse(&def, text, &err);
    assert_string_equal(err.msg, message);
    assert_int_equal(got, status);
}

static weft_job_def parsed(const char *text)
{
    weft_job_def def;
    assert_ok(parse(&def, text, &assert_err));
    return def;
}

/* ---- good files ------------------------------------------------------------------------------ */

static void test_job_yaml_parse__defaults_are_the_definitions(void **state)
{
    (void)state;
    weft_job_def def = parsed(HEAD);
    weft_job_def want;
    weft_job_def_init(&want);
    assert_string_equal(def.name, "j");
    assert_string_equal(def.dataset, "d");
    assert_string_equal(def.model_spec, "input 3\ndense units=2\nloss softmax_cross_entropy\n");
    assert_null(def.data_schema);
    assert_memory_equal(&def.plan, &want.plan, sizeof want.plan);
    assert_int_equal(def.target, want.target);
    assert_int_equal(def.minimum, want.minimum);
    assert_int_equal(def.deadline_ms, want.deadline_ms);
    assert_int_equal(def.rounds, want.rounds);
    assert_int_equal(def.secure_aggregation, WEFT_SECURE_BY_DEFAULT);
    assert_memory_equal(&def.secure, &want.secure, sizeof want.secure);
    weft_job_def_done(&def, &weft_alloc_std);
}

static void test_job_yaml_parse__every_field(void **state)
{
    (void)state;
    weft_job_def def =
        parsed("# a comment\n"
               "name: \"every.field-1\"\n"
               "dataset: heart\n"
               "task: train\n"
               "data: |\n"
               "  csv header=0 missing=?\n"
               "  column age numeric mean=54 std=9\n"
               "  column cp categorical values=1,2\n"
               "  target num classes=2 positive_above=0\n"
               "model: |\n"
               "  # the features\n"
               "  input 3x1x1\n"
               "  flatten\n"
               "  dense units=2 init=zero\n"
               "  loss softmax_cross_entropy\n"
               "train: {optimizer: adam, learning_rate: 1e-3, momentum: 0.5, weight_decay: 0.01,\n"
               "  beta1: 0.8, beta2: 0.9, epsilon: 1e-6, batch_size: all, epochs: 7, seed: "
               "18446744073709551615,\n"
               "  prox_mu: 0.25, numerics: portable, schedule: step, schedule_rounds: 9,\n"
               "  schedule_factor: 0.75, warmup_rounds: 1.5, clip_gradient: 2.5, early_stop: 3,\n"
               "  augment_shift: 2, augment_crop: 0, augment_flip: on}\n"
               "round: {target: 4, minimum: 3, over_selection: 2.5, deadline: 90s, lease: 1500ms,\n"
               "  max_attempts: 9, backoff: 0s, selection_window: 2m}\n"
               "aggregation: {method: fedavg, clip_norm: 12.5, max_examples: 2147483648, "
               "durability: round,\n"
               "  secure: true}\n"
               "secure: {adversary: curious, gamma: 0.25, delta: 0.5, min_colluders: 0,\n"
               "  phase_deadline: 45s}\n"
               "evaluation: {clients: 3, every: 3, deadline: 1h, data: /srv/held out.csv}\n"
               "stop: {rounds: 50, target: {metric: loss, value: -0.5}, patience: 4}\n"
               "init:\n"
               "  version: 000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n"
               "seed: 9\n");
    assert_string_equal(def.name, "every.field-1");
    assert_int_equal(def.plan.optimizer, WEFT_OPTIMIZER_ADAM);
    assert_true(def.plan.learning_rate == 1e-3 && def.plan.momentum == 0.5);
    assert_true(def.plan.weight_decay == 0.01 && def.plan.beta1 == 0.8 && def.plan.beta2 == 0.9);
    assert_true(def.plan.epsilon == 1e-6 && def.plan.batch_size == 0 && def.plan.epochs == 7);
    assert_true(def.plan.seed == UINT64_MAX && def.plan.prox_mu == 0.25);
    assert_int_equal(def.plan.numerics, WEFT_NUMERICS_PORTABLE);
    assert_true(def.plan.schedule == WEFT_SCHEDULE_STEP && def.plan.schedule_rounds == 9);
    assert_true(def.plan.schedule_factor == 0.75 && def.plan.warmup_rounds == 1.5);
    assert_true(def.plan.clip_gradient == 2.5 && def.plan.early_stop == 3);
    assert_true(def.plan.augment_shift == 2 && def.plan.augment_crop == 0 && def.plan.augment_flip);
    assert_true(def.target == 4 && def.minimum == 3 && def.over_selection == 2.5);
    assert_true(def.deadline_ms == 90000 && def.lease_ms == 1500 && def.max_attempts == 9);
    assert_true(def.backoff_ms == 0 && def.selection_window_ms == 120000);
    assert_true(def.clip_norm == 12.5 && def.max_examples == WEFT_MAX_EXAMPLES);
    assert_int_equal(def.durability, WEFT_DURABILITY_ROUND);
    assert_true(def.secure_aggregation && def.secure.adversary == WEFT_ADVERSARY_CURIOUS);
    assert_true(def.secure.gamma == 0.25 && def.secure.delta == 0.5);
    assert_true(def.secure.min_colluders == 0 && def.secure.phase_deadline_ms == 45000);
    assert_true(def.eval_clients == 3 && def.eval_every == 3 && def.eval_deadline_ms == 3600000);
    assert_string_equal(def.eval_data, "/srv/held out.csv");
    assert_true(def.rounds == 50 && def.target_value == -0.5 && def.patience == 4);
    assert_string_equal(def.target_metric, "loss");
    assert_true(def.has_init_version && def.init_version[31] == 0x1f && def.seed == 9);
    assert_non_null(strstr(def.data_schema, "column age numeric mean=54 std=9\n"));
    weft_job_def_done(&def, &weft_alloc_std);
}

static void test_job_yaml_parse__defaults_give_way(void **state)
{
    (void)state;
    weft_job_def def = parsed(HEAD "round: {target: 1, deadline: 30s}\n"
                                   "aggregation: {secure: false}\n");
    assert_int_equal(def.minimum, 1);
    assert_int_equal(def.lease_ms, 30000);
    assert_int_equal(def.plan.numerics, WEFT_NUMERICS_FAST);
    weft_job_def_done(&def, &weft_alloc_std);
    def = parsed(HEAD "train: {schedule: cosine}\nstop: {rounds: 70}\n"); /* as long as the job */
    assert_true(def.plan.schedule_rounds == 70 && def.plan.schedule_factor == 0.0);
    weft_job_def_done(&def, &weft_alloc_std);
    def = parsed(HEAD "train: {schedule: step, schedule_rounds: 5}\n");
    assert_true(def.plan.schedule_rounds == 5 && def.plan.schedule_factor == 0.1);
    weft_job_def_done(&def, &weft_alloc_std);
}

static void test_job_yaml_parse__a_stats_job_needs_only_its_schema(void **state)
{
    (void)state;
    weft_job_def def = parsed("name: s\ndataset: d\ntask: stats\ndata: |\n"
                              "  column age numeric\n"
                              "  target num classes=2\n");
    assert_int_equal(def.task, WEFT_TASK_STATS);
    assert_non_null(strstr(def.model_spec, "tensor stats "));
    assert_int_equal(def.rounds, 1);
    assert_true(def.clip_norm > 100.0);
    weft_job_def_done(&def, &weft_alloc_std);
}

static void test_job_yaml_load__the_example_of_the_quickstart(void **state)
{
    (void)state;
    weft_job_def def;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/examples/quickstart/digits.yaml", test_source_root());
    assert_ok(weft_job_yaml_load(&def, path, &weft_alloc_std, &assert_err));
    assert_string_equal(def.name, "digits");
    assert_int_equal(def.target, 6);
    assert_true(def.target_value == 0.95);
    weft_job_def_done(&def, &weft_alloc_std);
    assert_int_equal(weft_job_yaml_load(&def, "/nonexistent/job.yaml", &weft_alloc_std, NULL),
                     WEFT_E_NOTFOUND);
}

/* ---- back to YAML ---------------------------------------------------------------------------- */

static void assert_round_trip(weft_job_def *def)
{
    weft_buf first;
    weft_buf second;
    weft_buf_init(&first, &weft_alloc_std, WEFT_MAX_YAML_BYTES);
    weft_buf_init(&second, &weft_alloc_std, WEFT_MAX_YAML_BYTES);
    assert_ok(weft_job_yaml_print(def, &first, &assert_err));
    weft_job_def again = parsed(weft_buf_text(&first));
    assert_ok(weft_job_yaml_print(&again, &second, &assert_err));
    assert_string_equal(weft_buf_text(&first), weft_buf_text(&second));
    assert_memory_equal(&def->plan, &again.plan, sizeof again.plan);
    assert_string_equal(def->model_spec, again.model_spec);
    assert_int_equal(def->has_init_version, again.has_init_version);
    weft_buf_done(&first);
    weft_buf_done(&second);
    weft_job_def_done(&again, &weft_alloc_std);
    weft_job_def_done(def, &weft_alloc_std);
}

static void test_job_yaml_print__parses_to_the_same(void **state)
{
    (void)state;
    weft_job_def def = parsed(HEAD);
    assert_round_trip(&def);
    def = parsed(
        HEAD "train: {batch_size: all, learning_rate: 0.1, optimizer: adam}\n"
             "round: {deadline: 1234567ms, backoff: 0s, lease: 7s}\n"
             "evaluation: {data: 'with \"quotes\" and \\ and # and: colons'}\n"
             "stop: {target: {metric: accuracy, value: 0.1}}\n"
             "aggregation: {durability: round, max_examples: 7, secure: false, keep_updates: 9}\n"
             "init: {version: "
             "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff}\n");
    assert_round_trip(&def);
    def = parsed("name: j\ndataset: d\nmodel: |\n  input 4x4x1\n  flatten\n  dense units=2\n"
                 "  loss softmax_cross_entropy weights=1,2.5\n  metrics auc recall\n"
                 "train: {schedule: cosine, schedule_factor: 0.01, warmup_rounds: 0.3,\n"
                 "  clip_gradient: 1e-3, early_stop: 2, augment_crop: 3, augment_flip: true}\n");
    assert_round_trip(&def);
    def = parsed("name: 12\ndataset: 'null'\ntask: stats\ndata: |\n"
                 "  csv delimiter=tab comment=%\n"
                 "  column \"a, b\" numeric mean=0.1 std=1e-300\n"
                 "  column c categorical values=x,\"y \"\"z\"\"\" other=1\n"
                 "  target num classes=2\n");
    assert_round_trip(&def);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

static void test_job_yaml_parse__each_mistake_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {HEAD "trian:\n  epochs: 1\n", "job.yaml:7: trian: unknown field; did you mean train?"},
        {HEAD "train:\n  epoch: 1\n",
         "job.yaml:8: train.epoch: unknown field; did you mean epochs?"},
        {HEAD "epochs: 1\n", "job.yaml:7: epochs: unknown here; did you mean train.epochs?"},
        {HEAD "xyzzy: 1\n", "job.yaml:7: xyzzy: unknown field"},
        {HEAD "train:\n  epochs: 1\n  epochs: 2\n",
         "job.yaml:9: train.epochs: given twice, first in line 8"},
        {HEAD "name: other\n", "job.yaml:7: name: given twice, first in line 1"},
        {HEAD "round:\n\n  minimum: 0\n",
         "job.yaml:9: round.minimum: 0 is out of range (1 to 100000)"},
        {HEAD "round: {target: 100001}\n",
         "job.yaml:7: round.target: 100001 is out of range (1 to 100000)"},
        {HEAD "train: {epochs: ten}\n", "job.yaml:7: train.epochs: \"ten\" is not a whole number"},
        {HEAD "train: {epochs: -1}\n", "job.yaml:7: train.epochs: \"-1\" is not a whole number"},
        {HEAD "train: {epochs: 1.5}\n", "job.yaml:7: train.epochs: \"1.5\" is not a whole number"},
        {HEAD "train: {epochs: \"1\"}\n",
         "job.yaml:7: train.epochs: is text in quotes: a whole number is expected"},
        {HEAD "train: {epochs: }\n",
         "job.yaml:7: train.epochs: is empty: a whole number is expected"},
        {HEAD "train: {batch_size: some}\n",
         "job.yaml:7: train.batch_size: \"some\" is not a whole number (or a word)"},
        {HEAD "train: {learning_rate: 0}\n",
         "job.yaml:7: train.learning_rate: 0 is out of range (above 0, at most 1000)"},
        {HEAD "train: {momentum: 1}\n",
         "job.yaml:7: train.momentum: 1 is out of range (at least 0, below 1)"},
        {HEAD "train: {learning_rate: nan}\n",
         "job.yaml:7: train.learning_rate: \"nan\" is not a number"},
        {HEAD "train: {optimizer: adamw}\n",
         "job.yaml:7: train.optimizer: \"adamw\" is none of: sgd, adam"},
        {HEAD "train: {schedule: linear}\n",
         "job.yaml:7: train.schedule: \"linear\" is none of: constant, step, cosine"},
        {HEAD "train:\n  epochs: 1\n  schedule: step\n",
         "job.yaml:9: schedule: step needs schedule_rounds, the rounds between two steps"},
        {HEAD "train:\n  epochs: 1\n  schedule_factor: 0.5\n",
         "job.yaml:9: schedule_factor: there is no schedule: say schedule: step or cosine"},
        {HEAD "train:\n  schedule: constant\n  schedule_rounds: 5\n",
         "job.yaml:9: schedule_rounds: there is no schedule: say schedule: step or cosine"},
        {HEAD "train: {schedule: step, schedule_rounds: 0}\n",
         "job.yaml:7: train.schedule_rounds: 0 is out of range (1 to 1000000)"},
        {HEAD "train: {schedule_factor: 1.5}\n",
         "job.yaml:7: train.schedule_factor: 1.5 is out of range (0 to 1)"},
        {HEAD "train: {warmup_rounds: -1}\n",
         "job.yaml:7: train.warmup_rounds: -1 is out of range (0 to 1000000)"},
        {HEAD "train: {clip_gradient: 1e7}\n",
         "job.yaml:7: train.clip_gradient: 1e7 is out of range (0 to 1000000)"},
        {HEAD "train: {early_stop: 10001}\n",
         "job.yaml:7: train.early_stop: 10001 is out of range (0 to 10000)"},
        {HEAD "train: {augment_shift: 1025}\n",
         "job.yaml:7: train.augment_shift: 1025 is out of range (0 to 1024)"},
        {HEAD "train:\n  epochs: 1\n  augment_flip: yes\n",
         "job.yaml:9: augment_flip is of images, the model takes none"},
        {HEAD "train: 7\n", "job.yaml:7: train: is a value: a section of fields is expected"},
        {HEAD "seed: {a: 1}\n", "job.yaml:7: seed: is a section: a value is expected"},
        {HEAD "round: [1]\n", "job.yaml:7: a list: a value or a section is expected"},
        {HEAD "round: {deadline: 10}\n",
         "job.yaml:7: round.deadline: \"10\" is not a duration: 500ms, 30s, 10m, 2h or 7d"},
        {HEAD "round: {deadline: 999ms}\n",
         "job.yaml:7: round.deadline: 999ms is out of range (1s to 7d)"},
        {HEAD "round: {deadline: 8d}\n",
         "job.yaml:7: round.deadline: 8d is out of range (1s to 7d)"},
        {HEAD "aggregation:\n  secure: true\nround: {target: 4, minimum: 2}\n",
         "job.yaml:9: round.minimum is 2, a secure sum of fewer than 3 clients hides nobody: raise "
         "it, or write aggregation: {secure: false}"},
        {HEAD "round:\n  target: 2\n",
         "job.yaml:8: round.target is 2, a secure sum of fewer than 3 clients hides nobody: raise "
         "it, or write aggregation: {secure: false}"},
        {HEAD "aggregation:\n  secure: true\nsecure:\n  gamma: 0.4\n  delta: 0.3\n",
         "job.yaml:10: secure.gamma + 2 * secure.delta is 1, above 0.9: no threshold serves both; "
         "lower one"},
        {HEAD "secure: {delta: 0.95}\n",
         "job.yaml:7: secure.delta: 0.95 is out of range (0 to 0.9)"},
        {HEAD "secure: {adversary: honest}\n",
         "job.yaml:7: secure.adversary: \"honest\" is none of: curious, active"},
        {HEAD "aggregation: {secure: true}\nsecure:\n  min_colluders: 2\n",
         "job.yaml:9: secure.min_colluders is 2, but of round.minimum 3 clients at least 2 must be "
         "honest: lower the one or raise the other"},
        {HEAD "aggregation: {secure: true}\nevaluation: {clients: 2}\n",
         "job.yaml:8: evaluation.clients is 2, a secure sum of fewer than 3 clients hides nobody: "
         "raise it, or write aggregation: {secure: false}"},
        {HEAD "aggregation: {secure: maybe}\n",
         "job.yaml:7: aggregation.secure: \"maybe\" is none of: true, false, yes, no, on, off"},
        {HEAD "init: {version: abc}\n",
         "job.yaml:7: init.version: \"abc\" is not a version: its SHA-256 as 64 hexadecimal "
         "digits"},
        {HEAD "init:\n  seed: 1\n  version: "
              "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\n",
         "job.yaml:9: init.version: give it or init.seed, not both"},
        {HEAD "stop:\n  target: {metric: loss}\n", "job.yaml:8: stop.target.value: is missing"},
        {HEAD "round:\n  target: 3\n  minimum: 5\n",
         "job.yaml:9: round.minimum is 5, above round.target 3"},
        {HEAD "round:\n  deadline: 5s\n  lease: 6s\n",
         "job.yaml:9: round.lease_ms is 6000, above round.deadline_ms 5000"},
        {HEAD "stop:\n  patience: 3\n",
         "job.yaml:8: stop.patience needs an evaluation: set evaluation.clients or "
         "evaluation.data"},
        {"name: j\ndataset: d\n", "job.yaml:1: model: is missing"},
        {"# nothing\n\ndataset: d\n", "job.yaml:3: name: is missing"},
        {"name: -j\ndataset: d\n",
         "job.yaml:1: name: \"-j\" is not a name: 1 to 64 of A-Z a-z 0-9 . _ -"},
        {"name: j\ndataset: d\ntask: stats\n",
         "job.yaml:1: data: is missing, a stats job needs it"},
        {"name: j\ndataset: d\nmodel: |\n  input 3\n\n  dense unit=2\n",
         "job.yaml:6: model: dense has no option 'unit'"},
        {"name: j\ndataset: d\nmodel: |\n  input 3\n  dense units=2\n  loss mse\n"
         "data: |\n  column a numeric\n  column b nmueric\n  target c classes=2\n",
         NULL},
        {"name: j\ndataset: d\nmodel: |\n  input 3\n  dense units=2\n"
         "  loss softmax_cross_entropy\n"
         "data: |\n  column a numeric\n  target c classes=2\n",
         "job.yaml:3: model: input 3, but the data block makes 1 features"},
        {"name: j\ndataset: d\nmodel: |\n  input 1\n  dense units=3\n"
         "  loss softmax_cross_entropy\n"
         "data: |\n  column a numeric\n  target c classes=2\n",
         "job.yaml:3: model: 3 outputs, but the data block's target has 2 classes"},
        {"", "job.yaml:1: the file is empty"},
        {"just words\n", "job.yaml:1: fields of the form \"name: value\" are expected"},
        {"a: &x 1\nb: *x\n", "job.yaml:1: anchors and tags are not used here"},
        {"a: !!int 1\n", "job.yaml:1: anchors and tags are not used here"},
        {"a: {b: {c: {d: {}}}}\n", "job.yaml:1: sections nest too deeply"},
        {HEAD "---\nname: k\n", "job.yaml:7: a second document: one a file"},
        {"? {a: 1}\n: 2\n", "job.yaml:1: this is not a field's name"},
        {"evaluation: {data: \"a\\nb\"}\nname: j\n",
         "job.yaml:1: evaluation.data: a path on the coordinator's machine is expected, 1 to 1023 "
         "bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_job_def def;
        weft_err err = WEFT_ERR_INIT;
        assert_int_not_equal(parse(&def, cases[i].text, &err), WEFT_OK);
        if (cases[i].message) {
            assert_string_equal(err.msg, cases[i].message);
        } else {
            assert_true(strncmp(err.msg, "job.yaml:9: data: ", 18) == 0);
        }
    }
    assert_refused("a: \"unfinished\n", WEFT_E_FORMAT,
                   "job.yaml:2: found unexpected end of stream");
    assert_refused("a: 1\n b: 2\n", WEFT_E_FORMAT,
                   "job.yaml:2: mapping values are not allowed in this context");
    assert_refused("\t\n", WEFT_E_FORMAT,
                   "job.yaml:1: found character that cannot start any token");
}

static void test_job_yaml_parse__size_limits(void **state)
{
    (void)state;
    const size_t max = WEFT_MAX_YAML_BYTES;
    char *text = malloc(max + 2);
    assert_non_null(text);
    memset(text, '#', max + 1);
    memcpy(text, HEAD, strlen(HEAD));
    weft_job_def def;
    for (size_t size = max - 1; size <= max; size++) {
        assert_ok(weft_job_yaml_parse(&def, "job.yaml", text, size, &weft_alloc_std, &assert_err));
        weft_job_def_done(&def, &weft_alloc_std);
    }
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_job_yaml_parse(&def, "job.yaml", text, max + 1, &weft_alloc_std, &err),
                     WEFT_E_LIMIT);
    assert_string_equal(err.msg, "job.yaml: 524289 bytes, the limit is 524288");
    free(text);
    /* a file is cut off while it is read */
    char *dir = test_dir_new();
    char path[512];
    (void)snprintf(path, sizeof path, "%s/big.yaml", dir);
    char *big = calloc(1, max + 1);
    assert_non_null(big);
    assert_ok(weft_file_write(path, big, max + 1, 0600, &assert_err));
    assert_int_equal(weft_job_yaml_load(&def, path, &weft_alloc_std, NULL), WEFT_E_LIMIT);
    free(big);
    test_dir_done(dir);
}

static weft_status try_parse(const weft_alloc *a, void *arg)
{
    const char *text = arg;
    weft_job_def def;
    const weft_status status = weft_job_yaml_parse(&def, "job.yaml", text, strlen(text), a, NULL);
    if (status == WEFT_OK) {
        weft_job_def_done(&def, a);
    }
    return status;
}

static void test_job_yaml_parse__every_allocation_may_fail(void **state)
{
    (void)state;
    char text[] = HEAD "data: |\n  column a numeric\n  column b numeric\n  column c numeric\n"
                       "  target t classes=2\nevaluation: {data: x}\n";
    test_every_allocation_may_fail(try_parse, text);
    char stats[] = "name: s\ndataset: d\ntask: stats\ndata: |\n  column a numeric\n"
                   "  target t classes=2\n";
    test_every_allocation_may_fail(try_parse, stats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_yaml_parse__defaults_are_the_definitions),
        cmocka_unit_test(test_job_yaml_parse__every_field),
        cmocka_unit_test(test_job_yaml_parse__defaults_give_way),
        cmocka_unit_test(test_job_yaml_parse__a_stats_job_needs_only_its_schema),
        cmocka_unit_test(test_job_yaml_load__the_example_of_the_quickstart),
        cmocka_unit_test(test_job_yaml_print__parses_to_the_same),
        cmocka_unit_test(test_job_yaml_parse__each_mistake_with_its_line),
        cmocka_unit_test(test_job_yaml_parse__size_limits),
        cmocka_unit_test(test_job_yaml_parse__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

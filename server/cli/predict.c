/* SPDX-License-Identifier: Apache-2.0 */
/* weft model predict: use an exported model on data of the operator's machine; no coordinator is
 * asked. One thread. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/limits.h"
#include "data/load.h"
#include "nn/train/train.h"
#include "weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 64, DEFAULT_LIMIT = 10 };

typedef struct predictor {
    weft_spec *spec;
    weft_layout *layout;
    float *weights; /* [layout->n_params] */
    weft_weights_meta meta;
    weft_schema *schema;
    weft_data *data;
    weft_net *net;
    uint64_t limit; /* examples that are printed one by one */
    uint64_t n_correct;
    double squares; /* of errors, for values */
} predictor;

static void predictor_done(predictor *p)
{
    weft_net_free(p->net);
    weft_data_free(p->data);
    weft_schema_free(p->schema);
    weft_free(&weft_alloc_std, p->weights);
    weft_layout_free(p->layout);
    weft_spec_free(p->spec);
}

static weft_status load_schema(predictor *p, const char *path, weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_SCHEMA_BYTES);
    weft_status status = weft_file_read(&text, path, err);
    if (status == WEFT_OK) {
        status =
            weft_schema_parse(&p->schema, (const char *)text.data, text.size, &weft_alloc_std, err);
    }
    weft_buf_done(&text);
    return status;
}

static weft_status load(predictor *p, cli *c, weft_err *err)
{
    const char *path = cli_value(c, "data");
    if (!path) {
        return cli_usage(c, err, "weft model predict needs --data PATH");
    }
    p->limit = DEFAULT_LIMIT;
    const char *limit = cli_value(c, "limit");
    if (limit && !cli_parse_u64(&p->limit, limit, 0, WEFT_MAX_EXAMPLES)) {
        return cli_usage(c, err, "--limit %.60s is no number of examples", limit);
    }
    if (cli_value(c, "schema")) {
        WEFT_TRY(load_schema(p, cli_value(c, "schema"), err));
    }
    WEFT_TRY(weft_weights_load(c->argument[0], NULL, &p->spec, &p->layout, &p->weights, &p->meta,
                               &weft_alloc_std, err));
    const weft_split split = cli_value(c, "train") ? WEFT_SPLIT_TRAIN : WEFT_SPLIT_TEST;
    WEFT_TRY(weft_data_load(&p->data, path, split, p->schema, &weft_alloc_std, err));
    WEFT_TRY(weft_data_fits(p->data, p->spec, err));
    if (weft_spec_n_labels(p->spec) > 1) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a model of steps has no prediction of a whole example");
    }
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    options.max_batch = BATCH;
    return weft_net_new(&p->net, p->spec, p->layout, &options, &weft_alloc_std, err);
}

/* The class with the largest output and its probability among all. */
static uint32_t best_class(const float *out, uint32_t n, double *ret_probability)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = out[i] > out[best] ? i : best;
    }
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += exp((double)out[i] - (double)out[best]);
    }
    *ret_probability = 1.0 / sum;
    return best;
}

static weft_status print_class(cli_table *t, const predictor *p, uint32_t example, uint32_t best,
                               double probability, weft_err *err)
{
    const bool known = p->data->labels == WEFT_LABEL_CLASS;
    if (!cli_is_text(t->c)) {
        json_t *o = json_pack("{s:i, s:i, s:f}", "example", (int)example, "class", (int)best,
                              "probability", probability);
        if (o && known) {
            (void)json_object_set_new(o, "label", json_integer(p->data->classes[example]));
        }
        return cli_table_object(t, o, err);
    }
    char cell[4][CLI_TEXT_BYTES] = {0};
    (void)snprintf(cell[0], CLI_TEXT_BYTES, "%u", example);
    (void)snprintf(cell[1], CLI_TEXT_BYTES, "%u", best);
    (void)snprintf(cell[2], CLI_TEXT_BYTES, "%.4f", probability);
    if (known) {
        (void)snprintf(cell[3], CLI_TEXT_BYTES, "%u", p->data->classes[example]);
    }
    const char *const cells[] = {cell[0], cell[1], cell[2], cell[3]};
    return cli_table_row(t, cells, err);
}

static weft_status print_value(cli_table *t, const predictor *p, uint32_t example, float value,
                               weft_err *err)
{
    const bool known = p->data->labels == WEFT_LABEL_VALUE;
    if (!cli_is_text(t->c)) {
        json_t *o = json_pack("{s:i, s:f}", "example", (int)example, "value", (double)value);
        if (o && known) {
            (void)json_object_set_new(o, "target", json_real((double)p->data->values[example]));
        }
        return cli_table_object(t, o, err);
    }
    char cell[3][CLI_TEXT_BYTES] = {0};
    (void)snprintf(cell[0], CLI_TEXT_BYTES, "%u", example);
    (void)snprintf(cell[1], CLI_TEXT_BYTES, "%g", (double)value);
    if (known) {
        (void)snprintf(cell[2], CLI_TEXT_BYTES, "%g", (double)p->data->values[example]);
    }
    const char *const cells[] = {cell[0], cell[1], cell[2], ""};
    return cli_table_row(t, cells, err);
}

/* Classes: by softmax, or by a single sigmoid. */
static bool has_classes(const predictor *p)
{
    const weft_loss loss = weft_net_loss_kind(p->net);
    return loss == WEFT_LOSS_SOFTMAX_CE ||
           (loss == WEFT_LOSS_SIGMOID_CE && weft_net_n_outputs(p->net) == 1);
}

static uint32_t class_of(const predictor *p, const float *out, double *ret_probability)
{
    if (weft_net_loss_kind(p->net) == WEFT_LOSS_SOFTMAX_CE) {
        return best_class(out, weft_net_n_outputs(p->net), ret_probability);
    }
    *ret_probability = 1.0 / (1.0 + exp(-fabs((double)out[0])));
    return out[0] > 0.0F;
}

static weft_status one(predictor *p, cli_table *t, uint32_t example, const float *out,
                       weft_err *err)
{
    const bool print = example < p->limit;
    if (!has_classes(p)) {
        if (p->data->labels == WEFT_LABEL_VALUE) {
            const double d = (double)out[0] - (double)p->data->values[example];
            p->squares += d * d;
        }
        return print ? print_value(t, p, example, out[0], err) : WEFT_OK;
    }
    double probability = 0.0;
    const uint32_t best = class_of(p, out, &probability);
    if (p->data->labels == WEFT_LABEL_CLASS) {
        p->n_correct += best == p->data->classes[example];
    }
    return print ? print_class(t, p, example, best, probability, err) : WEFT_OK;
}

static weft_status all(predictor *p, cli_table *t, weft_err *err)
{
    const weft_data_view view = weft_data_all(p->data);
    float *x = weft_net_input(p->net);
    for (uint32_t first = 0; first < view.n; first += BATCH) {
        const uint32_t n = view.n - first < BATCH ? view.n - first : BATCH;
        weft_data_gather(x, NULL, NULL, &view, NULL, first, n);
        const float *out = weft_net_forward(p->net, p->weights, x, n, false);
        for (uint32_t i = 0; i < n; i++) {
            WEFT_TRY(one(p, t, first + i, out + (size_t)i * weft_net_n_outputs(p->net), err));
        }
    }
    return WEFT_OK;
}

/* The last line, for people on stderr so that stdout stays one list. */
static void print_summary(const predictor *p, const char *file)
{
    if (p->data->labels == WEFT_LABEL_CLASS) {
        (void)fprintf(stderr, "%s (job %s, round %u): accuracy %.2f %% on %u examples\n", file,
                      p->meta.job, p->meta.round, 100.0 * (double)p->n_correct / p->data->n,
                      p->data->n);
    } else if (p->data->labels == WEFT_LABEL_VALUE) {
        (void)fprintf(stderr, "%s (job %s, round %u): mean squared error %g on %u examples\n", file,
                      p->meta.job, p->meta.round, p->squares / p->data->n, p->data->n);
    }
}

weft_status cli_model_predict(cli *c, weft_err *err)
{
    static const char *const class_heads[] = {"EXAMPLE", "CLASS", "PROBABILITY", "LABEL"};
    static const char *const value_heads[] = {"EXAMPLE", "VALUE", "TARGET", ""};
    __attribute__((cleanup(predictor_done))) predictor p = {0};
    WEFT_TRY(load(&p, c, err));
    if (!p.data || !p.net) { /* never: a load that succeeded has set them, unseen by analysis */
        WEFT_FAIL(err, WEFT_E_INTERNAL, "no data set");
    }
    cli_table t;
    cli_table_init(&t, c, has_classes(&p) ? class_heads : value_heads, 4);
    weft_status status = all(&p, &t, err);
    if (status == WEFT_OK) {
        status = cli_table_end(&t, "", err);
        print_summary(&p, c->argument[0]);
    }
    cli_table_done(&t);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's data sets: files by libweft-nn's readers, a part of them, or drawn digits. */
#include "agent.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/digits.h"
#include "data/load.h"
#include "data/partition.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/nn.h>

typedef struct agent_set {
    weft_nn_data *data; /* owned */
    weft_data *held;    /* owned: what data borrows; or NULL */
} agent_set;

struct agent_sets {
    uint32_t n;
    agent_set set[AGENT_MAX_DATA];
};

#define DIGITS          "digits:"
#define MAX_DIGITS      1000000U
#define DEFAULT_STYLE   0.3
#define MAX_SCHEMA_FILE (64U << 10)
/* The same for all clients, so that their parts do not overlap. */
#define PARTITION_SEED 1
#define MAX_PARTS      100000

static weft_status tell(weft_error *err, weft_status status, const char *what, const char *detail)
{
    err->code = status;
    (void)snprintf(err->message, sizeof err->message, "%.80s%s%.160s", what, what[0] ? ": " : "",
                   detail);
    return status;
}

/* Arrays in our own memory. */
static weft_status offer(agent_set *set, const weft_nn_data_options *o, weft_error *err)
{
    const weft_data *d = set->held;
    weft_nn_arrays arrays = WEFT_NN_ARRAYS_INIT;
    arrays.n_examples = d->n;
    arrays.n_features = d->n_features;
    arrays.pixels = d->u8;
    arrays.features = d->f32;
    arrays.labels = d->classes;
    arrays.targets = d->values;
    arrays.n_targets = d->values ? 1 : 0;
    return weft_nn_data_from_arrays(&set->data, &arrays, o, err);
}

/* ---- PATH#I/N ------------------------------------------------------------------------------- */

typedef struct part {
    char path[4096];
    uint32_t number; /* from 0 */
    uint32_t n_parts;
} part;

/* False: there is no #I/N. */
static bool read_part(part *ret, const char *path)
{
    const char *hash = strrchr(path, '#');
    if (!hash || (size_t)(hash - path) >= sizeof ret->path) {
        return false;
    }
    char *end = NULL;
    const unsigned long i = strtoul(hash + 1, &end, 10);
    if (end == hash + 1 || *end != '/') {
        return false;
    }
    const char *second = end + 1;
    const unsigned long n = strtoul(second, &end, 10);
    if (end == second || *end != '\0' || i == 0 || i > n || n > MAX_PARTS) {
        return false;
    }
    memcpy(ret->path, path, (size_t)(hash - path));
    ret->path[hash - path] = '\0';
    ret->number = (uint32_t)i - 1;
    ret->n_parts = (uint32_t)n;
    return true;
}

static void copy_row(weft_data *to, uint32_t row, const weft_data *from, uint32_t at)
{
    const size_t n = from->n_features;
    if (from->u8) {
        memcpy(to->u8 + row * n, from->u8 + at * n, n);
    } else {
        memcpy(to->f32 + row * n, from->f32 + at * n, n * sizeof(float));
    }
    if (from->classes) {
        to->classes[row] = from->classes[at];
    }
    if (from->values) {
        to->values[row] = from->values[at];
    }
}

static weft_status cut(weft_data **ret, const weft_data *all, const part *p, weft_err *err)
{
    const weft_alloc *a = &weft_alloc_std;
    weft_partition *cuts = NULL;
    WEFT_TRY(weft_partition_iid(&cuts, all, p->n_parts, PARTITION_SEED, a, err));
    const weft_data_view view = weft_partition_view(cuts, all, p->number);
    weft_data *mine = NULL;
    const weft_status status =
        weft_data_new(&mine, view.n, all->shape, all->type, all->labels, all->n_classes, a, err);
    for (uint32_t i = 0; status == WEFT_OK && i < view.n; i++) {
        copy_row(mine, i, all, weft_data_view_at(&view, i));
    }
    weft_partition_free(cuts);
    if (status == WEFT_OK) {
        *ret = mine;
    }
    return status;
}

static weft_status open_part(agent_set *set, const part *p, const char *schema_text,
                             const weft_nn_data_options *o, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    weft_schema *schema = NULL;
    weft_data *all = NULL;
    weft_status status = WEFT_OK;
    if (schema_text) {
        status =
            weft_schema_parse(&schema, schema_text, strlen(schema_text), &weft_alloc_std, &why);
    }
    if (status == WEFT_OK) {
        status = weft_data_load(&all, p->path, WEFT_SPLIT_TRAIN, schema, &weft_alloc_std, &why);
    }
    if (status == WEFT_OK) {
        status = cut(&set->held, all, p, &why);
    }
    weft_data_free(all);
    weft_schema_free(schema);
    return status == WEFT_OK ? offer(set, o, err) : tell(err, status, "", why.msg);
}

/* ---- digits:SEED:N[:STYLE] ------------------------------------------------------------------ */

static weft_status draw_digits(agent_set *set, const char *path, const weft_nn_data_options *o,
                               weft_error *err)
{
    char *end = NULL;
    double strength = DEFAULT_STYLE;
    errno = 0;
    const char *at = path + strlen(DIGITS);
    const uint64_t id = strtoull(at, &end, 10);
    const bool colon = end != at && *end == ':';
    at = colon ? end + 1 : end;
    const uint64_t n = strtoull(at, &end, 10);
    const bool number = colon && end != at && errno == 0 && n > 0 && n <= MAX_DIGITS;
    if (number && *end == ':') {
        at = end + 1;
        strength = strtod(at, &end);
    }
    if (!number || *end != '\0' || !(strength >= 0.0 && strength <= 1.0)) {
        return tell(err, WEFT_E_INVALID, path,
                    "not digits:SEED:N[:STYLE] with N of 1 to 1000000 and STYLE of 0 to 1");
    }
    weft_rng rng;
    weft_digits_style style;
    weft_err why = WEFT_ERR_INIT;
    weft_rng_init(&rng, id, 1);
    weft_digits_style_draw(&style, (float)strength, &rng);
    if (weft_digits_new(&set->held, (uint32_t)n, id, &style, &weft_alloc_std, &why) != WEFT_OK) {
        return tell(err, why.code, path, why.msg);
    }
    return offer(set, o, err);
}

/* ---- opening -------------------------------------------------------------------------------- */

static weft_status read_schema(weft_buf *text, const char *path, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    const weft_status status = weft_file_read(text, path, &why);
    if (status != WEFT_OK) {
        return tell(err, status, "", why.msg);
    }
    if (!weft_buf_text(text)) {
        return tell(err, WEFT_E_NOMEM, path, "no memory");
    }
    return WEFT_OK;
}

static weft_status open_set(agent_set *set, const agent_data *d, const char *schema,
                            const weft_nn_data_options *o, weft_error *err)
{
    if (strncmp(d->path, DIGITS, strlen(DIGITS)) == 0) {
        return draw_digits(set, d->path, o, err);
    }
    part p;
    if (read_part(&p, d->path)) {
        return open_part(set, &p, schema, o, err);
    }
    return weft_nn_data_open(&set->data, d->path, schema, o, err);
}

static weft_status attach_set(agent_set *set, weft_client *client, const agent_data *d,
                              const agent_options *options, weft_error *err)
{
    weft_nn_data_options o = WEFT_NN_DATA_OPTIONS_INIT;
    o.held_out = options->held_out;
    weft_buf text;
    weft_buf_init(&text, &weft_alloc_std, MAX_SCHEMA_FILE);
    weft_status status = d->schema ? read_schema(&text, d->schema, err) : WEFT_OK;
    const char *schema = d->schema && status == WEFT_OK ? weft_buf_text(&text) : NULL;
    if (status == WEFT_OK) {
        status = open_set(set, d, schema, &o, err);
    }
    if (status == WEFT_OK) {
        weft_dataset dataset = WEFT_DATASET_INIT;
        const weft_trainer trainer = weft_nn_trainer(set->data);
        dataset.name = d->name;
        dataset.n_examples = weft_nn_data_n_train(set->data);
        dataset.schema = schema;
        status = weft_client_attach(client, &dataset, &trainer, err);
    }
    weft_buf_done(&text);
    return status;
}

weft_status agent_sets_open(agent_sets **ret, weft_client *client, const agent_options *options,
                            weft_error *err)
{
    agent_sets *sets = calloc(1, sizeof *sets);
    if (!sets) {
        return tell(err, WEFT_E_NOMEM, "data sets", "no memory");
    }
    weft_status status = WEFT_OK;
    while (status == WEFT_OK && sets->n < options->n_data) {
        status = attach_set(&sets->set[sets->n], client, &options->data[sets->n], options, err);
        sets->n++; /* also a half-open one is closed */
    }
    if (status != WEFT_OK) {
        agent_sets_close(sets);
        return status;
    }
    *ret = sets;
    return WEFT_OK;
}

void agent_sets_close(agent_sets *sets)
{
    if (!sets) {
        return;
    }
    for (uint32_t i = 0; i < sets->n; i++) {
        weft_nn_data_close(sets->set[i].data);
        weft_data_free(sets->set[i].held);
    }
    free(sets);
}

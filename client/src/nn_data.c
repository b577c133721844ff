/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data sets of libweft-nn: loading under a schema, and the split into what is trained on and what
 * is held out. Used by one thread at a time.
 */
#include "nn_priv.h"

#include "base/rng.h"
#include "data/locator.h"

#include <limits.h>
#include <string.h>

weft_status weft_nn_error(weft_error *out, const weft_err *err)
{
    if (out) {
        out->code = err->code;
        out->sys = err->sys;
        memcpy(out->message, err->msg, sizeof out->message);
        _Static_assert(sizeof out->message == sizeof err->msg, "one size of message");
    }
    return err->code;
}

static weft_status copy_text(char **ret, const char *text, const weft_alloc *a, weft_err *err)
{
    *ret = weft_string_copy(a, text, strlen(text));
    if (!*ret) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a data set");
    }
    return WEFT_OK;
}

/* ---- the split ------------------------------------------------------------------------------- */

/* Arrays are in place: shuffle, and hold the first ones out. */
static weft_status split(weft_nn_data *data, weft_err *err)
{
    const uint32_t n = (uint32_t)data->arrays.n_examples;
    weft_rng rng;
    weft_free(data->alloc, data->index);
    data->index = weft_array(data->alloc, n, sizeof *data->index);
    if (!data->index) {
        data->arrays.n_examples = 0;
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the order of %u examples", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        data->index[i] = i;
    }
    weft_rng_init(&rng, data->split_seed, 0);
    weft_rng_shuffle(&rng, data->index, n);
    uint32_t held = (uint32_t)((double)n * data->held_out);
    held = data->held_out > 0.0 && held == 0 && n > 1 ? 1 : held;
    data->all = weft_arrays_source(&data->arrays);
    data->held_part = (weft_subset){&data->all, data->index, held};
    data->train_part = (weft_subset){&data->all, data->index + held, n - held};
    return WEFT_OK;
}

/* ---- loading --------------------------------------------------------------------------------- */

static const weft_column *column_named(const weft_schema *schema, const char *name)
{
    for (uint32_t i = 0; i < schema->n_columns; i++) {
        if (strcmp(schema->columns[i].name, name) == 0) {
            return &schema->columns[i];
        }
    }
    return NULL;
}

/* A schema comes from the coordinator: it may scale what the owner declared, but not look at
 * columns that the owner left out. */
static weft_status check_declared(const weft_schema *declared, const weft_schema *asked,
                                  weft_err *err)
{
    const bool same_order = declared->header || declared->n_columns == asked->n_columns;
    if (declared->header != asked->header || !same_order) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the task reads the file's columns in another way than the "
                  "data set declares");
    }
    for (uint32_t i = 0; i < asked->n_columns; i++) {
        const weft_column *c = &asked->columns[i];
        const weft_column *d =
            declared->header ? column_named(declared, c->name) : &declared->columns[i];
        if (c->kind == WEFT_COLUMN_IGNORE) {
            continue;
        }
        if (!d || d->kind == WEFT_COLUMN_IGNORE || strcmp(d->name, c->name) != 0) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "the task uses column %s, which the data set does not declare", c->name);
        }
    }
    return WEFT_OK;
}

weft_status weft_nn_data_schema(weft_schema **ret, const weft_nn_data *data, const char *schema,
                                weft_err *err)
{
    const char *text = schema[0] != '\0' ? schema : data->declared_text;
    weft_schema *parsed = NULL;
    if (text) {
        WEFT_TRY(weft_schema_parse(&parsed, text, strlen(text), data->alloc, err));
    }
    if (parsed && data->declared) {
        const weft_status status = check_declared(data->declared, parsed, err);
        if (status != WEFT_OK) {
            weft_schema_free(parsed);
            return status;
        }
    }
    *ret = parsed;
    return WEFT_OK;
}

static void forget(weft_nn_data *data)
{
    weft_data_free(data->loaded);
    weft_free(data->alloc, data->loaded_text);
    data->loaded = NULL;
    data->loaded_text = NULL;
    data->arrays.n_examples = 0;
    data->train_part.n_examples = 0;
    data->held_part.n_examples = 0;
}

static weft_status load(weft_nn_data *data, const weft_schema *schema, weft_err *err)
{
    WEFT_TRY(weft_data_load(&data->loaded, data->path, WEFT_SPLIT_TRAIN, schema, data->alloc, err));
    const weft_data *d = data->loaded;
    data->arrays = (weft_arrays){.n_examples = d->n,
                                 .n_features = d->n_features,
                                 .n_targets = d->values ? 1 : 0,
                                 .features = d->f32,
                                 .bytes = d->u8,
                                 .divisor = 255.0F,
                                 .labels = d->classes,
                                 .targets = d->values};
    if (d->labels == WEFT_LABEL_NONE) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the data have no labels to train on");
    }
    return split(data, err);
}

/* Load again when a CSV is to be read in another way. */
static weft_status load_as(weft_nn_data *data, const char *schema, weft_err *err)
{
    const char *text = schema[0] != '\0' ? schema : data->declared_text;
    const bool same = text == data->loaded_text ||
                      (text && data->loaded_text && strcmp(text, data->loaded_text) == 0);
    if (data->arrays.n_examples > 0 && (same || !data->csv)) {
        return WEFT_OK;
    }
    weft_schema *parsed = NULL;
    WEFT_TRY(weft_nn_data_schema(&parsed, data, schema, err));
    forget(data);
    weft_status status = load(data, parsed, err);
    if (status == WEFT_OK && text) {
        status = copy_text(&data->loaded_text, text, data->alloc, err);
    }
    if (status != WEFT_OK) {
        forget(data);
    }
    weft_schema_free(parsed);
    return status;
}

weft_status weft_nn_data_prepare(weft_nn_data *data, const char *schema, weft_err *err)
{
    return data->path ? load_as(data, schema, err) : WEFT_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static weft_status new_data(weft_nn_data **ret, const weft_nn_data_options *options,
                            const weft_alloc *a, weft_err *err)
{
    weft_nn_data_options o = WEFT_NN_DATA_OPTIONS_INIT;
    if (options) { /* an older application's options are shorter */
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    }
    if (!(o.held_out >= 0.0 && o.held_out <= 0.9)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "held_out is %g, outside 0 to 0.9", o.held_out);
    }
    weft_nn_data *data = weft_array(a, 1, sizeof *data);
    if (!data) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a data set");
    }
    data->alloc = a;
    data->held_out = o.held_out;
    data->split_seed = o.split_seed;
    *ret = data;
    return WEFT_OK;
}

static weft_status find_csv(weft_nn_data *data, const char *path, weft_err *err)
{
    weft_locator locator;
    char csv[PATH_MAX];
    WEFT_TRY(weft_locator_parse(&locator, path, err));
    if (locator.digits || locator.window > 0 ||
        weft_data_find_csv(csv, sizeof csv, locator.path, WEFT_SPLIT_TRAIN, NULL) != WEFT_OK) {
        return WEFT_OK;
    }
    return copy_text(&data->csv, csv, data->alloc, err);
}

static weft_status fill(weft_nn_data *data, const char *path, const char *schema, weft_err *err)
{
    WEFT_TRY(copy_text(&data->path, path, data->alloc, err));
    WEFT_TRY(find_csv(data, path, err));
    if (schema) {
        WEFT_TRY(copy_text(&data->declared_text, schema, data->alloc, err));
        WEFT_TRY(weft_schema_parse(&data->declared, schema, strlen(schema), data->alloc, err));
    }
    weft_err quiet = WEFT_ERR_INIT;
    const weft_status status = weft_nn_data_prepare(data, "", &quiet);
    if (status == WEFT_E_INVALID && !schema && data->csv) {
        return WEFT_OK; /* a CSV: its schema comes with the tasks */
    }
    if (status != WEFT_OK) {
        WEFT_FAIL(err, status, "%s", quiet.msg);
    }
    return WEFT_OK;
}

weft_status weft_nn_data_open_with(weft_nn_data **ret, const char *path, const char *schema,
                                   const weft_nn_data_options *options, const weft_alloc *a,
                                   weft_err *err)
{
    weft_nn_data *data = NULL;
    if (!path) {
        WEFT_FAIL(err, WEFT_E_INVALID, "no path was given");
    }
    WEFT_TRY(new_data(&data, options, a, err));
    const weft_status status = fill(data, path, schema, err);
    if (status != WEFT_OK) {
        weft_nn_data_close(data);
        return status;
    }
    *ret = data;
    return WEFT_OK;
}

weft_status weft_nn_data_from_arrays_with(weft_nn_data **ret, const weft_nn_arrays *arrays,
                                          const weft_nn_data_options *options, const weft_alloc *a,
                                          weft_err *err)
{
    weft_nn_data *data = NULL;
    weft_nn_arrays s = WEFT_NN_ARRAYS_INIT;
    if (!arrays) {
        WEFT_FAIL(err, WEFT_E_INVALID, "no arrays were given");
    }
    memcpy(&s, arrays, arrays->size < sizeof s ? arrays->size : sizeof s);
    if (!s.features == !s.pixels || !s.labels == !s.targets) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "give either features or pixels, and either labels or targets");
    }
    if (s.n_examples < 1 || s.n_examples > WEFT_MAX_EXAMPLES || s.n_features < 1 ||
        !s.targets != (s.n_targets == 0)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%llu examples of %u features and %u targets are not a data set",
                  (unsigned long long)s.n_examples, s.n_features, s.n_targets);
    }
    WEFT_TRY(new_data(&data, options, a, err));
    data->arrays = (weft_arrays){.n_examples = s.n_examples,
                                 .n_features = s.n_features,
                                 .n_targets = s.n_targets,
                                 .features = s.features,
                                 .bytes = s.pixels,
                                 .divisor = 255.0F,
                                 .labels = s.labels,
                                 .targets = s.targets};
    const weft_status status = split(data, err);
    if (status != WEFT_OK) {
        weft_nn_data_close(data);
        return status;
    }
    *ret = data;
    return WEFT_OK;
}

weft_status weft_nn_data_open(weft_nn_data **ret, const char *path, const char *schema,
                              const weft_nn_data_options *options, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    const weft_status status =
        weft_nn_data_open_with(ret, path, schema, options, &weft_alloc_std, &why);
    return status == WEFT_OK ? WEFT_OK : weft_nn_error(err, &why);
}

weft_status weft_nn_data_from_arrays(weft_nn_data **ret, const weft_nn_arrays *arrays,
                                     const weft_nn_data_options *options, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    const weft_status status =
        weft_nn_data_from_arrays_with(ret, arrays, options, &weft_alloc_std, &why);
    return status == WEFT_OK ? WEFT_OK : weft_nn_error(err, &why);
}

void weft_nn_data_close(weft_nn_data *data)
{
    if (!data) {
        return;
    }
    const weft_alloc *a = data->alloc;
    forget(data);
    weft_trainer_state_free(data->state);
    weft_schema_free(data->declared);
    weft_free(a, data->state_text);
    weft_free(a, data->declared_text);
    weft_free(a, data->index);
    weft_free(a, data->csv);
    weft_free(a, data->path);
    weft_free(a, data);
}

uint64_t weft_nn_data_n_train(const weft_nn_data *data)
{
    return data->train_part.n_examples;
}

uint64_t weft_nn_data_n_held_out(const weft_nn_data *data)
{
    return data->held_part.n_examples;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's data sets, opened by libweft-nn. */
#include "agent.h"

#include "base/buf.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/nn.h>

typedef struct agent_set {
    weft_nn_data *data; /* owned */
} agent_set;

struct agent_sets {
    uint32_t n;
    agent_set set[AGENT_MAX_DATA];
};

#define MAX_SCHEMA_FILE (64U << 10)

static weft_status tell(weft_error *err, weft_status status, const char *what, const char *detail)
{
    err->code = status;
    (void)snprintf(err->message, sizeof err->message, "%.80s%s%.160s", what, what[0] ? ": " : "",
                   detail);
    return status;
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
        status = weft_nn_data_open(&set->data, d->path, schema, &o, err);
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
    }
    free(sets);
}

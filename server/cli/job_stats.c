/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft job stats: a statistics job made from a job file, run for one round, and its result written
 * into the file's data schema. Clients send means over their rows (data/stats.h), never rows.
 */
#include "cli/job.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "config/job.h"
#include "data/stats.h"

/* Everything that the command holds; see stats_done. */
typedef struct stats {
    weft_job_def file;   /* as written by the user */
    weft_job_def job;    /* of the statistics */
    weft_schema *schema; /* of the file */
    weft_schema *filled;
    bool has_job;
} stats;

static void stats_done(stats *s)
{
    weft_job_def_done(&s->file, &weft_alloc_std);
    if (s->has_job) {
        weft_job_def_done(&s->job, &weft_alloc_std);
    }
    weft_schema_free(s->schema);
    weft_schema_free(s->filled);
}

static weft_status replace_text(char **text, weft_buf *with, weft_err *err)
{
    char *copy = weft_string_copy(&weft_alloc_std, (const char *)with->data, with->size);
    if (!copy) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a job");
    }
    weft_free(&weft_alloc_std, *text);
    *text = copy;
    return WEFT_OK;
}

/* Names stay taken: the time makes this one new. */
static weft_status choose_name(cli *c, stats *s, weft_err *err)
{
    const char *name = cli_value(c, "name");
    char made[sizeof s->job.name];
    if (!name) {
        (void)snprintf(made, sizeof made, "%.48s-stats-%08llx", s->file.name,
                       (unsigned long long)(cli_now_unix_ms() / 1000)); /* 64 bytes at most */
        name = made;
    }
    if (!weft_name_valid(name)) {
        return cli_usage(c, err, "'%.64s' is no name for a job", name);
    }
    memcpy(s->job.name, name, strlen(name) + 1);
    return WEFT_OK;
}

/* The file's round policy, everything else as statistics need it. */
static weft_status make_job(cli *c, stats *s, weft_err *err)
{
    WEFT_TRY(weft_job_def_copy(&s->job, &s->file, &weft_alloc_std, err));
    s->has_job = true;
    weft_job_def *job = &s->job;
    const weft_plan plan = WEFT_PLAN_INIT;
    weft_buf spec;
    weft_buf_init(&spec, &weft_alloc_std, WEFT_MAX_SPEC_BYTES);
    weft_status status = weft_stats_spec(&spec, s->schema, err);
    if (status == WEFT_OK) {
        status = replace_text(&job->model_spec, &spec, err);
    }
    weft_buf_done(&spec);
    WEFT_TRY(status);
    weft_free(&weft_alloc_std, job->eval_data);
    job->eval_data = NULL;
    job->task = WEFT_TASK_STATS;
    job->plan = plan;
    job->clip_norm = weft_stats_norm(s->schema);
    job->eval_clients = 0;
    job->rounds = 1;
    job->target_metric[0] = '\0';
    job->patience = 0;
    job->has_init_version = false;
    WEFT_TRY(choose_name(c, s, err));
    return weft_job_def_check(job, &weft_alloc_std, err);
}

static weft_status run_job(cli *c, const stats *s, weft_err *err)
{
    weft_msg_submit_job_reply answer;
    cli_reply reply;
    WEFT_TRY(cli_job_send(c, &s->job, false, &answer, &reply, err));
    cli_reply_done(&reply);
    WEFT_TRY(cli_watch_job(c, s->job.name, true, err));
    if (c->exit_status != CLI_DONE) {
        WEFT_FAIL(err, WEFT_E_STATE, "the statistics job %.64s did not finish: weft job show %.64s",
                  s->job.name, s->job.name);
    }
    return WEFT_OK;
}

/* The averaged vector, into the schema. */
static weft_status apply(cli *c, stats *s, weft_err *err)
{
    const char *near = cli_value(c, "output");
    weft_msg_model_info model = {0};
    cli_reply reply;
    weft_view bytes = {NULL, 0};
    WEFT_TRY(cli_find_model(c, s->job.name, false, &model, &reply, err));
    weft_status status = cli_fetch_model(c, &model, near ? near : "/tmp/weft", &bytes, err);
    cli_reply_done(&reply);
    WEFT_TRY(status);
    const float *vector = (const float *)(const void *)bytes.data; /* mapped: aligned to pages */
    status = weft_stats_apply(&s->filled, s->schema, vector, (uint32_t)(bytes.size / sizeof(float)),
                              &weft_alloc_std, err);
    cli_unmap(&bytes);
    return status;
}

static weft_status print_json(cli *c, stats *s, const weft_buf *yaml, weft_err *err)
{
    json_t *columns = json_array();
    for (uint32_t i = 0; i < s->filled->n_columns; i++) {
        const weft_column *column = &s->filled->columns[i];
        if (column->has_scale) {
            json_array_append_new(columns, json_pack("{s:s, s:f, s:f}", "name", column->name,
                                                     "mean", column->mean, "std", column->std));
        }
    }
    return cli_print_json(c,
                          json_pack("{s:s, s:s#, s:o}", "job", s->job.name, "definition",
                                    (const char *)yaml->data, (int)yaml->size, "columns", columns),
                          err);
}

static void print_columns(const stats *s)
{
    for (uint32_t i = 0; i < s->filled->n_columns; i++) {
        const weft_column *column = &s->filled->columns[i];
        if (column->has_scale) {
            cli_field(column->name, "mean %.6g, std %.6g", column->mean, column->std);
        }
    }
}

static weft_status print_result(cli *c, stats *s, weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_YAML_BYTES);
    const char *output = cli_value(c, "output");
    weft_status status = weft_schema_print(s->filled, &text, err);
    if (status == WEFT_OK) {
        status = replace_text(&s->file.data_schema, &text, err);
    }
    weft_buf_clear(&text);
    if (status == WEFT_OK) {
        status = weft_job_yaml_print(&s->file, &text, err);
    }
    if (status == WEFT_OK && output) {
        status = weft_file_create(output, text.data, text.size, 0644, err);
    }
    if (status == WEFT_OK && !cli_is_text(c)) {
        status = print_json(c, s, &text, err);
    } else if (status == WEFT_OK && output) {
        print_columns(s);
        printf("%s is the job file with them\n", output);
    } else if (status == WEFT_OK) {
        printf("%.*s", (int)text.size, (const char *)text.data);
    }
    weft_buf_done(&text);
    return status;
}

static weft_status fill_in(cli *c, stats *s, weft_err *err)
{
    const char *schema = s->file.data_schema;
    if (!schema) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.160s has no data schema: there are no columns to measure",
                  c->argument[0]);
    }
    WEFT_TRY(weft_schema_parse(&s->schema, schema, strlen(schema), &weft_alloc_std, err));
    if (weft_stats_length(s->schema) == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.160s: every column is ignored", c->argument[0]);
    }
    WEFT_TRY(make_job(c, s, err));
    WEFT_TRY(run_job(c, s, err));
    WEFT_TRY(apply(c, s, err));
    return print_result(c, s, err);
}

weft_status cli_job_stats(cli *c, weft_err *err)
{
    stats s;
    memset(&s, 0, sizeof s);
    WEFT_TRY(weft_job_yaml_load(&s.file, c->argument[0], &weft_alloc_std, err));
    const weft_status status = fill_in(c, &s, err);
    stats_done(&s);
    return status;
}

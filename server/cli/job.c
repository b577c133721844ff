/* SPDX-License-Identifier: Apache-2.0 */
/* weft job: submit, list, show, control. Plans, watching and statistics have files of their own. */
#include "cli/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/job.h"

weft_status cli_job_send(cli *c, const weft_job_def *def, bool dry_run,
                         weft_msg_submit_job_reply *ret, cli_reply *reply, weft_err *err)
{
    const weft_msg_submit_job_request request = {
        .job = def, .dry_run = dry_run, .plain = !def->secure_aggregation};
    return cli_call(c, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REQUEST, &request,
                    WEFT_MSG_SUBMIT_JOB_REPLY, ret, reply, err);
}

/* ---- submit --------------------------------------------------------------------------------- */

static weft_status print_submitted(cli *c, const weft_msg_submit_job_reply *answer,
                                   const weft_job_def *def, weft_err *err)
{
    if (!cli_is_text(c)) {
        json_t *object = answer->job ? cli_json_job(answer->job) : json_object();
        if (object && (json_object_set_new(object, "n_params",
                                           json_integer((json_int_t)answer->n_params)) != 0 ||
                       json_object_set_new(object, "model_bytes",
                                           json_integer((json_int_t)answer->model_bytes)) != 0)) {
            json_decref(object);
            object = NULL;
        }
        return cli_print_json(c, object, err);
    }
    char params[CLI_TEXT_BYTES];
    char bytes[CLI_TEXT_BYTES];
    if (answer->job && strcmp(answer->job->status, "running") != 0) {
        printf("job %s was submitted before, with the same content; it is %s\n", def->name,
               answer->job->status);
        return WEFT_OK;
    }
    printf("job %s runs: %s parameters, %s a model, %u clients a round; watch it: weft job watch "
           "%s\n",
           def->name, cli_count(params, answer->n_params), cli_size(bytes, answer->model_bytes),
           weft_job_def_cohort(def), def->name);
    return WEFT_OK;
}

/* --from MODEL: start from weights that the coordinator holds. */
static weft_status start_from(cli *c, weft_job_def *def, weft_err *err)
{
    const char *reference = cli_value(c, "from");
    if (!reference) {
        return WEFT_OK;
    }
    weft_msg_model_info model;
    cli_reply reply;
    WEFT_TRY(cli_find_model(c, reference, false, &model, &reply, err));
    memcpy(def->init_version, model.digest.data, WEFT_DIGEST_BYTES);
    def->has_init_version = true;
    cli_reply_done(&reply);
    return WEFT_OK;
}

static weft_status submit(cli *c, weft_job_def *def, weft_err *err)
{
    weft_msg_submit_job_reply answer;
    cli_reply reply;
    WEFT_TRY(start_from(c, def, err));
    WEFT_TRY(cli_job_send(c, def, false, &answer, &reply, err));
    const weft_status status = print_submitted(c, &answer, def, err);
    cli_reply_done(&reply);
    return status;
}

static weft_status run_submit(cli *c, weft_err *err)
{
    weft_job_def def;
    WEFT_TRY(weft_job_yaml_load(&def, c->argument[0], &weft_alloc_std, err));
    weft_status status = cli_job_warn(&def, err);
    if (status == WEFT_OK) {
        status = submit(c, &def, err);
    }
    if (status == WEFT_OK && cli_value(c, "watch")) {
        status = cli_watch_job(c, def.name, false, err);
    }
    weft_job_def_done(&def, &weft_alloc_std);
    return status;
}

/* ---- list ----------------------------------------------------------------------------------- */

static weft_status add_job(cli_table *t, const weft_msg_job_info *job, weft_err *err)
{
    if (!cli_is_text(t->c)) {
        return cli_table_object(t, cli_json_job(job), err);
    }
    char rounds[CLI_TEXT_BYTES];
    char version[CLI_TEXT_BYTES];
    char result[200];
    (void)snprintf(rounds, sizeof rounds, "%u/%u", job->rounds_done, job->rounds_total);
    const char *const cells[] = {job->name,
                                 job->status,
                                 rounds,
                                 job->dataset,
                                 cli_digest(version, job->current_version),
                                 *job->reason ? job->reason
                                              : cli_metrics(result, sizeof result, &job->metrics)};
    return cli_table_row(t, cells, err);
}

static weft_status list_jobs(cli *c, cli_table *t, weft_err *err)
{
    uint64_t after = 0;
    for (;;) {
        const weft_msg_list_jobs_request request = {.after_job = after};
        weft_msg_list_jobs_reply answer;
        cli_reply reply;
        WEFT_TRY(cli_call(c, WEFT_METHOD_LIST_JOBS, WEFT_MSG_LIST_JOBS_REQUEST, &request,
                          WEFT_MSG_LIST_JOBS_REPLY, &answer, &reply, err));
        weft_status status = WEFT_OK;
        for (size_t i = 0; status == WEFT_OK && i < answer.n_jobs; i++) {
            status = add_job(t, &answer.jobs[i], err);
            after = answer.jobs[i].job_id;
        }
        const bool last = answer.n_jobs == 0;
        cli_reply_done(&reply);
        WEFT_TRY(status);
        if (last) {
            return WEFT_OK;
        }
    }
}

static weft_status run_list(cli *c, weft_err *err)
{
    static const char *const heads[] = {"JOB", "STATUS", "ROUNDS", "DATA SET", "VERSION", "RESULT"};
    cli_table t;
    cli_table_init(&t, c, heads, 6);
    const weft_status status = list_jobs(c, &t, err);
    if (status != WEFT_OK) {
        cli_table_done(&t);
        return status;
    }
    return cli_table_end(&t, "no jobs yet: weft job submit FILE", err);
}

/* ---- show ----------------------------------------------------------------------------------- */

static weft_status print_definition(const weft_job_def *def, weft_err *err)
{
    weft_buf yaml;
    weft_buf_init(&yaml, &weft_alloc_std, WEFT_MAX_YAML_BYTES);
    const weft_status status = weft_job_yaml_print(def, &yaml, err);
    if (status == WEFT_OK) {
        printf("%.*s", (int)yaml.size, (const char *)yaml.data);
    }
    weft_buf_done(&yaml);
    return status;
}

static void print_job(const weft_msg_get_job_reply *answer)
{
    const weft_msg_job_info *job = answer->job;
    char text[CLI_TEXT_BYTES];
    char metrics[400];
    cli_field("job", "%s (id %" PRIu64 ")", job->name, job->job_id);
    cli_field("status", "%s%s%s", job->status, *job->reason ? ": " : "", job->reason);
    cli_field("submitted", "%s", cli_time(text, job->created_unix_ms));
    cli_field("rounds", "%u of %u done", job->rounds_done, job->rounds_total);
    if (*job->round_state) {
        cli_field("round", "%u is %s: %u of %u updates", job->round, job->round_state,
                  job->accepted, job->cohort);
    }
    cli_field("data set", "%s", job->dataset);
    cli_field("version", "%s", cli_digest(text, job->current_version));
    cli_field("result", "%s", cli_metrics(metrics, sizeof metrics, &job->metrics));
    cli_field("privacy", "%s",
              job->secure_aggregation ? "secure aggregation: the coordinator sees sums only"
                                      : "plain: the coordinator sees each update");
    for (size_t i = 0; i < answer->n_history; i++) {
        const weft_msg_status_change *h = &answer->history[i];
        cli_field(i == 0 ? "history" : "", "%s  %s%s%s", cli_time(text, h->unix_ms), h->status,
                  *h->reason ? ": " : "", h->reason);
    }
}

static weft_status show(cli *c, const weft_msg_get_job_reply *answer, weft_err *err)
{
    if (!answer->job || !answer->definition) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the coordinator's answer has no job in it");
    }
    if (cli_value(c, "definition")) {
        return print_definition(answer->definition, err);
    }
    if (cli_is_text(c)) {
        print_job(answer);
        return WEFT_OK;
    }
    json_t *object = cli_json_job(answer->job);
    if (object && json_object_set_new(object, "history",
                                      cli_json_history(answer->history, answer->n_history)) != 0) {
        json_decref(object);
        object = NULL;
    }
    return cli_print_json(c, object, err);
}

static weft_status run_show(cli *c, weft_err *err)
{
    const weft_msg_get_job_request request = {.job = c->argument[0]};
    weft_msg_get_job_reply answer;
    cli_reply reply;
    WEFT_TRY(cli_call(c, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REQUEST, &request,
                      WEFT_MSG_GET_JOB_REPLY, &answer, &reply, err));
    const weft_status status = show(c, &answer, err);
    cli_reply_done(&reply);
    return status;
}

/* ---- control -------------------------------------------------------------------------------- */

/* pause, resume, cancel: the verb's own name is what the coordinator is asked for */
static weft_status run_control(cli *c, weft_err *err)
{
    const char *reason = cli_value(c, "reason");
    const weft_msg_control_job_request request = {
        .job = c->argument[0], .verb = c->verb->verb, .reason = reason ? reason : ""};
    weft_msg_job_info answer;
    cli_reply reply;
    WEFT_TRY(cli_call(c, WEFT_METHOD_CONTROL_JOB, WEFT_MSG_CONTROL_JOB_REQUEST, &request,
                      WEFT_MSG_JOB_INFO, &answer, &reply, err));
    weft_status status = WEFT_OK;
    if (cli_is_text(c)) {
        printf("job %s is %s\n", answer.name, answer.status);
    } else {
        status = cli_print_json(c, cli_json_job(&answer), err);
    }
    cli_reply_done(&reply);
    return status;
}

static weft_status run_watch(cli *c, weft_err *err)
{
    return cli_watch_job(c, c->argument[0], false, err);
}

static const cli_option submit_options[] = {
    {"from", 0, "MODEL", "start from a stored model: JOB, JOB@ROUND or a digest"},
    {"watch", 'w', NULL, "follow the job until it ends"},
    {0},
};
static const cli_option plan_options[] = {
    {"check", 0, NULL, "also ask the coordinator whether it would take the job"},
    {0},
};
static const cli_option show_options[] = {
    {"definition", 0, NULL, "print the job file instead"},
    {0},
};
static const cli_option control_options[] = {
    {"reason", 0, "TEXT", "for the record"},
    {0},
};
static const cli_option stats_options[] = {
    {"name", 0, "NAME", "of the statistics job; default from the file's and the time"},
    {"output", 'o', "FILE", "write the completed job file there; default stdout"},
    {0},
};

const cli_verb cli_job_verbs[] = {
    {"job", "submit", "FILE", 1, 1, "start the job of a file",
     "Submitting the same file again is harmless: it is the same job. For a dry run, which starts\n"
     "nothing: weft job plan FILE --check.",
     submit_options, run_submit},
    {"job", "plan", "FILE", 1, 1, "what a job file would do, before it costs anything",
     "Parameters, bytes a round, memory and cohort, computed here; nothing is sent without "
     "--check.",
     plan_options, cli_job_plan},
    {"job", "stats", "FILE", 1, 1, "fill in a job file's column statistics",
     "One federated round of counts, sums and squares over the clients' columns; prints the job\n"
     "file with mean and std of every numeric column of its data schema.",
     stats_options, cli_job_stats},
    {"job", "list", "", 0, 0, "all jobs", NULL, NULL, run_list},
    {"job", "show", "JOB", 1, 1, "one job and its history", NULL, show_options, run_show},
    {"job", "watch", "JOB", 1, 1, "follow a job until it ends",
     "A line for each round, and a live one on a terminal; --format jsonl prints every event.\n"
     "Lives through restarts of the coordinator. Exit status 1 when the job failed or was "
     "canceled.",
     NULL, run_watch},
    {"job", "pause", "JOB", 1, 1, "hold a job after its open round", NULL, control_options,
     run_control},
    {"job", "resume", "JOB", 1, 1, "let a paused job go on", NULL, control_options, run_control},
    {"job", "cancel", "JOB", 1, 1, "end a job; its versions stay", NULL, control_options,
     run_control},
    {0},
};

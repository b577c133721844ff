/* SPDX-License-Identifier: Apache-2.0 */
/* weft round: what happened, round by round. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_ROWS = 200 };

/* Evaluation where there is one, else what the clients measured in training. */
static const weft_metrics *best_metrics(const weft_msg_round_info *r)
{
    if (r->central_metrics.n > 0) {
        return &r->central_metrics;
    }
    return r->eval_metrics.n > 0 ? &r->eval_metrics : &r->train_metrics;
}

static weft_status add_round(cli_table *t, const weft_msg_round_info *r, weft_err *err)
{
    if (!cli_is_text(t->c)) {
        return cli_table_object(t, cli_json_round(r), err);
    }
    char number[CLI_TEXT_BYTES];
    char updates[CLI_TEXT_BYTES];
    char examples[CLI_TEXT_BYTES];
    char taken[CLI_TEXT_BYTES] = "";
    char version[CLI_TEXT_BYTES];
    char metrics[200];
    (void)snprintf(number, sizeof number, r->attempt > 1 ? "%u.%u" : "%u", r->round, r->attempt);
    (void)snprintf(updates, sizeof updates, "%u/%u", r->accepted, r->cohort);
    if (r->closed_unix_ms > r->opened_unix_ms) {
        (void)cli_duration(taken, (uint64_t)(r->closed_unix_ms - r->opened_unix_ms));
    }
    const char *const cells[] = {
        number,
        r->state,
        updates,
        cli_count(examples, r->n_examples),
        taken,
        cli_digest(version, r->version),
        *r->reason ? r->reason : cli_metrics(metrics, sizeof metrics, best_metrics(r))};
    return cli_table_row(t, cells, err);
}

static weft_status list_rounds(cli *c, cli_table *t, const char *job, weft_err *err)
{
    uint32_t after = 0;
    for (;;) {
        const weft_msg_list_rounds_request request = {
            .job = job, .after_round = after, .limit = PAGE_ROWS};
        weft_msg_list_rounds_reply answer;
        cli_reply reply;
        WEFT_TRY(cli_call(c, WEFT_METHOD_LIST_ROUNDS, WEFT_MSG_LIST_ROUNDS_REQUEST, &request,
                          WEFT_MSG_LIST_ROUNDS_REPLY, &answer, &reply, err));
        weft_status status = WEFT_OK;
        for (size_t i = 0; status == WEFT_OK && i < answer.n_rounds; i++) {
            status = add_round(t, &answer.rounds[i], err);
            after = answer.rounds[i].round;
        }
        const bool last = answer.n_rounds == 0;
        cli_reply_done(&reply);
        WEFT_TRY(status);
        if (last) {
            return WEFT_OK;
        }
    }
}

static weft_status run_list(cli *c, weft_err *err)
{
    static const char *const heads[] = {"ROUND", "STATE",   "UPDATES", "EXAMPLES",
                                        "TOOK",  "VERSION", "RESULT"};
    cli_table t;
    cli_table_init(&t, c, heads, 7);
    const weft_status status = list_rounds(c, &t, c->argument[0], err);
    if (status != WEFT_OK) {
        cli_table_done(&t);
        return status;
    }
    return cli_table_end(&t, "no rounds yet", err);
}

/* ---- show ----------------------------------------------------------------------------------- */

static void print_metrics_field(const char *name, const weft_metrics *m)
{
    char text[400];
    if (m->n > 0) {
        cli_field(name, "%s", cli_metrics(text, sizeof text, m));
    }
}

static void print_round(const weft_msg_round_info *r)
{
    char a[CLI_TEXT_BYTES];
    char b[CLI_TEXT_BYTES];
    cli_field("round", "%u of job %s, attempt %u", r->round, r->job, r->attempt);
    cli_field("state", "%s%s%s", r->state, *r->reason ? ": " : "", r->reason);
    cli_field("opened", "%s", cli_time(a, r->opened_unix_ms));
    if (r->closed_unix_ms > 0) {
        cli_field("closed", "%s", cli_time(a, r->closed_unix_ms));
    }
    cli_field("clients", "%u were there, %u asked, %u accepted with %s examples", r->eligible,
              r->cohort, r->accepted, cli_count(a, r->n_examples));
    cli_field("base", "%s", cli_digest(a, r->base_version));
    if (r->version.size > 0) {
        cli_field("version", "%s", cli_digest(a, r->version));
    }
    if (r->bytes_down > 0) {
        cli_field("bytes", "%s up, %s down", cli_size(a, r->bytes_up), cli_size(b, r->bytes_down));
    } else { /* not counted */
        cli_field("bytes", "%s up", cli_size(a, r->bytes_up));
    }
    print_metrics_field("training", &r->train_metrics);
    print_metrics_field("evaluation", &r->eval_metrics);
    print_metrics_field("central", &r->central_metrics);
}

/* Where the round's secure session stands. */
static void print_session(const weft_msg_secure_info *s)
{
    if (!s) {
        return;
    }
    cli_field("secure", "phase %s: %u of %u clients have answered", s->phase, s->answered,
              s->expected);
    if (s->clients > 0) {
        cli_field("", "%u clients, %u neighbours each (k), %u must answer (t)", s->clients,
                  s->neighbours, s->threshold);
    }
}

static weft_status add_assignment(cli_table *t, const weft_msg_assignment_info *a, weft_err *err)
{
    if (!cli_is_text(t->c)) {
        return cli_table_object(t, cli_json_assignment(a), err);
    }
    char examples[CLI_TEXT_BYTES];
    char digest[CLI_TEXT_BYTES];
    const char *const cells[] = {a->client,
                                 a->task == WEFT_TASK_EVALUATE ? "evaluate"
                                 : a->task == WEFT_TASK_STATS  ? "stats"
                                                               : "train",
                                 a->answered ? "answered" : a->state,
                                 cli_count(examples, a->n_examples),
                                 cli_digest(digest, a->update_digest),
                                 a->reason};
    return cli_table_row(t, cells, err);
}

/* The round as an object whose "assignments" are what the table has gathered so far. */
static weft_status print_round_json(cli *c, json_t *round, weft_err *err)
{
    json_t *list = c->list ? c->list : json_array();
    c->list = NULL;
    if (!round || json_object_set_new(round, "assignments", list) != 0) {
        json_decref(round);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the result");
    }
    return cli_print_json(c, round, err);
}

/* One page; the first one also tells about the round. */
static weft_status show_page(cli *c, cli_table *t, uint32_t round, uint64_t *after, json_t **ret,
                             bool *ret_last, weft_err *err)
{
    const weft_msg_get_round_request request = {
        .job = c->argument[0], .round = round, .after_assignment = *after};
    weft_msg_get_round_reply answer;
    cli_reply reply;
    WEFT_TRY(cli_call(c, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REQUEST, &request,
                      WEFT_MSG_GET_ROUND_REPLY, &answer, &reply, err));
    weft_status status = WEFT_OK;
    if (*after == 0 && answer.round) {
        if (cli_is_text(c)) {
            print_round(answer.round);
            print_session(answer.secure);
            printf("\n");
        } else {
            *ret = cli_json_round(answer.round);
            json_object_set_new(*ret, "history",
                                cli_json_history(answer.history, answer.n_history));
            if (answer.secure) {
                json_object_set_new(*ret, "secure", cli_json_secure(answer.secure));
            }
        }
    }
    for (size_t i = 0; status == WEFT_OK && i < answer.n_assignments; i++) {
        status = add_assignment(t, &answer.assignments[i], err);
        *after = answer.assignments[i].assignment_id;
    }
    *ret_last = answer.n_assignments == 0;
    cli_reply_done(&reply);
    return status;
}

static weft_status run_show(cli *c, weft_err *err)
{
    static const char *const heads[] = {"CLIENT", "TASK", "STATE", "EXAMPLES", "UPDATE", "REASON"};
    uint64_t round = 0;
    if (!cli_parse_u64(&round, c->argument[1], 1, UINT32_MAX)) {
        return cli_usage(c, err, "'%.60s' is no round: 1, 2, ...", c->argument[1]);
    }
    const cli_format format = c->format;
    if (format == CLI_JSONL) {
        c->format = CLI_JSON; /* the assignments are gathered into the round's one object */
    }
    cli_table t;
    cli_table_init(&t, c, heads, 6);
    json_t *object = NULL;
    uint64_t after = 0;
    weft_status status = WEFT_OK;
    for (bool last = false; status == WEFT_OK && !last;) {
        status = show_page(c, &t, (uint32_t)round, &after, &object, &last, err);
    }
    c->format = format;
    if (status != WEFT_OK) {
        json_decref(object);
        cli_table_done(&t);
        return status;
    }
    if (!cli_is_text(c)) {
        return print_round_json(c, object, err);
    }
    return cli_table_end(&t, "no assignments", err);
}

static const cli_option replay_options[] = {
    {"config", 0, "FILE", "weftd.yaml of the coordinator; default weftd/weftd.yaml"},
    {0},
};

const cli_verb cli_round_verbs[] = {
    {"round", "list", "JOB", 1, 1, "all rounds of a job", NULL, NULL, run_list},
    {"round", "show", "JOB ROUND", 2, 2, "one round and who took part", NULL, NULL, run_show},
    {"round", "replay", "JOB ROUND", 2, 2, "compute a round again from the updates that were kept",
     "Runs on the coordinator's machine, beside a running weftd or without one, and changes\n"
     "nothing. Each update must have the digest of its receipt; their mean, added to the version\n"
     "that the round began with, must be the version that it published, to the byte. For jobs\n"
     "with aggregation.keep_updates. Exit status 0: it is; 1: it is not, and why is said; 4: the\n"
     "round's updates were not kept.",
     replay_options, cli_round_replay},
    {0},
};

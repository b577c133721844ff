/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the coordinator as JSON: the field names of proto/weft/v1, digests in hexadecimal. */
#include "cli/cli.h"

/* Digests and texts that are absent are null: an object has the same keys every time. */
json_t *cli_json_digest(weft_view digest)
{
    char hex[2 * WEFT_DIGEST_BYTES + 1];
    if (digest.size != WEFT_DIGEST_BYTES) {
        return json_null();
    }
    weft_hex_encode(hex, digest.data, WEFT_DIGEST_BYTES);
    return json_string(hex);
}

/* wire lets only UTF-8 through */
static json_t *text(const char *value)
{
    return value && *value ? json_string(value) : json_null();
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *unix_ms(int64_t value)
{
    return value > 0 ? json_integer(value) : json_null();
}

json_t *cli_json_metrics(const weft_metrics *m)
{
    json_t *object = json_object();
    for (uint32_t i = 0; object && i < m->n; i++) {
        if (json_object_set_new(object, m->item[i].name, json_real(m->item[i].value)) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

json_t *cli_json_job(const weft_msg_job_info *job)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "job_id",
        number(job->job_id), "name", text(job->name), "status", text(job->status), "reason",
        text(job->reason), "round", number(job->round), "rounds_done", number(job->rounds_done),
        "rounds_total", number(job->rounds_total), "round_state", text(job->round_state), "cohort",
        number(job->cohort), "accepted", number(job->accepted), "current_version",
        cli_json_digest(job->current_version), "dataset", text(job->dataset), "created_unix_ms",
        unix_ms(job->created_unix_ms), "metrics", cli_json_metrics(&job->metrics),
        "secure_aggregation", job->secure_aggregation);
}

json_t *cli_json_round(const weft_msg_round_info *round)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o}",
        "job", text(round->job), "round", number(round->round), "attempt", number(round->attempt),
        "state", text(round->state), "reason", text(round->reason), "eligible",
        number(round->eligible), "cohort", number(round->cohort), "accepted",
        number(round->accepted), "n_examples", number(round->n_examples), "base_version",
        cli_json_digest(round->base_version), "version", cli_json_digest(round->version),
        "opened_unix_ms", unix_ms(round->opened_unix_ms), "closed_unix_ms",
        unix_ms(round->closed_unix_ms), "train_metrics", cli_json_metrics(&round->train_metrics),
        "eval_metrics", cli_json_metrics(&round->eval_metrics), "central_metrics",
        cli_json_metrics(&round->central_metrics), "bytes_up", number(round->bytes_up),
        "bytes_down", number(round->bytes_down));
}

static const char *task_name(weft_task task)
{
    switch (task) {
    case WEFT_TASK_EVALUATE:
        return "evaluate";
    case WEFT_TASK_STATS:
        return "stats";
    case WEFT_TASK_TRAIN:
    default:
        return "train";
    }
}

json_t *cli_json_assignment(const weft_msg_assignment_info *a)
{
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:b}", "assignment_id",
                     number(a->assignment_id), "client", text(a->client), "task",
                     task_name(a->task), "state", text(a->state), "reason", text(a->reason),
                     "n_examples", number(a->n_examples), "update_digest",
                     cli_json_digest(a->update_digest), "answered", a->answered);
}

json_t *cli_json_secure(const weft_msg_secure_info *s)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "phase", text(s->phase), "answered",
                     number(s->answered), "expected", number(s->expected), "clients",
                     number(s->clients), "k", number(s->neighbours), "t", number(s->threshold));
}

json_t *cli_json_model(const weft_msg_model_info *model, bool with_texts)
{
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:b, s:o}", "digest",
                  cli_json_digest(model->digest), "parent", cli_json_digest(model->parent), "job",
                  text(model->job), "round", number(model->round), "bytes", number(model->bytes),
                  "created_unix_ms", unix_ms(model->created_unix_ms), "released", model->released,
                  "release_name", text(model->release_name), "current", model->current, "metrics",
                  cli_json_metrics(&model->metrics));
    if (object && with_texts &&
        (json_object_set_new(object, "model_spec", text(model->model_spec)) != 0 ||
         json_object_set_new(object, "data_schema", text(model->data_schema)) != 0)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *datasets(const weft_msg_client_info *client)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < client->n_datasets; i++) {
        json_t *item = json_pack("{s:o, s:o}", "name", text(client->datasets[i].name), "n_examples",
                                 number(client->datasets[i].n_examples));
        if (!item || json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *cli_json_client(const weft_msg_client_info *client)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o}", "client",
                     text(client->client), "status", text(client->status), "since_unix_ms",
                     unix_ms(client->since_unix_ms), "invitation_expires_unix_ms",
                     unix_ms(client->invitation_expires_unix_ms), "certificate_expires_unix_ms",
                     unix_ms(client->certificate_expires_unix_ms), "connected", client->connected,
                     "last_seen_unix_ms", unix_ms(client->last_seen_unix_ms), "software",
                     text(client->software), "datasets", datasets(client), "updates_accepted",
                     number(client->updates_accepted));
}

json_t *cli_json_history(const weft_msg_status_change *history, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++) {
        json_t *item =
            json_pack("{s:o, s:o, s:o}", "unix_ms", unix_ms(history[i].unix_ms), "status",
                      text(history[i].status), "reason", text(history[i].reason));
        if (!item || json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

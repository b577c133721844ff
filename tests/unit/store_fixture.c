/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "store_fixture.h"

#include "store/db_priv.h"

#include <stdio.h>
#include <string.h>

weft_store *open_store(const char *dir)
{
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    weft_store *store = NULL;
    assert_ok(weft_store_open(&store, dir, &options, &weft_alloc_std, &assert_err));
    return store;
}

weft_job_def def_of(const char *name)
{
    weft_job_def def;
    memset(&def, 0, sizeof def);
    (void)snprintf(def.name, sizeof def.name, "%s", name);
    (void)snprintf(def.dataset, sizeof def.dataset, "digits");
    return def;
}

weft_job_row job_of(uint64_t id, const weft_job_def *def)
{
    weft_job_row row;
    memset(&row, 0, sizeof row);
    row.job_id = id;
    row.def = def;
    row.status = WEFT_JOB_RUNNING;
    row.round = 1;
    row.created_unix_ms = T0;
    return row;
}

weft_round_row round_of(uint64_t job_id, uint32_t round, uint32_t attempt)
{
    weft_round_row row;
    memset(&row, 0, sizeof row);
    row.job_id = job_id;
    row.round = round;
    row.attempt = attempt;
    row.state = WEFT_ROUND_TRAINING;
    row.cohort = 2;
    row.opened_unix_ms = T0;
    return row;
}

weft_assignment_row assignment_of(uint64_t id, const weft_round_row *round, const char *client)
{
    weft_assignment_row row;
    memset(&row, 0, sizeof row);
    row.assignment_id = id;
    row.job_id = round->job_id;
    row.round = round->round;
    row.attempt = round->attempt;
    row.task = WEFT_TASK_TRAIN;
    row.state = WEFT_ASSIGNMENT_OPEN;
    (void)snprintf(row.client, sizeof row.client, "%s", client);
    return row;
}

weft_status see_job(void *arg, weft_job_row *row, weft_view definition, weft_err *err)
{
    (void)err;
    seen *s = arg;
    s->n++;
    s->job = *row;
    assert_true(definition.size < sizeof s->definition);
    memcpy(s->definition, definition.data, definition.size);
    s->definition[definition.size] = '\0';
    return WEFT_OK;
}

weft_status see_round(void *arg, const weft_round_row *row, weft_err *err)
{
    (void)err;
    seen *s = arg;
    s->rounds[s->n++ % 16] = row->round * 10 + row->attempt;
    s->round = *row;
    return WEFT_OK;
}

weft_status see_assignment(void *arg, const weft_assignment_row *row, weft_err *err)
{
    (void)err;
    seen *s = arg;
    s->assignment[s->n++ % 4] = *row;
    return WEFT_OK;
}

weft_status see_change(void *arg, const weft_store_change *change, weft_err *err)
{
    (void)err;
    seen *s = arg;
    assert_true(s->n < 8);
    s->change[s->n] = *change;
    (void)snprintf(s->reasons[s->n], sizeof s->reasons[0], "%s", change->reason);
    s->n++;
    return WEFT_OK;
}

weft_status see_version(void *arg, const weft_store_version *version, weft_err *err)
{
    (void)err;
    seen *s = arg;
    assert_true(s->n < 8);
    s->version[s->n] = *version;
    (void)snprintf(s->job_name[s->n], sizeof s->job_name[0], "%s", version->job);
    (void)snprintf(s->release[s->n], sizeof s->release[0], "%s", version->release);
    s->n++;
    return WEFT_OK;
}

weft_version_row version_of(uint64_t job_id, uint32_t round, uint8_t tag)
{
    weft_version_row row;
    memset(&row, 0, sizeof row);
    memset(row.digest, tag, sizeof row.digest);
    row.job_id = job_id;
    row.round = round;
    row.bytes = 40;
    row.created_unix_ms = T0 + round;
    return row;
}

void exec_on(const char *dir, const char *file, const char *sql)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    const weft_db_options options = {file, NULL, 4096, 100, false};
    weft_db db;
    assert_ok(weft_db_open(&db, path, &options, &assert_err));
    assert_ok(weft_db_exec(&db, sql, &assert_err));
    weft_db_close(&db);
}

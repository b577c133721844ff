/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft job watch: the stream of events of one job, as a line for each round and a live one, or as
 * JSON. A lost connection is taken up again: the coordinator sends a snapshot first. One thread.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum {
    STEP_MS = 500,
    WAIT_MS = 2000,  /* without a round: say why */
    LOST_MS = 60000, /* without a connection: longer than a restart takes */
    RETRY_MS = 1000,
    PAGE_ROWS = 200
};

typedef struct watch {
    cli *c;
    const char *name;
    bool quiet;
    uint64_t started_ms;
    uint64_t lost_at_ms; /* 0: connected */
    bool seen;           /* an event came: the job exists and we are allowed */
    bool ended;          /* the call is over, code and text say why */
    weft_rt_code code;
    char text[WEFT_ERR_MSG_BYTES];
    weft_status failed; /* of a callback */
    weft_err err;
    weft_buf scratch;
    /* the job as of the newest event */
    char status[16];
    char reason[WEFT_MAX_REASON_BYTES + 1];
    char round_state[16];
    uint32_t round;
    uint32_t rounds_done;
    uint32_t rounds_total;
    uint32_t cohort;
    uint32_t accepted;
    weft_metrics metrics;
    /* what was told */
    uint32_t first_done;    /* rounds done when the watch began */
    uint64_t first_done_ms; /* when the next one was done */
    uint32_t told_round;
    uint32_t told_failed; /* round * 1000 + attempt of the newest failed attempt told */
    uint64_t bytes;
    bool told_paused;
    bool told_waiting;
    uint64_t waits_since_ms; /* without an open round; 0: it has one */
    cli_progress live;
} watch;

static uint64_t mono_ms(void)
{
    return weft_clock_system.mono_ms(weft_clock_system.self);
}

static void copy_text(char *out, size_t out_size, const char *text)
{
    (void)snprintf(out, out_size, "%s", text ? text : ""); /* cut at worst */
}

static bool job_over(const watch *w)
{
    return strcmp(w->status, "done") == 0 || strcmp(w->status, "failed") == 0 ||
           strcmp(w->status, "canceled") == 0;
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* Results are lines on stdout; the live line must not be in their way. */
static void tell(watch *w, const char *line)
{
    cli_progress_end(&w->live);
    if (!w->quiet && cli_is_text(w->c)) {
        printf("%s\n", line);
        (void)fflush(stdout); /* followers of a pipe want it now; main tells of failures */
    }
}

/* ", 35 s left" from the pace since the first round that was seen to end; "" before the second. */
static const char *time_left(const watch *w, char *out, size_t out_size)
{
    char left[CLI_TEXT_BYTES];
    const uint32_t done = w->rounds_done - w->first_done;
    out[0] = '\0';
    if (done >= 2 && w->rounds_total > w->rounds_done) {
        const uint64_t each_ms = (mono_ms() - w->first_done_ms) / (done - 1);
        (void)snprintf(out, out_size, ", %s left",
                       cli_duration(left, each_ms * (w->rounds_total - w->rounds_done)));
    }
    return out;
}

static void tell_round(watch *w, const weft_msg_round_info *r)
{
    const weft_metrics *m = r->eval_metrics.n > 0 ? &r->eval_metrics : &r->train_metrics;
    m = r->central_metrics.n > 0 ? &r->central_metrics : m;
    char metrics[200];
    char took[CLI_TEXT_BYTES];
    char bytes[CLI_TEXT_BYTES];
    char left[CLI_TEXT_BYTES + 16];
    char line[512];
    const uint64_t ms = r->closed_unix_ms > r->opened_unix_ms
                            ? (uint64_t)(r->closed_unix_ms - r->opened_unix_ms)
                            : 0;
    (void)snprintf(line, sizeof line, "%s round %u of %u  %u of %u updates  %s  %s  %s%s", w->name,
                   r->round, w->rounds_total, r->accepted, r->cohort,
                   cli_metrics(metrics, sizeof metrics, m),
                   cli_size(bytes, r->bytes_up + r->bytes_down), cli_duration(took, ms),
                   time_left(w, left, sizeof left));
    w->bytes += r->bytes_up + r->bytes_down;
    w->metrics = *m;
    tell(w, line);
}

static void tell_failed_round(watch *w, const weft_msg_round_info *r)
{
    const uint32_t key = r->round * 1000U + r->attempt;
    if (key == w->told_failed) {
        return;
    }
    w->told_failed = key;
    char line[512];
    (void)snprintf(line, sizeof line, "%s round %u attempt %u failed: %s", w->name, r->round,
                   r->attempt, r->reason);
    tell(w, line);
}

static void show_live(watch *w)
{
    if (!w->live.terminal || (!w->quiet && !cli_is_text(w->c)) || !w->seen) {
        return;
    }
    char metrics[120];
    char left[CLI_TEXT_BYTES + 16];
    char bytes[CLI_TEXT_BYTES];
    char line[400];
    if (w->lost_at_ms > 0) {
        (void)snprintf(line, sizeof line, "%s: the coordinator is away, trying again", w->name);
    } else if (w->cohort == 0) {
        (void)snprintf(line, sizeof line, "%s  round %u of %u: %s", w->name, w->rounds_done + 1,
                       w->rounds_total, *w->reason ? w->reason : "waiting for clients");
    } else {
        (void)snprintf(line, sizeof line, "%s  round %u of %u %s %u of %u  %s  %s%s", w->name,
                       w->round, w->rounds_total, w->round_state, w->accepted, w->cohort,
                       cli_metrics(metrics, sizeof metrics, &w->metrics), cli_size(bytes, w->bytes),
                       time_left(w, left, sizeof left));
    }
    cli_progress_line(&w->live, line);
}

/* ---- events --------------------------------------------------------------------------------- */

static void take_job(watch *w, const weft_msg_job_info *job)
{
    copy_text(w->status, sizeof w->status, job->status);
    copy_text(w->reason, sizeof w->reason, job->reason);
    copy_text(w->round_state, sizeof w->round_state, job->round_state);
    w->round = job->round;
    if (w->seen && w->rounds_done == w->first_done && job->rounds_done > w->first_done) {
        w->first_done_ms = mono_ms();
    }
    w->rounds_done = job->rounds_done;
    w->rounds_total = job->rounds_total;
    w->cohort = job->cohort;
    w->accepted = job->accepted;
    if (job->metrics.n > 0) {
        w->metrics = job->metrics; /* else the newest ones known are still the newest */
    }
    if (!w->seen) {
        w->first_done = job->rounds_done;
        w->told_round = job->rounds_done; /* the past is what round list is for */
    }
    w->seen = true;
    const bool waits = strcmp(w->status, "running") == 0 && job->cohort == 0;
    if (!waits || w->waits_since_ms == 0) {
        w->waits_since_ms = waits ? mono_ms() : 0;
        w->told_waiting = false;
    }
    const bool paused = strcmp(w->status, "paused") == 0;
    if (paused && !w->told_paused) {
        char line[512];
        (void)snprintf(line, sizeof line, "%s is paused: %s; weft job resume %s lets it go on",
                       w->name, w->reason, w->name);
        tell(w, line);
    }
    w->told_paused = paused;
}

static weft_status print_event(watch *w, const weft_msg_watch_event *event, weft_err *err)
{
    json_t *job = event->job ? cli_json_job(event->job) : json_null();
    json_t *round = event->round ? cli_json_round(event->round) : json_null();
    json_t *object = json_pack("{s:I, s:s, s:o, s:o, s:s, s:s}", "unix_ms",
                               (json_int_t)event->unix_ms, "kind", event->kind, "job", job, "round",
                               round, "client", event->client, "detail", event->detail);
    WEFT_TRY(cli_print_json(w->c, object, err));
    (void)fflush(stdout); /* as in tell */
    return WEFT_OK;
}

static weft_status take_event(watch *w, const weft_msg_watch_event *event, weft_err *err)
{
    w->lost_at_ms = 0;
    if (event->job && strcmp(event->job->name, w->name) == 0) {
        take_job(w, event->job);
    }
    if (!w->quiet && !cli_is_text(w->c)) {
        WEFT_TRY(print_event(w, event, err));
    }
    if (event->round && strcmp(event->round->state, "failed") == 0) {
        tell_failed_round(w, event->round);
    }
    return WEFT_OK;
}

static void on_message(void *arg, weft_rt_rpc *rpc, weft_rt_message *message)
{
    watch *w = arg;
    weft_view bytes = {0};
    weft_arena arena;
    weft_msg_watch_event event;
    weft_wire_arena_init(&arena, WEFT_MSG_WATCH_EVENT, &weft_alloc_std);
    weft_status status = weft_rt_message_flat(message, &w->scratch, &bytes, &w->err);
    if (status == WEFT_OK) {
        status = weft_msg_watch_event_decode(&event, bytes.data, bytes.size, &arena, &w->err);
    }
    if (status == WEFT_OK) {
        status = take_event(w, &event, &w->err);
    }
    weft_arena_done(&arena);
    if (status != WEFT_OK) {
        w->failed = status;
        weft_rt_rpc_cancel(rpc);
        return;
    }
    weft_rt_rpc_next(rpc);
}

static void on_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                    weft_rt_message *reply)
{
    (void)rpc;
    (void)reply;
    watch *w = arg;
    w->ended = true;
    w->code = code;
    copy_text(w->text, sizeof w->text, text);
}

/* ---- rounds that were finished since the last look ------------------------------------------- */

static weft_status tell_rounds(watch *w, weft_err *err)
{
    while (w->told_round < w->rounds_done) {
        const weft_msg_list_rounds_request request = {
            .job = w->name, .after_round = w->told_round, .limit = PAGE_ROWS};
        weft_msg_list_rounds_reply answer;
        cli_reply reply;
        WEFT_TRY(cli_call(w->c, WEFT_METHOD_LIST_ROUNDS, WEFT_MSG_LIST_ROUNDS_REQUEST, &request,
                          WEFT_MSG_LIST_ROUNDS_REPLY, &answer, &reply, err));
        const uint32_t before = w->told_round;
        const bool any = answer.n_rounds > 0;
        for (size_t i = 0; i < answer.n_rounds; i++) {
            const weft_msg_round_info *r = &answer.rounds[i];
            if (strcmp(r->state, "done") == 0 && r->round > w->told_round) {
                tell_round(w, r);
                w->told_round = r->round;
            }
        }
        cli_reply_done(&reply);
        if (w->told_round == before && any && !job_over(w)) {
            return WEFT_OK; /* it is still being evaluated: an event will say when it is done */
        }
        if (w->told_round == before) {
            w->told_round = w->rounds_done; /* nothing to tell: do not ask for ever */
        }
    }
    return WEFT_OK;
}

/* A job without an open round for a while: ask why, once. */
static weft_status tell_waiting(watch *w, weft_err *err)
{
    if (w->waits_since_ms == 0 || w->told_waiting || mono_ms() - w->waits_since_ms < WAIT_MS) {
        return WEFT_OK;
    }
    const weft_msg_get_job_request request = {.job = w->name};
    weft_msg_get_job_reply answer;
    cli_reply reply;
    WEFT_TRY(cli_call(w->c, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REQUEST, &request,
                      WEFT_MSG_GET_JOB_REPLY, &answer, &reply, err));
    w->told_waiting = true;
    if (answer.job && strcmp(answer.job->status, "running") == 0 && *answer.job->reason) {
        char line[512];
        copy_text(w->reason, sizeof w->reason, answer.job->reason);
        (void)snprintf(line, sizeof line, "%s: %s", w->name, w->reason);
        tell(w, line);
    }
    cli_reply_done(&reply);
    return WEFT_OK;
}

/* ---- the loop ------------------------------------------------------------------------------- */

static weft_status start(watch *w, weft_rt_loop *loop, weft_rt_rpc **rpc, weft_err *err)
{
    weft_buf bytes;
    weft_buf_init(&bytes, &weft_alloc_std, WEFT_MAX_CONTROL_BYTES);
    const weft_msg_watch_request request = {.job = w->name};
    weft_status status = weft_msg_watch_request_encode(&bytes, &request, err);
    if (status == WEFT_OK) {
        weft_rt_rpc_options options = WEFT_RT_RPC_OPTIONS_INIT;
        options.path = weft_method_get(WEFT_METHOD_WATCH)->path;
        options.kind = WEFT_RT_RPC_FETCH;
        options.request = weft_buf_view(&bytes);
        options.arg = w;
        options.on_message = on_message;
        options.on_done = on_done;
        w->ended = false;
        status = weft_rt_rpc_start(rpc, loop, w->c->channel, &options, err);
    }
    weft_buf_done(&bytes);
    return status;
}

static weft_status check_time(const watch *w, weft_err *err)
{
    const uint64_t now = mono_ms();
    if (w->c->has_timeout && w->c->timeout_ms > 0 && now - w->started_ms >= w->c->timeout_ms) {
        WEFT_FAIL(err, WEFT_E_TIMEOUT, "job %.64s is still %s after %u s", w->name,
                  *w->status ? w->status : "unknown", w->c->timeout_ms / 1000U);
    }
    if (w->lost_at_ms > 0 && now - w->lost_at_ms >= LOST_MS) {
        return cli_call_failed(w->c, w->code, w->text, err);
    }
    return WEFT_OK;
}

/* The call has ended: is that final? */
static weft_status after_call(watch *w, weft_err *err)
{
    if (w->failed != WEFT_OK) {
        WEFT_FAIL(err, w->failed, "%s", w->err.msg);
    }
    const bool away =
        w->code == WEFT_RT_UNAVAILABLE || w->code == WEFT_RT_CANCELED || w->code == WEFT_RT_OK;
    if (!w->seen || !away) {
        return cli_call_failed(w->c, w->code, w->text, err);
    }
    if (w->lost_at_ms == 0) {
        w->lost_at_ms = mono_ms();
    }
    return WEFT_OK;
}

/* One connection, until the job or the call has ended. */
static weft_status follow(watch *w, weft_rt_loop *loop, weft_err *err)
{
    weft_rt_rpc *rpc = NULL;
    WEFT_TRY(start(w, loop, &rpc, err));
    weft_status status = WEFT_OK;
    while (status == WEFT_OK && !w->ended && !job_over(w)) {
        (void)weft_rt_loop_step(loop, STEP_MS); /* a timeout only redraws */
        status = check_time(w, err);
        if (status == WEFT_OK && w->seen && w->lost_at_ms == 0) {
            status = tell_rounds(w, err);
            if (status == WEFT_OK) {
                status = tell_waiting(w, err);
            }
            if (status == WEFT_E_AGAIN) { /* it is going away: the stream will end, too */
                weft_err_clear(err);
                status = WEFT_OK;
            }
        }
        show_live(w);
    }
    weft_rt_rpc_free(rpc);
    WEFT_TRY(status);
    return job_over(w) ? WEFT_OK : after_call(w, err);
}

static void rest(weft_rt_loop *loop)
{
    for (uint64_t now = mono_ms(), until = now + RETRY_MS; now < until; now = mono_ms()) {
        (void)weft_rt_loop_step(loop, (uint32_t)(until - now)); /* nothing is on its way */
    }
}

/* A channel again, with a certificate that is still good; it may take a while. */
static weft_status come_back(watch *w, weft_rt_loop *loop, weft_err *err)
{
    for (;;) {
        weft_err why = WEFT_ERR_INIT;
        const weft_status status = cli_reconnect(w->c, &why);
        if (status == WEFT_OK) {
            return WEFT_OK;
        }
        if (status != WEFT_E_AGAIN && status != WEFT_E_TIMEOUT) {
            WEFT_FAIL(err, status, "%s", why.msg);
        }
        WEFT_TRY(check_time(w, err));
        show_live(w);
        rest(loop);
    }
}

static weft_status watch_on(watch *w, weft_rt_loop *loop, weft_err *err)
{
    for (;;) {
        WEFT_TRY(follow(w, loop, err));
        if (job_over(w)) {
            return WEFT_OK;
        }
        show_live(w);
        rest(loop);
        WEFT_TRY(check_time(w, err));
        WEFT_TRY(come_back(w, loop, err));
    }
}

static void tell_end(watch *w)
{
    char line[512];
    char metrics[200];
    (void)snprintf(line, sizeof line, "%s is %s%s%s%s%s", w->name, w->status,
                   *w->reason ? ": " : "", w->reason, w->metrics.n > 0 ? "  " : "",
                   cli_metrics(metrics, sizeof metrics, &w->metrics));
    tell(w, line);
    if (strcmp(w->status, "done") != 0) {
        w->c->exit_status = CLI_FAILED;
    }
}

weft_status cli_watch_job(cli *c, const char *name, bool quiet, weft_err *err)
{
    watch w;
    memset(&w, 0, sizeof w);
    w.c = c;
    w.name = name;
    w.quiet = quiet;
    w.started_ms = mono_ms();
    WEFT_TRY(cli_connect(c, err));
    weft_rt_loop *loop = NULL;
    const weft_rt_loop_options options = WEFT_RT_LOOP_OPTIONS_INIT;
    WEFT_TRY(weft_rt_loop_new(&loop, &options, err));
    weft_buf_init(&w.scratch, &weft_alloc_std, WEFT_MAX_CONTROL_BYTES);
    cli_progress_init(&w.live);
    weft_status status = watch_on(&w, loop, err);
    if (status == WEFT_OK) {
        status = tell_rounds(&w, err);
    }
    cli_progress_end(&w.live);
    if (status == WEFT_OK) {
        tell_end(&w);
    }
    weft_buf_done(&w.scratch);
    weft_rt_loop_free(loop);
    return status;
}

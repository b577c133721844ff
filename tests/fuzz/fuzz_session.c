/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_session_on, weft_session_new */
/*
 * Whatever the coordinator answers, in whatever order the network fails: at most one main call is
 * under way, a CLOSE is for the open assignment and comes once, nothing follows FINISH, and a wait
 * always ends in a call. With secure aggregation: a message leaves only after the state that it
 * belongs to was kept, masks are made once, and a state is never kept after the end.
 */
#include "secagg/server.h"
#include "session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

typedef struct world {
    weft_session *s;
    weft_session_action_kind call; /* the main call under way */
    bool lease;                    /* a PROGRESS beside it */
    bool open;                     /* KEEP_ASSIGNMENT without CLOSE */
    bool finished;
    uint64_t now;
    bool kept;      /* KEEP_SECURE came for the open assignment */
    unsigned masks; /* MASK, of it */
    uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES];
} world;

/* ---- a member ------------------------------------------------------------------------------- */

static weft_status fill(void *self, void *out, size_t n, weft_err *err)
{
    (void)self;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)out)[i] = (uint8_t)(i * 7 + n);
    }
    return WEFT_OK;
}

static weft_status no_context(void *self, bool *ret, const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES],
                              weft_err *err)
{
    (void)self;
    (void)ctx;
    (void)err;
    *ret = false;
    return WEFT_OK;
}

static weft_status no_round(void *self, uint32_t *ret, const char *job, weft_task task,
                            weft_err *err)
{
    (void)self;
    (void)job;
    (void)task;
    (void)err;
    *ret = 0;
    return WEFT_OK;
}

static const weft_session_secure_config *member(void)
{
    static const weft_entropy entropy = {fill, NULL};
    static weft_sign_key operator_key, invited, key;
    static weft_member_chain chain;
    static weft_session_secure_config c;
    if (!c.federation) {
        weft_invitation invitation;
        const uint8_t seed[32] = {1};
        check(weft_sign_key_from_seed(&operator_key, seed, NULL) == WEFT_OK);
        check(weft_sign_key_generate(&invited, &entropy, NULL) == WEFT_OK);
        check(weft_sign_key_generate(&key, &entropy, NULL) == WEFT_OK);
        check(weft_invitation_make(&invitation, &operator_key, "test", "me", INT64_MAX / 2,
                                   invited.public_key, NULL) == WEFT_OK);
        check(weft_member_make(&chain, &invitation, &invited, key.public_key, NULL) == WEFT_OK);
        c = (weft_session_secure_config){
            .federation = "test",
            .operator_public = operator_key.public_key,
            .member_key = &key,
            .chain = &chain,
            .entropy = &entropy,
            .memory = {.context_used = no_context, .masked_round = no_round}};
    }
    return &c;
}

static const weft_session_dataset offered[] = {{"d"}};

static bool is_transfer(weft_session_action_kind k)
{
    return k == WEFT_SESSION_FETCH || k == WEFT_SESSION_TRAIN || k == WEFT_SESSION_UPLOAD;
}

static void take_action(world *w, const weft_session_action *a)
{
    check(!w->finished);
    switch ((int)a->kind) {
    case WEFT_SESSION_KEEP_ASSIGNMENT:
        check(!w->open && a->u.assignment->model_spec);
        w->open = true;
        w->kept = false;
        w->masks = 0;
        break;
    case WEFT_SESSION_KEEP_SECURE:
        check(w->open && a->u.secure.state.size > 0);
        w->kept = true;
        memcpy(w->ctx, a->u.secure.ctx, sizeof w->ctx);
        break;
    case WEFT_SESSION_KEEP_ABANDON:
        check(w->open && a->u.keep.reason[0]);
        break;
    case WEFT_SESSION_CLOSE:
        check(w->open && !w->call);
        check((a->u.close.outcome == WEFT_OUTCOME_ACCEPTED) == (a->u.close.receipt != NULL));
        check((a->u.close.outcome == WEFT_OUTCOME_ACCEPTED) == (a->u.close.reason[0] == '\0'));
        w->open = false;
        break;
    case WEFT_SESSION_CANCEL:
        check(w->call || w->lease);
        w->call = 0;
        w->lease = false;
        break;
    case WEFT_SESSION_NOTIFY:
        break;
    case WEFT_SESSION_FINISH:
        check(a->u.finish.detail != NULL);
        w->finished = true;
        break;
    case WEFT_SESSION_PROGRESS:
        if (is_transfer(w->call)) {
            check(!w->lease);
            w->lease = true;
            break;
        }
        check(!w->call);
        w->call = a->kind;
        break;
    default:
        check(!w->call && !w->lease);
        check(a->kind != WEFT_SESSION_STEP || w->kept);
        check(a->kind != WEFT_SESSION_MASK || (w->kept && ++w->masks == 1));
        check(a->kind != WEFT_SESSION_UPLOAD ||
              a->u.upload.offset <= a->u.upload.update->total_bytes);
        w->call = a->kind;
        break;
    }
}

static void feed(world *w, weft_session_event *e)
{
    weft_session_actions out;
    e->unix_ms = (int64_t)w->now;
    check(weft_session_on(w->s, e, w->now, &out, NULL) == WEFT_OK);
    check(out.n <= WEFT_SESSION_MAX_ACTIONS);
    for (uint32_t i = 0; i < out.n; i++) {
        take_action(w, &out.item[i]);
    }
    check(weft_session_finished(w->s) == w->finished);
    check((weft_session_open(w->s) != NULL) == w->open);
}

static void fail_with(weft_session_event *e, weft_session_action_kind kind, uint8_t b)
{
    e->kind = WEFT_SESSION_FAILED;
    e->u.failed.action = kind;
    e->u.failed.status = (weft_status)(1 + b % 15);
    e->u.failed.detail = b & 0x40 ? "x" : NULL;
}

/* Pieces of a message that begins like a roster of this session and ends in the byte's way. */
static void answer_step(const world *w, uint8_t b, weft_session_event *e)
{
    static uint8_t message[300];
    memcpy(message, "WS\1", 3);
    message[3] = (uint8_t)(2 + b / 8 % 4);
    memcpy(message + 4, w->ctx, sizeof w->ctx);
    memset(message + 36, b & 1, sizeof message - 36);
    e->kind = WEFT_SESSION_STEPPED;
    e->u.stepped.state = (weft_session_step)(b % 5);
    e->u.stepped.type = message[3];
    e->u.stepped.total_bytes = b & 64 ? 300 : 100;
    e->u.stepped.offset = b & 128 ? 100 : 0;
    e->u.stepped.piece = (weft_view){message + e->u.stepped.offset, b & 32 ? 200 : 100};
    e->u.stepped.reason = b;
    e->u.stepped.detail = "so";
}

/* The answer to the call under way, as the byte says. */
static void answer(world *w, uint8_t b, weft_session_event *e)
{
    static weft_session_assignment a;
    static weft_session_receipt r;
    static weft_metrics metrics;
    memset(&a, 0, sizeof a);
    memset(&r, 0, sizeof r);
    const weft_plan plan = WEFT_PLAN_INIT;
    const weft_session_action_kind call = w->call;
    w->call = 0;
    r.assignment_id = b & 8 ? 7 : 8;
    memset(r.update_digest, b & 16 ? 3 : 4, sizeof r.update_digest);
    if (b & 1) {
        fail_with(e, call, b >> 1);
        return;
    }
    switch ((int)call) {
    case WEFT_SESSION_CHECK_IN:
        a.assignment_id = b & 8 ? 7 : 8;
        strcpy(a.job, b & 16 ? "yes" : "no");
        a.round = 1;
        a.task = (weft_task)(1 + (b >> 5) % 4);
        strcpy(a.dataset, "d");
        a.secure_aggregation = w->now % 2 == 0;
        strcpy(a.encoding, a.secure_aggregation ? WEFT_FIXED_ENCODING : "f32");
        a.secure.policy = (weft_secagg_policy)WEFT_SECAGG_POLICY_INIT;
        a.secure.max_cohort = 3;
        a.plan = plan;
        a.base_bytes = 8;
        a.clip_norm = 1.0;
        a.max_examples = 5;
        e->kind = WEFT_SESSION_CHECKED_IN;
        e->u.checked_in.answer = (weft_session_answer)(1 + (b >> 1) % 3);
        e->u.checked_in.assignment = &a;
        e->u.checked_in.come_back_ms = b * UINT64_C(1000);
        break;
    case WEFT_SESSION_FETCH:
        e->kind = WEFT_SESSION_FETCHED;
        break;
    case WEFT_SESSION_TRAIN:
        e->kind = WEFT_SESSION_TRAINED;
        e->u.trained.status = b & 2 ? WEFT_E_IO : WEFT_OK;
        e->u.trained.stopped = (b & 0x44) == 0x44;
        e->u.trained.n_examples = b >> 3;
        metrics.n = 1;
        strcpy(metrics.item[0].name, "loss");
        metrics.item[0].value = b & 32 ? (double)NAN : 1.0;
        e->u.trained.metrics = &metrics;
        break;
    case WEFT_SESSION_STORE:
        e->kind = WEFT_SESSION_STORED;
        e->u.stored.total_bytes = b & 2 ? 0 : 8;
        memset(e->u.stored.digest, 3, sizeof e->u.stored.digest);
        break;
    case WEFT_SESSION_STEP:
        answer_step(w, b, e);
        break;
    case WEFT_SESSION_MASK:
        e->kind = WEFT_SESSION_MASKED;
        e->u.masked.total_bytes = 8;
        memset(e->u.masked.digest, 3, sizeof e->u.masked.digest);
        break;
    case WEFT_SESSION_UPLOAD:
        e->kind = WEFT_SESSION_SUBMITTED;
        e->u.submitted.receipt = b & 2 ? &r : NULL;
        break;
    case WEFT_SESSION_PROGRESS:
        e->kind = WEFT_SESSION_PROGRESSED;
        e->u.progressed.stop = (b & 6) == 6;
        e->u.progressed.held_bytes = b >> 4;
        e->u.progressed.receipt = (b & 6) == 4 ? &r : NULL;
        break;
    case WEFT_SESSION_ABANDON:
        e->kind = WEFT_SESSION_ABANDONED;
        break;
    default: /* RENEW */
        e->kind = WEFT_SESSION_RENEWED;
        e->u.renewed.from_unix_ms = (int64_t)w->now - b;
        e->u.renewed.until_unix_ms = (int64_t)w->now + b * 100;
        break;
    }
}

static void answer_lease(world *w, uint8_t b, weft_session_event *e)
{
    w->lease = false;
    if (b & 1) {
        fail_with(e, WEFT_SESSION_PROGRESS, b >> 1);
        return;
    }
    e->kind = WEFT_SESSION_PROGRESSED;
    e->u.progressed.stop = (b & 6) == 6;
}

static void step(world *w, uint8_t what, uint8_t b)
{
    weft_session_event e = {.kind = WEFT_SESSION_TICK};
    if (what % 16 == 15) {
        e.kind = WEFT_SESSION_STOP;
    } else if (w->lease && what % 2 == 0) {
        answer_lease(w, b, &e);
    } else if (w->call && what % 4 != 3) {
        answer(w, b, &e);
    } else {
        const uint64_t next = weft_session_next_ms(w->s);
        check(w->call || next != UINT64_MAX); /* it never just sits there */
        w->now = next > w->now && next != UINT64_MAX ? next : w->now + b;
    }
    const bool waited =
        e.kind == WEFT_SESSION_TICK && !w->call && w->now >= weft_session_next_ms(w->s);
    feed(w, &e);
    check(!waited || w->call || w->finished);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    world w = {.now = 1000};
    weft_session_config c = WEFT_SESSION_CONFIG_INIT;
    c.datasets = offered;
    c.n_datasets = 1;
    c.allowed_jobs = data[0] & 1 ? "yes" : NULL;
    c.keep_ms = data[0] & 2 ? 1000 : 1000000;
    c.certificate_until_unix_ms = data[0] & 4 ? 50000 : 0;
    c.seed = data[1];
    c.secure = data[0] & 8 ? member() : NULL;
    w.now += data[0] & 16 ? 1 : 0;
    check(weft_session_new(&w.s, &c, NULL, &weft_alloc_std, NULL) == WEFT_OK);
    for (size_t i = 2; i + 1 < size && !w.finished; i += 2) {
        step(&w, data[i], data[i + 1]);
    }
    weft_session_free(w.s);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of weft-simulate: a table of options. Owner: main. */
#include "options.h"

#include "base/limits.h"
#include "data/number.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef enum kind { TEXT, REAL, WHOLE, SEED, SPLIT, OPTIMIZER, NUMERICS, FLAG } kind;

typedef struct option {
    const char *name;
    kind kind;
    size_t offset;     /* in sim_options */
    size_t given;      /* offset of a bool to set; 0: none */
    double low, high;  /* allowed */
    const char *value; /* how the help names it */
    const char *help;
} option;

#define AT(field) offsetof(sim_options, field)

static const option options[] = {
    {"--data", TEXT, AT(data), 0, 0, 0, "PATH",
     "IDX or NPY folder, CSV, or digits:SEED:N (default: drawn digits)"},
    {"--test", TEXT, AT(test), 0, 0, 0, "PATH",
     "the test set (default: the test split of --data, else a sixth is held out)"},
    {"--schema", TEXT, AT(schema), 0, 0, 0, "FILE", "what the columns of a CSV mean"},
    {"--examples", WHOLE, AT(examples), 0, 10, 10000000, "N", "drawn digits to train on (6000)"},
    {"--test-examples", WHOLE, AT(test_examples), 0, 10, 1000000, "N",
     "drawn digits to test on (2000)"},
    {"--style", REAL, AT(style), 0, 0, 1, "S", "how much drawn digits differ by client, 0..1 (0)"},
    {"--partition", SPLIT, 0, 0, 0, 0, "P",
     "iid, shards[:N] (N label shards a client, 2), dirichlet:ALPHA, column (iid)"},
    {"--job", TEXT, AT(job), 0, 0, 0, "FILE",
     "model, plan and round policy of a job file; options below come before it"},
    {"--model", TEXT, AT(model), AT(has_model), 0, 0, "M",
     "linear, 2nn, cnn (McMahan et al. 2017) or a file with a model spec (2nn)"},
    {"--clients", WHOLE, AT(clients), 0, 1, 100000, "K", "virtual clients (100)"},
    {"--fraction", REAL, AT(fraction), AT(has_fraction), 0, 1, "C",
     "of the clients in a round, at least one (0.1)"},
    {"--epochs", WHOLE, AT(plan.epochs), AT(has_plan), 1, 10000, "E", "local epochs (1)"},
    {"--batch", WHOLE, AT(plan.batch_size), AT(has_plan), 0, 65536, "B",
     "local batch size; 0: all in one (10)"},
    {"--lr", REAL, AT(plan.learning_rate), AT(has_plan), 0, 1000, "X", "learning rate (0.1)"},
    {"--optimizer", OPTIMIZER, AT(plan.optimizer), AT(has_plan), 0, 0, "O", "sgd or adam (sgd)"},
    {"--momentum", REAL, AT(plan.momentum), AT(has_plan), 0, 1, "X", "(0)"},
    {"--weight-decay", REAL, AT(plan.weight_decay), AT(has_plan), 0, 1, "X", "(0)"},
    {"--prox-mu", REAL, AT(plan.prox_mu), AT(has_plan), 0, 1000, "X", "FedProx's mu (0: FedAvg)"},
    {"--numerics", NUMERICS, AT(plan.numerics), AT(has_plan), 0, 0, "N",
     "fast or portable: the same model bytes on every processor (fast)"},
    {"--rounds", WHOLE, AT(rounds), AT(has_rounds), 1, 1000000, "N", "at most so many (100)"},
    {"--target-accuracy", REAL, AT(target_accuracy), AT(has_target), 0, 1, "A",
     "stop when the test accuracy reaches it"},
    {"--eval-every", WHOLE, AT(eval_every), AT(has_every), 1, 1000000, "N",
     "rounds between tests (1)"},
    {"--over-selection", REAL, AT(over_selection), AT(has_over), 1, 4, "X",
     "select so many times the clients wanted (1)"},
    {"--dropout", REAL, AT(dropout), 0, 0, 0.99, "F",
     "chance that a selected client vanishes for a while (0)"},
    {"--secure", FLAG, AT(secure), 0, 0, 0, NULL,
     "aggregate securely, as a job file may say; each sum is checked against the plain one"},
    {"--seed", SEED, AT(seed), AT(has_seed), 0, 0, "S",
     "of everything random: the same seed gives the same model bytes (1)"},
    {"--threads", WHOLE, AT(threads), 0, 1, 1024, "N", "clients trained at once (one a core)"},
    {"--csv", TEXT, AT(csv), 0, 0, 0, "FILE", "the curve as CSV"},
    {"--jsonl", TEXT, AT(jsonl), 0, 0, 0, "FILE", "the curve as JSON lines"},
    {"--export", TEXT, AT(export_path), 0, 0, 0, "FILE", "the final model, .safetensors or .npz"},
    {"--init", TEXT, AT(init), 0, 0, 0, "FILE",
     "start from these weights, .safetensors or .npz (default: drawn from the seed)"},
    {"--state", TEXT, AT(state), 0, 0, 0, "DIR",
     "remember each round there, and go on from it when run again"},
    {"--quiet", FLAG, AT(quiet), 0, 0, 0, NULL, "no progress"},
    {"--help", FLAG, AT(help), 0, 0, 0, NULL, "this text"},
};

enum { N_OPTIONS = sizeof options / sizeof options[0] };

void sim_options_help(void)
{
    puts(
        "weft-simulate: a whole federation in one process: the coordinator's core, its exact sums\n"
        "and the clients' sessions of production, with virtual clients and no network.\n\n"
        "Usage: weft-simulate [OPTION VALUE]...\n");
    for (int i = 0; i < N_OPTIONS; i++) {
        char left[40];
        const char *value = options[i].value;
        (void)snprintf(left, sizeof left, "%s %s", options[i].name, value ? value : ""); /* fits */
        printf("  %-20s %s\n", left, options[i].help);
    }
    puts(
        "\nExamples:\n"
        "  weft-simulate --model cnn --epochs 5 --rounds 20\n"
        "  weft-simulate --data mnist --model 2nn --lr 0.2 --target-accuracy 0.97\n"
        "  weft-simulate --data mnist --model cnn --epochs 5 --partition shards --csv curve.csv\n\n"
        "Progress goes to stderr, one JSON line with the result to stdout.");
}

static void *field(sim_options *o, size_t offset)
{
    return (char *)o + offset;
}

static weft_status parse_real(sim_options *o, const option *p, const char *text, weft_err *err)
{
    double v = 0.0;
    if (!weft_number_parse(&v, text, strlen(text)) || v < p->low || v > p->high) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s %.40s: wanted is a number, %g to %g", p->name, text,
                  p->low, p->high);
    }
    if (p->kind == REAL) {
        memcpy(field(o, p->offset), &v, sizeof v);
        return WEFT_OK;
    }
    const uint32_t whole = (uint32_t)v;
    if ((double)whole != v) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s %.40s: wanted is a whole number", p->name, text);
    }
    memcpy(field(o, p->offset), &whole, sizeof whole);
    return WEFT_OK;
}

static weft_status parse_split(sim_options *o, const char *text, weft_err *err)
{
    if (strcmp(text, "iid") == 0) {
        o->split = SIM_SPLIT_IID;
        return WEFT_OK;
    }
    if (strcmp(text, "column") == 0) {
        o->split = SIM_SPLIT_COLUMN;
        return WEFT_OK;
    }
    if (strcmp(text, "shards") == 0) {
        o->split = SIM_SPLIT_SHARDS;
        return WEFT_OK;
    }
    if (strncmp(text, "shards:", 7) == 0 &&
        weft_number_parse_u32(&o->shards, text + 7, strlen(text + 7), 1000) && o->shards > 0) {
        o->split = SIM_SPLIT_SHARDS;
        return WEFT_OK;
    }
    if (strncmp(text, "dirichlet:", 10) == 0 &&
        weft_number_parse(&o->alpha, text + 10, strlen(text + 10)) && o->alpha > 0.0) {
        o->split = SIM_SPLIT_DIRICHLET;
        return WEFT_OK;
    }
    WEFT_FAIL(err, WEFT_E_INVALID,
              "--partition %.40s: wanted is iid, shards, shards:N, dirichlet:ALPHA or column",
              text);
}

static weft_status parse_optimizer(sim_options *o, const char *text, weft_err *err)
{
    if (strcmp(text, "sgd") != 0 && strcmp(text, "adam") != 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "--optimizer %.40s: wanted is sgd or adam", text);
    }
    o->plan.optimizer = text[0] == 's' ? WEFT_OPTIMIZER_SGD : WEFT_OPTIMIZER_ADAM;
    return WEFT_OK;
}

static weft_status parse_numerics(sim_options *o, const char *text, weft_err *err)
{
    if (strcmp(text, "fast") != 0 && strcmp(text, "portable") != 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "--numerics is %.40s, neither fast nor portable", text);
    }
    o->plan.numerics = text[0] == 'p' ? WEFT_NUMERICS_PORTABLE : WEFT_NUMERICS_FAST;
    return WEFT_OK;
}

static weft_status parse_seed(sim_options *o, const char *text, weft_err *err)
{
    uint64_t v = 0;
    const size_t n = strlen(text);
    bool ok = n > 0;
    for (size_t i = 0; ok && i < n; i++) {
        ok = text[i] >= '0' && text[i] <= '9' && !__builtin_mul_overflow(v, 10U, &v) &&
             !__builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v);
    }
    if (!ok) {
        WEFT_FAIL(err, WEFT_E_INVALID, "--seed %.40s: wanted is a whole number below 2^64", text);
    }
    o->seed = v;
    return WEFT_OK;
}

static weft_status take(sim_options *o, const option *p, const char *text, weft_err *err)
{
    switch (p->kind) {
    case TEXT:
        memcpy(field(o, p->offset), &text, sizeof text);
        break;
    case REAL:
    case WHOLE:
        WEFT_TRY(parse_real(o, p, text, err));
        break;
    case SEED:
        WEFT_TRY(parse_seed(o, text, err));
        break;
    case SPLIT:
        WEFT_TRY(parse_split(o, text, err));
        break;
    case OPTIMIZER:
        WEFT_TRY(parse_optimizer(o, text, err));
        break;
    case NUMERICS:
        WEFT_TRY(parse_numerics(o, text, err));
        break;
    case FLAG:
        *(bool *)field(o, p->offset) = true;
        break;
    }
    if (p->given) {
        *(bool *)field(o, p->given) = true;
    }
    return WEFT_OK;
}

static const option *find(const char *name)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        if (strcmp(options[i].name, name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

weft_status sim_options_parse(sim_options *ret, int argc, char **argv, weft_err *err)
{
    sim_options o = {.model = "2nn",
                     .examples = 6000,
                     .test_examples = 2000,
                     .shards = 2,
                     .clients = 100,
                     .fraction = 0.1,
                     .over_selection = 1.0,
                     .plan = WEFT_PLAN_INIT,
                     .rounds = 100,
                     .eval_every = 1,
                     .seed = 1};
    o.plan.batch_size = 10;
    for (int i = 1; i < argc; i++) {
        const option *p = find(argv[i]);
        if (!p) {
            WEFT_FAIL(err, WEFT_E_INVALID, "unknown option %.60s; --help lists them", argv[i]);
        }
        if (p->kind != FLAG && i + 1 == argc) {
            WEFT_FAIL(err, WEFT_E_INVALID, "%s wants a value: %s", p->name, p->help);
        }
        i += p->kind != FLAG;
        WEFT_TRY(take(&o, p, argv[i], err));
    }
    *ret = o;
    return WEFT_OK;
}

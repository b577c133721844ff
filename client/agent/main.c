/* SPDX-License-Identifier: Apache-2.0 */
/* weft-client: reads the command line and runs one command. */
#include "agent.h"

#include "base/version.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTION_STATE = 1000,
    OPTION_DATA,
    OPTION_SCHEMA,
    OPTION_HOLDOUT,
    OPTION_ONCE,
    OPTION_PROXY,
    OPTION_ALLOW,
    OPTION_MIN_COHORT,
    OPTION_ALLOW_PLAIN,
    OPTION_ADVERSARY,
    OPTION_GAMMA,
    OPTION_JOIN,
    OPTION_FORMAT,
    OPTION_LOG
};

static const struct option long_options[] = {
    {"state", required_argument, NULL, OPTION_STATE},
    {"data", required_argument, NULL, OPTION_DATA},
    {"schema", required_argument, NULL, OPTION_SCHEMA},
    {"holdout", required_argument, NULL, OPTION_HOLDOUT},
    {"once", no_argument, NULL, OPTION_ONCE},
    {"proxy", required_argument, NULL, OPTION_PROXY},
    {"allow", required_argument, NULL, OPTION_ALLOW},
    {"min-cohort", required_argument, NULL, OPTION_MIN_COHORT},
    {"allow-plain", no_argument, NULL, OPTION_ALLOW_PLAIN},
    {"adversary", required_argument, NULL, OPTION_ADVERSARY},
    {"gamma", required_argument, NULL, OPTION_GAMMA},
    {"join", required_argument, NULL, OPTION_JOIN},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"log", required_argument, NULL, OPTION_LOG},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    (void)printf(
        "weft-client, a ready client of a federation. Its data stay on this machine.\n\n"
        "usage:\n"
        "  weft-client enrol   --state DIR JOINFILE       become a client, once\n"
        "  weft-client run     --state DIR --data NAME=PATH [options]\n"
        "  weft-client status  --state DIR                who it is, what it did\n"
        "  weft-client history --state DIR                what each job asked, what was given\n"
        "  weft-client verify-receipt --state DIR         is the newest update in the ledger, and\n"
        "                      does the ledger go on from what this client saw of it before?\n\n"
        "  --state DIR         the client's folder: keys, outbox, history\n"
        "  --data NAME=PATH    offer a data set; again for more. PATH: a folder of IDX or NPY\n"
        "                      files, a CSV, or digits:SEED:N[:STYLE] for drawn digits;\n"
        "                      PATH#I/N takes part I of N, for trying things out\n"
        "  --schema NAME=FILE  the columns of that data set\n"
        "  --holdout F         part kept for evaluation, 0 to 0.9; default 0.2\n"
        "  --join JOINFILE     run: enrol first, if that has not been done\n"
        "  --once              end when no job is left for this client; else wait for more\n"
        "  --allow JOBS        take part in these only: names, or prefixes with *, by commas\n"
        "  --min-cohort N      only in rounds of N clients or more; default 3\n"
        "  --allow-plain       also in jobs without secure aggregation: their coordinator sees\n"
        "                      the updates of this client one by one\n"
        "  --adversary CLASS   active (default) or curious: the coordinator that a job must guard\n"
        "                      against; one that lies, or one that only looks\n"
        "  --gamma F           and with this part of the cohort in league with it; default 0.05\n"
        "  --proxy URL         http://HOST:PORT\n"
        "  --format FORMAT     status, history: text, or json (jsonl): one object a line\n"
        "  --log LEVEL         error, warn, info (default) or debug, to stderr\n"
        "  -h, --help  -V, --version\n\n"
        "SIGTERM and SIGINT end it cleanly: what was trained is kept and sent the next time.\n"
        "Exit status: 0 done, 1 refused or failed, 2 cannot connect or not allowed, 64 usage.\n");
}

static int usage(const char *text, const char *value)
{
    (void)fprintf(stderr, "weft-client: %s%s; see weft-client --help\n", text, value);
    return AGENT_USAGE;
}

/* "NAME=PATH" in place: the '=' becomes the name's end. @return the path, or NULL. */
static char *split(char *argument)
{
    char *equals = strchr(argument, '=');
    if (!equals || equals == argument || !equals[1]) {
        return NULL;
    }
    *equals = '\0';
    return equals + 1;
}

static int add_data(agent_options *o, char *argument)
{
    const char *path = split(argument);
    if (!path || o->n_data == AGENT_MAX_DATA) {
        return usage(path ? "more than 32 data sets: " : "--data wants NAME=PATH, not ", argument);
    }
    o->data[o->n_data++] = (agent_data){argument, path, NULL};
    return AGENT_DONE;
}

/* Schemas may stand before their data: remembered, then joined. */
typedef struct schemas {
    uint32_t n;
    const char *name[AGENT_MAX_DATA];
    const char *path[AGENT_MAX_DATA];
} schemas;

static int add_schema(schemas *s, char *argument)
{
    const char *path = split(argument);
    if (!path || s->n == AGENT_MAX_DATA) {
        return usage(path ? "more than 32 schemas: " : "--schema wants NAME=FILE, not ", argument);
    }
    s->name[s->n] = argument;
    s->path[s->n++] = path;
    return AGENT_DONE;
}

static int join_schemas(agent_options *o, const schemas *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t k = 0;
        while (k < o->n_data && strcmp(o->data[k].name, s->name[i]) != 0) {
            k++;
        }
        if (k == o->n_data) {
            return usage("--schema for a data set that is not given: ", s->name[i]);
        }
        o->data[k].schema = s->path[i];
    }
    return AGENT_DONE;
}

static int take_number(double *ret, const char *text, double most, const char *what)
{
    char *end = NULL;
    errno = 0;
    const double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(value >= 0.0 && value <= most)) {
        return usage(what, text);
    }
    *ret = value;
    return AGENT_DONE;
}

static int take_word(int *ret, const char *text, const char *const *words, int n, const char *what)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = i;
            return AGENT_DONE;
        }
    }
    return usage(what, text);
}

static int take_option(agent_options *o, schemas *s, int option, char *argument)
{
    static const char *const formats[] = {"text", "json", "jsonl"};
    static const char *const adversaries[] = {"active", "curious"};
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    double number = 0.0;
    int word = 0;
    int result = AGENT_DONE;
    switch (option) {
    case OPTION_STATE:
        o->state_dir = argument;
        return AGENT_DONE;
    case OPTION_DATA:
        return add_data(o, argument);
    case OPTION_SCHEMA:
        return add_schema(s, argument);
    case OPTION_HOLDOUT:
        return take_number(&o->held_out, argument, 0.9, "--holdout wants 0 to 0.9, not ");
    case OPTION_ONCE:
        o->once = 1;
        return AGENT_DONE;
    case OPTION_PROXY:
        o->http_proxy = argument;
        return AGENT_DONE;
    case OPTION_ALLOW:
        o->allowed_jobs = argument;
        return AGENT_DONE;
    case OPTION_MIN_COHORT:
        result = take_number(&number, argument, 1e6, "--min-cohort wants a number, not ");
        o->min_cohort = (uint32_t)number;
        return result;
    case OPTION_ALLOW_PLAIN:
        o->allow_plain = 1;
        return AGENT_DONE;
    case OPTION_ADVERSARY:
        result =
            take_word(&word, argument, adversaries, 2, "--adversary is active or curious, not ");
        o->adversary = word == 0 ? WEFT_POLICY_ACTIVE : WEFT_POLICY_CURIOUS;
        return result;
    case OPTION_GAMMA:
        return take_number(&o->gamma, argument, 0.9, "--gamma wants 0 to 0.9, not ");
    case OPTION_JOIN:
        o->join_file = argument;
        return AGENT_DONE;
    case OPTION_FORMAT:
        result = take_word(&word, argument, formats, 3, "--format is text, json or jsonl, not ");
        o->format = word == 0 ? AGENT_TEXT : AGENT_JSON; /* one object a line either way */
        return result;
    case OPTION_LOG:
        result = take_word(&word, argument, levels, 4, "--log is error, warn, info or debug, not ");
        o->level = (weft_log_level)word;
        return result;
    default:
        return AGENT_USAGE; /* getopt has said why */
    }
}

static int run_command(const char *command, agent_options *o, int n_left, char **left)
{
    if (!o->state_dir) {
        return usage("--state DIR is missing", "");
    }
    if (strcmp(command, "enrol") == 0 && n_left == 1) {
        o->join_file = left[0];
        return agent_enrol(o);
    }
    if (n_left > 0) {
        return usage("what is this: ", left[0]);
    }
    if (strcmp(command, "enrol") == 0) {
        return usage("enrol wants the join file that the operator sent", "");
    }
    if (strcmp(command, "run") == 0) {
        return o->n_data > 0 ? agent_run(o) : usage("--data NAME=PATH is missing", "");
    }
    if (strcmp(command, "status") == 0) {
        return agent_status(o);
    }
    if (strcmp(command, "history") == 0) {
        return agent_history(o);
    }
    if (strcmp(command, "verify-receipt") == 0) {
        return agent_verify_receipt(o);
    }
    return usage("no such command: ", command);
}

int main(int argc, char **argv)
{
    agent_options o = {.min_cohort = 3,
                       .adversary = WEFT_POLICY_ACTIVE,
                       .gamma = 0.05,
                       .held_out = 0.2,
                       .level = WEFT_LOG_INFO};
    schemas s = {.n = 0};
    for (;;) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
        const int option = getopt_long(argc, argv, "hV", long_options, NULL);
        if (option == -1) {
            break;
        }
        if (option == 'h') {
            print_help();
            return AGENT_DONE;
        }
        if (option == 'V') {
            (void)printf("weft-client %s\n", WEFT_VERSION);
            return AGENT_DONE;
        }
        const int result = take_option(&o, &s, option, optarg);
        if (result != AGENT_DONE) {
            return result;
        }
    }
    const int result = join_schemas(&o, &s);
    if (result != AGENT_DONE) {
        return result;
    }
    if (optind >= argc) {
        return usage("enrol, run, status, history or verify-receipt?", "");
    }
    return run_command(argv[optind], &o, argc - optind - 1, argv + optind + 1);
}

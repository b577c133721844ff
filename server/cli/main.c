/* SPDX-License-Identifier: Apache-2.0 */
/* weft: the command line is read, the verb found and run, its failure told once. One thread. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/version.h"
#include "config/yaml.h"
#include "rt/process.h"

enum { GLOBAL_OPTIONS = 6, FIRST_VERB_OPTION = 1000 };

static const cli_option global_options[GLOBAL_OPTIONS + 1] = {
    {"operator", 0, "DIR", "the operator's folder; default $WEFT_OPERATOR_DIR, else ~/.weft"},
    {"address", 0, "HOST:PORT", "the coordinator; default as in the folder's weft.yaml"},
    {"format", 0, "FORMAT", "text, json or jsonl"},
    {"timeout", 0, "TIME", "give up after so long: 30s (default), 5m, 0 for never"},
    {"help", 'h', NULL, "this text"},
    {"version", 'V', NULL, "print the version"},
    {0},
};

static const cli_verb *const nouns[] = {cli_init_verbs,   cli_client_verbs, cli_job_verbs,
                                        cli_round_verbs,  cli_model_verbs,  cli_status_verbs,
                                        cli_renew_verbs,  cli_backup_verbs, cli_restore_verbs,
                                        cli_doctor_verbs, cli_ledger_verbs};
enum { N_NOUNS = sizeof nouns / sizeof nouns[0] };

/* ---- help ----------------------------------------------------------------------------------- */

static void print_options(const cli_option *options)
{
    for (; options && options->name; options++) {
        char left[64];
        const char letter[5] = {'-', options->letter, ',', ' ', '\0'};
        (void)snprintf(left, sizeof left, "%s--%s%s%s", options->letter ? letter : "    ",
                       options->name, options->argument ? " " : "",
                       options->argument ? options->argument : ""); /* cut at worst */
        printf("  %-28s %s\n", left, options->help);
    }
}

static void print_verbs(const cli_verb *verbs)
{
    for (const cli_verb *v = verbs; v->noun; v++) {
        char left[96];
        (void)snprintf(left, sizeof left, "%s%s%s %s", v->noun, v->verb ? " " : "",
                       v->verb ? v->verb : "", v->arguments); /* cut at worst */
        printf("  %-38s %s\n", left, v->summary);
    }
}

static void print_help(void)
{
    printf("weft, the operator's command of a federation.\n\n"
           "usage: weft [options] NOUN [VERB] [arguments]\n\n");
    for (size_t i = 0; i < N_NOUNS; i++) {
        print_verbs(nouns[i]);
    }
    printf("\noptions, before or behind the verb:\n");
    print_options(global_options);
    printf(
        "\nweft NOUN VERB --help tells more. Exit status: 0 done, 1 refused or failed, 2 cannot\n"
        "connect or not allowed, 3 timed out, 4 not kept any more, 64 usage.\n");
}

static void print_verb_help(const cli_verb *v)
{
    const bool question = v->summary[strlen(v->summary) - 1] == '?';
    printf("usage: weft %s%s%s [options]%s%s\n\n%s%s\n", v->noun, v->verb ? " " : "",
           v->verb ? v->verb : "", v->arguments[0] ? " " : "", v->arguments, v->summary,
           question ? "" : ".");
    if (v->text) {
        printf("%s\n", v->text);
    }
    if (v->options) {
        printf("\noptions:\n");
        print_options(v->options);
    }
    printf("\ngeneral options:\n");
    print_options(global_options);
}

/* ---- arguments ------------------------------------------------------------------------------ */

weft_status cli_usage(cli *c, weft_err *err, const char *format, ...)
{
    char text[WEFT_ERR_MSG_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut at worst */
    va_end(args);
    c->usage_error = true;
    WEFT_FAIL(err, WEFT_E_INVALID, "%s", text);
}

const char *cli_value(const cli *c, const char *option)
{
    const cli_option *o = c->verb->options;
    for (size_t i = 0; o && o[i].name; i++) {
        if (strcmp(o[i].name, option) == 0) {
            return c->value[i];
        }
    }
    return NULL;
}

bool cli_parse_u64(uint64_t *ret, const char *text, uint64_t min, uint64_t max)
{
    uint64_t value = 0;
    if (!*text) {
        return false;
    }
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
            return false;
        }
    }
    if (value < min || value > max) {
        return false;
    }
    *ret = value;
    return true;
}

static weft_status set_timeout(cli *c, const char *text, weft_err *err)
{
    uint64_t ms = 0;
    uint64_t s = 0;
    if (cli_parse_u64(&s, text, 0, UINT32_MAX / 1000)) {
        ms = s * 1000;
    } else if (!weft_yaml_duration(text, &ms) || ms > UINT32_MAX) {
        return cli_usage(c, err, "--timeout %.60s is no time: 30s, 5m, 2h, or 0 for never", text);
    }
    c->timeout_ms = (uint32_t)ms;
    c->has_timeout = true;
    return WEFT_OK;
}

static weft_status set_format(cli *c, const char *text, weft_err *err)
{
    static const char *const names[] = {"text", "json", "jsonl"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            c->format = (cli_format)i;
            return WEFT_OK;
        }
    }
    return cli_usage(c, err, "--format %.60s is unknown: text, json or jsonl", text);
}

static weft_status set_operator_dir(cli *c, const char *dir, weft_err *err)
{
    const size_t n = strlen(dir);
    if (n == 0 || n >= sizeof c->operator_dir) {
        return cli_usage(c, err, "the operator's folder has a name of %zu bytes", n);
    }
    memcpy(c->operator_dir, dir, n + 1);
    return WEFT_OK;
}

/* index: of global_options, those with an argument */
static weft_status set_global(cli *c, int index, const char *value, weft_err *err)
{
    switch (index) {
    case 0:
        return set_operator_dir(c, value, err);
    case 1:
        c->address = value;
        return WEFT_OK;
    case 2:
        return set_format(c, value, err);
    default:
        return set_timeout(c, value, err);
    }
}

/* What a pass over the options found besides values. */
typedef struct found {
    bool help;
    bool version;
} found;

/* The table for getopt: the global options, then the verb's (whose val is FIRST_VERB_OPTION + i).
 */
static void fill_table(struct option *table, char *letters, const cli_option *own)
{
    size_t n = 0;
    size_t l = strlen(letters);
    for (int i = 0; i < GLOBAL_OPTIONS; i++) {
        const cli_option *o = &global_options[i];
        table[n++] = (struct option){o->name, o->argument ? required_argument : no_argument, NULL,
                                     o->letter ? o->letter : i};
    }
    for (int i = 0; own && own[i].name; i++) {
        table[n++] = (struct option){own[i].name, own[i].argument ? required_argument : no_argument,
                                     NULL, FIRST_VERB_OPTION + i};
        if (own[i].letter) {
            letters[l++] = own[i].letter;
            if (own[i].argument) {
                letters[l++] = ':';
            }
        }
    }
    letters[l] = '\0';
    table[n] = (struct option){0};
}

static weft_status take_option(cli *c, int val, const cli_option *own, found *f, weft_err *err)
{
    if (val == 'h') {
        f->help = true;
        return WEFT_OK;
    }
    if (val == 'V') {
        f->version = true;
        return WEFT_OK;
    }
    if (val < GLOBAL_OPTIONS) {
        return set_global(c, val, optarg, err);
    }
    for (int i = 0; own && own[i].name; i++) {
        if (val == FIRST_VERB_OPTION + i || val == own[i].letter) {
            c->value[i] = optarg ? optarg : "";
            return WEFT_OK;
        }
    }
    return cli_usage(c, err, "an option that nobody reads");
}

/**
 * One pass of getopt.
 * @param own  the verb's options, or NULL: stop at the first word that is no option.
 */
static weft_status parse(cli *c, int argc, char **argv, const cli_option *own, found *f,
                         weft_err *err)
{
    struct option table[GLOBAL_OPTIONS + CLI_MAX_OPTIONS + 1];
    char letters[2 * CLI_MAX_OPTIONS + 8] = ":hV";
    if (!c->verb) {
        memcpy(letters, "+:hV", 5);
    }
    fill_table(table, letters, own);
    optind = 0; /* glibc: start anew */
    for (;;) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
        const int val = getopt_long(argc, argv, letters, table, NULL);
        if (val == -1) {
            return WEFT_OK;
        }
        /* what getopt stumbled over is behind it, except for a letter among others */
        if (val == ':') {
            return cli_usage(c, err, "%.60s needs a value", argv[optind - 1]);
        }
        if (val == '?' && optopt > ' ' && optopt < FIRST_VERB_OPTION) {
            return cli_usage(c, err, "there is no option -%c here", optopt);
        }
        if (val == '?') {
            return cli_usage(c, err, "there is no option %.60s here", argv[optind - 1]);
        }
        WEFT_TRY(take_option(c, val, own, f, err));
    }
}

static weft_status find_verb(cli *c, int argc, char **argv, int *ret_used, weft_err *err)
{
    for (size_t i = 0; i < N_NOUNS; i++) {
        const cli_verb *v = nouns[i];
        if (strcmp(v->noun, argv[0]) != 0) {
            continue;
        }
        *ret_used = v->verb ? 2 : 1;
        for (; v->noun; v++) {
            if (!v->verb || (argc > 1 && strcmp(v->verb, argv[1]) == 0)) {
                c->verb = v;
                return WEFT_OK;
            }
        }
        if (argc < 2) {
            return cli_usage(c, err, "weft %s needs a verb: see weft %s --help", argv[0], argv[0]);
        }
        return cli_usage(c, err, "weft %s has no verb %.60s: see weft %s --help", argv[0], argv[1],
                         argv[0]);
    }
    return cli_usage(c, err, "weft has no noun %.60s: see weft --help", argv[0]);
}

/* weft NOUN --help */
static bool noun_help(int argc, char **argv)
{
    if (argc < 2 || (strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "-h") != 0)) {
        return false;
    }
    for (size_t i = 0; i < N_NOUNS; i++) {
        if (strcmp(nouns[i]->noun, argv[0]) == 0 && nouns[i]->verb) {
            printf("verbs of %s:\n", argv[0]);
            print_verbs(nouns[i]);
            return true;
        }
    }
    return false;
}

static weft_status check_arguments(cli *c, weft_err *err)
{
    const cli_verb *v = c->verb;
    if (c->n_arguments < v->min_arguments || c->n_arguments > v->max_arguments) {
        return cli_usage(c, err, "weft %s%s%s takes: %s; %d given (--help tells more)", v->noun,
                         v->verb ? " " : "", v->verb ? v->verb : "",
                         v->arguments[0] ? v->arguments : "no arguments", c->n_arguments);
    }
    return WEFT_OK;
}

/* ---- the run -------------------------------------------------------------------------------- */

static weft_status default_operator_dir(cli *c, weft_err *err)
{
    const char *dir = getenv("WEFT_OPERATOR_DIR"); /* NOLINT(concurrency-mt-unsafe): one thread */
    const char *home = getenv("HOME");             /* NOLINT(concurrency-mt-unsafe): one thread */
    if (c->operator_dir[0]) {
        return WEFT_OK;
    }
    if (dir && *dir) {
        return set_operator_dir(c, dir, err);
    }
    if (!home || !*home) {
        return cli_usage(c, err, "no operator's folder: give --operator DIR");
    }
    return weft_path_join(c->operator_dir, sizeof c->operator_dir, home, ".weft", err);
}

static weft_status run_verb(cli *c, weft_err *err)
{
    WEFT_TRY(check_arguments(c, err));
    WEFT_TRY(default_operator_dir(c, err));
    weft_rt_process_options options = WEFT_RT_PROCESS_OPTIONS_INIT;
    const weft_log silent = {.level = WEFT_LOG_ERROR}; /* gRPC's log: our errors say what to do */
    options.log = &silent;
    WEFT_TRY(weft_rt_process_setup(&options, err));
    const weft_status status = c->verb->run(c, err);
    cli_disconnect(c);
    json_decref(c->list);
    return status;
}

static weft_status command(cli *c, int argc, char **argv, weft_err *err)
{
    found f = {false, false};
    WEFT_TRY(parse(c, argc, argv, NULL, &f, err));
    if (f.version) {
        printf("weft %s\n", WEFT_VERSION);
        return WEFT_OK;
    }
    const int first = optind;
    if (f.help || (argc - first == 1 && strcmp(argv[first], "help") == 0)) {
        print_help();
        return WEFT_OK;
    }
    if (first >= argc) {
        return cli_usage(c, err, "weft needs a noun: see weft --help");
    }
    if (noun_help(argc - first, argv + first)) {
        return WEFT_OK;
    }
    int used = 0;
    WEFT_TRY(find_verb(c, argc - first, argv + first, &used, err));
    const int last = first + used - 1; /* takes the place of a program's name */
    WEFT_TRY(parse(c, argc - last, argv + last, c->verb->options, &f, err));
    if (f.help) {
        print_verb_help(c->verb);
        return WEFT_OK;
    }
    c->argument = argv + last + optind;
    c->n_arguments = argc - last - optind;
    return run_verb(c, err);
}

static int exit_status(const cli *c, weft_status status)
{
    if (c->usage_error) {
        return CLI_USAGE;
    }
    switch (status) {
    case WEFT_OK:
        return c->exit_status;
    case WEFT_E_AGAIN:
    case WEFT_E_AUTH:
        return CLI_NOT_REACHED;
    case WEFT_E_TIMEOUT:
        return CLI_TIMED_OUT;
    case WEFT_E_NOMEM:
    case WEFT_E_INVALID:
    case WEFT_E_FORMAT:
    case WEFT_E_LIMIT:
    case WEFT_E_STATE:
    case WEFT_E_NOTFOUND:
    case WEFT_E_CONFLICT:
    case WEFT_E_CANCELED:
    case WEFT_E_IO:
    case WEFT_E_DB:
    case WEFT_E_CRYPTO:
    case WEFT_E_INTERNAL:
    default:
        return CLI_FAILED;
    }
}

int main(int argc, char **argv)
{
    cli c = {.timeout_ms = CLI_TIMEOUT_MS};
    weft_err err = WEFT_ERR_INIT;
    const weft_status status = command(&c, argc, argv, &err);
    if (status != WEFT_OK) {
        (void)fprintf(stderr, "weft: %s\n", err.msg[0] ? err.msg : weft_status_name(status));
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("weft: stdout");
        return CLI_FAILED;
    }
    return exit_status(&c, status);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Results on stdout: tables and records for people, JSON for programs; progress on stderr. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* One listing of everything that a coordinator pages out. */
#define MAX_TABLE_BYTES (256U << 20)

enum { TWO_SECONDS_MS = 2000, TERMINAL_EVERY_MS = 100, PLAIN_EVERY_MS = 5000 };

/* ---- results -------------------------------------------------------------------------------- */

bool cli_is_text(const cli *c)
{
    return c->format == CLI_TEXT;
}

static weft_status print_dump(const json_t *object, size_t flags, weft_err *err)
{
    if (json_dumpf(object, stdout, flags | JSON_PRESERVE_ORDER) != 0 || putchar('\n') == EOF) {
        WEFT_FAIL(err, WEFT_E_IO, "cannot write the result to stdout");
    }
    return WEFT_OK;
}

weft_status cli_print_json(cli *c, json_t *object, weft_err *err)
{
    if (!object) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the result");
    }
    const weft_status status =
        print_dump(object, c->format == CLI_JSON ? JSON_INDENT(2) : JSON_COMPACT, err);
    json_decref(object);
    return status;
}

void cli_table_init(cli_table *t, cli *c, const char *const *heads, size_t n_columns)
{
    memset(t, 0, sizeof *t);
    t->c = c;
    t->heads = heads;
    t->n_columns = n_columns;
    weft_buf_init(&t->cells, &weft_alloc_std, MAX_TABLE_BYTES);
    for (size_t i = 0; i < n_columns; i++) {
        t->width[i] = strlen(heads[i]);
    }
}

/* Peers' texts may be in it: nothing that a terminal would act on. */
static void blank_controls(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) {
            text[i] = '?';
        }
    }
}

weft_status cli_table_row(cli_table *t, const char *const *cells, weft_err *err)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        const size_t n = strlen(cells[i]);
        WEFT_TRY(weft_buf_add(&t->cells, cells[i], n + 1, err));
        blank_controls((char *)t->cells.data + t->cells.size - n - 1, n);
        t->width[i] = n > t->width[i] ? n : t->width[i];
    }
    t->n_rows++;
    return WEFT_OK;
}

weft_status cli_table_object(cli_table *t, json_t *object, weft_err *err)
{
    if (!object) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the result");
    }
    t->n_rows++;
    if (t->c->format == CLI_JSONL) {
        return cli_print_json(t->c, object, err);
    }
    if (!t->c->list) {
        t->c->list = json_array();
    }
    if (!t->c->list || json_array_append_new(t->c->list, object) != 0) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the result");
    }
    return WEFT_OK;
}

static void print_row(const cli_table *t, const char *const *cells)
{
    for (size_t i = 0; i + 1 < t->n_columns; i++) {
        printf("%-*s  ", (int)t->width[i], cells[i]);
    }
    printf("%s\n", cells[t->n_columns - 1]);
}

weft_status cli_table_end(cli_table *t, const char *nothing_text, weft_err *err)
{
    weft_status status = WEFT_OK;
    if (t->c->format == CLI_JSON) {
        json_t *list = t->c->list ? t->c->list : json_array();
        t->c->list = NULL;
        status = cli_print_json(t->c, list, err);
    } else if (cli_is_text(t->c) && t->n_rows == 0) {
        printf("%s\n", nothing_text);
    } else if (cli_is_text(t->c)) {
        print_row(t, t->heads);
        const char *at = (const char *)t->cells.data;
        for (size_t row = 0; row < t->n_rows; row++) {
            const char *cells[16] = {NULL};
            for (size_t i = 0; i < t->n_columns; i++) {
                cells[i] = at;
                at += strlen(at) + 1;
            }
            print_row(t, cells);
        }
    }
    cli_table_done(t);
    return status;
}

void cli_table_done(cli_table *t)
{
    weft_buf_done(&t->cells);
    t->n_rows = 0;
}

void cli_field(const char *name, const char *format, ...)
{
    char value[1024];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(value, sizeof value, format, args);
    va_end(args);
    if (n > 0) {
        blank_controls(value, strlen(value));
        printf("%-14s  %s\n", name, value);
    }
}

/* ---- small texts ---------------------------------------------------------------------------- */

const char *cli_size(char *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000.0;
        unit++;
    }
    (void)snprintf(out, CLI_TEXT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

const char *cli_count(char *out, uint64_t n)
{
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    size_t at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            out[at++] = ',';
        }
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *cli_time(char *out, int64_t unix_ms)
{
    const time_t s = (time_t)(unix_ms / 1000);
    struct tm tm;
    out[0] = '\0';
    if (unix_ms > 0 && gmtime_r(&s, &tm) &&
        strftime(out, CLI_TEXT_BYTES, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0) {
        out[0] = '\0';
    }
    return out;
}

/* "2 h" and "2 h 5 min": the smaller unit where it says something */
static void print_units(char *out, uint64_t n, const char *large, const char *small)
{
    if (n % 60 == 0) {
        (void)snprintf(out, CLI_TEXT_BYTES, "%" PRIu64 " %s", n / 60, large);
    } else {
        (void)snprintf(out, CLI_TEXT_BYTES, "%" PRIu64 " %s %" PRIu64 " %s", n / 60, large, n % 60,
                       small);
    }
}

const char *cli_duration(char *out, uint64_t ms)
{
    const uint64_t s = (ms + 500) / 1000;
    if (ms < 10000 && ms % 1000 != 0) {
        (void)snprintf(out, CLI_TEXT_BYTES, "%.1f s", (double)ms / 1000.0);
    } else if (s < 120) {
        (void)snprintf(out, CLI_TEXT_BYTES, "%" PRIu64 " s", s);
    } else if (s < 7200) {
        print_units(out, s, "min", "s");
    } else {
        print_units(out, s / 60, "h", "min");
    }
    return out;
}

const char *cli_digest(char *out, weft_view digest)
{
    enum { SHOWN_BYTES = 6 };
    out[0] = '\0';
    if (digest.size >= SHOWN_BYTES) {
        weft_hex_encode(out, digest.data, SHOWN_BYTES);
    }
    return out;
}

const char *cli_metrics(char *out, size_t out_size, const weft_metrics *m)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < m->n && at < out_size; i++) {
        const int n = snprintf(out + at, out_size - at, "%s%s %.4g", i ? "  " : "", m->item[i].name,
                               m->item[i].value);
        at += n > 0 ? (size_t)n : 0;
    }
    return out;
}

int64_t cli_now_unix_ms(void)
{
    return weft_clock_system.unix_ms(weft_clock_system.self);
}

/* ---- progress ------------------------------------------------------------------------------- */

static uint64_t mono_ms(void)
{
    return weft_clock_system.mono_ms(weft_clock_system.self);
}

void cli_progress_init(cli_progress *p)
{
    memset(p, 0, sizeof *p);
    p->started_ms = mono_ms();
    p->terminal = isatty(STDERR_FILENO) == 1;
}

void cli_progress_line(cli_progress *p, const char *line)
{
    if (p->terminal) {
        (void)fprintf(stderr, "\r\033[K%s", line);
        (void)fflush(stderr); /* a lost progress line is no failure */
        p->dirty = true;
    } else {
        (void)fprintf(stderr, "%s\n", line);
    }
}

void cli_progress_bytes(cli_progress *p, const char *what, uint64_t done, uint64_t total)
{
    const uint64_t now = mono_ms();
    const uint64_t taken = now - p->started_ms;
    const uint64_t every = p->terminal ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS;
    if (taken < TWO_SECONDS_MS || now - p->shown_ms < every) {
        return;
    }
    p->shown_ms = now;
    char a[CLI_TEXT_BYTES];
    char b[CLI_TEXT_BYTES];
    char rate[CLI_TEXT_BYTES];
    char left[CLI_TEXT_BYTES];
    char line[256];
    const double per_ms = (double)done / (double)taken;
    const uint64_t left_ms = done > 0 ? (uint64_t)((double)(total - done) / per_ms) : 0;
    (void)snprintf(line, sizeof line, "%s %s of %s, %s/s, %s left", what, cli_size(a, done),
                   cli_size(b, total), cli_size(rate, (uint64_t)(per_ms * 1000.0)),
                   done > 0 ? cli_duration(left, left_ms) : "?");
    cli_progress_line(p, line);
}

void cli_progress_end(cli_progress *p)
{
    if (p->dirty) {
        (void)fprintf(stderr, "\r\033[K");
        (void)fflush(stderr); /* as above */
        p->dirty = false;
    }
}

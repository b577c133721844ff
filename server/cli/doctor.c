/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft doctor: looks at a coordinator's folder, on its machine, and says of each thing that is
 * wrong how to mend it. Changes nothing.
 */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/file.h"
#include "config/server.h"
#include "store/store.h"

#define DAY_MS             INT64_C(86400000)
#define LOW_DISK_BYTES     (UINT64_C(1) << 30) /* two models of the default job limit's size */
#define CLOCK_SLACK_MS     60000               /* file systems and clocks disagree a little */
#define AUTHORITY_LOW_DAYS 365                 /* a new federation takes a while to agree on */

typedef struct doctor {
    cli *c;
    cli_table list; /* JSON */
    const char *area;
    uint32_t found; /* in this area */
    uint32_t total;
    weft_status printed; /* of the output */
    weft_err err;
    weft_server_config config;
} doctor;

static void print_json(doctor *d, const char *what, const char *fix)
{
    if (d->printed == WEFT_OK) {
        d->printed = cli_table_object(&d->list,
                                      json_pack("{s:s, s:b, s:s?, s:s?}", "area", d->area, "good",
                                                what == NULL, "finding", what, "fix", fix),
                                      &d->err);
    }
}

static void finding(doctor *d, const char *fix, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void finding(doctor *d, const char *fix, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut where too long */
    va_end(args);
    d->found++;
    d->total++;
    if (cli_is_text(d->c)) {
        cli_field(d->area, "%s", text);
        cli_field("", "-> %s", fix);
    } else {
        print_json(d, text, fix);
    }
}

static void begin(doctor *d, const char *area)
{
    d->area = area;
    d->found = 0;
}

static void end(doctor *d, const char *good)
{
    if (d->found == 0 && cli_is_text(d->c)) {
        cli_field(d->area, "good: %s", good);
    } else if (d->found == 0) {
        print_json(d, NULL, NULL);
    }
}

/* ---- keys and certificates ------------------------------------------------------------------ */

static void look_at_keys(doctor *d, int64_t now)
{
    const weft_server_config *c = &d->config;
    const weft_auth_files files = {.ca_certificate = c->ca_certificate,
                                   .ca_key = c->ca_key,
                                   .certificate = c->certificate,
                                   .key = c->key,
                                   .receipt_key = c->receipt_key,
                                   .operator_public_key = c->operator_public_key};
    weft_auth *auth = NULL;
    weft_err err = WEFT_ERR_INIT;
    begin(d, "keys");
    if (weft_auth_open(&auth, &files, c->lifetime_days, now, &weft_alloc_std, &err) != WEFT_OK) {
        finding(d, "put the file of a backup in its place (weft backup), or do what it says", "%s",
                err.msg);
    } else if (strcmp(weft_auth_federation(auth), c->federation) != 0) {
        finding(d, "weftd.yaml and ca.pem belong to two federations: take both of one folder",
                "weftd.yaml says federation %s, the authority's certificate %s", c->federation,
                weft_auth_federation(auth));
    }
    weft_auth_free(auth);
    end(d, "all there, of one federation, readable to nobody else");
}

static bool parse_certificate(doctor *d, weft_cert_info *ret, const char *path)
{
    weft_buf pem;
    weft_err err = WEFT_ERR_INIT;
    weft_buf_init(&pem, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    weft_status status = weft_file_read(&pem, path, &err);
    if (status == WEFT_OK) {
        status = weft_cert_parse(ret, pem.data, pem.size, &err);
    }
    weft_buf_done(&pem);
    if (status != WEFT_OK) {
        finding(d, "put the file of a backup in its place", "%.120s: %s", path, err.msg);
    }
    return status == WEFT_OK;
}

static void look_at_certificates(doctor *d, int64_t now)
{
    weft_cert_info info;
    char until[CLI_TEXT_BYTES];
    begin(d, "certificates");
    if (parse_certificate(d, &info, d->config.ca_certificate) &&
        info.not_after_unix_ms - now < AUTHORITY_LOW_DAYS * DAY_MS) {
        finding(d, "the federation ends with it: make a new one (weft init) and invite all again",
                "the authority's certificate is good until %s",
                cli_time(until, info.not_after_unix_ms));
    }
    if (parse_certificate(d, &info, d->config.certificate)) {
        const int64_t due = weft_auth_renew_at(info.not_before_unix_ms, info.not_after_unix_ms);
        if (now >= due + DAY_MS) { /* a running weftd has renewed it by then */
            finding(d,
                    "start weftd: it renews its certificate by itself; where it runs, see its log",
                    "the coordinator's certificate is good until %s and should be renewed by now",
                    cli_time(until, info.not_after_unix_ms));
        }
    }
    end(d, "none is near its end");
}

/* ---- permissions, disk, clock --------------------------------------------------------------- */

static void look_at_folder(doctor *d, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        const int sys = errno;
        finding(d, "start weftd once, or restore a backup (weft restore)", "%.160s: %s", path,
                strerrordesc_np(sys));
        return;
    }
    if ((st.st_mode & 077U) != 0) {
        finding(d, "chmod 700 it", "%.160s has mode %04o: others of this machine may look into it",
                path, (unsigned)st.st_mode & 07777U);
    }
    if (access(path, R_OK | W_OK | X_OK) != 0) {
        finding(d, "run weft doctor and weftd as the folder's owner, or chown it",
                "%.160s belongs to user %u, we are user %u and may not work in it", path,
                (unsigned)st.st_uid, (unsigned)geteuid());
    }
}

static void look_at_disk(doctor *d)
{
    struct statvfs fs;
    char left[CLI_TEXT_BYTES];
    begin(d, "disk");
    if (statvfs(d->config.data_dir, &fs) != 0) {
        const int sys = errno;
        finding(d, "see to the folder first", "%.160s: %s", d->config.data_dir,
                strerrordesc_np(sys));
    } else if ((uint64_t)fs.f_bavail * fs.f_frsize < LOW_DISK_BYTES) {
        finding(d, "make room: weftd refuses updates and versions that it cannot keep",
                "only %s are left for %.120s", cli_size(left, (uint64_t)fs.f_bavail * fs.f_frsize),
                d->config.data_dir);
    } else if (fs.f_files > 0 && fs.f_favail < 1000) {
        finding(d, "remove files: each upload takes one", "only %llu more files fit beside %.120s",
                (unsigned long long)fs.f_favail, d->config.data_dir);
    }
    end(d, "there is room");
}

static void look_at_clock(doctor *d, int64_t now)
{
    static const char *const names[] = {"weft.db", "weft.db-wal", "models.db", "models.db-wal"};
    weft_cert_info info;
    char when[CLI_TEXT_BYTES];
    begin(d, "clock");
    if (parse_certificate(d, &info, d->config.ca_certificate) && now < info.not_before_unix_ms) {
        finding(d, "set the clock (timedatectl): nobody can connect", "the authority begins on %s",
                cli_time(when, info.not_before_unix_ms));
    }
    int64_t newest = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[PATH_MAX];
        struct stat st;
        if (weft_path_join(path, sizeof path, d->config.data_dir, names[i], NULL) == WEFT_OK &&
            stat(path, &st) == 0 && st.st_mtim.tv_sec * INT64_C(1000) > newest) {
            newest = st.st_mtim.tv_sec * INT64_C(1000);
        }
    }
    if (newest > now + CLOCK_SLACK_MS) {
        finding(d, "set the clock (timedatectl); deadlines do not depend on it, certificates do",
                "the databases were written on %s, which is yet to come", cli_time(when, newest));
    }
    end(d, "later than all that happened");
}

/* ---- databases ------------------------------------------------------------------------------ */

static void store_says(void *arg, const char *text)
{
    doctor *d = arg;
    finding(d, "stop weftd and restore the newest backup (weft restore)", "%s", text);
}

static void look_at_databases(doctor *d, bool deep)
{
    uint32_t n = 0;
    weft_err err = WEFT_ERR_INIT;
    begin(d, "database");
    if (weft_store_check(d->config.data_dir, deep, store_says, d, &n, &weft_alloc_std, &err) !=
        WEFT_OK) {
        finding(d, "do what it says, or restore the newest backup (weft restore)", "%s", err.msg);
    }
    end(d, deep ? "both whole, every model has its digest"
                : "both whole; --deep reads every model, too");
    const bool healthy = d->found == 0;
    begin(d, "orphans");
    weft_store_orphans orphans = {0, 0};
    if (healthy &&
        weft_store_count_orphans(&orphans, d->config.data_dir, &weft_alloc_std, &err) != WEFT_OK) {
        finding(d, "see to the database first", "%s", err.msg);
    } else if (orphans.models > 0 || orphans.uploads > 0) {
        finding(d, "nothing depends on them: weftd takes them away when it starts",
                "%u models and %u uploads that nothing names", orphans.models, orphans.uploads);
    }
    end(d, "nothing is left over");
}

static weft_status run_doctor(cli *c, weft_err *err)
{
    static doctor d;
    const char *config = cli_value(c, "config") ? cli_value(c, "config") : "weftd/weftd.yaml";
    const int64_t now = cli_now_unix_ms();
    static const char *const heads[] = {"area"};
    d.c = c;
    WEFT_TRY(weft_server_config_load(&d.config, config, &weft_alloc_std, err));
    cli_table_init(&d.list, c, heads, 1);
    begin(&d, "configuration");
    end(&d, config);
    look_at_keys(&d, now);
    look_at_certificates(&d, now);
    begin(&d, "permissions");
    look_at_folder(&d, d.config.data_dir);
    end(&d, d.config.data_dir);
    look_at_disk(&d);
    look_at_clock(&d, now);
    look_at_databases(&d, cli_value(c, "deep") != NULL);
    if (d.printed != WEFT_OK) {
        cli_table_done(&d.list);
        WEFT_FAIL(err, d.printed, "%s", d.err.msg);
    }
    if (!cli_is_text(c)) {
        WEFT_TRY(cli_table_end(&d.list, "", err));
    }
    c->exit_status = d.total > 0 ? CLI_FAILED : CLI_DONE;
    return WEFT_OK;
}

static const cli_option doctor_options[] = {
    {"config", 0, "FILE", "weftd.yaml of the coordinator; default weftd/weftd.yaml"},
    {"deep", 0, NULL, "read every model and check its digest"},
    {0},
};

const cli_verb cli_doctor_verbs[] = {
    {"doctor", NULL, "", 0, 0, "is all well with a coordinator's folder?",
     "Runs on the coordinator's machine, beside a running weftd or without one, and changes\n"
     "nothing: configuration, keys, certificates, permissions, disk, clock, databases, orphans.\n"
     "Each finding says how to mend it. Exit status 1 when there are any.",
     doctor_options, run_doctor},
    {0},
};

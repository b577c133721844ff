/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft backup, weft restore: a coordinator's folder, copied. On its machine, beside it or without
 * it; what is copied is a folder that weftd starts from.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "config/server.h"
#include "crypto/hash.h"
#include "store/store.h"

static const char default_config[] = "weftd/weftd.yaml";

/* Larger than weftd reads. */
#define MAX_CONFIG_BYTES (1U << 20)

typedef struct copy {
    char from[WEFT_CONFIG_MAX_PATH_BYTES + 1]; /* the folder of weftd.yaml; "": this one */
    const char *to;
    bool restores;
    weft_server_config config;
} copy;

/* ---- files ---------------------------------------------------------------------------------- */

/* What a path is inside the folder; NULL: it lies elsewhere. */
static const char *inside(const copy *x, const char *path)
{
    const size_t n = strlen(x->from);
    if (n == 0) {
        return path[0] == '/' ? NULL : path;
    }
    return strncmp(path, x->from, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

static weft_status check_inside(const copy *x, const char *path, const char *field, weft_err *err)
{
    const char *name = inside(x, path);
    if (!name || strchr(name, '/') || name[0] == '.') {
        WEFT_FAIL(err, WEFT_E_STATE,
                  "%s is %.100s, which is not a name in %.60s: a backup is one folder; keep a copy "
                  "of the others yourself, with weftd stopped",
                  field, path, x->from[0] ? x->from : "this folder");
    }
    return WEFT_OK;
}

static weft_status copy_file(const char *from, const char *dir, const char *name, unsigned mode,
                             weft_err *err)
{
    char to[WEFT_CONFIG_MAX_PATH_BYTES + 1];
    weft_buf bytes;
    weft_buf_init(&bytes, &weft_alloc_std, MAX_CONFIG_BYTES);
    weft_status status = weft_path_join(to, sizeof to, dir, name, err);
    if (status == WEFT_OK) {
        status = weft_file_read(&bytes, from, err);
    }
    if (status == WEFT_OK) {
        status = weft_file_create(to, bytes.data, bytes.size, mode, err);
    }
    weft_wipe(bytes.data, bytes.size);
    weft_buf_done(&bytes);
    return status;
}

static weft_status copy_keys(const copy *x, weft_err *err)
{
    const weft_server_config *c = &x->config;
    const struct {
        const char *field;
        const char *path;
        unsigned mode;
    } files[] = {{"keys.ca_certificate", c->ca_certificate, 0644},
                 {"keys.ca_key", c->ca_key, 0600},
                 {"keys.certificate", c->certificate, 0644},
                 {"keys.key", c->key, 0600},
                 {"keys.receipt_key", c->receipt_key, 0600},
                 {"keys.operator_public_key", c->operator_public_key, 0644}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        WEFT_TRY(check_inside(x, files[i].path, files[i].field, err));
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        WEFT_TRY(copy_file(files[i].path, x->to, inside(x, files[i].path), files[i].mode, err));
    }
    return WEFT_OK;
}

/* ---- folders -------------------------------------------------------------------------------- */

static weft_status load(copy *x, const char *config, weft_err *err)
{
    const char *slash = strrchr(config, '/');
    const size_t n = slash ? (size_t)(slash - config) : 0;
    if (n >= sizeof x->from) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the path of weftd.yaml is longer than %zu bytes",
                  sizeof x->from - 1);
    }
    memcpy(x->from, config, n);
    return weft_server_config_load(&x->config, config, &weft_alloc_std, err);
}

/* weftd.yaml comes last: a folder without it is no backup. */
static weft_status copy_folder(copy *x, const char *config, weft_err *err)
{
    char yaml[WEFT_CONFIG_MAX_PATH_BYTES + 1];
    char data[WEFT_CONFIG_MAX_PATH_BYTES + 1];
    WEFT_TRY(check_inside(x, x->config.data_dir, "data_dir", err));
    WEFT_TRY(weft_path_join(yaml, sizeof yaml, x->to, "weftd.yaml", err));
    if (access(yaml, F_OK) == 0) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "%.140s is there already: name a fresh folder", yaml);
    }
    WEFT_TRY(weft_path_join(data, sizeof data, x->to, inside(x, x->config.data_dir), err));
    WEFT_TRY(weft_dir_make(x->to, 0700, err));
    WEFT_TRY(weft_store_backup(x->config.data_dir, data, &weft_alloc_std, err));
    WEFT_TRY(copy_keys(x, err));
    if (x->restores) {
        WEFT_TRY(weft_store_begin_epoch(data, cli_now_unix_ms(), &weft_alloc_std, err));
    }
    return copy_file(config, x->to, "weftd.yaml", 0644, err);
}

static void say_finding(void *arg, const char *finding)
{
    (void)arg;
    (void)fprintf(stderr, "weft: %s\n", finding); /* a closed stderr: nothing to do about it */
}

/* The copy's databases, every byte of every model. */
static weft_status check_copy(const char *data_dir, weft_err *err)
{
    uint32_t n = 0;
    WEFT_TRY(weft_store_check(data_dir, true, say_finding, NULL, &n, &weft_alloc_std, err));
    if (n > 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.140s is damaged (%u findings): take an older backup",
                  data_dir, n);
    }
    return WEFT_OK;
}

static weft_status print_done(cli *c, const copy *x, const char *verb, weft_err *err)
{
    if (!cli_is_text(c)) {
        return cli_print_json(c,
                              json_pack("{s:s, s:s, s:s}", "federation", x->config.federation,
                                        "from", x->from[0] ? x->from : ".", "to", x->to),
                              err);
    }
    if (strcmp(verb, "backup") == 0) {
        printf("%s  the coordinator of %s, checked; it holds its keys: keep it as you keep them\n",
               x->to, x->config.federation);
    } else {
        printf("%s  start it with weftd --config %s/weftd.yaml, and its predecessor never again\n",
               x->to, x->to);
    }
    return WEFT_OK;
}

static weft_status run_backup(cli *c, weft_err *err)
{
    static copy x;
    char data[WEFT_CONFIG_MAX_PATH_BYTES + 1];
    const char *config = cli_value(c, "config") ? cli_value(c, "config") : default_config;
    x.to = c->argument[0];
    WEFT_TRY(load(&x, config, err));
    WEFT_TRY(copy_folder(&x, config, err));
    WEFT_TRY(weft_path_join(data, sizeof data, x.to, inside(&x, x.config.data_dir), err));
    WEFT_TRY(check_copy(data, err));
    return print_done(c, &x, "backup", err);
}

static weft_status run_restore(cli *c, weft_err *err)
{
    static copy x;
    char config[WEFT_CONFIG_MAX_PATH_BYTES + 1];
    x.to = c->argument[1];
    x.restores = true;
    WEFT_TRY(weft_path_join(config, sizeof config, c->argument[0], "weftd.yaml", err));
    WEFT_TRY(load(&x, config, err));
    WEFT_TRY(check_copy(x.config.data_dir, err));
    WEFT_TRY(copy_folder(&x, config, err));
    return print_done(c, &x, "restore", err);
}

static const cli_option backup_options[] = {
    {"config", 0, "FILE", "weftd.yaml of the coordinator; default weftd/weftd.yaml"},
    {0},
};

const cli_verb cli_backup_verbs[] = {
    {"backup", NULL, "FOLDER", 1, 1, "copy a coordinator's folder, while it works",
     "Runs on the coordinator's machine and does not disturb it: configuration, keys and both\n"
     "databases go into a fresh folder, and every model is checked against its digest there.\n"
     "Uploads of open rounds are not in it: such a round fails openly in a restored coordinator\n"
     "and is tried again.",
     backup_options, run_backup},
    {0},
};

const cli_verb cli_restore_verbs[] = {
    {"restore", NULL, "BACKUP FOLDER", 2, 2, "make a coordinator's folder from a backup",
     "Checks the backup to the last byte and copies it into a fresh folder. The coordinator that\n"
     "it replaces must be gone for good: two that go on from one backup tell two histories.",
     NULL, run_restore},
    {0},
};

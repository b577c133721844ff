/* SPDX-License-Identifier: Apache-2.0 */
/* What crashes left in a data directory, counted beside a running coordinator or without one. */
#include "store/store.h"

#include "base/file.h"
#include "store/schema_priv.h"
#include "store/store_priv.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct pair {
    weft_db main;
    weft_db models;
} pair;

static weft_status is_named(pair *p, weft_view digest, bool *ret_named, weft_err *err)
{
    weft_query q;
    *ret_named = false;
    if (!digest.data) {
        return WEFT_OK; /* an unfinished one */
    }
    WEFT_TRY(weft_query_begin(&q, &p->main, "SELECT 1 FROM version WHERE digest = ?", err));
    weft_query_add_blob(&q, digest.data, digest.size);
    const weft_status status = weft_query_step(&q, ret_named, err);
    weft_query_end(&q);
    return status;
}

static weft_status count_models(pair *p, uint32_t *ret, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &p->models, "SELECT digest FROM model", err));
    bool more = false;
    weft_status status = weft_query_step(&q, &more, err);
    while (status == WEFT_OK && more) {
        bool named = false;
        status = is_named(p, weft_query_blob(&q, 0), &named, err);
        *ret += !named;
        if (status == WEFT_OK) {
            status = weft_query_step(&q, &more, err);
        }
    }
    weft_query_end(&q);
    return status;
}

/* "17.part", "17.upd": the assignment's id. */
static bool upload_id(const char *name, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtoull(name, &end, 10);
    return errno == 0 && name[0] >= '0' && name[0] <= '9' &&
           (strcmp(end, ".part") == 0 || strcmp(end, ".upd") == 0);
}

static weft_status count_uploads(pair *p, const char *dir, uint32_t *ret, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, dir, "spool", err));
    DIR *spool = opendir(path);
    if (!spool) {
        const int sys = errno;
        if (sys == ENOENT) { /* a backup has none */
            return WEFT_OK;
        }
        WEFT_FAIL_SYS(err, sys, "cannot read %.160s: %s", path, strerrordesc_np(sys));
    }
    weft_status status = WEFT_OK;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): of a stream of our own */
    for (const struct dirent *e = readdir(spool); status == WEFT_OK && e; e = readdir(spool)) {
        uint64_t id = 0;
        bool wanted = true;
        if (upload_id(e->d_name, &id)) {
            status = weft_db_wants_upload(&p->main, id, &wanted, err);
        }
        *ret += !wanted;
    }
    (void)closedir(spool); /* nothing was written */
    return status;
}

static weft_status count(pair *p, weft_store_orphans *ret, const char *dir, weft_err *err)
{
    WEFT_TRY(weft_store_open_read_only(&p->main, dir, "weft.db", err));
    WEFT_TRY(weft_schema_check(&p->main, &weft_main_schema, err));
    WEFT_TRY(weft_store_open_read_only(&p->models, dir, "models.db", err));
    WEFT_TRY(weft_schema_check(&p->models, &weft_models_schema, err));
    WEFT_TRY(count_models(p, &ret->models, err));
    return count_uploads(p, dir, &ret->uploads, err);
}

weft_status weft_store_count_orphans(weft_store_orphans *ret, const char *dir, const weft_alloc *a,
                                     weft_err *err)
{
    weft_store_orphans found = {0, 0};
    pair *p = weft_array(a, 1, sizeof *p);
    if (!p) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a check");
    }
    const weft_status status = count(p, &found, dir, err);
    weft_db_close(&p->main);
    weft_db_close(&p->models);
    weft_free(a, p);
    if (status == WEFT_OK) {
        *ret = found;
    }
    return status;
}

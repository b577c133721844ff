/* SPDX-License-Identifier: Apache-2.0 */
/* The spool's folder: its files, who looks at them, views, dropping. */
#include "store/spool.h"

#include "base/file.h"
#include "store/spool_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

weft_spool_name weft_spool_part(uint64_t assignment_id)
{
    weft_spool_name name;
    (void)snprintf(name.text, sizeof name.text, "%llu.part",
                   (unsigned long long)assignment_id); /* fits */
    return name;
}

weft_spool_name weft_spool_upd(uint64_t assignment_id)
{
    weft_spool_name name;
    (void)snprintf(name.text, sizeof name.text, "%llu.upd",
                   (unsigned long long)assignment_id); /* fits */
    return name;
}

weft_status weft_spool_fail(weft_err *err, int sys, const char *what, uint64_t assignment_id)
{
    WEFT_FAIL_SYS(err, sys, "cannot %s the upload of assignment %llu in the spool: %s%s", what,
                  (unsigned long long)assignment_id, strerrordesc_np(sys),
                  sys == ENOSPC || sys == EDQUOT ? "; free space on its disk" : "");
}

/* ---- entries --------------------------------------------------------------------------------- */

static weft_spool_entry *find_locked(weft_spool *spool, uint64_t id)
{
    weft_spool_entry *e = spool->buckets[id % WEFT_SPOOL_BUCKETS];
    while (e && e->assignment_id != id) {
        e = e->next;
    }
    return e;
}

static weft_spool_entry *add_locked(weft_spool *spool, uint64_t id)
{
    weft_spool_entry *e = weft_array(spool->alloc, 1, sizeof *e);
    if (!e || pthread_mutex_init(&e->lock, NULL) != 0) {
        weft_free(spool->alloc, e);
        return NULL;
    }
    e->assignment_id = id;
    e->next = spool->buckets[id % WEFT_SPOOL_BUCKETS];
    spool->buckets[id % WEFT_SPOOL_BUCKETS] = e;
    return e;
}

weft_status weft_spool_use(weft_spool_entry **ret, weft_spool *spool, uint64_t id, weft_err *err)
{
    weft_spool_lock(&spool->lock);
    weft_spool_entry *e = find_locked(spool, id);
    if (!e) {
        e = add_locked(spool, id);
    }
    if (e) {
        e->users++;
    }
    weft_spool_unlock(&spool->lock);
    if (!e) {
        (void)!weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                            "the spool's entry of assignment %llu", (unsigned long long)id);
        return WEFT_E_NOMEM;
    }
    *ret = e;
    return WEFT_OK;
}

void weft_spool_unuse(weft_spool *spool, weft_spool_entry *e)
{
    weft_spool_lock(&spool->lock);
    const bool last = --e->users == 0;
    if (last) {
        weft_spool_entry **at = &spool->buckets[e->assignment_id % WEFT_SPOOL_BUCKETS];
        while (*at != e) {
            at = &(*at)->next;
        }
        *at = e->next;
    }
    weft_spool_unlock(&spool->lock);
    if (last) {
        (void)pthread_mutex_destroy(&e->lock); /* nobody can reach it any more */
        weft_free(spool->alloc, e);
    }
}

/* ---- the folder ------------------------------------------------------------------------------ */

static weft_status read_boot(char *out, size_t size, weft_err *err)
{
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, size - 1);
    const weft_status status = weft_file_read(&b, "/proc/sys/kernel/random/boot_id", err);
    memset(out, 0, size);
    if (status == WEFT_OK) {
        memcpy(out, b.data, b.size);
    }
    weft_buf_done(&b);
    return status;
}

/* "7.part" or "7.upd", exactly as we name them. */
static bool parse_name(const char *name, uint64_t *ret_id, bool *ret_complete)
{
    uint64_t id = 0;
    for (const char *at = name; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(id, UINT64_C(10), &id) ||
            __builtin_add_overflow(id, (uint64_t)(*at - '0'), &id)) {
            return false;
        }
    }
    *ret_id = id;
    *ret_complete = strcmp(name, weft_spool_upd(id).text) == 0;
    return id > 0 && (*ret_complete || strcmp(name, weft_spool_part(id).text) == 0);
}

/* Calls fn for each file that is ours. */
static weft_status each_file(weft_spool *spool,
                             weft_status (*fn)(void *arg, uint64_t id, bool complete,
                                               weft_err *err),
                             void *arg, weft_err *err)
{
    const int fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        WEFT_FAIL_SYS(err, errno, "cannot list the spool: %s", strerrordesc_np(errno));
    }
    weft_status status = WEFT_OK;
    for (;;) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this DIR */
        const struct dirent *e = readdir(dir);
        uint64_t id = 0;
        bool complete = false;
        if (!e || status != WEFT_OK) {
            break;
        }
        if (parse_name(e->d_name, &id, &complete)) {
            status = fn(arg, id, complete, err);
        }
    }
    (void)closedir(dir); /* only read */
    return status;
}

static weft_status drop_part(void *arg, uint64_t id, bool complete, weft_err *err)
{
    weft_spool *spool = arg;
    if (!complete && unlinkat(spool->dir_fd, weft_spool_part(id).text, 0) != 0 && errno != ENOENT) {
        return weft_spool_fail(err, errno, "drop", id);
    }
    return WEFT_OK;
}

/* After a reboot the tail of an unsynced file may be holes: unfinished ones start over. */
static weft_status check_boot(weft_spool *spool, const char *dir, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, dir, "boot", err));
    char now[64];
    WEFT_TRY(read_boot(now, sizeof now, err));
    weft_buf then;
    weft_buf_init(&then, &weft_alloc_std, sizeof now);
    const weft_status status = weft_file_read(&then, path, NULL); /* missing: a fresh folder */
    const bool same =
        status == WEFT_OK && then.size == strlen(now) && memcmp(then.data, now, then.size) == 0;
    weft_buf_done(&then);
    if (same) {
        return WEFT_OK;
    }
    spool->rebooted = true;
    WEFT_TRY(each_file(spool, drop_part, spool, err));
    return weft_file_write(path, now, strlen(now), 0600, err);
}

static weft_status open_dir(weft_spool *spool, const char *dir, weft_err *err)
{
    spool->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->dir_fd < 0 && errno == ENOENT) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "there is no folder %.160s", dir);
    }
    if (spool->dir_fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot open %.160s: %s", dir, strerrordesc_np(errno));
    }
    if (pthread_mutex_init(&spool->lock, NULL) != 0) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "a lock");
    }
    spool->ready = true;
    return WEFT_OK;
}

weft_status weft_spool_open_to_look(weft_spool **ret, const char *dir, const weft_alloc *a,
                                    weft_err *err)
{
    weft_spool *spool = weft_array(a, 1, sizeof *spool);
    if (!spool) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the spool");
    }
    spool->alloc = a;
    spool->dir_fd = -1;
    const weft_status status = open_dir(spool, dir, err);
    if (status != WEFT_OK) {
        weft_spool_close(spool);
        return status;
    }
    *ret = spool;
    return WEFT_OK;
}

weft_status weft_spool_open(weft_spool **ret, const char *dir, const weft_alloc *a, weft_err *err)
{
    weft_spool *spool = NULL;
    WEFT_TRY(weft_dir_make(dir, 0700, err));
    WEFT_TRY(weft_spool_open_to_look(&spool, dir, a, err));
    const weft_status status = check_boot(spool, dir, err);
    if (status != WEFT_OK) {
        weft_spool_close(spool);
        return status;
    }
    *ret = spool;
    return WEFT_OK;
}

void weft_spool_close(weft_spool *spool)
{
    if (!spool) {
        return;
    }
    if (spool->dir_fd >= 0) {
        (void)close(spool->dir_fd); /* only names were written through it, each synced on its own */
    }
    if (spool->ready) {
        (void)pthread_mutex_destroy(&spool->lock); /* nobody holds it: the caller's contract */
    }
    weft_free(spool->alloc, spool);
}

bool weft_spool_rebooted(const weft_spool *spool)
{
    return spool->rebooted;
}

/* ---- looking, dropping ----------------------------------------------------------------------- */

static weft_status held_locked(weft_spool *spool, uint64_t id, uint64_t *ret_bytes,
                               bool *ret_complete, weft_err *err)
{
    struct stat st;
    const bool complete = fstatat(spool->dir_fd, weft_spool_upd(id).text, &st, 0) == 0;
    if (!complete && errno != ENOENT) {
        return weft_spool_fail(err, errno, "look at", id);
    }
    const bool part = !complete && fstatat(spool->dir_fd, weft_spool_part(id).text, &st, 0) == 0;
    if (!complete && !part && errno != ENOENT) {
        return weft_spool_fail(err, errno, "look at", id);
    }
    *ret_bytes = complete || part ? (uint64_t)st.st_size : 0;
    *ret_complete = complete;
    return WEFT_OK;
}

weft_status weft_spool_held(weft_spool *spool, uint64_t assignment_id, uint64_t *ret_bytes,
                            bool *ret_complete, weft_err *err)
{
    weft_spool_entry *e = NULL;
    WEFT_TRY(weft_spool_use(&e, spool, assignment_id, err));
    bool complete = false;
    weft_spool_lock(&e->lock); /* not in the middle of a chunk or a rename */
    const weft_status status = held_locked(spool, assignment_id, ret_bytes, &complete, err);
    weft_spool_unlock(&e->lock);
    weft_spool_unuse(spool, e);
    if (status == WEFT_OK && ret_complete) {
        *ret_complete = complete;
    }
    return status;
}

weft_status weft_spool_map(weft_view *ret, weft_spool *spool, uint64_t assignment_id, weft_err *err)
{
    const int fd = openat(spool->dir_fd, weft_spool_upd(assignment_id).text, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "the spool holds no complete upload of assignment %llu",
                  (unsigned long long)assignment_id);
    }
    if (fd < 0) {
        return weft_spool_fail(err, errno, "open", assignment_id);
    }
    struct stat st;
    void *data = NULL;
    int sys = fstat(fd, &st) == 0 ? 0 : errno;
    if (sys == 0 && st.st_size > 0) {
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        sys = data == MAP_FAILED ? errno : 0;
    }
    (void)close(fd); /* the mapping stays; nothing was written */
    if (sys != 0) {
        return weft_spool_fail(err, sys, "map", assignment_id);
    }
    if (data) {
        (void)madvise(data, (size_t)st.st_size, MADV_SEQUENTIAL); /* only advice */
    }
    *ret = (weft_view){data, (size_t)st.st_size};
    return WEFT_OK;
}

void weft_spool_unmap(weft_view *view)
{
    if (view->data) {
        (void)munmap((void *)(uintptr_t)view->data, view->size); /* it was mapped by us */
    }
    *view = (weft_view){NULL, 0};
}

void weft_spool_unload(const weft_view *view, size_t from, size_t n)
{
    if (view->data) {
        /* they stay in the page cache; advice: failure costs memory only */
        (void)madvise((void *)(uintptr_t)(view->data + from), n, MADV_DONTNEED);
    }
}

weft_status weft_spool_drop(weft_spool *spool, uint64_t assignment_id, weft_err *err)
{
    weft_spool_entry *e = NULL;
    WEFT_TRY(weft_spool_use(&e, spool, assignment_id, err));
    weft_spool_lock(&e->lock);
    e->generation++; /* a running upload ends here */
    const bool failed =
        (unlinkat(spool->dir_fd, weft_spool_part(assignment_id).text, 0) != 0 && errno != ENOENT) ||
        (unlinkat(spool->dir_fd, weft_spool_upd(assignment_id).text, 0) != 0 && errno != ENOENT);
    const int sys = errno;
    weft_spool_unlock(&e->lock);
    weft_spool_unuse(spool, e);
    return failed ? weft_spool_fail(err, sys, "drop", assignment_id) : WEFT_OK;
}

typedef struct sweep {
    weft_spool *spool;
    weft_status (*keep)(void *arg, uint64_t assignment_id, bool *ret_keep, weft_err *err);
    void *arg;
    uint32_t dropped;
} sweep;

static weft_status sweep_one(void *arg, uint64_t id, bool complete, weft_err *err)
{
    (void)complete;
    sweep *s = arg;
    bool keep = true;
    WEFT_TRY(s->keep(s->arg, id, &keep, err));
    if (keep) {
        return WEFT_OK;
    }
    s->dropped++;
    return weft_spool_drop(s->spool, id, err);
}

weft_status weft_spool_sweep(weft_spool *spool,
                             weft_status (*keep)(void *arg, uint64_t assignment_id, bool *ret_keep,
                                                 weft_err *err),
                             void *arg, uint32_t *ret_dropped, weft_err *err)
{
    sweep s = {spool, keep, arg, 0};
    WEFT_TRY(each_file(spool, sweep_one, &s, err));
    if (ret_dropped) {
        *ret_dropped = s.dropped;
    }
    return WEFT_OK;
}

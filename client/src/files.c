/* SPDX-License-Identifier: Apache-2.0 */
/* The update's file, and sweeping after crashes. Called by client.c and outbox_work.c. */
#include "files.h"

#include "base/file.h"
#include "crypto/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPARE   "update-spare"
#define UPDATE  "update"
#define ENCODED "encoded"

static weft_status path_of(char *out, size_t out_size, const char *dir, const char *stem,
                           uint64_t assignment_id, const char *ending, weft_err *err)
{
    char name[48];
    (void)snprintf(name, sizeof name, "%s-%" PRIu64 "%s", stem, assignment_id, ending);
    return weft_path_join(out, out_size, dir, name, err);
}

weft_status weft_update_file_path(char *out, size_t out_size, const char *dir,
                                  uint64_t assignment_id, weft_err *err)
{
    return path_of(out, out_size, dir, UPDATE, assignment_id, ".bin", err);
}

weft_status weft_encoded_file_path(char *out, size_t out_size, const char *dir,
                                   uint64_t assignment_id, weft_err *err)
{
    return path_of(out, out_size, dir, ENCODED, assignment_id, ".bin", err);
}

/* A spare of the right size in place of a new file: its blocks and pages are there already. */
static int open_spare(const char *dir, const char *temp, uint64_t size)
{
    char path[4096];
    struct stat st;
    if (weft_path_join(path, sizeof path, dir, SPARE, NULL) != WEFT_OK || stat(path, &st) != 0) {
        return -1;
    }
    if ((uint64_t)st.st_size != size || rename(path, temp) != 0) {
        (void)unlink(path); /* the next one will be of the new size */
        return -1;
    }
    return open(temp, O_WRONLY | O_CLOEXEC);
}

static weft_status begin_file(weft_update_file *file, const char *dir, const char *stem,
                              uint64_t assignment_id, uint64_t size, weft_err *err)
{
    file->fd = -1;
    file->at = 0;
    file->room = size;
    WEFT_TRY(path_of(file->temp, sizeof file->temp, dir, stem, assignment_id, ".tmp", err));
    WEFT_TRY(path_of(file->path, sizeof file->path, dir, stem, assignment_id, ".bin", err));
    file->fd = open_spare(dir, file->temp, size);
    file->used = file->fd >= 0;
    if (file->used) {
        return WEFT_OK;
    }
    file->fd = open(file->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot create %.160s: %s", file->temp, strerrordesc_np(errno));
    }
    /* Better to hear now than after half of it that the disk is full. */
    if (size > 0 && fallocate(file->fd, 0, 0, (off_t)size) != 0 && errno != EOPNOTSUPP &&
        errno != ENOSYS) {
        const int sys = errno;
        weft_update_file_done(file);
        WEFT_FAIL_SYS(err, sys, "no room for an update of %" PRIu64 " bytes in %.120s: %s", size,
                      dir, strerrordesc_np(sys));
    }
    return WEFT_OK;
}

weft_status weft_update_file_begin(weft_update_file *file, const char *dir, uint64_t assignment_id,
                                   uint64_t size, weft_err *err)
{
    return begin_file(file, dir, UPDATE, assignment_id, size, err);
}

weft_status weft_encoded_file_begin(weft_update_file *file, const char *dir, uint64_t assignment_id,
                                    uint64_t size, weft_err *err)
{
    return begin_file(file, dir, ENCODED, assignment_id, size, err);
}

weft_status weft_update_file_write(void *self, const uint8_t *data, size_t n, weft_err *err)
{
    weft_update_file *file = self;
    if (!file->used && weft_bytes_zero(data, n)) {
        file->at += n; /* zeros: the room was made with them */
        return WEFT_OK;
    }
    while (n > 0) {
        const ssize_t done = pwrite(file->fd, data, n, (off_t)file->at);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            WEFT_FAIL_SYS(err, errno, "cannot write %.160s: %s", file->temp,
                          strerrordesc_np(errno));
        }
        data += done;
        file->at += (uint64_t)done;
        n -= (size_t)done;
    }
    return WEFT_OK;
}

static weft_status sync_dir_of(const char *path, weft_err *err)
{
    char dir[4096];
    const char *slash = strrchr(path, '/'); /* there is one: paths are joined */
    const size_t n = slash ? (size_t)(slash - path) : 0;
    memcpy(dir, path, n);
    dir[n] = '\0';
    const int fd = open(n ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        const int sys = errno;
        if (fd >= 0) {
            (void)close(fd); /* nothing was written through it */
        }
        WEFT_FAIL_SYS(err, sys, "cannot sync the folder of %.160s: %s", path, strerrordesc_np(sys));
    }
    (void)close(fd); /* nothing was written through it */
    return WEFT_OK;
}

weft_status weft_update_file_commit(weft_update_file *file, bool sync, weft_err *err)
{
    const bool fits = file->used && file->at == file->room;
    if ((!fits && ftruncate(file->fd, (off_t)file->at) != 0) ||
        (sync && fdatasync(file->fd) != 0)) {
        WEFT_FAIL_SYS(err, errno, "cannot sync %.160s: %s", file->temp, strerrordesc_np(errno));
    }
    if (rename(file->temp, file->path) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot name %.160s: %s", file->path, strerrordesc_np(errno));
    }
    (void)close(file->fd); /* what had to be on disk was synced */
    file->fd = -1;
    return sync ? sync_dir_of(file->path, err) : WEFT_OK;
}

void weft_update_file_done(weft_update_file *file)
{
    if (file->fd >= 0) {
        (void)close(file->fd);    /* it is thrown away */
        (void)unlink(file->temp); /* what stays is swept at the next start */
        file->fd = -1;
    }
}

static bool present(const char *dir, const char *stem, uint64_t assignment_id, uint64_t size)
{
    char path[4096];
    struct stat st;
    return size == 0 ||
           (path_of(path, sizeof path, dir, stem, assignment_id, ".bin", NULL) == WEFT_OK &&
            stat(path, &st) == 0 && (uint64_t)st.st_size == size);
}

bool weft_update_file_present(const char *dir, uint64_t assignment_id, uint64_t size)
{
    return present(dir, UPDATE, assignment_id, size);
}

static weft_status hash_file(weft_hash *hash, int fd, weft_err *err)
{
    uint8_t block[65536];
    ssize_t n = 1;
    while (n > 0) {
        n = read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR) {
            n = 1;
        } else if (n > 0) {
            WEFT_TRY(weft_hash_add(hash, block, (size_t)n, err));
        }
    }
    return WEFT_OK; /* what cannot be read has another digest */
}

static weft_status intact(bool *ret, const char *dir, const char *stem, uint64_t assignment_id,
                          uint64_t size, const uint8_t digest[WEFT_DIGEST_BYTES],
                          const weft_alloc *a, weft_err *err)
{
    char path[4096];
    uint8_t found[WEFT_SHA256_BYTES] = {0};
    *ret = present(dir, stem, assignment_id, size);
    if (size == 0 || !*ret) {
        return WEFT_OK;
    }
    WEFT_TRY(path_of(path, sizeof path, dir, stem, assignment_id, ".bin", err));
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        *ret = false;
        return WEFT_OK;
    }
    weft_hash *hash = NULL;
    weft_status status = weft_hash_new(&hash, a, err);
    if (status == WEFT_OK) {
        status = hash_file(hash, fd, err);
    }
    if (status == WEFT_OK) {
        status = weft_hash_finish(found, hash, err);
    }
    weft_hash_free(hash);
    (void)close(fd); /* only read */
    WEFT_TRY(status);
    *ret = memcmp(found, digest, sizeof found) == 0;
    return WEFT_OK;
}

weft_status weft_update_file_intact(bool *ret, const char *dir, uint64_t assignment_id,
                                    uint64_t size, const uint8_t digest[WEFT_DIGEST_BYTES],
                                    const weft_alloc *a, weft_err *err)
{
    return intact(ret, dir, UPDATE, assignment_id, size, digest, a, err);
}

weft_status weft_encoded_file_intact(bool *ret, const char *dir, uint64_t assignment_id,
                                     uint64_t size, const uint8_t digest[WEFT_DIGEST_BYTES],
                                     const weft_alloc *a, weft_err *err)
{
    return intact(ret, dir, ENCODED, assignment_id, size, digest, a, err);
}

static void remove_file(const char *dir, const char *stem, uint64_t assignment_id)
{
    char path[4096];
    if (path_of(path, sizeof path, dir, stem, assignment_id, ".bin", NULL) == WEFT_OK) {
        (void)unlink(path); /* what stays is swept at the next start */
    }
}

void weft_update_file_remove(const char *dir, uint64_t assignment_id)
{
    remove_file(dir, UPDATE, assignment_id);
}

void weft_encoded_file_remove(const char *dir, uint64_t assignment_id)
{
    remove_file(dir, ENCODED, assignment_id);
}

void weft_update_file_recycle(const char *dir, uint64_t assignment_id, uint64_t size)
{
    char path[4096];
    char spare[4096];
    if (size == 0 || size > WEFT_UPDATE_SPARE_BYTES ||
        weft_update_file_path(path, sizeof path, dir, assignment_id, NULL) != WEFT_OK ||
        weft_path_join(spare, sizeof spare, dir, SPARE, NULL) != WEFT_OK ||
        rename(path, spare) != 0) {
        weft_update_file_remove(dir, assignment_id);
    }
}

void weft_update_file_drop_spare(const char *dir)
{
    char spare[4096];
    if (weft_path_join(spare, sizeof spare, dir, SPARE, NULL) == WEFT_OK) {
        (void)unlink(spare); /* none is fine; what stays is swept at the next start */
    }
}

static bool has_end(const char *name, const char *end)
{
    const size_t n = strlen(name);
    const size_t m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Among bases, the newest stays: keep follows it. */
static bool is_old_base(int dir_fd, const char *name, char *keep, size_t keep_size,
                        struct timespec *newest)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, 0) != 0) {
        return false;
    }
    const bool newer = st.st_mtim.tv_sec > newest->tv_sec || (st.st_mtim.tv_sec == newest->tv_sec &&
                                                              st.st_mtim.tv_nsec > newest->tv_nsec);
    if (keep[0] && !newer) {
        return true;
    }
    if (keep[0]) {
        (void)unlinkat(dir_fd, keep, 0); /* best effort */
    }
    (void)snprintf(keep, keep_size, "%s", name);
    *newest = st.st_mtim;
    return false;
}

void weft_files_sweep(const char *dir, uint64_t keep_assignment_id)
{
    DIR *d = opendir(dir);
    if (!d) {
        return;
    }
    char update[48];
    char encoded[48];
    char base[256] = {0};
    struct timespec newest = {0, 0};
    (void)snprintf(update, sizeof update, UPDATE "-%" PRIu64 ".bin", keep_assignment_id);
    (void)snprintf(encoded, sizeof encoded, ENCODED "-%" PRIu64 ".bin", keep_assignment_id);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this DIR */
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        bool old = false;
        if (strncmp(e->d_name, UPDATE "-", sizeof UPDATE) == 0 ||
            strncmp(e->d_name, ENCODED "-", sizeof ENCODED) == 0) {
            old = strcmp(e->d_name, update) != 0 && strcmp(e->d_name, encoded) != 0;
        } else if (strncmp(e->d_name, "base-", 5) == 0 &&
                   (has_end(e->d_name, ".bin") || has_end(e->d_name, ".part"))) {
            old = is_old_base(dirfd(d), e->d_name, base, sizeof base, &newest);
        } else {
            old = strstr(e->d_name, ".tmp.") != NULL; /* weft_file_write's */
        }
        if (old) {
            (void)unlinkat(dirfd(d), e->d_name, 0); /* best effort */
        }
    }
    (void)closedir(d);
}

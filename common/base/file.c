/* SPDX-License-Identifier: Apache-2.0 */
/* Small files, read whole and replaced atomically. */
#include "base/file.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

weft_status weft_path_join(char *out, size_t out_size, const char *dir, const char *name,
                           weft_err *err)
{
    const int n = snprintf(out, out_size, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= out_size) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the path %.80s/%.80s is too long", dir, name);
    }
    return WEFT_OK;
}

static weft_status read_all(weft_buf *out, int fd, const char *path, weft_err *err)
{
    for (;;) {
        uint8_t block[16384];
        const ssize_t n = read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            WEFT_FAIL_SYS(err, errno, "cannot read %.160s: %s", path, strerrordesc_np(errno));
        }
        if (n == 0) {
            return WEFT_OK;
        }
        if ((size_t)n > out->max - out->size) {
            WEFT_FAIL(err, WEFT_E_LIMIT, "%.160s is larger than %zu bytes", path, out->max);
        }
        WEFT_TRY(weft_buf_add(out, block, (size_t)n, err));
    }
}

weft_status weft_file_read(weft_buf *out, const char *path, weft_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        const int sys = errno;
        const weft_status code = sys == ENOENT ? WEFT_E_NOTFOUND : WEFT_E_IO;
        return weft_err_set(err, code, sys, __FILE__, __LINE__, "cannot open %.160s: %s", path,
                            strerrordesc_np(sys));
    }
    const weft_status status = read_all(out, fd, path, err);
    (void)close(fd); /* nothing was written */
    return status;
}

static weft_status write_all(int fd, const uint8_t *data, size_t n, const char *path, weft_err *err)
{
    while (n > 0) {
        const ssize_t done = write(fd, data, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            WEFT_FAIL_SYS(err, errno, "cannot write %.160s: %s", path, strerrordesc_np(errno));
        }
        data += done;
        n -= (size_t)done;
    }
    if (fsync(fd) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot sync %.160s: %s", path, strerrordesc_np(errno));
    }
    return WEFT_OK;
}

static weft_status sync_parent(const char *path, weft_err *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const size_t n = slash ? (size_t)(slash - path) : 1;
    if (n >= sizeof dir) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the path %.160s is too long", path);
    }
    memcpy(dir, slash ? path : ".", n);
    dir[n] = '\0';
    const int fd = open(n ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot open the folder of %.160s: %s", path,
                      strerrordesc_np(errno));
    }
    const int rc = fsync(fd);
    const int sys = errno;
    (void)close(fd); /* nothing was written through it */
    if (rc != 0) {
        WEFT_FAIL_SYS(err, sys, "cannot sync the folder of %.160s: %s", path, strerrordesc_np(sys));
    }
    return WEFT_OK;
}

static weft_status put(const char *path, const void *data, size_t n, unsigned mode, bool fresh,
                       weft_err *err)
{
    char temp[PATH_MAX];
    const int len = snprintf(temp, sizeof temp, "%s.tmp.%ld", path, (long)getpid());
    if (len < 0 || (size_t)len >= sizeof temp) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the path %.160s is too long", path);
    }
    (void)unlink(temp); /* a left-over of a crash of the same process number */
    const int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot create %.160s: %s", temp, strerrordesc_np(errno));
    }
    weft_status status = write_all(fd, data, n, path, err);
    (void)close(fd); /* synced: nothing can be lost here */
    if (status == WEFT_OK && (fresh ? link(temp, path) : rename(temp, path)) != 0) {
        const int sys = errno;
        const weft_status code = sys == EEXIST ? WEFT_E_CONFLICT : WEFT_E_IO;
        status = weft_err_set(err, code, sys, __FILE__, __LINE__, "cannot create %.160s: %s", path,
                              strerrordesc_np(sys));
    }
    if (fresh || status != WEFT_OK) {
        (void)unlink(temp); /* best effort: the name is ours alone */
    }
    WEFT_TRY(status);
    return sync_parent(path, err);
}

weft_status weft_file_write(const char *path, const void *data, size_t n, unsigned mode,
                            weft_err *err)
{
    return put(path, data, n, mode, false, err);
}

weft_status weft_file_create(const char *path, const void *data, size_t n, unsigned mode,
                             weft_err *err)
{
    return put(path, data, n, mode, true, err);
}

weft_status weft_file_open_unnamed(int *ret, const char *dir, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, dir, ".weft-XXXXXX", err));
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        const int sys = errno;
        WEFT_FAIL_SYS(err, sys, "cannot make a temporary file in %.140s: %s", dir,
                      strerrordesc_np(sys));
    }
    (void)unlink(path); /* it stays open; a name left behind would only be litter */
    *ret = fd;
    return WEFT_OK;
}

weft_status weft_dir_make(const char *path, unsigned mode, weft_err *err)
{
    char part[PATH_MAX];
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a folder name of %zu bytes", n);
    }
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0') {
            continue;
        }
        part[i] = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST) {
            WEFT_FAIL_SYS(err, errno, "cannot create the folder %.160s: %s", part,
                          strerrordesc_np(errno));
        }
        part[i] = i < n ? '/' : '\0';
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "%.160s is not a folder", path);
    }
    return WEFT_OK;
}

bool weft_name_valid(const char *name)
{
    const size_t n = strnlen(name, WEFT_MAX_NAME_BYTES + 1);
    if (n == 0 || n > WEFT_MAX_NAME_BYTES || name[0] == '.' || name[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char c = name[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Running uploads: begin, append, complete. */
#include "store/spool.h"

#include "store/spool_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Pieces of one system call. */
enum { WRITE_AT_ONCE = 64 };

struct weft_spool_upload {
    weft_spool *spool;
    weft_spool_entry *entry; /* one use of it */
    int fd;                  /* of the file; guarded, as what follows, by the entry's lock */
    uint64_t generation;     /* may append while it is the entry's */
    uint64_t held;
    uint64_t total;
    bool complete;
};

/* A complete upload is never touched: it may be mapped, validated, accepted. The client that did
 * not hear so may only say that it has nothing to add. */
static weft_status resume_complete_locked(weft_spool_upload *u, uint64_t start_offset,
                                          uint64_t size, weft_err *err)
{
    if (start_offset != size || u->total != size) {
        WEFT_FAIL(err, WEFT_E_CONFLICT,
                  "a complete upload of %llu bytes is held; this one is to start at %llu of %llu",
                  (unsigned long long)size, (unsigned long long)start_offset,
                  (unsigned long long)u->total);
    }
    u->held = size;
    u->complete = true;
    u->generation = ++u->entry->generation;
    return WEFT_OK;
}

static weft_status resume_part_locked(weft_spool_upload *u, uint64_t start_offset, uint64_t size,
                                      weft_err *err)
{
    if (start_offset > size) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the upload starts at %llu and %llu bytes are held",
                  (unsigned long long)start_offset, (unsigned long long)size);
    }
    if (start_offset < size && ftruncate(u->fd, (off_t)start_offset) != 0) {
        return weft_spool_fail(err, errno, "cut", u->entry->assignment_id);
    }
    u->held = start_offset;
    u->generation = ++u->entry->generation; /* others of this assignment end here */
    return WEFT_OK;
}

static weft_status begin_locked(weft_spool_upload *u, uint64_t start_offset, weft_err *err)
{
    const uint64_t id = u->entry->assignment_id;
    const int dir = u->spool->dir_fd;
    u->fd = openat(dir, weft_spool_upd(id).text, O_RDONLY | O_CLOEXEC);
    const bool complete = u->fd >= 0;
    if (!complete && errno == ENOENT) {
        u->fd = openat(dir, weft_spool_part(id).text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    struct stat st;
    if (u->fd < 0 || fstat(u->fd, &st) != 0) {
        return weft_spool_fail(err, errno, "open", id);
    }
    return complete ? resume_complete_locked(u, start_offset, (uint64_t)st.st_size, err)
                    : resume_part_locked(u, start_offset, (uint64_t)st.st_size, err);
}

weft_status weft_spool_begin(weft_spool_upload **ret, weft_spool *spool, uint64_t assignment_id,
                             uint64_t start_offset, uint64_t total_bytes, weft_err *err)
{
    if (start_offset > total_bytes || total_bytes > INT64_MAX) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the upload starts at %llu of %llu bytes",
                  (unsigned long long)start_offset, (unsigned long long)total_bytes);
    }
    weft_spool_upload *u = weft_array(spool->alloc, 1, sizeof *u);
    if (!u) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "an upload");
    }
    u->spool = spool;
    u->fd = -1;
    u->total = total_bytes;
    weft_status status = weft_spool_use(&u->entry, spool, assignment_id, err);
    if (status == WEFT_OK) {
        weft_spool_lock(&u->entry->lock);
        status = begin_locked(u, start_offset, err);
        weft_spool_unlock(&u->entry->lock);
    }
    if (status != WEFT_OK) {
        weft_spool_upload_free(u);
        return status;
    }
    *ret = u;
    return WEFT_OK;
}

static weft_status check_current_locked(const weft_spool_upload *u, weft_err *err)
{
    if (u->generation != u->entry->generation) {
        WEFT_FAIL(
            err, WEFT_E_STATE,
            "the upload of assignment %llu ended: it is complete, dropped, or goes on elsewhere",
            (unsigned long long)u->entry->assignment_id);
    }
    return WEFT_OK;
}

/* Write pieces from the end of what is held on: all of them or, after an error, some. @return 0 or
 * errno. */
static int write_pieces(int fd, uint64_t at, const weft_view *pieces, size_t n_pieces)
{
    struct iovec some[WRITE_AT_ONCE];
    size_t first = 0;
    size_t skip = 0; /* of the first one */
    while (first < n_pieces) {
        int n = 0;
        for (size_t i = first; i < n_pieces && n < WRITE_AT_ONCE; i++, n++) {
            const size_t done = i == first ? skip : 0;
            some[n].iov_base = (void *)(uintptr_t)(pieces[i].data + done); /* only read */
            some[n].iov_len = pieces[i].size - done;
        }
        const ssize_t part = pwritev(fd, some, n, (off_t)at);
        if (part < 0 && errno == EINTR) {
            continue;
        }
        if (part < 0) {
            return errno;
        }
        at += (uint64_t)part;
        skip += (size_t)part;
        while (first < n_pieces && skip >= pieces[first].size) {
            skip -= pieces[first].size;
            first++;
        }
    }
    return 0;
}

static bool all_zero(const weft_view *pieces, size_t n_pieces)
{
    bool zero = true;
    for (size_t i = 0; i < n_pieces && zero; i++) {
        zero = weft_bytes_zero(pieces[i].data, pieces[i].size);
    }
    return zero;
}

static weft_status append_locked(weft_spool_upload *u, uint64_t offset, const weft_view *pieces,
                                 size_t n_pieces, weft_err *err)
{
    WEFT_TRY(check_current_locked(u, err));
    if (offset != u->held) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a chunk for offset %llu and %llu bytes are held",
                  (unsigned long long)offset, (unsigned long long)u->held);
    }
    uint64_t n = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        n += pieces[i].size; /* of one message: far below the type's limit */
    }
    if (n > u->total - u->held) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "more than the %llu bytes announced",
                  (unsigned long long)u->total);
    }
    if (all_zero(pieces, n_pieces)) { /* frozen layers: a hole reads the same */
        if (ftruncate(u->fd, (off_t)(u->held + n)) != 0) {
            return weft_spool_fail(err, errno, "write", u->entry->assignment_id);
        }
        u->held += n;
        return WEFT_OK;
    }
    const int sys = write_pieces(u->fd, u->held, pieces, n_pieces);
    if (sys != 0) {
        /* what a part of the chunk left behind must not count as held; if even that fails, the
         * digest will tell */
        (void)!ftruncate(u->fd, (off_t)u->held);
        return weft_spool_fail(err, sys, "write", u->entry->assignment_id);
    }
    u->held += n;
    return WEFT_OK;
}

weft_status weft_spool_append_pieces(weft_spool_upload *upload, uint64_t offset,
                                     const weft_view *pieces, size_t n_pieces, weft_err *err)
{
    weft_spool_lock(&upload->entry->lock);
    const weft_status status = append_locked(upload, offset, pieces, n_pieces, err);
    weft_spool_unlock(&upload->entry->lock);
    return status;
}

weft_status weft_spool_append(weft_spool_upload *upload, uint64_t offset, const void *data,
                              size_t n, weft_err *err)
{
    const weft_view piece = {data, n};
    return weft_spool_append_pieces(upload, offset, &piece, 1, err);
}

static weft_status complete_locked(weft_spool_upload *u, bool durable, weft_err *err)
{
    WEFT_TRY(check_current_locked(u, err));
    const uint64_t id = u->entry->assignment_id;
    if (u->held != u->total) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%llu of %llu bytes came", (unsigned long long)u->held,
                  (unsigned long long)u->total);
    }
    if (durable && fdatasync(u->fd) != 0) {
        return weft_spool_fail(err, errno, "sync", id);
    }
    if (!u->complete && renameat(u->spool->dir_fd, weft_spool_part(id).text, u->spool->dir_fd,
                                 weft_spool_upd(id).text) != 0) {
        return weft_spool_fail(err, errno, "complete", id);
    }
    if (durable && fsync(u->spool->dir_fd) != 0) {
        return weft_spool_fail(err, errno, "sync", id);
    }
    u->complete = true;
    u->entry->generation++; /* no more appends */
    return WEFT_OK;
}

weft_status weft_spool_complete(weft_spool_upload *upload, bool durable, weft_err *err)
{
    weft_spool_lock(&upload->entry->lock);
    const weft_status status = complete_locked(upload, durable, err);
    weft_spool_unlock(&upload->entry->lock);
    return status;
}

void weft_spool_upload_free(weft_spool_upload *upload)
{
    if (!upload) {
        return;
    }
    if (upload->fd >= 0) {
        (void)close(upload->fd); /* what had to be durable was synced */
    }
    if (upload->entry) {
        weft_spool_unuse(upload->spool, upload->entry);
    }
    weft_free(upload->spool->alloc, upload);
}

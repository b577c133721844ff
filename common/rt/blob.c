/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the shared immutable bytes. The last reference may go on any thread, also inside gRPC with
 * its locks held: freeing here only frees.
 */
#include "rt/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct weft_rt_blob {
    const weft_alloc *alloc;
    atomic_size_t refs;
    uint8_t *data; /* [size]; owned: heap or mapping; NULL when empty */
    size_t size;
    bool mapped;
};

static weft_rt_blob *blob_new(const weft_alloc *alloc, uint8_t *data, size_t size, bool mapped)
{
    weft_rt_blob *blob = weft_array(alloc, 1, sizeof *blob);
    if (blob) {
        blob->alloc = alloc;
        atomic_init(&blob->refs, 1);
        blob->data = data;
        blob->size = size;
        blob->mapped = mapped;
    }
    return blob;
}

weft_status weft_rt_blob_take(weft_rt_blob **ret, const weft_alloc *alloc, void *data, size_t size,
                              weft_err *err)
{
    weft_rt_blob *blob = blob_new(alloc, data, size, false);
    if (!blob) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a shared buffer");
    }
    *ret = blob;
    return WEFT_OK;
}

weft_status weft_rt_blob_copy(weft_rt_blob **ret, const weft_alloc *alloc, const void *data,
                              size_t size, weft_err *err)
{
    uint8_t *copy = NULL;
    if (size > 0) {
        copy = alloc->resize(alloc->self, NULL, size);
        if (!copy) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a shared buffer of %zu bytes", size);
        }
        memcpy(copy, data, size);
    }
    const weft_status status = weft_rt_blob_take(ret, alloc, copy, size, err);
    if (status != WEFT_OK) {
        weft_free(alloc, copy);
    }
    return status;
}

static void close_fd(const int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); /* read-only: nothing can be lost */
    }
}

weft_status weft_rt_blob_map(weft_rt_blob **ret, const weft_alloc *alloc, const char *path,
                             weft_err *err)
{
    __attribute__((cleanup(close_fd))) const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT) {
            WEFT_FAIL(err, WEFT_E_NOTFOUND, "%s does not exist", path);
        }
        WEFT_FAIL_SYS(err, errno, "cannot open %s: %s", path, strerrordesc_np(errno));
    }
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        WEFT_FAIL_SYS(err, errno, "%s is not a regular file", path);
    }
    const size_t size = (size_t)st.st_size;
    void *data = NULL;
    if (size > 0) {
        data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            WEFT_FAIL_SYS(err, errno, "cannot map %zu bytes of %s: %s", size, path,
                          strerrordesc_np(errno));
        }
    }
    weft_rt_blob *blob = blob_new(alloc, data, size, true);
    if (!blob) {
        if (data) {
            (void)munmap(data, size); /* our own mapping: cannot fail */
        }
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a shared buffer");
    }
    *ret = blob;
    return WEFT_OK;
}

weft_rt_blob *weft_rt_blob_ref(weft_rt_blob *blob)
{
    atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    return blob;
}

void weft_rt_blob_unref(weft_rt_blob *blob)
{
    if (!blob || atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    if (blob->mapped) {
        if (blob->data) {
            (void)munmap(blob->data, blob->size); /* our own mapping: cannot fail */
        }
    } else {
        weft_free(blob->alloc, blob->data);
    }
    weft_free(blob->alloc, blob);
}

const uint8_t *weft_rt_blob_data(const weft_rt_blob *blob)
{
    return blob->data;
}

uint64_t weft_rt_blob_size(const weft_rt_blob *blob)
{
    return blob->size;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Heap blocks, and pages that free themselves through an allocator of their own. Any thread. */
#include "app/memory.h"

#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The allocator of one mapping, and of the blob around it; goes with the last of both. */
typedef struct mapping {
    weft_alloc alloc; /* first */
    const weft_alloc *parent;
    void *data;
    size_t size;
    unsigned live; /* the mapping and blocks of the parent's; one thread at a time */
} mapping;

static void *mapping_resize(void *self, void *p, size_t size)
{
    mapping *m = self;
    if (size > 0) {
        void *q = p ? NULL : m->parent->resize(m->parent->self, NULL, size);
        m->live += q != NULL;
        return q;
    }
    if (p == m->data) {
        (void)munmap(p, m->size); /* a mapping of ours: cannot fail */
    } else {
        weft_free(m->parent, p);
    }
    if (--m->live == 0) {
        weft_free(m->parent, m);
    }
    return NULL;
}

/* The same for pages without a file: only to be told apart. */
static void *pages_resize(void *self, void *p, size_t size)
{
    return mapping_resize(self, p, size);
}

static weft_status map_file(void **ret, size_t size, const char *dir, weft_err *err)
{
    int fd = -1;
    WEFT_TRY(weft_file_open_unnamed(&fd, dir, err));
    void *p = MAP_FAILED;
    if (ftruncate(fd, (off_t)size) == 0) {
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    const int sys = errno;
    (void)close(fd); /* the mapping stays */
    if (p == MAP_FAILED) {
        WEFT_FAIL_SYS(err, sys, "no room in %.120s for a model of %zu bytes: %s", dir, size,
                      strerrordesc_np(sys));
    }
    *ret = p;
    return WEFT_OK;
}

static weft_status map_pages(void **ret, size_t size, weft_err *err)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model of %zu bytes", size);
    }
    /* Without them it is slower, no more: small pages, or one fault for each. To be written first
     * matters: what is read first is a page of zeros that all share, to be replaced. */
    (void)madvise(p, size, MADV_HUGEPAGE);
    (void)madvise(p, size, MADV_POPULATE_WRITE);
    *ret = p;
    return WEFT_OK;
}

/* dir: NULL for pages without a file. */
static weft_status take_mapped(weft_memory *ret, size_t size, const char *dir, const weft_alloc *a,
                               weft_err *err)
{
    mapping *m = weft_array(a, 1, sizeof *m);
    if (!m) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model");
    }
    void *p = NULL;
    const weft_status status = dir ? map_file(&p, size, dir, err) : map_pages(&p, size, err);
    if (status != WEFT_OK) {
        weft_free(a, m);
        return status;
    }
    m->alloc.resize = dir ? mapping_resize : pages_resize;
    m->alloc.self = m;
    m->parent = a;
    m->data = p;
    m->size = size;
    m->live = 1;
    *ret = (weft_memory){&m->alloc, p, size};
    return WEFT_OK;
}

weft_status weft_memory_take(weft_memory *ret, uint64_t size, const char *dir, const weft_alloc *a,
                             weft_err *err)
{
    if (size == 0 || size > SIZE_MAX / 2) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a model of %llu bytes", (unsigned long long)size);
    }
    if (size >= WEFT_APP_PAGES_BYTES) {
        return take_mapped(ret, (size_t)size, size > WEFT_APP_MAPPED_BYTES ? dir : NULL, a, err);
    }
    void *p = a->resize(a->self, NULL, (size_t)size);
    if (!p) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model of %llu bytes",
                  (unsigned long long)size);
    }
    *ret = (weft_memory){a, p, (size_t)size};
    return WEFT_OK;
}

weft_status weft_memory_take_zeros(weft_memory *ret, uint64_t size, const char *dir,
                                   const weft_alloc *a, weft_err *err)
{
    WEFT_TRY(weft_memory_take(ret, size, dir, a, err));
    if (ret->alloc == a) { /* new pages are zeros */
        memset(ret->data, 0, ret->size);
    }
    return WEFT_OK;
}

bool weft_memory_is_mapped(const weft_memory *memory)
{
    return memory->data && memory->alloc->resize == mapping_resize;
}

void weft_memory_unload(const weft_memory *memory, size_t from, size_t n)
{
    if (weft_memory_is_mapped(memory)) {
        /* of a shared mapping: nothing is lost; advice: failure costs memory only */
        (void)madvise((uint8_t *)memory->data + from, n, MADV_DONTNEED);
    }
}

void weft_memory_done(weft_memory *memory)
{
    if (memory->data) {
        weft_free(memory->alloc, memory->data);
        memory->data = NULL;
    }
}

weft_status weft_memory_to_blob(weft_rt_blob **ret, weft_memory *memory, weft_err *err)
{
    WEFT_TRY(weft_rt_blob_take(ret, memory->alloc, memory->data, memory->size, err));
    memory->data = NULL;
    return WEFT_OK;
}

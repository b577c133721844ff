/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks as large as a model lie in unnamed files, mapped: the kernel writes them back instead of
 * running out of memory. Their room on the disk is taken at once, so that a full disk is an error
 * and not a signal. Each block is led by its size; mappings have a page for that.
 */
#include "cli/model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LEAD_BYTES = alignof(max_align_t), LEAD_PAGE_BYTES = 4096 };

static weft_status map_block(void **ret, const char *near, size_t bytes, weft_err *err)
{
    int fd = -1;
    WEFT_TRY(cli_open_temporary(&fd, near, err));
    const int sys = posix_fallocate(fd, 0, (off_t)bytes);
    void *p = sys == 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    const int why = sys ? sys : errno;
    (void)close(fd); /* the mapping stays */
    if (p == MAP_FAILED) {
        WEFT_FAIL_SYS(err, why, "no room for %zu bytes beside %.100s: %s", bytes, near,
                      strerrordesc_np(why));
    }
    *ret = p;
    return WEFT_OK;
}

static void *take(cli_file_alloc *a, size_t size)
{
    const bool mapped = size >= CLI_FILE_BLOCK_BYTES;
    const size_t lead = mapped ? LEAD_PAGE_BYTES : LEAD_BYTES;
    void *block = NULL;
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    if (!mapped) {
        block = malloc(size + lead);
    } else if (map_block(&block, a->near, size + lead, &a->err) != WEFT_OK) {
        return NULL;
    }
    if (!block) {
        return NULL;
    }
    unsigned char *p = (unsigned char *)block + lead;
    memcpy(p - sizeof size, &size, sizeof size);
    return p;
}

static void *resize(void *self, void *p, size_t size)
{
    size_t old = 0;
    if (!p) {
        return size ? take(self, size) : NULL;
    }
    memcpy(&old, (unsigned char *)p - sizeof old, sizeof old);
    if (size == 0 && old >= CLI_FILE_BLOCK_BYTES) {
        (void)munmap((unsigned char *)p - LEAD_PAGE_BYTES, old + LEAD_PAGE_BYTES); /* ours */
    } else if (size == 0) {
        free((unsigned char *)p - LEAD_BYTES);
    }
    return NULL; /* whole blocks: nobody grows one */
}

void cli_file_alloc_init(cli_file_alloc *a, const char *near)
{
    memset(a, 0, sizeof *a);
    a->alloc = (weft_alloc){resize, a};
    a->near = near;
}

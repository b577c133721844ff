/* SPDX-License-Identifier: Apache-2.0 */
/* The base version's file: resumed while it is fetched, checked, mapped. Called by client.c. */
#include "files.h"

#include "base/file.h"
#include "crypto/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model versions are little-endian float32 and are mapped as they are"
#endif

struct weft_base {
    const weft_alloc *alloc;
    char dir[PATH_MAX];
    char name[80]; /* without the ending */
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint64_t size;
    uint64_t have; /* have <= size; what hash has seen */
    bool complete;
    int fd;                   /* of the .part, -1: none open */
    weft_hash *hash;          /* owned */
    weft_base_memory *memory; /* borrowed, of this size: the bytes; NULL: they are in a file */
    bool rests;               /* complete in memory, and in the folder */
};

static weft_status path_of(const weft_base *b, char out[PATH_MAX], const char *ending,
                           weft_err *err)
{
    char name[96];
    (void)snprintf(name, sizeof name, "%s%s", b->name, ending);
    return weft_path_join(out, PATH_MAX, b->dir, name, err);
}

/* Hash what the file holds, at most limit bytes; into memory on the way, where that is lent. */
static weft_status hash_file(weft_base *b, int fd, uint64_t limit, weft_err *err)
{
    uint8_t scratch[65536];
    while (b->have < limit) {
        const uint64_t left = limit - b->have;
        uint8_t *block = scratch;
        if (b->memory) {
            block = b->memory->base + b->have;
        }
        const ssize_t n =
            pread(fd, block, left < sizeof scratch ? (size_t)left : sizeof scratch, (off_t)b->have);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            WEFT_FAIL_SYS(err, errno, "cannot read a base version in %.160s: %s", b->dir,
                          strerrordesc_np(errno));
        }
        if (n == 0) {
            return WEFT_OK;
        }
        WEFT_TRY(weft_hash_add(b->hash, block, (size_t)n, err));
        b->have += (uint64_t)n;
    }
    return WEFT_OK;
}

static weft_status forget_hash(weft_base *b, weft_err *err)
{
    uint8_t ignored[WEFT_SHA256_BYTES];
    b->have = 0;
    return weft_hash_finish(ignored, b->hash, err);
}

/* A complete one: right size and digest, or it goes away. */
static weft_status find_complete(weft_base *b, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(path_of(b, path, ".bin", err));
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return WEFT_OK;
    }
    struct stat st;
    weft_status status = WEFT_OK;
    uint8_t digest[WEFT_SHA256_BYTES];
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size == b->size) {
        status = hash_file(b, fd, b->size, err);
        status = status == WEFT_OK ? weft_hash_finish(digest, b->hash, err) : status;
        b->complete = status == WEFT_OK && b->have == b->size &&
                      memcmp(digest, b->digest, sizeof digest) == 0;
    }
    (void)close(fd); /* nothing was written */
    b->rests = b->complete && b->memory;
    if (status == WEFT_OK && !b->complete) {
        (void)unlink(path); /* a wrong one: fetched again */
        b->have = 0;
    }
    return status;
}

static weft_status open_part(weft_base *b, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(path_of(b, path, ".part", err));
    b->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (b->fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot create %.160s: %s", path, strerrordesc_np(errno));
    }
    return hash_file(b, b->fd, b->size, err);
}

/* Where its bytes are to be, then what is there of them. */
static weft_status look(weft_base *b, weft_base_memory *memory, weft_err *err)
{
    if (memory && b->size <= WEFT_BASE_MEMORY_BYTES) {
        WEFT_TRY(weft_base_memory_fit(memory, (size_t)b->size, err));
        b->memory = memory;
    }
    WEFT_TRY(weft_hash_new(&b->hash, b->alloc, err));
    WEFT_TRY(find_complete(b, err));
    return b->complete || b->memory ? WEFT_OK : open_part(b, err);
}

weft_status weft_base_open(weft_base **ret, const char *dir,
                           const uint8_t digest[WEFT_DIGEST_BYTES], uint64_t size,
                           weft_base_memory *memory, const weft_alloc *a, weft_err *err)
{
    const size_t n = strlen(dir);
    if (n >= PATH_MAX - 96 || size == 0 || size % 4 != 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a base version of %" PRIu64 " bytes in a folder of %zu",
                  size, n);
    }
    weft_base *b = weft_array(a, 1, sizeof *b);
    if (!b) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a base version");
    }
    b->alloc = a;
    b->size = size;
    b->fd = -1;
    memcpy(b->dir, dir, n + 1);
    memcpy(b->digest, digest, WEFT_DIGEST_BYTES);
    memcpy(b->name, "base-", 5);
    weft_hex_encode(b->name + 5, digest, WEFT_DIGEST_BYTES);
    const weft_status status = look(b, memory, err);
    if (status != WEFT_OK) {
        weft_base_free(b);
        return status;
    }
    *ret = b;
    return WEFT_OK;
}

void weft_base_free(weft_base *b)
{
    if (!b) {
        return;
    }
    if (b->fd >= 0) {
        (void)close(b->fd); /* a cache: what is lost is fetched again */
    }
    weft_hash_free(b->hash);
    weft_free(b->alloc, b);
}

bool weft_base_is(const weft_base *b, const uint8_t digest[WEFT_DIGEST_BYTES])
{
    return memcmp(b->digest, digest, WEFT_DIGEST_BYTES) == 0;
}

const uint8_t *weft_base_digest(const weft_base *b)
{
    return b->digest;
}

uint64_t weft_base_size(const weft_base *b)
{
    return b->size;
}

uint64_t weft_base_have(const weft_base *b)
{
    return b->have;
}

bool weft_base_complete(const weft_base *b)
{
    return b->complete;
}

weft_status weft_base_reset(weft_base *b, weft_err *err)
{
    if (b->complete) {
        return WEFT_OK;
    }
    if (!b->memory && ftruncate(b->fd, 0) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot empty a base version in %.160s: %s", b->dir,
                      strerrordesc_np(errno));
    }
    return forget_hash(b, err);
}

static weft_status write_piece(const weft_base *b, const uint8_t *data, size_t n, uint64_t at,
                               weft_err *err)
{
    if (b->fd < 0) {
        memcpy(b->memory->base + at, data, n);
        return WEFT_OK;
    }
    while (n > 0) {
        const ssize_t done = pwrite(b->fd, data, n, (off_t)at);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            WEFT_FAIL_SYS(err, errno, "cannot write a base version in %.160s: %s", b->dir,
                          strerrordesc_np(errno));
        }
        data += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return WEFT_OK;
}

weft_status weft_base_add(weft_base *b, const weft_view *pieces, size_t n_pieces, weft_err *err)
{
    bool hole = false;
    for (size_t i = 0; i < n_pieces; i++) {
        if (b->complete || pieces[i].size > b->size - b->have) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "more than the %" PRIu64 " bytes of the base version",
                      b->size);
        }
        /* zeros are left out: a hole reads the same, and a sparse model stays sparse */
        hole = !b->memory && weft_bytes_zero(pieces[i].data, pieces[i].size);
        if (!hole) {
            WEFT_TRY(write_piece(b, pieces[i].data, pieces[i].size, b->have, err));
        }
        WEFT_TRY(weft_hash_add(b->hash, pieces[i].data, pieces[i].size, err));
        b->have += pieces[i].size;
    }
    /* the file's size says after a crash how far it came */
    if (hole && ftruncate(b->fd, (off_t)b->have) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot write a base version in %.160s: %s", b->dir,
                      strerrordesc_np(errno));
    }
    return WEFT_OK;
}

static void remove_others(const weft_base *b)
{
    DIR *d = opendir(b->dir);
    if (!d) {
        return;
    }
    const size_t n = strlen(b->name);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this DIR */
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (strncmp(e->d_name, "base-", 5) == 0 && strncmp(e->d_name, b->name, n) != 0) {
            (void)unlinkat(dirfd(d), e->d_name, 0); /* best effort: swept at the next start */
        }
    }
    (void)closedir(d);
}

/* The .part gets its name. */
static weft_status name_part(weft_base *b, weft_err *err)
{
    char from[PATH_MAX];
    char to[PATH_MAX];
    WEFT_TRY(path_of(b, from, ".part", err));
    WEFT_TRY(path_of(b, to, ".bin", err));
    if (ftruncate(b->fd, (off_t)b->size) != 0 || rename(from, to) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot name %.160s: %s", to, strerrordesc_np(errno));
    }
    return WEFT_OK;
}

static void close_part(weft_base *b)
{
    (void)close(b->fd); /* a cache: it is checked before it is used again */
    b->fd = -1;
}

weft_status weft_base_rest(weft_base *b, weft_err *err)
{
    if (!b->complete || !b->memory || b->rests) {
        return WEFT_OK;
    }
    char path[PATH_MAX];
    WEFT_TRY(path_of(b, path, ".part", err));
    b->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (b->fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot create %.160s: %s", path, strerrordesc_np(errno));
    }
    weft_status status = write_piece(b, b->memory->base, (size_t)b->size, 0, err);
    if (status == WEFT_OK) {
        status = name_part(b, err);
    }
    close_part(b);
    b->rests = status == WEFT_OK;
    if (b->rests) {
        remove_others(b);
    }
    return status;
}

weft_status weft_base_finish(weft_base *b, weft_err *err)
{
    if (b->complete) {
        return WEFT_OK;
    }
    if (b->have != b->size) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "the base version ends after %" PRIu64 " of %" PRIu64 " bytes", b->have, b->size);
    }
    uint8_t digest[WEFT_SHA256_BYTES];
    WEFT_TRY(weft_hash_finish(digest, b->hash, err));
    if (memcmp(digest, b->digest, sizeof digest) != 0) {
        b->have = 0;
        if (!b->memory) {
            (void)!ftruncate(b->fd, 0); /* it is overwritten from the start anyway */
        }
        WEFT_FAIL(err, WEFT_E_FORMAT, "the base version's bytes do not have its digest %.16s...",
                  b->name + 5);
    }
    if (!b->memory) {
        WEFT_TRY(name_part(b, err));
        close_part(b);
        remove_others(b);
    }
    b->complete = true;
    return WEFT_OK;
}

weft_status weft_base_map_new(weft_base_map *ret, const weft_base *b, weft_err *err)
{
    if (!b->complete) {
        WEFT_FAIL(err, WEFT_E_STATE, "the base version is not complete");
    }
    if (b->memory) {
        memcpy(b->memory->weights, b->memory->base, (size_t)b->size);
        *ret = (weft_base_map){(const void *)b->memory->base, b->memory->weights,
                               b->size / sizeof(float), true};
        return WEFT_OK;
    }
    char path[PATH_MAX];
    WEFT_TRY(path_of(b, path, ".bin", err));
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot open %.160s: %s", path, strerrordesc_np(errno));
    }
    void *base = mmap(NULL, b->size, PROT_READ, MAP_SHARED, fd, 0);
    void *weights = base == MAP_FAILED
                        ? MAP_FAILED
                        : mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    const int sys = errno;
    (void)close(fd); /* the mappings stay */
    if (weights == MAP_FAILED) {
        if (base != MAP_FAILED) {
            (void)munmap(base, b->size); /* just mapped */
        }
        return weft_err_set(err, sys == ENOMEM ? WEFT_E_NOMEM : WEFT_E_IO, sys, __FILE__, __LINE__,
                            "cannot map %" PRIu64 " bytes of weights: %s", b->size,
                            strerrordesc_np(sys));
    }
    *ret = (weft_base_map){base, weights, b->size / sizeof(float), false};
    return WEFT_OK;
}

void weft_base_map_passed(void *self, uint64_t first, uint64_t n)
{
    const weft_base_map *map = self;
    /* read-only, and in the file; advice: failure costs memory only */
    (void)madvise((void *)(uintptr_t)(map->base + first), n * sizeof(float), MADV_DONTNEED);
}

void weft_base_map_done(weft_base_map *map)
{
    if (map->weights && !map->lent) {
        const size_t n = map->n_params * sizeof(float);
        (void)munmap((void *)(uintptr_t)map->base, n); /* ours, and mapped */
        (void)munmap(map->weights, n);
    }
    memset(map, 0, sizeof *map);
}

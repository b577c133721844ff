/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes for the readers: from memory, or from a file through zlib (plain files pass as they are).
 */
#include "data/source.h"

#include "base/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <zlib.h>

static weft_status bytes_read(void *self, void *out, size_t n, size_t *ret_n, weft_err *err)
{
    (void)err; /* memory never fails */
    weft_source *s = self;
    const size_t left = (size_t)(s->end - s->at);
    const size_t take = n < left ? n : left;
    if (take > 0) {
        memcpy(out, s->at, take);
        s->at += take;
    }
    *ret_n = take;
    return WEFT_OK;
}

void weft_source_init_bytes(weft_source *source, const void *data, size_t size, const char *name)
{
    memset(source, 0, sizeof *source);
    source->read = bytes_read;
    source->self = source;
    source->name = name;
    source->at = data;
    source->end = size > 0 ? source->at + size : source->at; /* NULL + 0 is not C */
}

static weft_status file_read(void *self, void *out, size_t n, size_t *ret_n, weft_err *err)
{
    gzFile file = self;
    const unsigned ask = n > (1U << 30) ? 1U << 30 : (unsigned)n;
    const int got = gzread(file, out, ask);
    int code = Z_OK;
    if (got < 0) {
        const char *why = gzerror(file, &code);
        if (code == Z_ERRNO) {
            WEFT_FAIL_SYS(err, errno, "cannot read: %s", strerrordesc_np(errno));
        }
        if (code == Z_MEM_ERROR) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to unpack gzip");
        }
        WEFT_FAIL(err, WEFT_E_FORMAT, "the gzip data are damaged: %.80s", why);
    }
    if (got == 0) {
        (void)gzerror(file, &code); /* the text is of no interest, the code is */
        if (code == Z_BUF_ERROR) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "the gzip data end too early");
        }
    }
    *ret_n = (size_t)got;
    return WEFT_OK;
}

weft_status weft_source_open(weft_source *source, const char *path, weft_err *err)
{
    errno = 0;
    gzFile file = gzopen(path, "rbe");
    if (!file) {
        const int sys = errno;
        if (sys == 0) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to open %.160s", path);
        }
        return weft_err_set(err, sys == ENOENT ? WEFT_E_NOTFOUND : WEFT_E_IO, sys, __FILE__,
                            __LINE__, "cannot open %.160s: %s", path, strerrordesc_np(sys));
    }
    (void)gzbuffer(file, 128U << 10); /* a smaller buffer is only slower */
    memset(source, 0, sizeof *source);
    source->read = file_read;
    source->self = file;
    source->name = path;
    return WEFT_OK;
}

void weft_source_close(weft_source *source)
{
    if (source->read == file_read) {
        (void)gzclose_r(source->self); /* only read */
    }
    memset(source, 0, sizeof *source);
}

weft_status weft_source_exact(weft_source *source, void *out, size_t n, const char *what,
                              weft_err *err)
{
    size_t done = 0;
    while (done < n) {
        size_t got = 0;
        WEFT_TRY(source->read(source->self, (uint8_t *)out + done, n - done, &got, err));
        if (got == 0) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s ends after %zu of %zu bytes of its %s",
                      source->name, done, n, what);
        }
        done += got;
    }
    return WEFT_OK;
}

enum { FIRST_STEP_BYTES = 1 << 20 };

static weft_status fill_growing(weft_source *source, uint8_t **block, size_t total,
                                const char *what, const weft_alloc *a, weft_err *err)
{
    size_t have = 0;
    size_t done = 0;
    while (done < total) {
        size_t next = have ? have * 2 : FIRST_STEP_BYTES; /* total <= 2^40: no overflow */
        next = next < total ? next : total;
        uint8_t *grown = weft_array_resize(a, *block, next, 1);
        if (!grown) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %zu bytes of %s of %.80s", next, what,
                      source->name);
        }
        *block = grown;
        have = next;
        while (done < have) {
            size_t got = 0;
            WEFT_TRY(source->read(source->self, grown + done, have - done, &got, err));
            if (got == 0) {
                WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s ends after %zu of %zu bytes of its %s",
                          source->name, done, total, what);
            }
            done += got;
        }
    }
    return WEFT_OK;
}

weft_status weft_source_array(weft_source *source, void **ret, size_t n, size_t element_size,
                              const char *what, const weft_alloc *a, weft_err *err)
{
    size_t total = 0;
    if (__builtin_mul_overflow(n, element_size, &total) || total == 0 ||
        total > WEFT_MAX_DATA_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%.80s announces %zu elements of %zu bytes of %s",
                  source->name, n, element_size, what);
    }
    uint8_t *block = NULL;
    const weft_status status = fill_growing(source, &block, total, what, a, err);
    if (status != WEFT_OK) {
        weft_free(a, block);
        return status;
    }
    *ret = block;
    return WEFT_OK;
}

weft_status weft_source_at_end(weft_source *source, weft_err *err)
{
    uint8_t one = 0;
    size_t got = 0;
    WEFT_TRY(source->read(source->self, &one, 1, &got, err));
    if (got != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s goes on after its last element", source->name);
    }
    return WEFT_OK;
}

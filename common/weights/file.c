/* SPDX-License-Identifier: Apache-2.0 */
/* Models in files: mapped to read, replaced atomically to write. Any thread. */
#include "weights/weights_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

weft_status weft_weights_format_of(weft_weights_format *ret, const char *path, weft_err *err)
{
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".safetensors") == 0) {
        *ret = WEFT_WEIGHTS_SAFETENSORS;
    } else if (dot && strcmp(dot, ".npz") == 0) {
        *ret = WEFT_WEIGHTS_NPZ;
    } else {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.160s is neither a .safetensors nor a .npz file", path);
    }
    return WEFT_OK;
}

weft_status weft_weights_read(float *out, const weft_layout *layout, weft_weights_format format,
                              const uint8_t *data, size_t size, const weft_alloc *a, weft_err *err)
{
    return format == WEFT_WEIGHTS_NPZ ? weft_npz_read(out, layout, data, size, a, err)
                                      : weft_safetensors_read(out, layout, data, size, a, err);
}

weft_status weft_weights_read_meta(weft_weights_meta *ret, weft_buf *spec_text,
                                   weft_weights_format format, const uint8_t *data, size_t size,
                                   weft_err *err)
{
    return format == WEFT_WEIGHTS_NPZ ? weft_npz_read_meta(ret, spec_text, data, size, err)
                                      : weft_safetensors_read_meta(ret, spec_text, data, size, err);
}

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct file_sink {
    int fd;
    const char *path;
} file_sink;

static weft_status write_file(void *self, const void *data, size_t n, weft_err *err)
{
    const file_sink *f = self;
    const uint8_t *p = data;
    while (n > 0) {
        const ssize_t done = write(f->fd, p, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            WEFT_FAIL_SYS(err, errno, "cannot write %.160s: %s", f->path, strerrordesc_np(errno));
        }
        p += done;
        n -= (size_t)done;
    }
    return WEFT_OK;
}

static weft_status finish_file(int fd, const char *temp, const char *path, weft_err *err)
{
    if (fsync(fd) != 0 || rename(temp, path) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot write %.160s: %s", path, strerrordesc_np(errno));
    }
    return WEFT_OK;
}

/* A model and where it goes; everything is borrowed. */
typedef struct saving {
    const char *path;
    const char *temp; /* beside it */
    const weft_spec *spec;
    const weft_layout *layout;
    const float *weights;
    const weft_weights_meta *meta;
    const weft_alloc *alloc;
} saving;

static weft_status save_safetensors(const saving *s, weft_err *err)
{
    file_sink sink = {open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), s->path};
    if (sink.fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot create %.160s: %s", s->path, strerrordesc_np(errno));
    }
    weft_status status = weft_safetensors_write((weft_weights_sink){write_file, &sink}, s->spec,
                                                s->layout, s->weights, s->meta, s->alloc, err);
    if (status == WEFT_OK) {
        status = finish_file(sink.fd, s->temp, s->path, err);
    }
    (void)close(sink.fd); /* synced, or of no use */
    return status;
}

static weft_status save_npz(const saving *s, weft_err *err)
{
    WEFT_TRY(weft_npz_write_file(s->temp, s->spec, s->layout, s->weights, s->meta, s->alloc, err));
    const int fd = open(s->temp, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot open %.160s: %s", s->temp, strerrordesc_np(errno));
    }
    const weft_status status = finish_file(fd, s->temp, s->path, err);
    (void)close(fd); /* nothing was written through it */
    return status;
}

weft_status weft_weights_save(const char *path, const weft_spec *spec, const weft_layout *layout,
                              const float *weights, const weft_weights_meta *meta,
                              const weft_alloc *a, weft_err *err)
{
    weft_weights_format format = WEFT_WEIGHTS_SAFETENSORS;
    char temp[PATH_MAX];
    WEFT_TRY(weft_weights_format_of(&format, path, err));
    const int len = snprintf(temp, sizeof temp, "%s.tmp.%ld", path, (long)getpid());
    if (len < 0 || (size_t)len >= sizeof temp) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the path %.160s is too long", path);
    }
    (void)unlink(temp); /* a left-over of a crash of the same process number */
    const saving s = {path, temp, spec, layout, weights, meta, a};
    const weft_status status =
        format == WEFT_WEIGHTS_NPZ ? save_npz(&s, err) : save_safetensors(&s, err);
    if (status != WEFT_OK) {
        (void)unlink(temp); /* best effort: the name is ours alone */
    }
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

static weft_status map_file(weft_view *ret, const char *path, weft_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        const int sys = errno;
        return weft_err_set(err, sys == ENOENT ? WEFT_E_NOTFOUND : WEFT_E_IO, sys, __FILE__,
                            __LINE__, "cannot open %.160s: %s", path, strerrordesc_np(sys));
    }
    struct stat st = {0};
    const int rc = fstat(fd, &st);
    void *p = rc == 0 && st.st_size > 0
                  ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
                  : NULL;
    const int sys = errno;
    (void)close(fd); /* only read; the mapping stays */
    if (rc == 0 && st.st_size == 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.160s is empty", path);
    }
    if (rc != 0 || p == MAP_FAILED) {
        WEFT_FAIL_SYS(err, sys, "cannot read %.160s: %s", path, strerrordesc_np(sys));
    }
    *ret = (weft_view){p, (size_t)st.st_size};
    return WEFT_OK;
}

/* Everything that a load makes, moved out at its end. */
typedef struct loaded {
    weft_spec *spec;
    weft_layout *layout;
    float *weights;
    weft_weights_meta meta;
} loaded;

/* The spec to read by, as a copy: the caller's, or the file's. */
static weft_status choose_spec(loaded *l, const weft_spec *spec, weft_buf *text, const char *path,
                               const weft_alloc *a, weft_err *err)
{
    if (spec) {
        weft_buf_clear(text);
        WEFT_TRY(weft_spec_print(spec, text, err));
    } else if (text->size == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%.120s does not say which model it holds (weft.spec): give its spec", path);
    }
    return weft_spec_parse(&l->spec, (const char *)text->data, text->size, a, err);
}

static weft_status load(loaded *l, const char *path, const weft_spec *spec, weft_view file,
                        weft_weights_format format, const weft_alloc *a, const weft_alloc *large,
                        weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, a, (size_t)WEFT_MAX_SPEC_BYTES * 2);
    weft_status status = weft_weights_read_meta(&l->meta, &text, format, file.data, file.size, err);
    if (status == WEFT_OK) {
        status = choose_spec(l, spec, &text, path, a, err);
    }
    weft_buf_done(&text);
    WEFT_TRY(status);
    WEFT_TRY(weft_layout_new(&l->layout, l->spec, a, err));
    if (l->layout->n_params / 1032 > file.size) { /* not even deflated */
        WEFT_FAIL(err, WEFT_E_INVALID, "%.160s is too small for its model", path);
    }
    l->weights = weft_array(large, (size_t)l->layout->n_params, sizeof *l->weights);
    if (!l->weights) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the weights of %.160s", path);
    }
    return weft_weights_read(l->weights, l->layout, format, file.data, file.size, large, err);
}

weft_status weft_weights_load_apart(const char *path, const weft_spec *spec, weft_spec **ret_spec,
                                    weft_layout **ret_layout, float **ret_weights,
                                    weft_weights_meta *ret_meta, const weft_alloc *a,
                                    const weft_alloc *large, weft_err *err)
{
    weft_weights_format format = WEFT_WEIGHTS_SAFETENSORS;
    weft_view file = {0};
    WEFT_TRY(weft_weights_format_of(&format, path, err));
    WEFT_TRY(map_file(&file, path, err));
    loaded l = {0};
    const weft_status status = load(&l, path, spec, file, format, a, large, err);
    (void)munmap((void *)(uintptr_t)file.data, file.size); /* a mapping of ours */
    if (status != WEFT_OK) {
        weft_free(large, l.weights);
        weft_layout_free(l.layout);
        weft_spec_free(l.spec);
        return status;
    }
    *ret_spec = l.spec;
    *ret_layout = l.layout;
    *ret_weights = l.weights;
    if (ret_meta) {
        *ret_meta = l.meta;
    }
    return WEFT_OK;
}

weft_status weft_weights_load(const char *path, const weft_spec *spec, weft_spec **ret_spec,
                              weft_layout **ret_layout, float **ret_weights,
                              weft_weights_meta *ret_meta, const weft_alloc *a, weft_err *err)
{
    return weft_weights_load_apart(path, spec, ret_spec, ret_layout, ret_weights, ret_meta, a, a,
                                   err);
}

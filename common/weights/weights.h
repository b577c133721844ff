/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models as files of other programs: safetensors and NPZ, in PyTorch's conventions: convolutions
 * [out][in][kh][kw], dense [out][in], what follows a flattened image with its inputs in channel,
 * height, width order; lstm and gru as nn.LSTM and nn.GRU of one layer (weight_ih_l0 [gates *
 * units] [in], ...), batchnorm with its running values (PyTorch's num_batches_tracked is neither
 * written nor read). Import is the exact inverse. The engine's own order: model/layout.h.
 *
 * safetensors
 *   1. 8 bytes, little-endian: length of the header
 *   2. a JSON object: name -> dtype, shape, data_offsets; "__metadata__" -> strings
 *   3. the bytes of the tensors
 *   Written: F32, and the keys weft.spec, weft.digest, weft.job, weft.round.
 *   Read: F32, F64, F16, BF16.
 *
 * NPZ
 *   A ZIP of NPY files (ours stored, numpy's may be deflated); the same keys as a JSON object in
 *   the archive's comment.
 *
 * Pure but for weft_weights_save and _load; any thread.
 */
#ifndef WEFT_WEIGHTS_H
#define WEFT_WEIGHTS_H

#include "base/buf.h"
#include "model/layout.h"

typedef enum weft_weights_format {
    WEFT_WEIGHTS_SAFETENSORS = 1,
    WEFT_WEIGHTS_NPZ = 2
} weft_weights_format;

/* What a file says about its model; every field may be empty. */
typedef struct weft_weights_meta {
    char job[WEFT_MAX_NAME_BYTES + 1];
    char digest[65]; /* SHA-256 of the engine's vector, hexadecimal */
    uint32_t round;
} weft_weights_meta;

/** The format of a file name (.safetensors, .npz); WEFT_E_INVALID otherwise. */
WEFT_NODISCARD weft_status weft_weights_format_of(weft_weights_format *ret, const char *path,
                                                  weft_err *err);

/** Bytes written in order. */
typedef struct weft_weights_sink {
    weft_status (*write)(void *self, const void *data, size_t n, weft_err *err);
    void *self;
} weft_weights_sink;

/**
 * Write a model as safetensors. Memory: the largest dense or convolution weights.
 * @param spec     written into the metadata; layout is its layout.
 * @param weights  [layout->n_params], borrowed.
 * @param meta     NULL: only the spec.
 */
WEFT_NODISCARD weft_status weft_safetensors_write(weft_weights_sink sink, const weft_spec *spec,
                                                  const weft_layout *layout, const float *weights,
                                                  const weft_weights_meta *meta,
                                                  const weft_alloc *a, weft_err *err);
/** Append a model as NPZ to out. */
WEFT_NODISCARD weft_status weft_npz_write(weft_buf *out, const weft_spec *spec,
                                          const weft_layout *layout, const float *weights,
                                          const weft_weights_meta *meta, const weft_alloc *a,
                                          weft_err *err);

/**
 * Read weights of a known layout: every tensor by its name, no other.
 * @param out  [layout->n_params], written on success only in full (partly on failure).
 * @return WEFT_E_FORMAT not such a file; WEFT_E_INVALID a tensor is missing, too many, of another
 *         shape or type, or not finite; WEFT_E_LIMIT; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_weights_read(float *out, const weft_layout *layout,
                                             weft_weights_format format, const uint8_t *data,
                                             size_t size, const weft_alloc *a, weft_err *err);

/**
 * What a file says about itself.
 * @param spec_text  the spec is appended; nothing when the file has none.
 */
WEFT_NODISCARD weft_status weft_weights_read_meta(weft_weights_meta *ret, weft_buf *spec_text,
                                                  weft_weights_format format, const uint8_t *data,
                                                  size_t size, weft_err *err);

/** Export to a file, replaced atomically; the name's ending chooses the format. */
WEFT_NODISCARD weft_status weft_weights_save(const char *path, const weft_spec *spec,
                                             const weft_layout *layout, const float *weights,
                                             const weft_weights_meta *meta, const weft_alloc *a,
                                             weft_err *err);

/**
 * Import a file (mapped, not copied).
 * @param spec  NULL: the file's own (WEFT_E_INVALID when it has none).
 * @param ret_spec, ret_layout, ret_weights  the caller's to free (weft_free for the weights).
 */
WEFT_NODISCARD weft_status weft_weights_load(const char *path, const weft_spec *spec,
                                             weft_spec **ret_spec, weft_layout **ret_layout,
                                             float **ret_weights, weft_weights_meta *ret_meta,
                                             const weft_alloc *a, weft_err *err);

/**
 * The same, with an allocator of its own for what is as large as the model: the weights, and while
 * it reads the largest tensor of another order. Its blocks are taken and freed, never resized.
 * @param large  outlives ret_weights, which is freed with it.
 */
WEFT_NODISCARD weft_status weft_weights_load_apart(const char *path, const weft_spec *spec,
                                                   weft_spec **ret_spec, weft_layout **ret_layout,
                                                   float **ret_weights, weft_weights_meta *ret_meta,
                                                   const weft_alloc *a, const weft_alloc *large,
                                                   weft_err *err);

#endif

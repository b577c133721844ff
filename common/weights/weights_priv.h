/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this module. */
#ifndef WEFT_WEIGHTS_PRIV_H
#define WEFT_WEIGHTS_PRIV_H

#include "weights/weights.h"

/* Our tensors are few and small: 1024 entries of 200 bytes and a spec of 64 KiB fit well. */
#define WEFT_MAX_WEIGHTS_HEADER_BYTES (512U << 10)

/* ---- permute.c: the engine's order <-> PyTorch's --------------------------------------------- */

/* The shape that others see: dense [out][in], conv [out][in][kh][kw]; rank as in the layout. */
void weft_weights_shape(uint64_t shape[WEFT_MAX_TENSOR_RANK], const weft_tensor_info *tensor);
/* Do both lie in the same order? Then nothing needs to be copied. */
bool weft_weights_same_order(const weft_tensor_info *tensor);
/* Is it PyTorch's count of a batchnorm's batches, which says nothing that we keep? */
bool weft_weights_ignored(const weft_layout *layout, const char *name);
/* Values of the largest tensor of another order: what a permutation needs; 0: none. */
uint64_t weft_weights_scratch(const weft_layout *layout);
/* out and in: [count], not overlapping. */
void weft_weights_to_torch(float *out, const float *in, const weft_tensor_info *tensor);
void weft_weights_from_torch(float *out, const float *in, const weft_tensor_info *tensor);

/* ---- meta.c ---------------------------------------------------------------------------------- */

/* Append {"weft.spec": "...", ...}; with_spec false: without it. */
WEFT_NODISCARD weft_status weft_weights_print_meta(weft_buf *out, const weft_spec *spec,
                                                   const weft_weights_meta *meta, bool with_spec,
                                                   const weft_alloc *a, weft_err *err);
/* From a parsed JSON object (json_t *; NULL: nothing is known). */
WEFT_NODISCARD weft_status weft_weights_parse_meta(weft_weights_meta *ret, weft_buf *spec_text,
                                                   const void *json_object, weft_err *err);
/* Parse a JSON object with all limits; *ret is a json_t * to json_decref. */
WEFT_NODISCARD weft_status weft_weights_parse_json(void **ret, const void *text, size_t size,
                                                   weft_err *err);

/* ---- the two formats ------------------------------------------------------------------------- */

WEFT_NODISCARD weft_status weft_safetensors_read(float *out, const weft_layout *layout,
                                                 const uint8_t *data, size_t size,
                                                 const weft_alloc *a, weft_err *err);
WEFT_NODISCARD weft_status weft_safetensors_read_meta(weft_weights_meta *ret, weft_buf *spec_text,
                                                      const uint8_t *data, size_t size,
                                                      weft_err *err);
/* weft_npz_write into a file, which is not synced; memory: the largest weights of another order. */
WEFT_NODISCARD weft_status weft_npz_write_file(const char *path, const weft_spec *spec,
                                               const weft_layout *layout, const float *weights,
                                               const weft_weights_meta *meta, const weft_alloc *a,
                                               weft_err *err);
WEFT_NODISCARD weft_status weft_npz_read(float *out, const weft_layout *layout, const uint8_t *data,
                                         size_t size, const weft_alloc *a, weft_err *err);
WEFT_NODISCARD weft_status weft_npz_read_meta(weft_weights_meta *ret, weft_buf *spec_text,
                                              const uint8_t *data, size_t size, weft_err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout: all parameters of a model lie in one flat float32 vector (little-endian on the wire
 * and on disk); this is the table into it. A model version's bytes are exactly that vector, its
 * digest is their SHA-256.
 *
 * Order inside tensors is the engine's: dense weights [in][out], conv weights [kh][kw][cin][cout],
 * activations height, width, channel. common/weights permutes to PyTorch's conventions at export.
 */
#ifndef WEFT_MODEL_LAYOUT_H
#define WEFT_MODEL_LAYOUT_H

#include "model/spec.h"

typedef enum weft_tensor_role {
    WEFT_TENSOR_PLAIN,        /* as given */
    WEFT_TENSOR_DENSE_WEIGHT, /* [in][out] */
    WEFT_TENSOR_CONV_WEIGHT,  /* [kh][kw][cin of one group][cout] */
    WEFT_TENSOR_BIAS,
    WEFT_TENSOR_RECURRENT, /* [in][gates * units]; gates i, f, g, o of lstm and r, z, n of gru */
    WEFT_TENSOR_EMBEDDING, /* [vocab][dims] */
    WEFT_TENSOR_SCALE,     /* of a normalisation: 1 at first */
    WEFT_TENSOR_MEAN,      /* batchnorm's running mean and variance: 0 and 1 at first */
    WEFT_TENSOR_VARIANCE
} weft_tensor_role;

typedef struct weft_tensor_info {
    char name[WEFT_MAX_TENSOR_NAME_BYTES + 1]; /* "conv2d1.weight" */
    weft_tensor_role role;
    uint32_t rank;
    uint64_t shape[WEFT_MAX_TENSOR_RANK];
    uint64_t offset; /* in elements */
    uint64_t count;
    uint32_t layer; /* of the spec; not with plain tensors */
    /* dense weights and normalisations behind a flatten of an image: its shape (else rank 0), so
     * that an export can permute rows or values from h, w, c to PyTorch's c, h, w */
    weft_shape flattened;
} weft_tensor_info;

typedef struct weft_layout {
    const weft_alloc *alloc;
    uint32_t n_tensors;
    weft_tensor_info *tensors; /* [n_tensors], owned, by ascending offset without gaps */
    uint64_t n_params;
} weft_layout;

/** The layout of a spec; *ret is the caller's to free. WEFT_E_LIMIT, WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_layout_new(weft_layout **ret, const weft_spec *spec,
                                           const weft_alloc *a, weft_err *err);
void weft_layout_free(weft_layout *layout);

/**
 * Seeded initial weights: He (before relu; the default) or Glorot uniform per layer; recurrent ones
 * uniform within 1 / sqrt(units), embeddings uniform of variance 1, scales and variances one,
 * biases and plain tensors zero. Each tensor draws from its own stream of the seed.
 * @param out  [n_params], whatever values before; zeros that stay zeros are not written.
 */
void weft_layout_init_weights(float *out, const weft_layout *layout, const weft_spec *spec,
                              uint64_t seed);

#endif

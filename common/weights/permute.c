/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's tensor order <-> PyTorch's. Pure; any thread. */
#include "weights/weights_priv.h"

#include <string.h>

/* [in][out] here, [out][in] there. */
static bool is_matrix(const weft_tensor_info *t)
{
    return t->role == WEFT_TENSOR_DENSE_WEIGHT || t->role == WEFT_TENSOR_RECURRENT;
}

/* Values of the features of a flattened image: those of a normalisation. */
static bool is_image_vector(const weft_tensor_info *t)
{
    return t->rank == 1 && t->flattened.rank == 3;
}

void weft_weights_shape(uint64_t shape[WEFT_MAX_TENSOR_RANK], const weft_tensor_info *tensor)
{
    for (uint32_t i = 0; i < WEFT_MAX_TENSOR_RANK; i++) {
        shape[i] = i < tensor->rank ? tensor->shape[i] : 0;
    }
    if (is_matrix(tensor)) { /* [in][out] */
        shape[0] = tensor->shape[1];
        shape[1] = tensor->shape[0];
    } else if (tensor->role == WEFT_TENSOR_CONV_WEIGHT) { /* [kh][kw][cin][cout] */
        shape[0] = tensor->shape[3];
        shape[1] = tensor->shape[2];
        shape[2] = tensor->shape[0];
        shape[3] = tensor->shape[1];
    }
}

bool weft_weights_same_order(const weft_tensor_info *t)
{
    return !is_matrix(t) && t->role != WEFT_TENSOR_CONV_WEIGHT && !is_image_vector(t);
}

bool weft_weights_ignored(const weft_layout *layout, const char *name)
{
    static const char count[] = ".num_batches_tracked";
    static const char variance[] = ".running_var";
    const size_t n = strlen(name);
    const size_t layer = n - (n < sizeof count ? n : sizeof count - 1);
    if (layer == 0 || strcmp(name + layer, count) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        const weft_tensor_info *t = &layout->tensors[i];
        if (t->role == WEFT_TENSOR_VARIANCE && strncmp(t->name, name, layer) == 0 &&
            strcmp(t->name + layer, variance) == 0) {
            return true;
        }
    }
    return false;
}

uint64_t weft_weights_scratch(const weft_layout *layout)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        const weft_tensor_info *t = &layout->tensors[i];
        most = !weft_weights_same_order(t) && t->count > most ? t->count : most;
    }
    return most;
}

/* Where feature i is in PyTorch's flattened image: h, w, c -> c, h, w. */
static size_t torch_input(const weft_tensor_info *t, size_t i)
{
    if (t->flattened.rank != 3) {
        return i;
    }
    const size_t c = t->flattened.c;
    const size_t area = (size_t)t->flattened.h * t->flattened.w;
    return i % c * area + i / c;
}

static void permute_dense(float *out, const float *in, const weft_tensor_info *t, bool to_torch)
{
    const size_t inputs = (size_t)t->shape[0];
    const size_t outputs = (size_t)t->shape[1];
    for (size_t i = 0; i < inputs; i++) {
        const size_t j = torch_input(t, i);
        for (size_t o = 0; o < outputs; o++) {
            const size_t ours = i * outputs + o;
            const size_t theirs = o * inputs + j;
            out[to_torch ? theirs : ours] = in[to_torch ? ours : theirs];
        }
    }
}

static void permute_conv(float *out, const float *in, const weft_tensor_info *t, bool to_torch)
{
    const size_t area = (size_t)(t->shape[0] * t->shape[1]); /* kh * kw */
    const size_t cin = (size_t)t->shape[2];
    const size_t cout = (size_t)t->shape[3];
    for (size_t k = 0; k < area; k++) {
        for (size_t c = 0; c < cin; c++) {
            for (size_t o = 0; o < cout; o++) {
                const size_t ours = (k * cin + c) * cout + o;
                const size_t theirs = (o * cin + c) * area + k;
                out[to_torch ? theirs : ours] = in[to_torch ? ours : theirs];
            }
        }
    }
}

static void permute_vector(float *out, const float *in, const weft_tensor_info *t, bool to_torch)
{
    for (size_t i = 0; i < (size_t)t->count; i++) {
        const size_t j = torch_input(t, i);
        out[to_torch ? j : i] = in[to_torch ? i : j];
    }
}

static void permute(float *out, const float *in, const weft_tensor_info *t, bool to_torch)
{
    if (is_matrix(t)) {
        permute_dense(out, in, t, to_torch);
    } else if (is_image_vector(t)) {
        permute_vector(out, in, t, to_torch);
    } else if (t->role == WEFT_TENSOR_CONV_WEIGHT) {
        permute_conv(out, in, t, to_torch);
    } else {
        memcpy(out, in, (size_t)t->count * sizeof *out);
    }
}

void weft_weights_to_torch(float *out, const float *in, const weft_tensor_info *tensor)
{
    permute(out, in, tensor, true);
}

void weft_weights_from_torch(float *out, const float *in, const weft_tensor_info *tensor)
{
    permute(out, in, tensor, false);
}

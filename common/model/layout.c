/* SPDX-License-Identifier: Apache-2.0 */
/* The table into a model's flat weight vector, and seeded initial weights. Pure; any thread. */
#include "model/layout.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void add_tensor(weft_layout *layout, const char *layer, const char *suffix,
                       weft_tensor_role role, uint32_t rank, const uint64_t *shape)
{
    weft_tensor_info *t = &layout->tensors[layout->n_tensors++];
    (void)snprintf(t->name, sizeof t->name, "%s%s", layer, suffix); /* 64 + 13 bytes, or 96 */
    t->role = role;
    t->rank = rank;
    t->count = 1;
    for (uint32_t i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        t->count *= shape[i]; /* the parser refused products above WEFT_MAX_PARAMS */
    }
    t->offset = layout->n_params;
    layout->n_params += t->count;
}

/* What a normalisation has of each channel. */
static void add_vectors(weft_layout *layout, const weft_layer *layer)
{
    const uint64_t n = layer->in.c;
    add_tensor(layout, layer->name, ".weight", WEFT_TENSOR_SCALE, 1, &n);
    add_tensor(layout, layer->name, ".bias", WEFT_TENSOR_BIAS, 1, &n);
    if (layer->kind == WEFT_LAYER_BATCHNORM) {
        add_tensor(layout, layer->name, ".running_mean", WEFT_TENSOR_MEAN, 1, &n);
        add_tensor(layout, layer->name, ".running_var", WEFT_TENSOR_VARIANCE, 1, &n);
    }
}

static void add_recurrent(weft_layout *layout, const weft_layer *layer)
{
    const uint64_t gates = (layer->kind == WEFT_LAYER_LSTM ? 4U : 3U) * (uint64_t)layer->units;
    const uint64_t of_x[] = {layer->in.c, gates};
    const uint64_t of_h[] = {layer->units, gates};
    add_tensor(layout, layer->name, ".weight_ih_l0", WEFT_TENSOR_RECURRENT, 2, of_x);
    add_tensor(layout, layer->name, ".weight_hh_l0", WEFT_TENSOR_RECURRENT, 2, of_h);
    if (layer->bias) {
        add_tensor(layout, layer->name, ".bias_ih_l0", WEFT_TENSOR_BIAS, 1, &gates);
        add_tensor(layout, layer->name, ".bias_hh_l0", WEFT_TENSOR_BIAS, 1, &gates);
    }
}

static void add_layer(weft_layout *layout, const weft_layer *layer)
{
    const uint64_t units = layer->units;
    if (layer->kind == WEFT_LAYER_DENSE) {
        const uint64_t shape[] = {layer->in.c, units};
        add_tensor(layout, layer->name, ".weight", WEFT_TENSOR_DENSE_WEIGHT, 2, shape);
    } else if (layer->kind == WEFT_LAYER_CONV2D) {
        const uint64_t shape[] = {layer->kernel_h, layer->kernel_w, layer->in.c / layer->groups,
                                  units};
        add_tensor(layout, layer->name, ".weight", WEFT_TENSOR_CONV_WEIGHT, 4, shape);
    } else if (layer->kind == WEFT_LAYER_EMBEDDING) {
        const uint64_t shape[] = {layer->vocab, units};
        add_tensor(layout, layer->name, ".weight", WEFT_TENSOR_EMBEDDING, 2, shape);
    } else if (layer->kind == WEFT_LAYER_LSTM || layer->kind == WEFT_LAYER_GRU) {
        add_recurrent(layout, layer);
        return;
    } else {
        add_vectors(layout, layer);
        return;
    }
    if (layer->bias) {
        add_tensor(layout, layer->name, ".bias", WEFT_TENSOR_BIAS, 1, &units);
    }
}

static void add_layers(weft_layout *layout, const weft_spec *spec)
{
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        const weft_layer *layer = &spec->layers[i];
        const uint32_t first = layout->n_tensors;
        if (weft_layer_n_params(layer) == 0) {
            continue;
        }
        add_layer(layout, layer);
        for (uint32_t k = first; k < layout->n_tensors; k++) {
            weft_tensor_info *t = &layout->tensors[k];
            const bool by_input = layer->kind != WEFT_LAYER_DENSE ||
                                  t->role == WEFT_TENSOR_DENSE_WEIGHT; /* its bias is not */
            t->layer = i;
            t->flattened = by_input ? layer->image : (weft_shape){0, 0, 0, 0};
        }
    }
}

weft_status weft_layout_new(weft_layout **ret, const weft_spec *spec, const weft_alloc *a,
                            weft_err *err)
{
    uint64_t n_params = 0;
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        const uint64_t more = weft_layer_n_params(&spec->layers[i]);
        if (more > WEFT_MAX_PARAMS - n_params) {
            WEFT_FAIL(err, WEFT_E_LIMIT, "the model has more than %llu parameters",
                      (unsigned long long)WEFT_MAX_PARAMS);
        }
        n_params += more;
    }
    weft_layout *layout = weft_array(a, 1, sizeof *layout);
    if (!layout) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model's layout");
    }
    layout->alloc = a;
    /* four a layer at most; a spec that parsed has at least one layer or tensor */
    layout->tensors = weft_array(a, spec->n_tensors + 4U * spec->n_layers, sizeof *layout->tensors);
    if (!layout->tensors) {
        weft_layout_free(layout);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model's layout");
    }
    add_layers(layout, spec);
    for (uint32_t i = 0; i < spec->n_tensors; i++) {
        const weft_plain_tensor *t = &spec->tensors[i];
        add_tensor(layout, t->name, "", WEFT_TENSOR_PLAIN, t->rank, t->shape);
    }
    *ret = layout;
    return WEFT_OK;
}

void weft_layout_free(weft_layout *layout)
{
    if (layout) {
        weft_free(layout->alloc, layout->tensors);
        weft_free(layout->alloc, layout);
    }
}

/* Half the width of the uniform distribution (He et al. 2015; Glorot and Bengio 2010): its variance
 * is 2 / fan_in, or 2 / (fan_in + fan_out). */
static float init_bound(const weft_tensor_info *t, weft_init init)
{
    const uint64_t window = t->role == WEFT_TENSOR_CONV_WEIGHT ? t->shape[0] * t->shape[1] : 1;
    const double fan_in = (double)(window * t->shape[t->rank - 2]);
    const double fan_out = (double)(window * t->shape[t->rank - 1]);
    switch (init) {
    case WEFT_INIT_HE:
        return (float)sqrt(6.0 / fan_in);
    case WEFT_INIT_GLOROT:
        return (float)sqrt(6.0 / (fan_in + fan_out));
    case WEFT_INIT_ZERO:
        break;
    }
    return 0.0F;
}

/* Half the width of what a tensor's values are drawn from; 0: they are not. */
static float bound_of(const weft_tensor_info *t, const weft_spec *spec)
{
    switch (t->role) {
    case WEFT_TENSOR_DENSE_WEIGHT:
    case WEFT_TENSOR_CONV_WEIGHT:
        return init_bound(t, spec->layers[t->layer].init);
    case WEFT_TENSOR_RECURRENT:
        return (float)(1.0 / sqrt((double)spec->layers[t->layer].units));
    case WEFT_TENSOR_EMBEDDING:
        return 1.73205081F; /* sqrt(3) */
    case WEFT_TENSOR_PLAIN:
    case WEFT_TENSOR_BIAS:
    case WEFT_TENSOR_SCALE:
    case WEFT_TENSOR_MEAN:
    case WEFT_TENSOR_VARIANCE:
        break;
    }
    return 0.0F;
}

/* Without writing where zeros are: a new mapping of a file stays a hole. */
static void fill_with_zeros(float *out, uint64_t n)
{
    static const float zeros[1024];
    while (n > 0) {
        const size_t take = n < 1024 ? (size_t)n : 1024;
        if (memcmp(out, zeros, take * sizeof *out) != 0) {
            memset(out, 0, take * sizeof *out);
        }
        out += take;
        n -= take;
    }
}

void weft_layout_init_weights(float *out, const weft_layout *layout, const weft_spec *spec,
                              uint64_t seed)
{
    fill_with_zeros(out, layout->n_params);
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        const weft_tensor_info *t = &layout->tensors[i];
        const bool ones = t->role == WEFT_TENSOR_SCALE || t->role == WEFT_TENSOR_VARIANCE;
        for (uint64_t k = 0; k < t->count && ones; k++) {
            out[t->offset + k] = 1.0F;
        }
        const float bound = bound_of(t, spec);
        weft_rng rng;
        weft_rng_init(&rng, seed, i);
        for (uint64_t k = 0; k < t->count && bound > 0.0F; k++) {
            out[t->offset + k] = (2.0F * weft_rng_float(&rng) - 1.0F) * bound;
        }
    }
}

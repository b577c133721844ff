/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds nets: layers of a spec into steps (relu and max-pool are fused into what is before them,
 * flatten vanishes), and one workspace for all that they need. The workspace is laid out twice by
 * the same code: once to measure, once to hand out addresses.
 */
#include "nn/net_priv.h"

#include "nn/isa/isa.h"

#include <string.h>

static const uint64_t max_workspace = UINT64_C(1) << 40;

static weft_pool pool_of(const weft_layer *l)
{
    return (weft_pool){.h = l->in.h,
                       .w = l->in.w,
                       .c = l->in.c,
                       .size = l->kernel_h,
                       .stride = l->stride,
                       .oh = l->out.h,
                       .ow = l->out.w};
}

static weft_conv conv_of(const weft_layer *l)
{
    return (weft_conv){.h = l->in.h,
                       .w = l->in.w,
                       .cin = l->in.c,
                       .kh = l->kernel_h,
                       .kw = l->kernel_w,
                       .stride = l->stride,
                       .pad_top = l->pad_top,
                       .pad_left = l->pad_left,
                       .pad_bottom = l->pad_bottom,
                       .pad_right = l->pad_right,
                       .oh = l->out.h,
                       .ow = l->out.w,
                       .cout = l->out.c};
}

/* Takes the layer behind a convolution or dense step into it, if it can be. */
static bool fuse(weft_step *step, const weft_layer *l)
{
    if (step->kind == WEFT_STEP_DENSE && l->kind == WEFT_LAYER_RELU) {
        step->dense.relu = true;
        return true;
    }
    if (step->kind != WEFT_STEP_CONV) {
        return false;
    }
    if (l->kind == WEFT_LAYER_RELU) {
        step->conv.relu = true;
        return true;
    }
    if (l->kind == WEFT_LAYER_MAXPOOL && !step->conv.pooled &&
        l->kernel_h * (uint64_t)l->kernel_w <= WEFT_POOL_MAX_SLOTS) {
        step->conv.pooled = true;
        step->conv.pool = pool_of(l);
        step->n_out = weft_shape_size(&l->out);
        return true;
    }
    return false;
}

static weft_step_kind kind_of(weft_layer_kind kind)
{
    switch (kind) {
    case WEFT_LAYER_DENSE:
        return WEFT_STEP_DENSE;
    case WEFT_LAYER_CONV2D:
        return WEFT_STEP_CONV;
    case WEFT_LAYER_MAXPOOL:
        return WEFT_STEP_MAXPOOL;
    case WEFT_LAYER_AVGPOOL:
        return WEFT_STEP_AVGPOOL;
    case WEFT_LAYER_TANH:
        return WEFT_STEP_TANH;
    case WEFT_LAYER_SIGMOID:
        return WEFT_STEP_SIGMOID;
    case WEFT_LAYER_DROPOUT:
        return WEFT_STEP_DROPOUT;
    case WEFT_LAYER_RELU:
    case WEFT_LAYER_FLATTEN: /* never becomes a step */
        break;
    }
    return WEFT_STEP_RELU;
}

static void take_weights(weft_step *step, const weft_layer *l, const weft_layout *layout,
                         uint32_t *tensor)
{
    step->weight = layout->tensors[(*tensor)++].offset;
    step->has_bias = l->bias;
    step->bias = l->bias ? layout->tensors[(*tensor)++].offset : 0;
}

/* What steps compute with. */
typedef struct kernels {
    weft_gemm_fn *gemm;
    const weft_conv_ops *conv;
    const weft_conv_ops *big_conv; /* for shapes that conv does not take; or NULL */
} kernels;

static weft_status choose_kernels(kernels *ret, const weft_net_options *o, weft_err *err)
{
    static const kernels naive = {weft_gemm_naive, &weft_conv_naive, &weft_conv_naive};
    static const kernels blas = {weft_gemm_blas, &weft_conv_blas, &weft_conv_blas};
    const bool portable = o->numerics == WEFT_NUMERICS_PORTABLE;
    const bool free_choice = o->isa == WEFT_ISA_BEST && !portable;
    const weft_isa *isa = weft_isa_get(o->isa);
    if (o->kernels == WEFT_KERNELS_NAIVE) {
        *ret = naive;
    } else if (o->kernels == WEFT_KERNELS_BLAS ||
               (free_choice && weft_isa_best() == WEFT_ISA_PLAIN)) {
        *ret = blas;
    } else if (!isa) {
        WEFT_FAIL(err, WEFT_E_INVALID, "this processor has no %s", weft_isa_name(o->isa));
    } else {
        *ret = (kernels){isa->gemm, isa->conv, portable ? NULL : &weft_conv_blas};
    }
    return WEFT_OK;
}

static void add_step(weft_net *net, const weft_layer *l, const weft_layout *layout,
                     uint32_t *tensor, const kernels *use)
{
    weft_step *step = &net->steps[net->n_steps++];
    step->kind = kind_of(l->kind);
    step->n_in = weft_shape_size(&l->in);
    step->n_out = weft_shape_size(&l->out);
    step->rate = l->rate;
    if (l->kind == WEFT_LAYER_DENSE) {
        step->dense.in = l->in.c;
        step->dense.out = l->out.c;
        step->dense.gemm = use->gemm;
        take_weights(step, l, layout, tensor);
    } else if (l->kind == WEFT_LAYER_CONV2D) {
        step->conv = conv_of(l);
        take_weights(step, l, layout, tensor);
    } else if (l->kind == WEFT_LAYER_MAXPOOL || l->kind == WEFT_LAYER_AVGPOOL) {
        step->pool = pool_of(l);
    }
}

static weft_status plan_steps(weft_net *net, const weft_spec *spec, const weft_layout *layout,
                              const kernels *use, weft_err *err)
{
    uint32_t tensor = 0;
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        const weft_layer *l = &spec->layers[i];
        const bool fused = net->n_steps > 0 && fuse(&net->steps[net->n_steps - 1], l);
        if (!fused && l->kind != WEFT_LAYER_FLATTEN) {
            add_step(net, l, layout, &tensor, use);
        }
    }
    for (uint32_t i = 0; i < net->n_steps; i++) {
        weft_step *step = &net->steps[i];
        const weft_conv *c = &step->conv;
        if (step->kind != WEFT_STEP_CONV) {
            continue;
        }
        if ((uint64_t)c->kh * c->kw > WEFT_GEMM_MAX_DIM / c->cin) {
            WEFT_FAIL(err, WEFT_E_LIMIT, "a window of %ux%ux%u values is larger than %u", c->kh,
                      c->kw, c->cin, WEFT_GEMM_MAX_DIM);
        }
        step->conv_ops = weft_conv_is_small(c) ? use->conv : use->big_conv;
        if (!step->conv_ops) {
            WEFT_FAIL(err, WEFT_E_LIMIT,
                      "numerics: portable takes no images of %ux%ux%u values with %u filters", c->h,
                      c->w, c->cin, c->cout);
        }
    }
    return WEFT_OK;
}

/* ---- the workspace --------------------------------------------------------------------------- */

enum { ALIGNMENT = 64 }; /* a cache line, and any vector */

typedef struct arena {
    unsigned char *base; /* NULL: only measure */
    uint64_t used;
} arena;

static void *take(arena *a, uint64_t n, size_t size)
{
    void *p = a->base && n > 0 ? a->base + a->used : NULL;
    a->used += (n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Outputs: each step's own when backward reads them later, else two that take turns. */
static void lay_out_outputs(weft_net *net, arena *a, uint64_t most)
{
    float *turns[2] = {NULL, NULL};
    for (int i = 0; i < 2 && !net->train; i++) {
        turns[i] = take(a, net->max_batch * most, sizeof(float));
    }
    for (uint32_t i = 0; i < net->n_steps; i++) {
        weft_step *step = &net->steps[i];
        const bool masked =
            (step->kind == WEFT_STEP_CONV && step->conv.pooled) || step->kind == WEFT_STEP_DROPOUT;
        step->out =
            net->train ? take(a, net->max_batch * step->n_out, sizeof(float)) : turns[i % 2];
        step->mask = net->train && masked ? take(a, net->max_batch * step->n_out, 1) : NULL;
    }
}

static void lay_out(weft_net *net, arena *a)
{
    uint64_t most_out = 0;
    uint64_t most_between = net->n_outputs;
    uint64_t scratch = 0;
    uint64_t dw = 0;
    uint64_t db = 0;
    for (uint32_t i = 0; i < net->n_steps; i++) {
        const weft_step *step = &net->steps[i];
        most_out = larger(most_out, step->n_out);
        most_between = larger(most_between, i > 0 ? step->n_in : 0);
        if (step->kind == WEFT_STEP_CONV) {
            scratch = larger(scratch, step->conv_ops->scratch(&step->conv, net->train));
            dw = larger(dw, weft_conv_n_weights(&step->conv));
            db = larger(db, step->conv.cout);
        } else if (step->kind == WEFT_STEP_DENSE) {
            db = larger(db, step->dense.out);
        }
    }
    net->input = take(a, (uint64_t)net->max_batch * net->n_inputs, sizeof(float));
    lay_out_outputs(net, a, most_out);
    for (int i = 0; i < 2 && net->train; i++) {
        net->gradient[i] = take(a, net->max_batch * most_between, sizeof(float));
    }
    net->memory.activations = a->used;
    net->n_scratch = (size_t)((scratch + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    net->scratch = take(a, net->n_scratch * weft_team_size(net->team), sizeof(float));
    net->dw = take(a, net->train ? dw : 0, sizeof(float));
    net->db = take(a, net->train ? db : 0, sizeof(float));
    net->memory.scratch = a->used - net->memory.activations;
}

static weft_status allocate(weft_net *net, weft_err *err)
{
    arena a = {NULL, 0};
    lay_out(net, &a); /* sums of at most 2^54 bytes */
    if (a.used > max_workspace) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a workspace of %llu bytes for batches of %u is above 1 TiB",
                  (unsigned long long)a.used, net->max_batch);
    }
    net->memory.workspace = a.used + ALIGNMENT;
    net->block = weft_array_resize(net->alloc, NULL, (size_t)net->memory.workspace, 1);
    if (!net->block) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a workspace of %llu bytes",
                  (unsigned long long)net->memory.workspace);
    }
    const uintptr_t misplaced = (uintptr_t)net->block % ALIGNMENT;
    a = (arena){(unsigned char *)net->block + (misplaced ? ALIGNMENT - misplaced : 0), 0};
    lay_out(net, &a);
    return WEFT_OK;
}

static weft_status fill(weft_net *net, const weft_spec *spec, const weft_layout *layout,
                        const weft_net_options *options, weft_err *err)
{
    net->max_batch = options->max_batch;
    net->train = options->train;
    net->n_inputs = weft_shape_size(&spec->input);
    net->n_outputs = weft_shape_size(&spec->layers[spec->n_layers - 1].out);
    net->n_params = layout->n_params;
    net->loss = spec->loss;
    net->memory.parameters = layout->n_params * sizeof(float);
    net->steps = weft_array(net->alloc, spec->n_layers, sizeof *net->steps);
    if (!net->steps) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a net of %u layers", spec->n_layers);
    }
    kernels use;
    WEFT_TRY(choose_kernels(&use, options, err));
    WEFT_TRY(plan_steps(net, spec, layout, &use, err));
    WEFT_TRY(weft_team_new(&net->team, options->n_threads ? options->n_threads : 1,
                           options->thread_started, options->self, net->alloc, err));
    WEFT_TRY(allocate(net, err));
    weft_net_seed(net, 0);
    if (use.gemm == weft_gemm_blas) {
        weft_gemm_one_thread();
    }
    return WEFT_OK;
}

weft_status weft_net_new(weft_net **ret, const weft_spec *spec, const weft_layout *layout,
                         const weft_net_options *options, const weft_alloc *a, weft_err *err)
{
    if (spec->n_layers == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the model is plain tensors: only a trainer of its own can use it");
    }
    if (options->max_batch < 1 || options->max_batch > 65536) {
        WEFT_FAIL(err, WEFT_E_INVALID, "max_batch is %u, outside 1 to 65536", options->max_batch);
    }
    weft_net *net = weft_array(a, 1, sizeof *net);
    if (!net) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a net");
    }
    net->alloc = a;
    const weft_status status = fill(net, spec, layout, options, err);
    if (status != WEFT_OK) {
        weft_net_free(net);
        return status;
    }
    *ret = net;
    return WEFT_OK;
}

void weft_net_free(weft_net *net)
{
    if (net) {
        weft_team_free(net->team);
        weft_free(net->alloc, net->block);
        weft_free(net->alloc, net->steps);
        weft_free(net->alloc, net);
    }
}

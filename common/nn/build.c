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

/* Takes a relu into the step before it, if it can be. */
static bool fuse_relu(weft_step *step)
{
    switch (step->kind) {
    case WEFT_STEP_DENSE:
        step->dense.relu = true;
        return true;
    case WEFT_STEP_CONV:
        step->conv.relu = true;
        return true;
    case WEFT_STEP_GROUPED:
        step->grouped.conv.relu = true;
        return true;
    case WEFT_STEP_NORM:
    case WEFT_STEP_BATCHNORM:
        step->norm.relu = true;
        return true;
    case WEFT_STEP_ADD:
        step->relu = true;
        return true;
    case WEFT_STEP_MAXPOOL:
    case WEFT_STEP_AVGPOOL:
    case WEFT_STEP_RELU:
    case WEFT_STEP_TANH:
    case WEFT_STEP_SIGMOID:
    case WEFT_STEP_DROPOUT:
    case WEFT_STEP_LEAKY_RELU:
    case WEFT_STEP_GELU:
    case WEFT_STEP_SILU:
    case WEFT_STEP_MEAN:
    case WEFT_STEP_EMBEDDING:
    case WEFT_STEP_RECURRENT:
    case WEFT_STEP_LAST:
        break;
    }
    return false;
}

/* Takes a layer into the step before it, if it can be. */
static bool fuse(weft_step *step, const weft_layer *l)
{
    if (l->kind == WEFT_LAYER_RELU) {
        return fuse_relu(step);
    }
    if (step->kind == WEFT_STEP_CONV && l->kind == WEFT_LAYER_MAXPOOL && !step->conv.pooled &&
        l->kernel_h * (uint64_t)l->kernel_w <= WEFT_POOL_MAX_SLOTS) {
        step->conv.pooled = true;
        step->conv.pool = pool_of(l);
        step->n_out = weft_shape_size(&l->out);
        return true;
    }
    return false;
}

static weft_norm norm_of(const weft_layer *l)
{
    const size_t positions = (size_t)l->in.h * l->in.w;
    weft_norm d = {.samples = 1, .rows = positions, .channels = l->in.c, .groups = l->groups};
    if (l->kind == WEFT_LAYER_LAYERNORM) {
        d.samples = positions;
        d.rows = 1;
        d.groups = 1;
    } else if (l->kind == WEFT_LAYER_BATCHNORM) {
        d.groups = l->in.c;
    }
    return d;
}

/* What steps compute with. */
typedef struct kernels {
    weft_gemm_fn *gemm;
    const weft_conv_ops *conv;
    const weft_conv_ops *big_conv; /* for shapes that conv does not take; or NULL */
    const weft_panels_ops *panels;
    const weft_isa *isa; /* of what is not a product */
} kernels;

static weft_status choose_kernels(kernels *ret, const weft_net_options *o, weft_err *err)
{
    static const kernels naive = {weft_gemm_naive, &weft_conv_naive, &weft_conv_naive,
                                  &weft_panels_naive, &weft_isa_kernels_plain};
    const kernels blas = {weft_gemm_blas, &weft_conv_blas, &weft_conv_blas, &weft_panels_blas,
                          weft_isa_get(WEFT_ISA_BEST)};
    const bool portable = o->numerics == WEFT_NUMERICS_PORTABLE;
    const bool free_choice = o->isa == WEFT_ISA_BEST && !portable;
    const weft_isa *isa = weft_isa_get(o->isa);
    if (o->kernels == WEFT_KERNELS_NAIVE) {
        *ret = naive;
    } else if (o->kernels == WEFT_KERNELS_BLAS) {
        WEFT_TRY(weft_blas_open(err));
        *ret = blas;
    } else if (free_choice && weft_isa_best() == WEFT_ISA_PLAIN &&
               weft_blas_open(NULL) == WEFT_OK) {
        *ret = blas;
    } else if (!isa) {
        WEFT_FAIL(err, WEFT_E_INVALID, "this processor has no %s", weft_isa_name(o->isa));
    } else {
        *ret = (kernels){isa->gemm, isa->conv, portable ? NULL : &weft_conv_blas, isa->panels, isa};
    }
    return WEFT_OK;
}

/* What plan_steps works on. */
typedef struct planner {
    weft_net *net;
    const weft_spec *spec;
    const weft_layout *layout;
    const kernels *use;
    uint32_t tensor;                /* the next one of the layout */
    int32_t current;                /* the step that made what the next layer gets */
    int32_t saved[WEFT_MAX_LAYERS]; /* of each save: the step that made it */
} planner;

static void plan_dense(const planner *p, weft_step *step, const weft_layer *l)
{
    step->kind = WEFT_STEP_DENSE;
    step->dense.in = l->in.c;
    step->dense.out = l->out.c;
    step->dense.gemm = p->use->gemm;
}

static weft_status plan_conv(weft_step *step, const weft_layer *l, weft_err *err)
{
    const weft_conv c = conv_of(l);
    if ((uint64_t)c.kh * c.kw > WEFT_GEMM_MAX_DIM / c.cin) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a window of %ux%ux%u values is larger than %u", c.kh, c.kw,
                  c.cin, WEFT_GEMM_MAX_DIM);
    }
    if (l->groups > 1) {
        step->kind = WEFT_STEP_GROUPED;
        step->grouped = (weft_grouped){c, l->groups};
    } else {
        step->kind = WEFT_STEP_CONV;
        step->conv = c;
    }
    return WEFT_OK;
}

static void plan_recurrent(const planner *p, weft_step *step, const weft_layer *l)
{
    step->kind = WEFT_STEP_RECURRENT;
    step->recurrent_ops = l->kind == WEFT_LAYER_LSTM ? p->use->isa->lstm : p->use->isa->gru;
    step->recurrent = (weft_recurrent){.steps = l->in.h,
                                       .in = l->in.c,
                                       .units = l->units,
                                       .bias = l->bias,
                                       .gemm = p->use->gemm,
                                       .panels = p->use->panels};
}

/* What kind of step a layer is, and its geometry. */
static weft_status plan_kind(const planner *p, weft_step *step, const weft_layer *l, weft_err *err)
{
    switch (l->kind) {
    case WEFT_LAYER_DENSE:
        plan_dense(p, step, l);
        break;
    case WEFT_LAYER_CONV2D:
        return plan_conv(step, l, err);
    case WEFT_LAYER_LSTM:
    case WEFT_LAYER_GRU:
        plan_recurrent(p, step, l);
        break;
    case WEFT_LAYER_MAXPOOL:
        step->kind = WEFT_STEP_MAXPOOL;
        step->pool = pool_of(l);
        break;
    case WEFT_LAYER_AVGPOOL:
        step->kind = WEFT_STEP_AVGPOOL;
        step->pool = pool_of(l);
        break;
    case WEFT_LAYER_GROUPNORM:
    case WEFT_LAYER_LAYERNORM:
        step->kind = WEFT_STEP_NORM;
        step->norm = norm_of(l);
        break;
    case WEFT_LAYER_BATCHNORM:
        step->kind = WEFT_STEP_BATCHNORM;
        step->norm = norm_of(l);
        break;
    case WEFT_LAYER_TANH:
        step->kind = WEFT_STEP_TANH;
        break;
    case WEFT_LAYER_SIGMOID:
        step->kind = WEFT_STEP_SIGMOID;
        break;
    case WEFT_LAYER_DROPOUT:
        step->kind = WEFT_STEP_DROPOUT;
        break;
    case WEFT_LAYER_LEAKY_RELU:
        step->kind = WEFT_STEP_LEAKY_RELU;
        break;
    case WEFT_LAYER_GELU:
        step->kind = WEFT_STEP_GELU;
        break;
    case WEFT_LAYER_SILU:
        step->kind = WEFT_STEP_SILU;
        break;
    case WEFT_LAYER_ADD:
        step->kind = WEFT_STEP_ADD;
        step->other = p->saved[l->of];
        break;
    case WEFT_LAYER_GLOBALAVGPOOL:
        step->kind = WEFT_STEP_MEAN;
        break;
    case WEFT_LAYER_EMBEDDING:
        step->kind = WEFT_STEP_EMBEDDING;
        break;
    case WEFT_LAYER_LAST_STEP:
        step->kind = WEFT_STEP_LAST;
        break;
    case WEFT_LAYER_RELU:
    case WEFT_LAYER_FLATTEN: /* these three never become a step */
    case WEFT_LAYER_SAVE:
    case WEFT_LAYER_FROM:
        step->kind = WEFT_STEP_RELU;
        break;
    }
    return WEFT_OK;
}

static weft_status add_step(planner *p, const weft_layer *l, weft_err *err)
{
    const int32_t index = (int32_t)p->net->n_steps++;
    weft_step *step = &p->net->steps[index];
    step->from = p->current;
    step->n_in = weft_shape_size(&l->in);
    step->n_out = weft_shape_size(&l->out);
    step->places = l->in.h * l->in.w;
    step->rate = l->rate;
    step->vocab = l->vocab;
    if ((uint64_t)step->places * p->net->max_batch > WEFT_GEMM_MAX_DIM) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%u places of %u examples are more than %u", step->places,
                  p->net->max_batch, WEFT_GEMM_MAX_DIM);
    }
    WEFT_TRY(plan_kind(p, step, l, err));
    if (weft_layer_n_params(l) > 0) {
        const weft_tensor_info *t = p->layout->tensors + p->tensor;
        step->weight = t->offset;
        while (p->tensor < p->layout->n_tensors &&
               p->spec->layers + p->layout->tensors[p->tensor].layer == l) {
            const weft_tensor_info *k = &p->layout->tensors[p->tensor++];
            if (k->role == WEFT_TENSOR_BIAS && !step->has_bias) {
                step->has_bias = true;
                step->bias = k->offset;
            }
        }
    }
    p->current = index;
    return WEFT_OK;
}

static weft_status plan_layer(planner *p, uint32_t i, weft_err *err)
{
    const weft_layer *l = &p->spec->layers[i];
    const bool first = p->current == WEFT_FROM_INPUT;
    weft_step *before = p->net->steps + (first ? 0 : p->current);
    if (l->kind == WEFT_LAYER_FLATTEN) {
        return WEFT_OK;
    }
    if (l->kind == WEFT_LAYER_SAVE) {
        p->saved[i] = p->current;
        before->kept = before->kept || !first;
        return WEFT_OK;
    }
    if (l->kind == WEFT_LAYER_FROM) {
        p->current = p->saved[l->of];
        return WEFT_OK;
    }
    return !first && !before->kept && fuse(before, l) ? WEFT_OK : add_step(p, l, err);
}

static weft_status plan_steps(weft_net *net, const weft_spec *spec, const weft_layout *layout,
                              const kernels *use, weft_err *err)
{
    planner p = {
        .net = net, .spec = spec, .layout = layout, .use = use, .current = WEFT_FROM_INPUT};
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        WEFT_TRY(plan_layer(&p, i, err));
    }
    for (uint32_t i = 0; i < net->n_steps; i++) {
        weft_step *step = &net->steps[i];
        if (step->kind == WEFT_STEP_CONV) {
            const weft_conv *c = &step->conv;
            step->conv_ops = weft_conv_is_small(c) ? use->conv : use->big_conv;
            if (!step->conv_ops) {
                WEFT_FAIL(err, WEFT_E_LIMIT,
                          "numerics: portable takes no images of %ux%ux%u values with %u filters",
                          c->h, c->w, c->cin, c->cout);
            }
            if (step->conv_ops == &weft_conv_blas) {
                WEFT_TRY(weft_blas_open(err));
                net->blas = true;
            }
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

/* Outputs: each step's own when it is read later, else two that take turns. */
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
        const uint64_t values = net->max_batch * (uint64_t)step->n_out;
        const bool grad = net->train && step->kept;
        const bool running = net->train && step->kind == WEFT_STEP_BATCHNORM;
        step->out = net->train || step->kept ? take(a, values, sizeof(float)) : turns[i % 2];
        step->grad = take(a, grad ? values : 0, sizeof(float));
        step->state =
            take(a, net->train ? weft_step_state(step, net->max_batch) : 0, sizeof(float));
        step->running = take(a, running ? 2 * step->norm.channels : 0, sizeof(float));
        step->mask = net->train && masked ? take(a, values, 1) : NULL;
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
        } else {
            scratch = larger(scratch, weft_step_scratch(step, net->max_batch, net->train));
            dw = larger(dw, weft_step_n_dw(step));
            db = larger(db, weft_step_n_db(step));
        }
    }
    net->input = take(a, (uint64_t)net->max_batch * net->n_inputs, sizeof(float));
    net->lengths = take(a, net->vocab > 0 ? net->max_batch : 0, sizeof(uint32_t));
    lay_out_outputs(net, a, most_out);
    for (int i = 0; i < 2 && net->train; i++) {
        net->gradient[i] = take(a, net->max_batch * most_between, sizeof(float));
    }
    net->memory.activations = a->used;
    net->n_scratch = (size_t)((scratch + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    net->scratch = take(a, net->n_scratch * net->n_threads, sizeof(float));
    net->dw = take(a, net->train ? dw : 0, sizeof(float));
    net->db = take(a, net->train ? db : 0, sizeof(float));
    net->memory.scratch = a->used - net->memory.activations;
}

static weft_status measure(weft_net *net, weft_err *err)
{
    arena a = {NULL, 0};
    lay_out(net, &a); /* sums of at most 2^54 bytes */
    if (a.used > max_workspace) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a workspace of %llu bytes for batches of %u is above 1 TiB",
                  (unsigned long long)a.used, net->max_batch);
    }
    net->memory.workspace = a.used + ALIGNMENT;
    return WEFT_OK;
}

static weft_status allocate(weft_net *net, weft_err *err)
{
    net->block = weft_array_resize(net->alloc, NULL, (size_t)net->memory.workspace, 1);
    if (!net->block) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a workspace of %llu bytes",
                  (unsigned long long)net->memory.workspace);
    }
    const uintptr_t misplaced = (uintptr_t)net->block % ALIGNMENT;
    arena a = {(unsigned char *)net->block + (misplaced ? ALIGNMENT - misplaced : 0), 0};
    lay_out(net, &a);
    return WEFT_OK;
}

static weft_status copy_class_weights(weft_net *net, const weft_spec *spec, weft_err *err)
{
    if (!spec->class_weights) {
        return WEFT_OK;
    }
    net->class_weights = weft_array(net->alloc, net->n_channels, sizeof *net->class_weights);
    if (!net->class_weights) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u class weights", net->n_channels);
    }
    memcpy(net->class_weights, spec->class_weights, net->n_channels * sizeof *net->class_weights);
    return WEFT_OK;
}

/* Everything but memory and threads. */
static weft_status fill(weft_net *net, const weft_spec *spec, const weft_layout *layout,
                        const weft_net_options *options, weft_err *err)
{
    net->max_batch = options->max_batch;
    net->train = options->train;
    net->n_threads = options->n_threads ? options->n_threads : 1;
    net->n_inputs = weft_shape_size(&spec->input);
    net->n_outputs = weft_shape_size(weft_spec_output(spec));
    net->n_params = layout->n_params;
    net->n_labels = weft_spec_n_labels(spec);
    net->n_channels = net->n_outputs / net->n_labels;
    net->vocab = spec->vocab;
    net->n_tokens = spec->input.h;
    net->loss = spec->loss;
    net->delta = spec->delta;
    net->memory.parameters = layout->n_params * sizeof(float);
    WEFT_TRY(copy_class_weights(net, spec, err));
    net->steps = weft_array(net->alloc, spec->n_layers, sizeof *net->steps);
    if (!net->steps) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a net of %u layers", spec->n_layers);
    }
    kernels use;
    WEFT_TRY(choose_kernels(&use, options, err));
    net->isa = use.isa;
    WEFT_TRY(plan_steps(net, spec, layout, &use, err));
    net->blas = net->blas || use.gemm == weft_gemm_blas;
    return measure(net, err);
}

static weft_status plan(weft_net **ret, const weft_spec *spec, const weft_layout *layout,
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

static weft_status start(weft_net *net, const weft_net_options *options, weft_err *err)
{
    WEFT_TRY(weft_team_new(&net->team, net->n_threads, options->thread_started, options->self,
                           net->alloc, err));
    WEFT_TRY(allocate(net, err));
    weft_net_seed(net, 0);
    if (net->blas) {
        weft_blas_one_thread();
    }
    return WEFT_OK;
}

weft_status weft_net_new(weft_net **ret, const weft_spec *spec, const weft_layout *layout,
                         const weft_net_options *options, const weft_alloc *a, weft_err *err)
{
    weft_net *net = NULL;
    WEFT_TRY(plan(&net, spec, layout, options, a, err));
    const weft_status status = start(net, options, err);
    if (status != WEFT_OK) {
        weft_net_free(net);
        return status;
    }
    *ret = net;
    return WEFT_OK;
}

weft_status weft_net_plan_memory(weft_net_memory *ret, const weft_spec *spec,
                                 const weft_layout *layout, const weft_net_options *options,
                                 const weft_alloc *a, weft_err *err)
{
    weft_net *net = NULL;
    WEFT_TRY(plan(&net, spec, layout, options, a, err));
    *ret = net->memory;
    weft_net_free(net);
    return WEFT_OK;
}

void weft_net_free(weft_net *net)
{
    if (net) {
        weft_team_free(net->team);
        weft_free(net->alloc, net->block);
        weft_free(net->alloc, net->class_weights);
        weft_free(net->alloc, net->steps);
        weft_free(net->alloc, net);
    }
}

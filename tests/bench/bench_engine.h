/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of bench_engine: models to train, and PyTorch at the end of a pipe. */
#ifndef WEFT_BENCH_ENGINE_H
#define WEFT_BENCH_ENGINE_H

#include "nn/train/train.h"

#include <stdbool.h>

enum { BENCH_EXAMPLES = 600 };

typedef struct bench_options {
    bool cpu;
    bool portable;
    weft_isa_kind isa;
    int rounds;
    double slice_s;
    const char *python;
    bool compile;
} bench_options;
extern bench_options options;

/* Prints and ends the program. */
__attribute__((noreturn)) void die(const char *what);

/* ---- engine_models.c ------------------------------------------------------------------------- */

typedef struct bench_model {
    weft_spec *spec;
    weft_layout *layout;
    weft_trainer_state *state;
    weft_net *net; /* of one example */
    float *weights;
    weft_arrays arrays;
    weft_plan plan;
    uint64_t epochs; /* done, for seeds */
    double work;     /* multiply-adds of a dense training step, an example */
} bench_model;

/* False: no such model in this build. */
bool bench_model_init(bench_model *m, const char *name, uint32_t batch, uint32_t threads);
void bench_model_done(bench_model *m);
/* Train on all examples; on the first batch; pass one forward. */
void bench_model_epoch(bench_model *m);
void bench_model_step(bench_model *m);
void bench_model_infer(bench_model *m);

float *bench_floats(size_t n, uint64_t seed);
bool bench_isa_parse(const char *name);

/* ---- engine_torch.c -------------------------------------------------------------------------- */

/* Start the child process; without torch, all below say no. */
void torch_start(void);
void torch_stop(void);
/* False: there is no torch. */
bool torch_setup(const char *model, uint32_t batch, uint32_t threads);
/* "torch 2.13.0 channels_last eager" of the last setup. */
const char *torch_name(void);
double torch_train(double seconds, bool cpu); /* samples a second */
double torch_infer(double seconds);           /* median microseconds */

#endif

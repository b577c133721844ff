/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops over vectors, compiled for each instruction set with the same bits: what nn/tensor.h and
 * nn/train/optimizer.h are made of. Threads: any.
 */
#ifndef WEFT_NN_ISA_LOOPS_H
#define WEFT_NN_ISA_LOOPS_H

#include <stdbool.h>
#include <stddef.h>

/* The numbers of one step of Adam (Kingma and Ba 2015). */
typedef struct weft_adam {
    float b1, b2; /* decay of both moments */
    float c1, c2; /* 1 - b1, 1 - b2 */
    float rate;   /* with the first moment's correction */
    float root;   /* the second moment's correction, of its root */
    float epsilon;
} weft_adam;

typedef struct weft_loops {
    /* as in nn/tensor.h */
    void (*rows_finish)(float *y, const float *bias, size_t rows, size_t n, bool relu);
    void (*relu_back)(float *dy, const float *y, size_t n);
    void (*rows_sum)(float *sum, const float *x, size_t rows, size_t n);
    void (*blend)(float *to, float keep, float scale, const float *g, size_t n);
    void (*add)(float *out, const float *x, size_t n);
    /* g += decay * w */
    void (*decay)(float *g, const float *w, float decay, size_t n);
    /* g += mu * (w - base) */
    void (*proximal)(float *g, const float *w, const float *base, float mu, size_t n);
    /* w -= rate * g */
    void (*sgd)(float *w, const float *g, float rate, size_t n);
    /* v = momentum * v + g, w -= rate * v */
    void (*momentum)(float *w, const float *g, float *v, float rate, float momentum, size_t n);
    void (*adam)(float *w, const float *g, float *m, float *v, const weft_adam *a, size_t n);
} weft_loops;

/** Those of the best instruction set that this processor has. */
const weft_loops *weft_loops_best(void);

#endif

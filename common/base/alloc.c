/* SPDX-License-Identifier: Apache-2.0 */
/* The standard allocator and the budget allocator. */
#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *std_resize(void *self, void *p, size_t size)
{
    (void)self;
    if (size == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, size);
}

const weft_alloc weft_alloc_std = {std_resize, NULL};

void *weft_array(const weft_alloc *a, size_t n, size_t size)
{
    size_t total = 0;
    if (__builtin_mul_overflow(n, size, &total) || total == 0) {
        return NULL;
    }
    void *p = a->resize(a->self, NULL, total);
    if (p) {
        memset(p, 0, total);
    }
    return p;
}

void *weft_array_resize(const weft_alloc *a, void *p, size_t n, size_t size)
{
    size_t total = 0;
    if (__builtin_mul_overflow(n, size, &total) || total == 0) {
        return NULL;
    }
    return a->resize(a->self, p, total);
}

char *weft_string_copy(const weft_alloc *a, const char *text, size_t max)
{
    const size_t n = strnlen(text, max);
    char *copy = a->resize(a->self, NULL, n + 1);
    if (copy) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

void weft_free(const weft_alloc *a, void *p)
{
    if (p) {
        (void)a->resize(a->self, p, 0); /* freeing returns NULL by contract */
    }
}

/* Each block is preceded by its size; 16 bytes keep the alignment of malloc. */
enum { HEAD_BYTES = 16 };

static void *budget_resize(void *self, void *p, size_t size)
{
    weft_budget *b = self;
    unsigned char *block = p ? (unsigned char *)p - HEAD_BYTES : NULL;
    size_t old = 0;
    if (block) {
        memcpy(&old, block, sizeof old);
    }
    if (size == 0) {
        if (block) {
            b->used -= old;
            (void)b->parent->resize(b->parent->self, block, 0); /* a free returns NULL */
        }
        return NULL;
    }
    if (size > SIZE_MAX - HEAD_BYTES || size + HEAD_BYTES > b->max - (b->used - old)) {
        return NULL;
    }
    const size_t total = size + HEAD_BYTES;
    block = b->parent->resize(b->parent->self, block, total);
    if (!block) {
        return NULL;
    }
    memcpy(block, &total, sizeof total);
    b->used = b->used - old + total;
    return block + HEAD_BYTES;
}

void weft_budget_init(weft_budget *budget, const weft_alloc *parent, size_t max)
{
    budget->alloc.resize = budget_resize;
    budget->alloc.self = budget;
    budget->parent = parent;
    budget->used = 0;
    budget->max = max;
}

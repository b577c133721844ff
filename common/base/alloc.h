/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocators are parameters: tests fail the Nth allocation, decoders of a peer's bytes run under a
 * budget. An allocator must outlive what it allocated. The standard one may be used from any
 * thread; a budget belongs to one thread at a time.
 */
#ifndef WEFT_ALLOC_H
#define WEFT_ALLOC_H

#include <stddef.h>

typedef struct weft_alloc {
    /* size > 0: like realloc (p may be NULL); size == 0: free, returns NULL */
    void *(*resize)(void *self, void *p, size_t size);
    void *self;
} weft_alloc;

/** malloc and free. */
extern const weft_alloc weft_alloc_std;

/** n * size zeroed bytes, or NULL (also when the product overflows or is 0). */
void *weft_array(const weft_alloc *a, size_t n, size_t size);

/** Grow or shrink an array to n * size bytes; new bytes are not zeroed; NULL leaves p as it was. */
void *weft_array_resize(const weft_alloc *a, void *p, size_t n, size_t size);

/** A copy of text (at most max bytes of it), or NULL. */
char *weft_string_copy(const weft_alloc *a, const char *text, size_t max);

/** Free p; NULL is allowed. */
void weft_free(const weft_alloc *a, void *p);

/** An allocator that refuses once max bytes are live. Use &budget->alloc. */
typedef struct weft_budget {
    weft_alloc alloc;
    const weft_alloc *parent;
    size_t used; /* invariant: used <= max */
    size_t max;
} weft_budget;

/** Set up a budget of max bytes over parent (each allocation also counts 16 bytes of its own). */
void weft_budget_init(weft_budget *budget, const weft_alloc *parent, size_t max);

#endif

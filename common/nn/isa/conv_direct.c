/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions of tiles (tile.h), without columns: the rows of a tile are pixels of one image row,
 * its columns filters, the chain runs over the window. Weights are read where they lie. Bias, relu
 * and pool follow while the values are in a register or in the first cache.
 *
 * Backward where there is no pool (conv_sparse.c has the others): the gradient of the weights is a
 * tile of window values x filters, over the pixels of all images; that of the input is the
 * convolution of the framed gradient with the turned kernel, for stride 1, else the sum of scaled
 * windows.
 *
 * Threads: any.
 */
#include "nn/isa/conv_priv.h"
#include "nn/isa/tile.h"

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Filters of the next panel: two vectors, one, or a part of one. */
static size_t panel_width(size_t left)
{
    return left >= TILE_WIDTH ? (size_t)TILE_WIDTH : left >= LANES ? (size_t)LANES : left;
}

/* A row of n pixels, cut as evenly as possible into tiles. */
static void pixel_row(weft_tile *t, size_t n)
{
    const size_t pieces = (n + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t i = 0; i < pieces; i++) {
        const size_t some = n / pieces + (i < n % pieces);
        weft_tile_run(t, some, t->width > LANES ? 2 : 1);
        t->a += some * t->a_row;
        t->c += some * t->c_row;
    }
}

/* ---- forward --------------------------------------------------------------------------------- */

/* A pool of windows that do not overlap: rows are pooled as soon as they are there. */
static bool pools_rows(const weft_conv *c)
{
    return c->pooled && c->pool.stride >= c->pool.size;
}

/* framed image; rows of one pool window [size][ow][TILE_WIDTH], or the image before an overlapping
 * pool [oh][ow][cout] */
static size_t forward_scratch(const weft_conv *c)
{
    const weft_frame f = weft_frame_of(c);
    const size_t rows = pools_rows(c) ? (size_t)c->pool.size * c->ow * TILE_WIDTH
                        : c->pooled   ? (size_t)c->oh * c->ow * c->cout
                                      : 0;
    return weft_frame_align(f.size) + weft_frame_align(rows);
}

/* Largest of each window of a row of pool windows, its slot, relu; one vector of channels. */
static void pool_row(const weft_conv *c, float *y, uint8_t *slot, const float *z, size_t width)
{
    const weft_pool *pool = &c->pool;
    const vec_part part = vec_first(width);
    const size_t slots = (size_t)pool->size * pool->size;
    for (size_t ox = 0; ox < pool->ow; ox++, y += c->cout) {
        const float *window = z + ox * pool->stride * TILE_WIDTH;
        vec best = vec_load(window);
        vec won = vec_zero();
        for (size_t k = 1; k < slots; k++) {
            const size_t at = (k / pool->size * c->ow + k % pool->size) * TILE_WIDTH;
            vec_best(&best, &won, vec_load(window + at), vec_set((float)k));
        }
        if (c->relu) {
            won = vec_where_positive(best, won, vec_set((float)WEFT_POOL_DEAD));
            best = vec_relu(best);
        }
        vec_store_part(y, best, part);
        if (slot) {
            uint8_t bytes[LANES];
            vec_store_bytes(bytes, won);
            memcpy(slot, bytes, width);
            slot += c->cout;
        }
    }
}

static void panel_pooled(const weft_conv *c, const weft_frame *f, weft_tile t, float *y,
                         uint8_t *slot, float *rows)
{
    const float *x = t.a;
    t.c_row = TILE_WIDTH;
    t.relu = false;
    for (size_t oy = 0; oy < c->pool.oh; oy++) {
        for (size_t k = 0; k < c->pool.size; k++) {
            t.a = x + (oy * c->pool.stride + k) * c->stride * f->row;
            t.c = rows + k * c->ow * TILE_WIDTH;
            pixel_row(&t, c->ow);
        }
        for (size_t v = 0; v < t.width; v += LANES) {
            const size_t at = oy * c->pool.ow * c->cout + v;
            const size_t some = t.width - v < LANES ? t.width - v : LANES;
            pool_row(c, y + at, slot ? slot + at : NULL, rows + v, some);
        }
    }
}

static void panel_plain(const weft_conv *c, const weft_frame *f, weft_tile t, float *y)
{
    const float *x = t.a;
    t.c_row = c->cout;
    for (size_t oy = 0; oy < c->oh; oy++) {
        t.a = x + oy * c->stride * f->row;
        t.c = y + oy * c->ow * c->cout;
        pixel_row(&t, c->ow);
    }
}

/* One image, framed already. */
static void forward_image(const weft_conv *c, const weft_frame *f, const weft_conv_forward *io,
                          const float *framed, float *y, uint8_t *slot, float *rows)
{
    for (size_t at = 0; at < c->cout;) {
        weft_tile t = {
            .a = framed,
            .a_row = (size_t)c->stride * c->cin,
            .a_inner = 1,
            .a_outer = f->row,
            .inner = f->length,
            .outer = c->kh,
            .b = io->w + at,
            .b_step = c->cout,
            .width = panel_width(c->cout - at),
            .start = io->bias ? io->bias + at : NULL,
            .relu = c->relu && !c->pooled,
            .soon = io->w + at,
        };
        if (pools_rows(c)) {
            panel_pooled(c, f, t, y + at, slot ? slot + at : NULL, rows);
        } else {
            panel_plain(c, f, t, (c->pooled ? rows : y) + at);
        }
        at += t.width;
    }
    if (c->pooled && !pools_rows(c)) {
        weft_maxpool_fused(&c->pool, y, slot, rows, NULL, c->relu);
    }
}

static void direct_forward(const weft_conv *c, const weft_conv_forward *io)
{
    const weft_frame f = weft_frame_of(c);
    float *framed = io->scratch;
    float *rows = framed + weft_frame_align(f.size);
    if (f.framed) {
        memset(framed, 0, f.size * sizeof *framed);
    }
    for (uint32_t image = 0; image < io->n; image++) {
        const float *x = io->x + (size_t)image * c->h * c->w * c->cin;
        const size_t out = image * weft_conv_n_out(c);
        if (f.framed) {
            weft_frame_fill(c, &f, framed, x);
        }
        forward_image(c, &f, io, f.framed ? framed : x, io->y + out,
                      io->slot ? io->slot + out : NULL, rows);
    }
}

/* ---- gradient of the input ------------------------------------------------------------------- */

/* The convolution that takes the gradient back, when there is one. */
static bool turned(weft_conv *ret, const weft_conv *c)
{
    if (c->stride != 1 || c->pad_top >= c->kh || c->pad_bottom >= c->kh || c->pad_left >= c->kw ||
        c->pad_right >= c->kw) {
        return false;
    }
    *ret = (weft_conv){.h = c->oh,
                       .w = c->ow,
                       .cin = c->cout,
                       .kh = c->kh,
                       .kw = c->kw,
                       .stride = 1,
                       .pad_top = c->kh - 1 - c->pad_top,
                       .pad_left = c->kw - 1 - c->pad_left,
                       .pad_bottom = c->kh - 1 - c->pad_bottom,
                       .pad_right = c->kw - 1 - c->pad_right,
                       .oh = c->h,
                       .ow = c->w,
                       .cout = c->cin};
    return true;
}

/* w [kh][kw][cin][cout] -> [kh][kw][cout][cin], the window from its end */
static void turn_weights(const weft_conv *c, float *to, const float *w)
{
    const size_t places = (size_t)c->kh * c->kw;
    for (size_t place = 0; place < places; place++) {
        const float *from = w + (places - 1 - place) * c->cin * c->cout;
        for (size_t co = 0; co < c->cout; co++) {
            for (size_t ci = 0; ci < c->cin; ci++) {
                *to++ = from[ci * c->cout + co];
            }
        }
    }
}

static size_t dense_to_x_scratch(const weft_conv *c)
{
    weft_conv back;
    return turned(&back, c) ? weft_frame_align(weft_conv_n_weights(c)) + forward_scratch(&back)
                            : weft_windows_scratch(c);
}

static void dense_to_x(const weft_conv *c, const weft_conv_backward *io)
{
    weft_conv back;
    if (!turned(&back, c)) {
        weft_windows_to_x(c, io);
        return;
    }
    turn_weights(c, io->scratch, io->w);
    direct_forward(&back, &(weft_conv_forward){
                              .n = io->n,
                              .x = io->dy,
                              .w = io->scratch,
                              .y = io->dx,
                              .scratch = io->scratch + weft_frame_align(weft_conv_n_weights(c))});
}

/* ---- gradient of the weights ----------------------------------------------------------------- */

/* Add one image to the columns [first, last) of dw, or start with it. */
static void dense_image_to_w(const weft_conv *c, const weft_frame *f, const weft_conv_backward *io,
                             const float *framed, const float *dz, bool start, size_t first,
                             size_t last)
{
    for (size_t at = first; at < last;) {
        const size_t width = panel_width(last - at);
        for (size_t ky = 0; ky < c->kh; ky++) {
            float *dw = io->dw + ky * f->length * c->cout + at;
            weft_tile t = {
                .a = framed + ky * f->row,
                .a_row = 1,
                .a_inner = (size_t)c->stride * c->cin,
                .a_outer = c->stride * f->row,
                .inner = c->ow,
                .outer = c->oh,
                .b = dz + at,
                .b_step = c->cout,
                .width = width,
                .start_row = c->cout,
                .c = dw,
                .c_row = c->cout,
                .soon = dz + at,
            };
            const size_t pieces = (f->length + TILE_ROWS - 1) / TILE_ROWS;
            for (size_t i = 0; i < pieces; i++) {
                const size_t n = f->length / pieces + (i < f->length % pieces);
                t.start = start ? NULL : t.c;
                weft_tile_run(&t, n, width > LANES ? 2 : 1);
                t.a += n;
                t.c += n * c->cout;
            }
        }
        at += width;
    }
}

/* db[first..last) += the sum over the pixels, which stays in registers. */
static void add_pixels(float *db, const float *dz, size_t pixels, size_t cout, size_t first,
                       size_t last)
{
    for (size_t co = first; co < last; co += LANES) {
        const vec_part part = vec_first(last - co < LANES ? last - co : LANES);
        vec sum = vec_load_part(db + co, part);
        for (size_t pixel = 0; pixel < pixels; pixel++) {
            sum = vec_add(sum, vec_load_part(dz + pixel * cout + co, part));
        }
        vec_store_part(db + co, sum, part);
    }
}

static void dense_to_w(const weft_conv *c, const weft_conv_backward *io, uint32_t first,
                       uint32_t last)
{
    const weft_frame f = weft_frame_of(c);
    float *framed = io->scratch;
    if (f.framed) {
        memset(framed, 0, f.size * sizeof *framed);
    }
    if (io->db) {
        memset(io->db + first, 0, (last - first) * sizeof *io->db);
    }
    for (uint32_t image = 0; image < io->n; image++) {
        const float *x = io->x + (size_t)image * c->h * c->w * c->cin;
        const float *dz = io->dy + image * weft_conv_n_out(c);
        if (f.framed) {
            weft_frame_fill(c, &f, framed, x);
        }
        dense_image_to_w(c, &f, io, f.framed ? framed : x, dz, image == 0, first, last);
        if (io->db) {
            add_pixels(io->db, dz, (size_t)c->oh * c->ow, c->cout, first, last);
        }
    }
}

/* ---- both kinds of layers -------------------------------------------------------------------- */

static size_t direct_scratch(const weft_conv *c, bool train)
{
    const size_t back = !train      ? 0
                        : c->pooled ? weft_windows_scratch(c)
                                    : larger(dense_to_x_scratch(c), weft_frame_of(c).size);
    return larger(forward_scratch(c), back);
}

static void direct_to_x(const weft_conv *c, const weft_conv_backward *io)
{
    if (c->pooled) {
        weft_windows_to_x(c, io);
    } else {
        dense_to_x(c, io);
    }
}

static void direct_to_w(const weft_conv *c, const weft_conv_backward *io, uint32_t first,
                        uint32_t last)
{
    if (c->pooled) {
        weft_sparse_to_w(c, io, first, last);
    } else {
        dense_to_w(c, io, first, last);
    }
}

const weft_conv_ops weft_direct_ops = {direct_scratch, direct_forward, direct_to_x, direct_to_w};

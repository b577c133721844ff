/* SPDX-License-Identifier: Apache-2.0 */
/* Procedurally drawn digits: templates of strokes, bent, mapped, inked. Pure. */
#include "data/digits.h"

#include <math.h>
#include <string.h>

enum { SIDE = 28, MAX_POINTS = 9, MAX_STROKES = 3, STEPS = 8 };

typedef struct point {
    float x, y; /* the unit square, y downwards */
} point;

/* A smooth curve through its points; corners are where one stroke ends and another starts. */
typedef struct stroke {
    int n;
    point at[MAX_POINTS];
} stroke;

typedef struct template
{
    int digit;
    int n;
    stroke strokes[MAX_STROKES];
}
template;

#define P(px, py)                                                                                  \
    {                                                                                              \
        px##F, py##F                                                                               \
    }

static const template templates[] = {
    {0,
     1,
     {{7,
       {P(0.50, 0.05), P(0.82, 0.25), P(0.82, 0.75), P(0.50, 0.95), P(0.18, 0.75), P(0.18, 0.25),
        P(0.50, 0.05)}}}},
    {0,
     1,
     {{7,
       {P(0.60, 0.08), P(0.80, 0.35), P(0.70, 0.80), P(0.42, 0.94), P(0.20, 0.65), P(0.30, 0.20),
        P(0.66, 0.12)}}}},
    {1, 1, {{2, {P(0.50, 0.05), P(0.50, 0.95)}}}},
    {1, 2, {{2, {P(0.28, 0.28), P(0.54, 0.05)}}, {2, {P(0.54, 0.05), P(0.54, 0.95)}}}},
    {1,
     3,
     {{2, {P(0.30, 0.25), P(0.52, 0.06)}},
      {2, {P(0.52, 0.06), P(0.52, 0.93)}},
      {2, {P(0.28, 0.93), P(0.76, 0.93)}}}},
    {2,
     2,
     {{6,
       {P(0.20, 0.28), P(0.36, 0.08), P(0.66, 0.08), P(0.78, 0.32), P(0.54, 0.62), P(0.18, 0.93)}},
      {2, {P(0.18, 0.93), P(0.82, 0.93)}}}},
    {2,
     1,
     {{8,
       {P(0.20, 0.22), P(0.45, 0.05), P(0.74, 0.22), P(0.60, 0.58), P(0.28, 0.90), P(0.22, 0.74),
        P(0.46, 0.80), P(0.84, 0.92)}}}},
    {3,
     2,
     {{5, {P(0.22, 0.15), P(0.50, 0.05), P(0.76, 0.22), P(0.66, 0.42), P(0.40, 0.48)}},
      {5, {P(0.40, 0.48), P(0.72, 0.55), P(0.80, 0.75), P(0.52, 0.95), P(0.20, 0.85)}}}},
    {3,
     3,
     {{2, {P(0.22, 0.07), P(0.78, 0.07)}},
      {2, {P(0.78, 0.07), P(0.46, 0.40)}},
      {5, {P(0.46, 0.40), P(0.74, 0.50), P(0.78, 0.76), P(0.50, 0.95), P(0.20, 0.84)}}}},
    {4,
     3,
     {{2, {P(0.60, 0.05), P(0.18, 0.62)}},
      {2, {P(0.18, 0.62), P(0.85, 0.62)}},
      {2, {P(0.64, 0.33), P(0.62, 0.95)}}}},
    {4,
     2,
     {{4, {P(0.26, 0.05), P(0.20, 0.38), P(0.34, 0.52), P(0.80, 0.48)}},
      {2, {P(0.76, 0.08), P(0.70, 0.95)}}}},
    {5,
     3,
     {{2, {P(0.78, 0.07), P(0.30, 0.07)}},
      {2, {P(0.30, 0.07), P(0.25, 0.46)}},
      {5, {P(0.25, 0.46), P(0.58, 0.38), P(0.80, 0.64), P(0.60, 0.92), P(0.20, 0.88)}}}},
    {5,
     2,
     {{2, {P(0.80, 0.10), P(0.34, 0.06)}},
      {7,
       {P(0.34, 0.06), P(0.28, 0.28), P(0.32, 0.44), P(0.64, 0.46), P(0.76, 0.72), P(0.50, 0.94),
        P(0.22, 0.82)}}}},
    {6,
     1,
     {{8,
       {P(0.70, 0.07), P(0.35, 0.30), P(0.20, 0.65), P(0.40, 0.94), P(0.70, 0.88), P(0.78, 0.65),
        P(0.55, 0.50), P(0.24, 0.66)}}}},
    {6,
     1,
     {{7,
       {P(0.40, 0.05), P(0.24, 0.45), P(0.26, 0.80), P(0.52, 0.95), P(0.76, 0.74), P(0.54, 0.56),
        P(0.28, 0.72)}}}},
    {7,
     2,
     {{2, {P(0.18, 0.08), P(0.82, 0.08)}}, {3, {P(0.82, 0.08), P(0.56, 0.50), P(0.42, 0.95)}}}},
    {7,
     3,
     {{2, {P(0.18, 0.10), P(0.80, 0.07)}},
      {2, {P(0.80, 0.07), P(0.40, 0.95)}},
      {2, {P(0.36, 0.50), P(0.76, 0.48)}}}},
    {8,
     1,
     {{9,
       {P(0.50, 0.48), P(0.25, 0.28), P(0.50, 0.05), P(0.75, 0.28), P(0.50, 0.48), P(0.20, 0.73),
        P(0.50, 0.95), P(0.80, 0.73), P(0.50, 0.48)}}}},
    {8,
     1,
     {{9,
       {P(0.76, 0.16), P(0.44, 0.05), P(0.28, 0.26), P(0.62, 0.54), P(0.74, 0.80), P(0.46, 0.95),
        P(0.26, 0.76), P(0.52, 0.46), P(0.74, 0.18)}}}},
    {9,
     1,
     {{7,
       {P(0.75, 0.28), P(0.50, 0.50), P(0.25, 0.32), P(0.45, 0.07), P(0.72, 0.14), P(0.76, 0.42),
        P(0.66, 0.95)}}}},
    {9,
     2,
     {{6,
       {P(0.72, 0.20), P(0.46, 0.06), P(0.24, 0.26), P(0.40, 0.48), P(0.66, 0.40), P(0.73, 0.16)}},
      {3, {P(0.73, 0.16), P(0.72, 0.60), P(0.46, 0.94)}}}},
};

enum { N_TEMPLATES = sizeof templates / sizeof templates[0] };

/* What one drawing varies. */
typedef struct hand {
    float m[4]; /* linear map of the centred square, to pixels */
    float dx, dy;
    float width; /* of the stroke, pixels */
    float ink;   /* 0..1 */
    float jitter;
    float noise;
} hand;

static float between(weft_rng *rng, float low, float high)
{
    return low + (high - low) * weft_rng_float(rng);
}

static float clamp(float x, float low, float high)
{
    return fminf(fmaxf(x, low), high);
}

void weft_digits_style_draw(weft_digits_style *style, float strength, weft_rng *rng)
{
    const float s = clamp(strength, 0.0F, 1.0F);
    style->slant = s * between(rng, -0.5F, 0.5F);
    style->width = s * between(rng, -0.6F, 1.0F);
    style->size = s * between(rng, -0.2F, 0.2F);
    style->rotation = s * between(rng, -0.4F, 0.4F);
    style->contrast = s * between(rng, 0.0F, 0.5F);
}

static void draw_hand(hand *h, const weft_digits_style *style, weft_rng *rng)
{
    const float angle = style->rotation + between(rng, -0.32F, 0.32F);
    const float shear = style->slant + between(rng, -0.36F, 0.36F);
    const float sx = 17.0F * (1.0F + style->size) * between(rng, 0.62F, 1.12F);
    const float sy = 20.0F * (1.0F + style->size) * between(rng, 0.76F, 1.06F);
    const float c = cosf(angle);
    const float s = sinf(angle);
    /* rotate * shear * scale */
    h->m[0] = c * sx;
    h->m[1] = (-c * shear - s) * sy;
    h->m[2] = s * sx;
    h->m[3] = (-s * shear + c) * sy;
    h->dx = between(rng, -2.6F, 2.6F);
    h->dy = between(rng, -2.2F, 2.2F);
    h->width = clamp(between(rng, 1.2F, 3.0F) + style->width, 0.9F, 4.0F);
    h->ink = between(rng, 0.65F, 1.0F) * (1.0F - style->contrast);
    h->jitter = 0.045F;
    h->noise = between(rng, 0.02F, 0.14F);
}

static point map_point(const hand *h, point p)
{
    const float x = p.x - 0.5F;
    const float y = p.y - 0.5F;
    return (point){13.5F + h->dx + h->m[0] * x + h->m[1] * y,
                   13.5F + h->dy + h->m[2] * x + h->m[3] * y};
}

/* Catmull and Rom's curve between p1 and p2. */
static float curve(float p0, float p1, float p2, float p3, float t)
{
    return 0.5F * (2.0F * p1 + t * (p2 - p0 +
                                    t * (2.0F * p0 - 5.0F * p1 + 4.0F * p2 - p3 +
                                         t * (3.0F * (p1 - p2) + p3 - p0))));
}

static float distance(point a, point b, float x, float y)
{
    const float vx = b.x - a.x;
    const float vy = b.y - a.y;
    const float length = vx * vx + vy * vy;
    const float t =
        length > 0.0F ? clamp(((x - a.x) * vx + (y - a.y) * vy) / length, 0.0F, 1.0F) : 0.0F;
    const float dx = x - a.x - t * vx;
    const float dy = y - a.y - t * vy;
    return sqrtf(dx * dx + dy * dy);
}

static void ink_segment(float *canvas, point a, point b, const hand *h)
{
    const float reach = 0.5F * h->width + 0.7F;
    const int x0 = (int)clamp(floorf(fminf(a.x, b.x) - reach), 0.0F, SIDE - 1);
    const int x1 = (int)clamp(ceilf(fmaxf(a.x, b.x) + reach), 0.0F, SIDE - 1);
    const int y0 = (int)clamp(floorf(fminf(a.y, b.y) - reach), 0.0F, SIDE - 1);
    const int y1 = (int)clamp(ceilf(fmaxf(a.y, b.y) + reach), 0.0F, SIDE - 1);
    for (int y = y0; y <= y1; y++) {
        for (int x = x0; x <= x1; x++) {
            const float d = distance(a, b, (float)x, (float)y);
            const float v = h->ink * clamp((reach - d) / 1.4F, 0.0F, 1.0F);
            canvas[y * SIDE + x] = fmaxf(canvas[y * SIDE + x], v);
        }
    }
}

static void ink_stroke(float *canvas, const stroke *s, const hand *h)
{
    point before = map_point(h, s->at[0]);
    for (int i = 0; i + 1 < s->n; i++) {
        const point p0 = s->at[i > 0 ? i - 1 : 0];
        const point p1 = s->at[i];
        const point p2 = s->at[i + 1];
        const point p3 = s->at[i + 2 < s->n ? i + 2 : s->n - 1];
        for (int k = 1; k <= STEPS; k++) {
            const float t = (float)k / STEPS;
            const point p = map_point(
                h, (point){curve(p0.x, p1.x, p2.x, p3.x, t), curve(p0.y, p1.y, p2.y, p3.y, t)});
            ink_segment(canvas, before, p, h);
            before = p;
        }
    }
}

static const template *pick(uint32_t digit, weft_rng *rng)
{
    int found[N_TEMPLATES] = {0};
    uint32_t n = 0;
    for (int i = 0; i < N_TEMPLATES; i++) {
        if (templates[i].digit == (int)digit) {
            found[n++] = i;
        }
    }
    return &templates[found[weft_rng_below(rng, n)]];
}

/* Ends that meet stay together: points of equal place move alike. */
static void bend(template *t, float jitter, weft_rng *rng)
{
    point moved_from[MAX_STROKES * MAX_POINTS];
    point moved_by[MAX_STROKES * MAX_POINTS];
    int n = 0;
    for (int s = 0; s < t->n; s++) {
        for (int i = 0; i < t->strokes[s].n; i++) {
            point *p = &t->strokes[s].at[i];
            int k = 0;
            while (k < n && (moved_from[k].x != p->x || moved_from[k].y != p->y)) {
                k++;
            }
            if (k == n) {
                moved_from[n] = *p;
                moved_by[n].x = jitter * (float)weft_rng_normal(rng);
                moved_by[n].y = jitter * (float)weft_rng_normal(rng);
                n++;
            }
            p->x += moved_by[k].x;
            p->y += moved_by[k].y;
        }
    }
}

/* A stray line of weaker ink: what a linear model cannot tell from a stroke. */
static void clutter(float *canvas, const hand *h, weft_rng *rng)
{
    const uint32_t n = (uint32_t)weft_rng_below(rng, 3);
    for (uint32_t i = 0; i < n; i++) {
        hand thin = *h;
        thin.width = 1.0F;
        thin.ink = h->ink * between(rng, 0.25F, 0.6F);
        const point a = {between(rng, 0.0F, SIDE), between(rng, 0.0F, SIDE)};
        const point b = {a.x + between(rng, -9.0F, 9.0F), a.y + between(rng, -9.0F, 9.0F)};
        ink_segment(canvas, a, b, &thin);
    }
}

void weft_digits_draw(uint8_t *out, uint32_t digit, const weft_digits_style *style, weft_rng *rng)
{
    hand h;
    draw_hand(&h, style, rng);
    template t = *pick(digit % 10, rng);
    bend(&t, h.jitter, rng);
    float canvas[SIDE * SIDE] = {0.0F};
    for (int s = 0; s < t.n; s++) {
        ink_stroke(canvas, &t.strokes[s], &h);
    }
    clutter(canvas, &h, rng);
    for (int i = 0; i < SIDE * SIDE; i++) {
        const float v = canvas[i] + h.noise * (float)weft_rng_normal(rng);
        out[i] = (uint8_t)(clamp(v, 0.0F, 1.0F) * 255.0F + 0.5F);
    }
}

weft_status weft_digits_new(weft_data **ret, uint32_t n, uint64_t seed,
                            const weft_digits_style *style, const weft_alloc *a, weft_err *err)
{
    static const weft_digits_style common = WEFT_DIGITS_STYLE_INIT;
    weft_data *d = NULL;
    WEFT_TRY(weft_data_new(&d, n, (weft_shape){3, SIDE, SIDE, 1}, WEFT_FEATURE_U8, WEFT_LABEL_CLASS,
                           10, a, err));
    for (uint32_t i = 0; i < n; i++) {
        weft_rng rng;
        weft_rng_init(&rng, seed, i);
        d->classes[i] = (uint32_t)weft_rng_below(&rng, 10);
        weft_digits_draw(d->u8 + (size_t)i * WEFT_DIGITS_PIXELS, d->classes[i],
                         style ? style : &common, &rng);
    }
    *ret = d;
    return WEFT_OK;
}

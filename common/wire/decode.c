/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a peer -> struct, driven by the tables. Every read goes through weft_reader, every
 * allocation through the arena's maximum; depth is bounded by the tables (no message contains
 * itself). Pure, any thread.
 *
 * Protobuf, as far as it is used: a field is varint(number << 3 | type), then by type
 *   0: varint   1: 8 bytes   2: varint(n), n bytes   5: 4 bytes
 */
#include "wire/table_priv.h"

#include <string.h>

enum { TYPE_VARINT = 0, TYPE_64 = 1, TYPE_BYTES = 2, TYPE_32 = 5 };

typedef struct context {
    weft_arena *arena;
    weft_err *err;
    uint32_t unknown; /* fields skipped so far, in all messages below the first */
} context;

static weft_status decode_fields(context *ctx, const weft_table *table, unsigned char *out,
                                 weft_reader *r);

static uint64_t read_varint(weft_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *p = weft_reader_take(r, 1);
        if (!p) {
            return 0;
        }
        const uint64_t bits = *p & 0x7FU;
        if (shift == 63 && bits > 1) {
            break;
        }
        v |= bits << shift;
        if (*p < 0x80) {
            return v;
        }
    }
    r->failed = true;
    return 0;
}

/* One field's head; false at the end of the message or on bytes that are not protobuf. */
static bool read_head(weft_reader *r, uint32_t *ret_number, unsigned *ret_type)
{
    if (r->failed || weft_reader_left(r) == 0) {
        return false;
    }
    const uint64_t head = read_varint(r);
    const uint64_t number = head >> 3;
    if (number == 0 || number > (1U << 29) - 1) {
        r->failed = true;
        return false;
    }
    *ret_number = (uint32_t)number;
    *ret_type = (unsigned)(head & 7);
    return !r->failed;
}

static weft_view read_bytes(weft_reader *r)
{
    const uint64_t n = read_varint(r);
    const uint8_t *p = n <= SIZE_MAX ? weft_reader_take(r, (size_t)n) : NULL;
    if (!p) {
        r->failed = true;
        return (weft_view){NULL, 0};
    }
    return (weft_view){p, (size_t)n};
}

static void skip_value(weft_reader *r, unsigned type)
{
    switch (type) {
    case TYPE_VARINT:
        (void)read_varint(r); /* failure stays in r */
        break;
    case TYPE_64:
        (void)weft_reader_take(r, 8); /* failure stays in r */
        break;
    case TYPE_BYTES:
        (void)read_bytes(r); /* failure stays in r */
        break;
    case TYPE_32:
        (void)weft_reader_take(r, 4); /* failure stays in r */
        break;
    default:
        r->failed = true;
        break;
    }
}

static unsigned wire_type(weft_field_kind kind)
{
    switch (kind) {
    case WEFT_FIELD_VERSION:
    case WEFT_FIELD_U32:
    case WEFT_FIELD_U64:
    case WEFT_FIELD_I64:
    case WEFT_FIELD_BOOL:
    case WEFT_FIELD_ENUM:
    case WEFT_FIELD_REFUSAL:
        return TYPE_VARINT;
    case WEFT_FIELD_F64:
        return TYPE_64;
    case WEFT_FIELD_CHOICE:
    case WEFT_FIELD_NAME:
    case WEFT_FIELD_LINE:
    case WEFT_FIELD_TEXT:
    case WEFT_FIELD_OWNED:
    case WEFT_FIELD_NAME_IN:
    case WEFT_FIELD_LINE_IN:
    case WEFT_FIELD_BYTES:
    case WEFT_FIELD_DIGEST:
    case WEFT_FIELD_DIGEST_IN:
    case WEFT_FIELD_MESSAGE:
    case WEFT_FIELD_INLINE:
    case WEFT_FIELD_LIST:
    case WEFT_FIELD_METRICS:
        break;
    }
    return TYPE_BYTES;
}

static weft_status take(context *ctx, void **ret, size_t n, size_t size)
{
    const size_t left = ctx->arena->max - ctx->arena->used;
    void *p = weft_arena_take(ctx->arena, n, size);
    if (!p) {
        if (n > left / size) {
            WEFT_FAIL(ctx->err, WEFT_E_LIMIT, "a message takes more than %zu bytes of memory",
                      ctx->arena->max);
        }
        WEFT_FAIL(ctx->err, WEFT_E_NOMEM, "no memory for a message");
    }
    *ret = p;
    return WEFT_OK;
}

static weft_status copy_text(context *ctx, const char **ret, weft_view text)
{
    if (text.size == 0) {
        *ret = "";
        return WEFT_OK;
    }
    void *copy = NULL;
    WEFT_TRY(take(ctx, &copy, text.size + 1, 1));
    memcpy(copy, text.data, text.size);
    *ret = copy;
    return WEFT_OK;
}

static weft_status fail_field(context *ctx, const weft_table *table, const weft_field *f,
                              weft_status status, const char *what)
{
    WEFT_FAIL(ctx->err, status, "%s.%s %s", table->name, f->name, what);
}

static weft_status put_varint(context *ctx, const weft_table *table, const weft_field *f,
                              unsigned char *out, uint64_t v)
{
    const bool truth = v != 0;
    if (f->kind == WEFT_FIELD_BOOL) {
        memcpy(out + f->at, &truth, sizeof truth);
    } else if (f->kind == WEFT_FIELD_U64 || f->kind == WEFT_FIELD_I64) {
        memcpy(out + f->at, &v, sizeof v);
    } else { /* U32, ENUM, REFUSAL */
        const uint32_t v32 = (uint32_t)v;
        if (v > UINT32_MAX) {
            return fail_field(ctx, table, f, WEFT_E_INVALID, "does not fit into 32 bits");
        }
        memcpy(out + f->at, &v32, sizeof v32);
    }
    if (f->at2) {
        const bool present = true;
        memcpy(out + f->at2, &present, sizeof present);
    }
    return WEFT_OK;
}

static weft_status put_choice(context *ctx, const weft_table *table, const weft_field *f,
                              unsigned char *out, weft_view text)
{
    for (uint32_t i = 0; i < f->max; i++) {
        const char *choice = f->choices[i];
        if (strlen(choice) == text.size && memcmp(choice, text.data, text.size) == 0) {
            const uint32_t value = i + 1;
            memcpy(out + f->at, &value, sizeof value);
            return WEFT_OK;
        }
    }
    return fail_field(ctx, table, f, WEFT_E_INVALID, "is not one of its choices");
}

static weft_status put_text(context *ctx, const weft_table *table, const weft_field *f,
                            unsigned char *out, weft_view bytes)
{
    const char *text = NULL;
    if (memchr(bytes.data, 0, bytes.size)) {
        return fail_field(ctx, table, f, WEFT_E_INVALID, "contains a zero byte");
    }
    if (f->kind == WEFT_FIELD_NAME_IN || f->kind == WEFT_FIELD_LINE_IN) {
        memset(out + f->at, 0, (size_t)f->max + 1);
        memcpy(out + f->at, bytes.data, bytes.size);
        return WEFT_OK;
    }
    WEFT_TRY(copy_text(ctx, &text, bytes));
    text = f->kind == WEFT_FIELD_OWNED && bytes.size == 0 ? NULL : text;
    memcpy(out + f->at, &text, sizeof text);
    return WEFT_OK;
}

/* Text and bytes: size first, so that no copy is larger than its limit. */
static weft_status put_bytes(context *ctx, const weft_table *table, const weft_field *f,
                             unsigned char *out, weft_view bytes)
{
    if (f->kind == WEFT_FIELD_CHOICE) {
        return put_choice(ctx, table, f, out, bytes);
    }
    if (bytes.size > f->max) {
        WEFT_FAIL(ctx->err, WEFT_E_LIMIT, "%s.%s has %zu bytes, at most %llu are allowed",
                  table->name, f->name, bytes.size, (unsigned long long)f->max);
    }
    if (f->kind == WEFT_FIELD_DIGEST_IN) {
        if (bytes.size != f->max && bytes.size != 0) {
            return fail_field(ctx, table, f, WEFT_E_INVALID, "is not a SHA-256");
        }
        memcpy(out + f->at, bytes.data, bytes.size);
        out[f->at2] = bytes.size != 0;
        return WEFT_OK;
    }
    if (f->kind == WEFT_FIELD_BYTES || f->kind == WEFT_FIELD_DIGEST) {
        const char *copy = NULL;
        WEFT_TRY(copy_text(ctx, &copy, bytes));
        const weft_view view = {bytes.size ? (const uint8_t *)copy : NULL, bytes.size};
        memcpy(out + f->at, &view, sizeof view);
        return WEFT_OK;
    }
    return put_text(ctx, table, f, out, bytes);
}

/* How often this field comes in the rest of the message, this occurrence included. */
static size_t count_rest(const weft_reader *r, uint32_t number)
{
    weft_reader ahead = *r;
    size_t n = 1;
    uint32_t next = 0;
    unsigned type = 0;
    while (read_head(&ahead, &next, &type)) {
        n += next == number;
        skip_value(&ahead, type);
    }
    return n;
}

static weft_status put_list(context *ctx, const weft_table *table, const weft_field *f,
                            unsigned char *out, weft_view bytes, const weft_reader *rest)
{
    unsigned char *items = NULL;
    size_t n = 0;
    memcpy(&items, out + f->at, sizeof items);
    memcpy(&n, out + f->at2, sizeof n);
    if (!items) {
        const size_t total = count_rest(rest, f->number);
        if (total > f->max) {
            WEFT_FAIL(ctx->err, WEFT_E_LIMIT, "%s.%s has %zu elements, at most %llu are allowed",
                      table->name, f->name, total, (unsigned long long)f->max);
        }
        void *fresh = NULL;
        WEFT_TRY(take(ctx, &fresh, total, f->sub->bytes));
        items = fresh;
        memcpy(out + f->at, &items, sizeof items);
    }
    weft_reader r;
    weft_reader_init(&r, bytes.data, bytes.size);
    WEFT_TRY(decode_fields(ctx, f->sub, items + n * f->sub->bytes, &r));
    n++;
    memcpy(out + f->at2, &n, sizeof n);
    return WEFT_OK;
}

static weft_status put_metric(context *ctx, const weft_table *table, const weft_field *f,
                              unsigned char *out, weft_view bytes)
{
    weft_metrics *metrics = (void *)(out + f->at);
    if (metrics->n >= WEFT_MAX_METRICS) {
        WEFT_FAIL(ctx->err, WEFT_E_LIMIT, "%s.%s has more than %d metrics", table->name, f->name,
                  WEFT_MAX_METRICS);
    }
    weft_reader r;
    weft_reader_init(&r, bytes.data, bytes.size);
    WEFT_TRY(decode_fields(ctx, &weft_wire_table_metric, (void *)&metrics->item[metrics->n], &r));
    metrics->n++;
    return WEFT_OK;
}

static weft_status put_message(context *ctx, const weft_table *table, const weft_field *f,
                               unsigned char *out, weft_view bytes)
{
    void *message = NULL;
    if (f->kind == WEFT_FIELD_INLINE) {
        message = out + f->at;
    } else {
        memcpy(&message, out + f->at, sizeof message);
        if (message) {
            return fail_field(ctx, table, f, WEFT_E_FORMAT, "comes twice");
        }
        WEFT_TRY(take(ctx, &message, 1, f->sub->bytes));
        memcpy(out + f->at, &message, sizeof message);
    }
    weft_reader r;
    weft_reader_init(&r, bytes.data, bytes.size);
    return decode_fields(ctx, f->sub, message, &r);
}

static weft_status put_field(context *ctx, const weft_table *table, const weft_field *f,
                             unsigned char *out, weft_reader *r)
{
    const unsigned type = wire_type(f->kind);
    if (type == TYPE_VARINT) {
        const uint64_t v = read_varint(r);
        return r->failed || f->kind == WEFT_FIELD_VERSION ? WEFT_OK
                                                          : put_varint(ctx, table, f, out, v);
    }
    if (type == TYPE_64) {
        const uint64_t v = weft_reader_u64(r);
        memcpy(out + f->at, &v, sizeof v); /* a double's bits */
        return WEFT_OK;
    }
    const weft_view bytes = read_bytes(r);
    if (r->failed) {
        return WEFT_OK; /* decode_fields reports it */
    }
    if (f->kind == WEFT_FIELD_LIST) {
        return put_list(ctx, table, f, out, bytes, r);
    }
    if (f->kind == WEFT_FIELD_METRICS) {
        return put_metric(ctx, table, f, out, bytes);
    }
    if (f->kind == WEFT_FIELD_MESSAGE || f->kind == WEFT_FIELD_INLINE) {
        return put_message(ctx, table, f, out, bytes);
    }
    return put_bytes(ctx, table, f, out, bytes);
}

/* Strings that do not come are "", never NULL. */
static void set_defaults(const weft_table *table, unsigned char *out)
{
    const char *const empty = "";
    for (size_t i = 0; i < table->n_fields; i++) {
        const weft_field *f = &table->fields[i];
        if (f->kind == WEFT_FIELD_NAME || f->kind == WEFT_FIELD_LINE ||
            f->kind == WEFT_FIELD_TEXT) {
            memcpy(out + f->at, (const void *)&empty, sizeof empty);
        }
    }
}

static const weft_field *find_field(const weft_table *table, uint32_t number)
{
    for (size_t i = 0; i < table->n_fields; i++) {
        if (table->fields[i].number == number) {
            return &table->fields[i];
        }
    }
    return NULL;
}

/* out is zeroed. */
static weft_status decode_fields(context *ctx, const weft_table *table, unsigned char *out,
                                 weft_reader *r)
{
    uint32_t number = 0;
    unsigned type = 0;
    set_defaults(table, out);
    while (read_head(r, &number, &type)) {
        const weft_field *f = find_field(table, number);
        if (!f) {
            if (++ctx->unknown > WEFT_MAX_UNKNOWN_FIELDS) {
                WEFT_FAIL(ctx->err, WEFT_E_LIMIT, "%s holds more than %u unknown fields",
                          table->name, WEFT_MAX_UNKNOWN_FIELDS);
            }
            skip_value(r, type);
            continue;
        }
        if (type != wire_type(f->kind)) {
            return fail_field(ctx, table, f, WEFT_E_FORMAT, "has another type");
        }
        WEFT_TRY(put_field(ctx, table, f, out, r));
    }
    if (r->failed) {
        WEFT_FAIL(ctx->err, WEFT_E_FORMAT, "%s is cut short or not a message", table->name);
    }
    return WEFT_OK;
}

/* Before all else: a peer of another version may have moved every other field. */
static weft_status check_version(const weft_table *table, weft_reader r, weft_err *err)
{
    const weft_field *f = find_field(table, 1);
    if (!f || f->kind != WEFT_FIELD_VERSION) {
        return WEFT_OK;
    }
    uint64_t version = 0;
    uint32_t number = 0;
    unsigned type = 0;
    while (read_head(&r, &number, &type)) {
        if (number == 1 && type == TYPE_VARINT) {
            version = read_varint(&r);
        } else {
            skip_value(&r, type);
        }
    }
    if (r.failed) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%s is cut short or not a message", table->name);
    }
    if (version != WEFT_PROTOCOL_VERSION) {
        WEFT_FAIL(err, WEFT_E_STATE,
                  "%s speaks protocol version %llu, this side %u: bring both to one version",
                  table->name, (unsigned long long)version, WEFT_PROTOCOL_VERSION);
    }
    return WEFT_OK;
}

static const weft_table *const tables[] = {
#define TABLE_OF(name, NAME) &weft_wire_table_##name,
    WEFT_WIRE_MESSAGES(TABLE_OF)
#undef TABLE_OF
};

const weft_table *weft_wire_table(weft_msg_kind kind)
{
    return tables[kind];
}

size_t weft_wire_struct_bytes(weft_msg_kind kind)
{
    return tables[kind]->bytes;
}

void weft_wire_arena_init(weft_arena *arena, weft_msg_kind kind, const weft_alloc *a)
{
    weft_arena_init(arena, a, (size_t)WEFT_MAX_DECODE_BYTES * (tables[kind]->is_long ? 4U : 1U));
}

weft_status weft_wire_decode(void *ret, weft_msg_kind kind, const void *data, size_t size,
                             weft_arena *arena, weft_err *err)
{
    const weft_table *table = tables[kind];
    const size_t max = table->is_long ? WEFT_MAX_REPLY_BYTES : WEFT_MAX_CONTROL_BYTES;
    if (size > max) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%s has %zu bytes, at most %zu are allowed", table->name, size,
                  max);
    }
    weft_reader r;
    weft_reader_init(&r, data, size);
    WEFT_TRY(check_version(table, r, err));
    context ctx = {arena, err, 0};
    void *out = NULL;
    WEFT_TRY(take(&ctx, &out, 1, table->bytes));
    WEFT_TRY(decode_fields(&ctx, table, out, &r));
    WEFT_TRY(weft_wire_check(table, out, err));
    memcpy(ret, out, table->bytes);
    return WEFT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a peer -> struct. protobuf-c's generated code parses them into its own struct, with
 * memory of the caller's arena and never more than its maximum; the tables then say where each
 * value belongs and what is refused. Texts and bytes are not copied again. Depth is bounded by the
 * schema (no message contains itself). Pure, any thread: descriptors and tables are constants.
 */
#include "wire/table_priv.h"

#include <string.h>

#include "weft/v1/admin.pb-c.h"

typedef struct context {
    weft_arena *arena;
    weft_err *err;
    uint32_t unknown; /* fields of a newer version so far, in all messages below the first */
} context;

/* ---- memory --------------------------------------------------------------------------------- */

/* Each block that protobuf-c gets begins with its size: its strings have no length, so this is how
 * a zero byte inside of one is found. */
enum { NOTE_BYTES = sizeof(size_t) };

static void *take_noted(void *arena, size_t size)
{
    if (size > SIZE_MAX - NOTE_BYTES) {
        return NULL;
    }
    unsigned char *p = weft_arena_take(arena, size + NOTE_BYTES, 1);
    if (!p) {
        return NULL;
    }
    memcpy(p, &size, sizeof size);
    return p + NOTE_BYTES;
}

/* The arena frees everything together, also what was made before a failure. */
static void give_back(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

static weft_view text_view(const char *text)
{
    weft_view view = {NULL, 0};
    if (text && text != protobuf_c_empty_string) { /* the default of a field that did not come */
        memcpy(&view.size, text - NOTE_BYTES, sizeof view.size);
        view.size--; /* the zero that protobuf-c adds */
        view.data = (const uint8_t *)text;
    }
    return view;
}

static weft_status fail_memory(const weft_arena *arena, weft_err *err)
{
    if (arena->failed == WEFT_E_LIMIT) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a message takes more than %zu bytes of memory", arena->max);
    }
    WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a message");
}

static weft_status take(context *ctx, void **ret, size_t n, size_t size)
{
    void *p = weft_arena_take(ctx->arena, n, size);
    if (!p) {
        return fail_memory(ctx->arena, ctx->err);
    }
    *ret = p;
    return WEFT_OK;
}

/* ---- values --------------------------------------------------------------------------------- */

static weft_status read_fields(context *ctx, const weft_table *table, unsigned char *out,
                               const ProtobufCMessage *from);

static weft_status fail_field(context *ctx, const weft_table *table, const weft_field *f,
                              weft_status status, const char *what)
{
    WEFT_FAIL(ctx->err, status, "%s.%s %s", table->name, f->name, what);
}

static weft_status fail_size(context *ctx, const weft_table *table, const weft_field *f, size_t n,
                             const char *of)
{
    WEFT_FAIL(ctx->err, WEFT_E_LIMIT, "%s.%s has %zu %s, at most %llu are allowed", table->name,
              f->name, n, of, (unsigned long long)f->max);
}

static void read_number(const weft_field *f, unsigned char *out, const unsigned char *member)
{
    protobuf_c_boolean truth = 0;
    if (f->kind == WEFT_FIELD_BOOL) {
        memcpy(&truth, member, sizeof truth);
        out[f->at] = truth != 0;
    } else if (f->kind == WEFT_FIELD_U64 || f->kind == WEFT_FIELD_I64 ||
               f->kind == WEFT_FIELD_F64) {
        memcpy(out + f->at, member, sizeof(uint64_t));
    } else { /* U32, ENUM, REFUSAL */
        memcpy(out + f->at, member, sizeof(uint32_t));
    }
    if (f->at2) {
        out[f->at2] = true;
    }
}

static weft_status read_choice(context *ctx, const weft_table *table, const weft_field *f,
                               unsigned char *out, weft_view text)
{
    if (!text.data) {
        return WEFT_OK; /* weft_wire_check says whether it may be missing */
    }
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

/* Texts that did not come are "", never NULL (but OWNED ones). */
static weft_status read_text(context *ctx, const weft_table *table, const weft_field *f,
                             unsigned char *out, const unsigned char *member)
{
    const char *text = NULL;
    memcpy((void *)&text, member, sizeof text);
    const weft_view bytes = text_view(text);
    if (f->kind == WEFT_FIELD_CHOICE) {
        return read_choice(ctx, table, f, out, bytes);
    }
    if (bytes.size > f->max) {
        return fail_size(ctx, table, f, bytes.size, "bytes");
    }
    if (bytes.size && memchr(bytes.data, 0, bytes.size)) {
        return fail_field(ctx, table, f, WEFT_E_INVALID, "contains a zero byte");
    }
    if (f->kind == WEFT_FIELD_NAME_IN || f->kind == WEFT_FIELD_LINE_IN) {
        if (bytes.size) {
            memcpy(out + f->at, bytes.data, bytes.size);
        }
        return WEFT_OK;
    }
    if (bytes.size == 0) {
        text = f->kind == WEFT_FIELD_OWNED ? NULL : "";
    }
    memcpy(out + f->at, (const void *)&text, sizeof text);
    return WEFT_OK;
}

static weft_status read_bytes(context *ctx, const weft_table *table, const weft_field *f,
                              unsigned char *out, const unsigned char *member)
{
    ProtobufCBinaryData bytes = {0, NULL};
    memcpy(&bytes, member, sizeof bytes);
    if (bytes.len > f->max) {
        return fail_size(ctx, table, f, bytes.len, "bytes");
    }
    if (f->kind != WEFT_FIELD_DIGEST_IN) {
        const weft_view view = {bytes.data, bytes.len};
        memcpy(out + f->at, &view, sizeof view);
        return WEFT_OK;
    }
    if (bytes.len != f->max && bytes.len != 0) {
        return fail_field(ctx, table, f, WEFT_E_INVALID, "is not a SHA-256");
    }
    if (bytes.len) {
        memcpy(out + f->at, bytes.data, bytes.len);
    }
    out[f->at2] = bytes.len != 0;
    return WEFT_OK;
}

static weft_status read_message(context *ctx, const weft_field *f, unsigned char *out,
                                const unsigned char *member)
{
    const void *from = NULL;
    void *message = out + f->at;
    memcpy((void *)&from, member, sizeof from);
    if (!from) {
        return WEFT_OK;
    }
    if (f->kind != WEFT_FIELD_INLINE) {
        WEFT_TRY(take(ctx, &message, 1, f->sub->bytes));
        memcpy(out + f->at, (const void *)&message, sizeof message);
    }
    return read_fields(ctx, f->sub, message, from);
}

/* Lists of messages, and metrics, which are a list in place. */
static weft_status read_list(context *ctx, const weft_table *table, const weft_field *f,
                             unsigned char *out, const ProtobufCFieldDescriptor *g,
                             const ProtobufCMessage *from)
{
    const bool in_place = f->kind == WEFT_FIELD_METRICS;
    const weft_table *sub = in_place ? &weft_wire_table_metric : f->sub;
    const unsigned char *message = (const unsigned char *)from;
    void *list = NULL;
    size_t n = 0;
    memcpy(&n, message + g->quantifier_offset, sizeof n);
    memcpy((void *)&list, message + g->offset, sizeof list);
    if (n > f->max) {
        return fail_size(ctx, table, f, n, in_place ? "metrics" : "elements");
    }
    if (n == 0) {
        return WEFT_OK;
    }
    void *items = NULL;
    if (in_place) {
        weft_metrics *metrics = (void *)(out + f->at);
        metrics->n = (uint32_t)n;
        items = metrics->item;
    } else {
        WEFT_TRY(take(ctx, &items, n, sub->bytes));
        memcpy(out + f->at, (const void *)&items, sizeof items);
        memcpy(out + f->at2, &n, sizeof n);
    }
    ProtobufCMessage **elements = list; /* [n] */
    for (size_t i = 0; i < n; i++) {
        WEFT_TRY(read_fields(ctx, sub, (unsigned char *)items + i * sub->bytes, elements[i]));
    }
    return WEFT_OK;
}

static weft_status read_field(context *ctx, const weft_table *table, const weft_field *f,
                              unsigned char *out, const ProtobufCFieldDescriptor *g,
                              const ProtobufCMessage *from)
{
    const unsigned char *member = (const unsigned char *)from + g->offset;
    switch (f->kind) {
    case WEFT_FIELD_VERSION: /* check_version */
        return WEFT_OK;
    case WEFT_FIELD_U32:
    case WEFT_FIELD_U64:
    case WEFT_FIELD_I64:
    case WEFT_FIELD_F64:
    case WEFT_FIELD_BOOL:
    case WEFT_FIELD_ENUM:
    case WEFT_FIELD_REFUSAL:
        read_number(f, out, member);
        return WEFT_OK;
    case WEFT_FIELD_BYTES:
    case WEFT_FIELD_DIGEST:
    case WEFT_FIELD_DIGEST_IN:
        return read_bytes(ctx, table, f, out, member);
    case WEFT_FIELD_MESSAGE:
    case WEFT_FIELD_INLINE:
        return read_message(ctx, f, out, member);
    case WEFT_FIELD_LIST:
    case WEFT_FIELD_METRICS:
        return read_list(ctx, table, f, out, g, from);
    case WEFT_FIELD_CHOICE:
    case WEFT_FIELD_NAME:
    case WEFT_FIELD_LINE:
    case WEFT_FIELD_TEXT:
    case WEFT_FIELD_OWNED:
    case WEFT_FIELD_NAME_IN:
    case WEFT_FIELD_LINE_IN:
        break;
    }
    return read_text(ctx, table, f, out, member);
}

static weft_status fail_format(const weft_table *table, weft_err *err)
{
    WEFT_FAIL(err, WEFT_E_FORMAT, "%s is cut short or not a message", table->name);
}

static weft_status check_unknown(context *ctx, const weft_table *table,
                                 const ProtobufCMessage *from)
{
    ctx->unknown += from->n_unknown_fields;
    if (ctx->unknown > WEFT_MAX_UNKNOWN_FIELDS) {
        WEFT_FAIL(ctx->err, WEFT_E_LIMIT, "%s holds more than %u unknown fields", table->name,
                  WEFT_MAX_UNKNOWN_FIELDS);
    }
    for (unsigned i = 0; i < from->n_unknown_fields; i++) {
        if (from->unknown_fields[i].tag == 0) { /* no version has it: zeros are not a message */
            return fail_format(table, ctx->err);
        }
    }
    return WEFT_OK;
}

/* A member of a oneof that is not the one: its place holds the other's value. */
static bool is_other_of_oneof(const ProtobufCFieldDescriptor *g, const ProtobufCMessage *from)
{
    uint32_t which = 0;
    if (!(g->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)) {
        return false;
    }
    memcpy(&which, (const unsigned char *)from + g->quantifier_offset, sizeof which);
    return which != g->id;
}

/* out is zeroed. */
static weft_status read_fields(context *ctx, const weft_table *table, unsigned char *out,
                               const ProtobufCMessage *from)
{
    WEFT_TRY(check_unknown(ctx, table, from));
    for (size_t i = 0; i < table->n_fields; i++) {
        const ProtobufCFieldDescriptor *g = &table->message->fields[i];
        if (!is_other_of_oneof(g, from)) {
            WEFT_TRY(read_field(ctx, table, &table->fields[i], out, g, from));
        }
    }
    return WEFT_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static bool has_version(const weft_table *table)
{
    return table->n_fields && table->fields[0].kind == WEFT_FIELD_VERSION;
}

/* Before all other fields: a peer of another version may have given them another meaning. */
static weft_status check_version(const weft_table *table, const ProtobufCMessage *from,
                                 weft_err *err)
{
    uint32_t version = 0;
    memcpy(&version, (const unsigned char *)from + from->descriptor->fields[0].offset,
           sizeof version);
    if (version != WEFT_PROTOCOL_VERSION) {
        WEFT_FAIL(err, WEFT_E_STATE,
                  "%s speaks protocol version %u, this side %u: bring both to one version",
                  table->name, version, WEFT_PROTOCOL_VERSION);
    }
    return WEFT_OK;
}

static weft_status unpack(const ProtobufCMessage **ret, const weft_table *table, const void *data,
                          size_t size, weft_arena *arena, weft_err *err)
{
    ProtobufCAllocator memory = {take_noted, give_back, arena};
    arena->failed = WEFT_OK;
    const ProtobufCMessage *from = protobuf_c_message_unpack(table->message, &memory, size, data);
    if (!from && arena->failed != WEFT_OK) {
        return fail_memory(arena, err);
    }
    if (!from && has_version(table)) {
        /* another version may have changed the other fields' types: StatusRequest has no others */
        from =
            protobuf_c_message_unpack(&weft__v1__status_request__descriptor, &memory, size, data);
        if (from) {
            WEFT_TRY(check_version(table, from, err));
        }
        return fail_format(table, err);
    }
    if (!from) {
        return fail_format(table, err);
    }
    *ret = from;
    return has_version(table) ? check_version(table, from, err) : WEFT_OK;
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
    weft_arena_init(arena, a,
                    tables[kind]->is_long ? WEFT_MAX_DECODE_REPLY_BYTES : WEFT_MAX_DECODE_BYTES);
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
    const ProtobufCMessage *from = NULL;
    WEFT_TRY(unpack(&from, table, data, size, arena, err));
    context ctx = {arena, err, 0};
    void *out = NULL;
    WEFT_TRY(take(&ctx, &out, 1, table->bytes));
    WEFT_TRY(read_fields(&ctx, table, out, from));
    WEFT_TRY(weft_wire_check(table, out, err));
    memcpy(ret, out, table->bytes);
    return WEFT_OK;
}

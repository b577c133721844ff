/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Struct -> bytes: checked, laid into protobuf-c's generated struct as the tables say (texts and
 * bytes are borrowed), and packed by its generated code. Pure, any thread.
 */
#include "wire/table_priv.h"

#include <stdalign.h>
#include <string.h>

#include "weft/v1/admin.pb-c.h"
#include "weft/v1/federation.pb-c.h"

/* Generated structs: most messages fit into the stack, what does not comes from an arena. */
enum { ROOM_BYTES = 1024, ALIGN_BYTES = 16 };

typedef struct context {
    unsigned char *room; /* [left], what is free of it */
    size_t left;
    weft_arena arena;
    weft_err *err;
} context;

static weft_status write_fields(context *ctx, const weft_table *table, ProtobufCMessage *to,
                                const unsigned char *msg);

static weft_status take(context *ctx, void **ret, size_t n, size_t size)
{
    if (n <= ctx->left / size) { /* nothing relies on zeros: write_fields sets all */
        const size_t bytes = (n * size + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
        *ret = ctx->room;
        ctx->room += bytes;
        ctx->left -= bytes;
        return WEFT_OK;
    }
    *ret = weft_arena_take(&ctx->arena, n, size);
    if (!*ret) {
        WEFT_FAIL(ctx->err, WEFT_E_NOMEM, "no memory for a message");
    }
    return WEFT_OK;
}

/* A member of a oneof is said to be the one. */
static void choose(const ProtobufCFieldDescriptor *g, ProtobufCMessage *to)
{
    if (g->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        memcpy((unsigned char *)to + g->quantifier_offset, &g->id, sizeof g->id);
    }
}

/* Zero is the generated struct's default, and in a oneof the place may be another's. */
static void write_number(const weft_field *f, const ProtobufCFieldDescriptor *g,
                         ProtobufCMessage *to, const unsigned char *msg)
{
    unsigned char *member = (unsigned char *)to + g->offset;
    uint64_t v = 0;
    const bool wide = f->kind == WEFT_FIELD_U64 || f->kind == WEFT_FIELD_I64;
    if (f->kind == WEFT_FIELD_BOOL) {
        v = msg[f->at];
    } else if (wide || f->kind == WEFT_FIELD_F64) {
        memcpy(&v, msg + f->at, sizeof v);
    } else { /* U32, ENUM, REFUSAL */
        uint32_t v32 = 0;
        memcpy(&v32, msg + f->at, sizeof v32);
        v = v32;
    }
    if (f->at2 ? !msg[f->at2] : v == 0) {
        return;
    }
    choose(g, to);
    if (wide || f->kind == WEFT_FIELD_F64) {
        memcpy(member, &v, sizeof v);
    } else { /* protobuf_c_boolean is an int, too */
        const uint32_t v32 = (uint32_t)v;
        memcpy(member, &v32, sizeof v32);
    }
}

static void write_text(const weft_field *f, unsigned char *member, const unsigned char *msg)
{
    const char *text = NULL;
    uint32_t choice = 0;
    if (f->kind == WEFT_FIELD_NAME_IN || f->kind == WEFT_FIELD_LINE_IN) {
        text = (const char *)(msg + f->at);
    } else if (f->kind == WEFT_FIELD_CHOICE) {
        memcpy(&choice, msg + f->at, sizeof choice);
        text = choice ? f->choices[choice - 1] : NULL;
    } else { /* NAME, LINE, TEXT, OWNED */
        memcpy((void *)&text, msg + f->at, sizeof text);
    }
    if (text) {
        memcpy(member, (const void *)&text, sizeof text);
    }
}

static void write_bytes(const weft_field *f, unsigned char *member, const unsigned char *msg)
{
    weft_view view = {NULL, 0};
    if (f->kind != WEFT_FIELD_DIGEST_IN) {
        memcpy(&view, msg + f->at, sizeof view);
    } else if (msg[f->at2]) {
        view = (weft_view){msg + f->at, (size_t)f->max};
    }
    ProtobufCBinaryData bytes = {view.size, NULL};
    memcpy((void *)&bytes.data, (const void *)&view.data, sizeof bytes.data); /* only read */
    memcpy(member, &bytes, sizeof bytes);
}

static weft_status write_message(context *ctx, const weft_field *f,
                                 const ProtobufCFieldDescriptor *g, ProtobufCMessage *to,
                                 const unsigned char *msg)
{
    const unsigned char *sub = msg + f->at;
    if (f->kind != WEFT_FIELD_INLINE) {
        memcpy((void *)&sub, msg + f->at, sizeof sub);
    }
    if (!sub) {
        return WEFT_OK;
    }
    void *made = NULL;
    WEFT_TRY(take(ctx, &made, 1, f->sub->message->sizeof_message));
    choose(g, to);
    memcpy((unsigned char *)to + g->offset, (const void *)&made, sizeof made);
    return write_fields(ctx, f->sub, made, sub);
}

static weft_status write_list(context *ctx, const weft_field *f, const ProtobufCFieldDescriptor *g,
                              ProtobufCMessage *to, const unsigned char *msg)
{
    const weft_table *sub = f->sub;
    const unsigned char *items = NULL;
    size_t n = 0;
    if (f->kind == WEFT_FIELD_METRICS) {
        const weft_metrics *metrics = (const void *)(msg + f->at);
        sub = &weft_wire_table_metric;
        items = (const unsigned char *)metrics->item;
        n = metrics->n;
    } else {
        memcpy((void *)&items, msg + f->at, sizeof items);
        memcpy(&n, msg + f->at2, sizeof n);
    }
    if (n == 0 || !items) {
        return WEFT_OK;
    }
    void *elements = NULL;
    void *structs = NULL;
    const size_t bytes = sub->message->sizeof_message;
    WEFT_TRY(take(ctx, &elements, n, sizeof(ProtobufCMessage *)));
    WEFT_TRY(take(ctx, &structs, n, bytes));
    for (size_t i = 0; i < n; i++) {
        ProtobufCMessage *element = (void *)((unsigned char *)structs + i * bytes);
        ((ProtobufCMessage **)elements)[i] = element;
        WEFT_TRY(write_fields(ctx, sub, element, items + i * sub->bytes));
    }
    memcpy((unsigned char *)to + g->offset, (const void *)&elements, sizeof elements);
    memcpy((unsigned char *)to + g->quantifier_offset, &n, sizeof n);
    return WEFT_OK;
}

static weft_status write_field(context *ctx, const weft_field *f, const ProtobufCFieldDescriptor *g,
                               ProtobufCMessage *to, const unsigned char *msg)
{
    static const uint32_t version = WEFT_PROTOCOL_VERSION;
    unsigned char *member = (unsigned char *)to + g->offset;
    switch (f->kind) {
    case WEFT_FIELD_VERSION:
        memcpy(member, &version, sizeof version);
        return WEFT_OK;
    case WEFT_FIELD_U32:
    case WEFT_FIELD_U64:
    case WEFT_FIELD_I64:
    case WEFT_FIELD_F64:
    case WEFT_FIELD_BOOL:
    case WEFT_FIELD_ENUM:
    case WEFT_FIELD_REFUSAL:
        write_number(f, g, to, msg);
        return WEFT_OK;
    case WEFT_FIELD_BYTES:
    case WEFT_FIELD_DIGEST:
    case WEFT_FIELD_DIGEST_IN:
        write_bytes(f, member, msg);
        return WEFT_OK;
    case WEFT_FIELD_MESSAGE:
    case WEFT_FIELD_INLINE:
        return write_message(ctx, f, g, to, msg);
    case WEFT_FIELD_LIST:
    case WEFT_FIELD_METRICS:
        return write_list(ctx, f, g, to, msg);
    case WEFT_FIELD_CHOICE:
    case WEFT_FIELD_NAME:
    case WEFT_FIELD_LINE:
    case WEFT_FIELD_TEXT:
    case WEFT_FIELD_OWNED:
    case WEFT_FIELD_NAME_IN:
    case WEFT_FIELD_LINE_IN:
        break;
    }
    write_text(f, member, msg);
    return WEFT_OK;
}

static weft_status write_fields(context *ctx, const weft_table *table, ProtobufCMessage *to,
                                const unsigned char *msg)
{
    protobuf_c_message_init(table->message, to);
    for (size_t i = 0; i < table->n_fields; i++) {
        WEFT_TRY(write_field(ctx, &table->fields[i], &table->message->fields[i], to, msg));
    }
    return WEFT_OK;
}

static weft_status pack(weft_buf *out, const weft_table *table, const ProtobufCMessage *message,
                        weft_err *err)
{
    const size_t max = table->is_long ? WEFT_MAX_REPLY_BYTES : WEFT_MAX_CONTROL_BYTES;
    const size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *to = NULL;
    if (n > max) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%s has %zu bytes, at most %zu are allowed", table->name, n,
                  max);
    }
    if (n == 0) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_buf_extend(&to, out, n, err));
    (void)protobuf_c_message_pack(message, to); /* n again */
    return WEFT_OK;
}

/* Put a message into a part, as its first field. */
static weft_status wrap(context *ctx, void **message, const ProtobufCMessageDescriptor *part)
{
    const ProtobufCFieldDescriptor *g = &part->fields[0];
    void *outer = NULL;
    WEFT_TRY(take(ctx, &outer, 1, part->sizeof_message));
    protobuf_c_message_init(part, outer);
    choose(g, outer);
    memcpy((unsigned char *)outer + g->offset, (const void *)message, sizeof *message);
    *message = outer;
    return WEFT_OK;
}

static weft_status encode(weft_buf *out, const weft_table *table,
                          const ProtobufCMessageDescriptor *part, const void *msg, weft_err *err)
{
    alignas(ALIGN_BYTES) unsigned char room[ROOM_BYTES];
    WEFT_TRY(weft_wire_check(table, msg, err));
    context ctx = {.room = room, .left = sizeof room, .err = err};
    weft_arena_init(&ctx.arena, out->alloc, SIZE_MAX); /* the check has bounded every count */
    void *message = NULL;
    weft_status status = take(&ctx, &message, 1, table->message->sizeof_message);
    if (status == WEFT_OK) {
        status = write_fields(&ctx, table, message, msg);
    }
    if (status == WEFT_OK && part) {
        status = wrap(&ctx, &message, part);
    }
    if (status == WEFT_OK) {
        status = pack(out, table, message, err);
    }
    weft_arena_done(&ctx.arena);
    return status;
}

weft_status weft_wire_encode(weft_buf *out, weft_msg_kind kind, const void *msg, weft_err *err)
{
    return encode(out, weft_wire_table(kind), NULL, msg, err);
}

weft_status weft_update_part_encode(weft_buf *out, const weft_msg_update_header *header,
                                    weft_err *err)
{
    return encode(out, &weft_wire_table_update_header, &weft__v1__update_part__descriptor, header,
                  err);
}

weft_status weft_import_part_encode(weft_buf *out, const weft_msg_import_header *header,
                                    weft_err *err)
{
    return encode(out, &weft_wire_table_import_header, &weft__v1__import_part__descriptor, header,
                  err);
}

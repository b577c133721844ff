/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Struct -> bytes, driven by the tables; checked first. Fields in ascending order of their numbers,
 * defaults left out, as protoc's generated code does. Pure, any thread.
 */
#include "wire/table_priv.h"

#include <string.h>

enum { TYPE_VARINT = 0, TYPE_64 = 1, TYPE_BYTES = 2 };

static weft_status add_varint(weft_buf *out, uint64_t v, weft_err *err)
{
    uint8_t bytes[10];
    size_t n = 0;
    do {
        bytes[n++] = (uint8_t)((v & 0x7F) | (v > 0x7F ? 0x80 : 0));
        v >>= 7;
    } while (v);
    return weft_buf_add(out, bytes, n, err);
}

static weft_status add_head(weft_buf *out, uint32_t number, unsigned type, weft_err *err)
{
    return add_varint(out, (uint64_t)number << 3 | type, err);
}

static weft_status add_number(weft_buf *out, const weft_field *f, uint64_t v, weft_err *err)
{
    WEFT_TRY(add_head(out, f->number, TYPE_VARINT, err));
    return add_varint(out, v, err);
}

static weft_status add_bytes(weft_buf *out, const weft_field *f, const void *data, size_t n,
                             weft_err *err)
{
    if (n == 0) {
        return WEFT_OK;
    }
    WEFT_TRY(add_head(out, f->number, TYPE_BYTES, err));
    WEFT_TRY(add_varint(out, n, err));
    return weft_buf_add(out, data, n, err);
}

static weft_status add_fields(weft_buf *out, const weft_table *table, const unsigned char *msg,
                              weft_err *err);

static size_t varint_bytes(uint64_t v)
{
    size_t n = 1;
    while (v > 0x7F) {
        v >>= 7;
        n++;
    }
    return n;
}

/* The length comes first but is known last: write the content, then move it up. */
static weft_status add_message(weft_buf *out, const weft_field *f, const weft_table *table,
                               const void *msg, weft_err *err)
{
    WEFT_TRY(add_head(out, f->number, TYPE_BYTES, err));
    const size_t at = out->size;
    WEFT_TRY(add_fields(out, table, msg, err));
    const size_t n = out->size - at;
    const size_t shift = varint_bytes(n);
    WEFT_TRY(add_varint(out, n, err)); /* makes room; written in its place below */
    uint8_t length[10];
    memcpy(length, out->data + at + n, shift);
    memmove(out->data + at + shift, out->data + at, n);
    memcpy(out->data + at, length, shift);
    return WEFT_OK;
}

static weft_status add_scalar(weft_buf *out, const weft_field *f, const unsigned char *msg,
                              weft_err *err)
{
    uint64_t v = 0;
    uint32_t v32 = 0;
    bool truth = false;
    bool present = false;
    if (f->kind == WEFT_FIELD_BOOL) {
        memcpy(&truth, msg + f->at, sizeof truth);
        v = truth;
    } else if (f->kind == WEFT_FIELD_U64 || f->kind == WEFT_FIELD_I64) {
        memcpy(&v, msg + f->at, sizeof v);
    } else { /* U32, ENUM, REFUSAL */
        memcpy(&v32, msg + f->at, sizeof v32);
        v = v32;
    }
    if (f->at2) {
        memcpy(&present, msg + f->at2, sizeof present);
    } else {
        present = v != 0;
    }
    return present ? add_number(out, f, v, err) : WEFT_OK;
}

static weft_status add_double(weft_buf *out, const weft_field *f, const unsigned char *msg,
                              weft_err *err)
{
    uint64_t bits = 0;
    memcpy(&bits, msg + f->at, sizeof bits);
    if (bits == 0) {
        return WEFT_OK;
    }
    WEFT_TRY(add_head(out, f->number, TYPE_64, err));
    return weft_buf_add_u64(out, bits, err);
}

static weft_status add_text(weft_buf *out, const weft_field *f, const unsigned char *msg,
                            weft_err *err)
{
    const char *text = NULL;
    uint32_t choice = 0;
    if (f->kind == WEFT_FIELD_NAME_IN || f->kind == WEFT_FIELD_LINE_IN) {
        text = (const char *)(msg + f->at);
    } else if (f->kind == WEFT_FIELD_CHOICE) {
        memcpy(&choice, msg + f->at, sizeof choice);
        text = choice ? f->choices[choice - 1] : NULL;
    } else { /* NAME, LINE, TEXT, OWNED */
        memcpy(&text, msg + f->at, sizeof text);
    }
    return text ? add_bytes(out, f, text, strlen(text), err) : WEFT_OK;
}

static weft_status add_metrics(weft_buf *out, const weft_field *f, const unsigned char *msg,
                               weft_err *err)
{
    const weft_metrics *metrics = (const void *)(msg + f->at);
    for (uint32_t i = 0; i < metrics->n; i++) {
        WEFT_TRY(add_message(out, f, &weft_wire_table_metric, &metrics->item[i], err));
    }
    return WEFT_OK;
}

static weft_status add_subs(weft_buf *out, const weft_field *f, const unsigned char *msg,
                            weft_err *err)
{
    const unsigned char *sub = msg + f->at;
    size_t n = 1;
    if (f->kind != WEFT_FIELD_INLINE) {
        memcpy(&sub, msg + f->at, sizeof sub);
        n = sub ? 1 : 0;
    }
    if (f->kind == WEFT_FIELD_LIST) {
        memcpy(&n, msg + f->at2, sizeof n);
    }
    for (size_t i = 0; i < n; i++) {
        WEFT_TRY(add_message(out, f, f->sub, sub + i * f->sub->bytes, err));
    }
    return WEFT_OK;
}

static weft_status add_field(weft_buf *out, const weft_field *f, const unsigned char *msg,
                             weft_err *err)
{
    weft_view view = {NULL, 0};
    switch (f->kind) {
    case WEFT_FIELD_VERSION:
        return add_number(out, f, WEFT_PROTOCOL_VERSION, err);
    case WEFT_FIELD_U32:
    case WEFT_FIELD_U64:
    case WEFT_FIELD_I64:
    case WEFT_FIELD_BOOL:
    case WEFT_FIELD_ENUM:
    case WEFT_FIELD_REFUSAL:
        return add_scalar(out, f, msg, err);
    case WEFT_FIELD_F64:
        return add_double(out, f, msg, err);
    case WEFT_FIELD_BYTES:
    case WEFT_FIELD_DIGEST:
        memcpy(&view, msg + f->at, sizeof view);
        return add_bytes(out, f, view.data, view.size, err);
    case WEFT_FIELD_DIGEST_IN:
        return add_bytes(out, f, msg + f->at, msg[f->at2] ? (size_t)f->max : 0, err);
    case WEFT_FIELD_MESSAGE:
    case WEFT_FIELD_INLINE:
    case WEFT_FIELD_LIST:
        return add_subs(out, f, msg, err);
    case WEFT_FIELD_METRICS:
        return add_metrics(out, f, msg, err);
    case WEFT_FIELD_CHOICE:
    case WEFT_FIELD_NAME:
    case WEFT_FIELD_LINE:
    case WEFT_FIELD_TEXT:
    case WEFT_FIELD_OWNED:
    case WEFT_FIELD_NAME_IN:
    case WEFT_FIELD_LINE_IN:
        break;
    }
    return add_text(out, f, msg, err);
}

static weft_status add_fields(weft_buf *out, const weft_table *table, const unsigned char *msg,
                              weft_err *err)
{
    for (size_t i = 0; i < table->n_fields; i++) {
        WEFT_TRY(add_field(out, &table->fields[i], msg, err));
    }
    return WEFT_OK;
}

weft_status weft_wire_encode(weft_buf *out, weft_msg_kind kind, const void *msg, weft_err *err)
{
    const weft_table *table = weft_wire_table(kind);
    const size_t at = out->size;
    WEFT_TRY(weft_wire_check(table, msg, err));
    const weft_status status = add_fields(out, table, msg, err);
    const size_t max = table->is_long ? WEFT_MAX_REPLY_BYTES : WEFT_MAX_CONTROL_BYTES;
    if (status != WEFT_OK || out->size - at > max) {
        const size_t n = out->size - at;
        out->size = at;
        if (status != WEFT_OK) {
            return status;
        }
        WEFT_FAIL(err, WEFT_E_LIMIT, "%s has %zu bytes, at most %zu are allowed", table->name, n,
                  max);
    }
    return WEFT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a file says about its model, as a JSON object of strings. Any thread. */
#include "weights/weights_priv.h"

#include "data/number.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* Append text as a JSON string. */
static weft_status print_string(weft_buf *out, const char *text, size_t n, weft_err *err)
{
    WEFT_TRY(weft_buf_add(out, "\"", 1, err));
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '\n') {
            WEFT_TRY(weft_buf_add(out, "\\n", 2, err));
        } else if (c < ' ' || c == 0x7f) {
            WEFT_TRY(weft_buf_addf(out, err, "\\u%04x", c));
        } else {
            if (c == '"' || c == '\\') {
                WEFT_TRY(weft_buf_add(out, "\\", 1, err));
            }
            WEFT_TRY(weft_buf_add(out, text + i, 1, err));
        }
    }
    return weft_buf_add(out, "\"", 1, err);
}

static weft_status print_entry(weft_buf *out, const char *key, const char *text, bool *first,
                               weft_err *err)
{
    if (text[0] == '\0') {
        return WEFT_OK;
    }
    WEFT_TRY(weft_buf_addf(out, err, "%s\"%s\":", *first ? "" : ",", key));
    *first = false;
    return print_string(out, text, strlen(text), err);
}

static weft_status print_spec(weft_buf *out, const weft_spec *spec, bool *first,
                              const weft_alloc *a, weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, a,
                  (size_t)WEFT_MAX_SPEC_BYTES * 2); /* canonical text may be a little longer */
    weft_status status = weft_spec_print(spec, &text, err);
    if (status == WEFT_OK) {
        const char *t = weft_buf_text(&text);
        status = t ? print_entry(out, "weft.spec", t, first, err)
                   : weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "no memory for a spec");
    }
    weft_buf_done(&text);
    return status;
}

weft_status weft_weights_print_meta(weft_buf *out, const weft_spec *spec,
                                    const weft_weights_meta *meta, bool with_spec,
                                    const weft_alloc *a, weft_err *err)
{
    bool first = true;
    WEFT_TRY(weft_buf_add(out, "{", 1, err));
    if (meta) {
        WEFT_TRY(print_entry(out, "weft.digest", meta->digest, &first, err));
        WEFT_TRY(print_entry(out, "weft.job", meta->job, &first, err));
        WEFT_TRY(weft_buf_addf(out, err, "%s\"weft.round\":\"%" PRIu32 "\"", first ? "" : ",",
                               meta->round));
        first = false;
    }
    if (with_spec) {
        WEFT_TRY(print_spec(out, spec, &first, a, err));
    }
    return weft_buf_add(out, "}", 1, err);
}

weft_status weft_weights_parse_json(void **ret, const void *text, size_t size, weft_err *err)
{
    if (size > WEFT_MAX_WEIGHTS_HEADER_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a header of %zu bytes, allowed are %u", size,
                  WEFT_MAX_WEIGHTS_HEADER_BYTES);
    }
    json_error_t why;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (!root && json_error_code(&why) == json_error_out_of_memory) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a header of %zu bytes", size);
    }
    if (!root || !json_is_object(root)) {
        json_decref(root);
        WEFT_FAIL(err, WEFT_E_FORMAT, "the header is not a JSON object");
    }
    *ret = root;
    return WEFT_OK;
}

/* The text of a key that fits into out (with its zero); else out stays as it is. */
static void take_string(char *out, size_t out_size, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_string(value) && json_string_length(value) < out_size &&
        strlen(json_string_value(value)) == json_string_length(value)) {
        memcpy(out, json_string_value(value), json_string_length(value) + 1);
    }
}

weft_status weft_weights_parse_meta(weft_weights_meta *ret, weft_buf *spec_text,
                                    const void *json_object, weft_err *err)
{
    const json_t *object = json_object;
    weft_weights_meta meta = {0};
    char round[16] = {0};
    take_string(meta.digest, sizeof meta.digest, object, "weft.digest");
    take_string(meta.job, sizeof meta.job, object, "weft.job");
    take_string(round, sizeof round, object, "weft.round");
    if (round[0] != '\0' && !weft_number_parse_u32(&meta.round, round, strlen(round), UINT32_MAX)) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "weft.round is not a number of a round");
    }
    const json_t *spec = json_object_get(object, "weft.spec");
    if (spec_text && json_is_string(spec)) {
        WEFT_TRY(weft_buf_add(spec_text, json_string_value(spec), json_string_length(spec), err));
    }
    *ret = meta;
    return WEFT_OK;
}

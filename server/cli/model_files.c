/* SPDX-License-Identifier: Apache-2.0 */
/* weft model export and import: files of other programs to and from the coordinator. */
#include "cli/model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/hash.h"
#include "weights/weights.h"

/* ---- export --------------------------------------------------------------------------------- */

static weft_status choose_output(cli *c, char out[PATH_MAX], const weft_msg_model_info *model,
                                 weft_err *err)
{
    const char *output = cli_value(c, "output");
    char digest[CLI_TEXT_BYTES];
    const char *name = *model->job ? model->job : cli_digest(digest, model->digest);
    const int n = output ? snprintf(out, PATH_MAX, "%s", output)
                         : snprintf(out, PATH_MAX, "%s.safetensors", name);
    if (n < 0 || n >= PATH_MAX) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the name of the output is too long");
    }
    weft_weights_format format = WEFT_WEIGHTS_SAFETENSORS;
    weft_err inner = WEFT_ERR_INIT;
    if (weft_weights_format_of(&format, out, &inner) != WEFT_OK) {
        return cli_usage(c, err, "%s", inner.msg);
    }
    if (!cli_value(c, "force") && access(out, F_OK) == 0) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "%.160s exists: name another with --output, or --force",
                  out);
    }
    return WEFT_OK;
}

static weft_status print_exported(cli *c, const weft_msg_model_info *model, const char *path,
                                  const weft_layout *layout, weft_err *err)
{
    char hex[2 * WEFT_DIGEST_BYTES + 1];
    char params[CLI_TEXT_BYTES];
    weft_hex_encode(hex, model->digest.data, WEFT_DIGEST_BYTES);
    if (!cli_is_text(c)) {
        return cli_print_json(c,
                              json_pack("{s:s, s:s, s:s, s:I, s:I}", "file", path, "digest", hex,
                                        "job", model->job, "round", (json_int_t)model->round,
                                        "n_params", (json_int_t)layout->n_params),
                              err);
    }
    printf("%s   %s parameters in %u tensors, digest %.12s verified\n", path,
           cli_count(params, layout->n_params), layout->n_tensors, hex);
    return WEFT_OK;
}

static weft_status export_to(cli *c, const weft_msg_model_info *model, const char *path,
                             const weft_spec *spec, const weft_layout *layout, weft_err *err)
{
    if (layout->n_params * sizeof(float) != model->bytes) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the spec wants %llu bytes, the model has %llu",
                  (unsigned long long)(layout->n_params * sizeof(float)),
                  (unsigned long long)model->bytes);
    }
    weft_view bytes = {NULL, 0};
    WEFT_TRY(cli_fetch_model(c, model, path, &bytes, err));
    weft_weights_meta meta = {.round = model->round};
    weft_hex_encode(meta.digest, model->digest.data, WEFT_DIGEST_BYTES);
    (void)snprintf(meta.job, sizeof meta.job, "%s", model->job);    /* fits: names do */
    const float *weights = (const float *)(const void *)bytes.data; /* mapped: aligned to pages */
    weft_status status =
        weft_weights_save(path, spec, layout, weights, &meta, &weft_alloc_std, err);
    cli_unmap(&bytes);
    if (status == WEFT_OK) {
        status = print_exported(c, model, path, layout, err);
    }
    return status;
}

static weft_status export_model(cli *c, const weft_msg_model_info *model, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(choose_output(c, path, model, err));
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    WEFT_TRY(
        weft_spec_parse(&spec, model->model_spec, strlen(model->model_spec), &weft_alloc_std, err));
    weft_status status = weft_layout_new(&layout, spec, &weft_alloc_std, err);
    if (status == WEFT_OK) {
        status = export_to(c, model, path, spec, layout, err);
    }
    weft_layout_free(layout);
    weft_spec_free(spec);
    return status;
}

weft_status cli_model_export(cli *c, weft_err *err)
{
    weft_msg_model_info model;
    cli_reply reply;
    WEFT_TRY(
        cli_find_model(c, c->argument[0], cli_value(c, "released") != NULL, &model, &reply, err));
    const weft_status status = export_model(c, &model, err);
    cli_reply_done(&reply);
    return status;
}

/* ---- import --------------------------------------------------------------------------------- */

static weft_status read_text(weft_buf *b, const char **ret, const char *path, size_t max,
                             weft_err *err)
{
    weft_buf_init(b, &weft_alloc_std, max);
    *ret = NULL;
    if (!path) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_file_read(b, path, err));
    *ret = weft_buf_text(b);
    if (!*ret) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %.160s", path);
    }
    return WEFT_OK;
}

/* Everything that an import holds; see import_done. */
typedef struct import {
    weft_buf spec_text; /* --spec */
    weft_buf schema_text;
    weft_buf canonical; /* the spec that is sent */
    const char *schema;
    weft_spec *given;
    weft_spec *spec;
    weft_layout *layout;
    weft_rt_blob *blob;
} import;

static void import_done(import *i)
{
    weft_buf_done(&i->spec_text);
    weft_buf_done(&i->schema_text);
    weft_buf_done(&i->canonical);
    weft_spec_free(i->given);
    weft_spec_free(i->spec);
    weft_layout_free(i->layout);
    weft_rt_blob_unref(i->blob);
}

/* In the folder for large temporary files: $TMPDIR, or /var/tmp, which is no tmpfs. */
static weft_status choose_temporary(char out[PATH_MAX], weft_err *err)
{
    const char *dir = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): one thread */
    return weft_path_join(out, PATH_MAX, dir && *dir ? dir : "/var/tmp", "weft-import", err);
}

/* The weights, and whatever else is as large, lie in files, not on the heap. */
static weft_status load_weights(import *i, const char *path, weft_err *err)
{
    /* for ever: gRPC may hold the blob a little longer than the call */
    static char near[PATH_MAX];
    static cli_file_alloc files;
    weft_weights_meta meta;
    float *weights = NULL;
    WEFT_TRY(choose_temporary(near, err));
    cli_file_alloc_init(&files, near);
    weft_status status = weft_weights_load_apart(path, i->given, &i->spec, &i->layout, &weights,
                                                 &meta, &weft_alloc_std, &files.alloc, err);
    if (status == WEFT_E_NOMEM && files.err.code != WEFT_OK) {
        *err = files.err; /* no room for a file is what it was */
        return err->code;
    }
    WEFT_TRY(status);
    status = weft_rt_blob_take(&i->blob, &files.alloc, weights,
                               (size_t)i->layout->n_params * sizeof(float), err);
    if (status != WEFT_OK) {
        weft_free(&files.alloc, weights);
    }
    return status;
}

static weft_status load(cli *c, import *i, weft_err *err)
{
    const char *spec = NULL;
    const char *path = c->argument[0];
    WEFT_TRY(read_text(&i->spec_text, &spec, cli_value(c, "spec"), WEFT_MAX_SPEC_BYTES, err));
    WEFT_TRY(
        read_text(&i->schema_text, &i->schema, cli_value(c, "schema"), WEFT_MAX_SCHEMA_BYTES, err));
    if (spec) {
        WEFT_TRY(weft_spec_parse(&i->given, spec, strlen(spec), &weft_alloc_std, err));
    }
    return load_weights(i, path, err);
}

static weft_status print_imported(cli *c, const weft_msg_model_info *model, weft_err *err)
{
    if (!cli_is_text(c)) {
        return cli_print_json(c, cli_json_model(model, false), err);
    }
    char hex[2 * WEFT_DIGEST_BYTES + 1];
    char text[CLI_TEXT_BYTES];
    weft_hex_encode(hex, model->digest.data, model->digest.size);
    printf("%s   %s stored; start from it: weft job submit --from %.12s FILE\n", hex,
           cli_size(text, model->bytes), hex);
    return WEFT_OK;
}

static weft_status send(cli *c, import *i, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    const uint64_t size = weft_rt_blob_size(i->blob);
    WEFT_TRY(weft_sha256(digest, weft_rt_blob_data(i->blob), (size_t)size, err));
    WEFT_TRY(weft_spec_print(i->spec, &i->canonical, err));
    const char *spec = weft_buf_text(&i->canonical);
    if (!spec) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the spec");
    }
    const weft_msg_import_header header = {.model_spec = spec,
                                           .total_bytes = size,
                                           .digest = {digest, sizeof digest},
                                           .data_schema = i->schema};
    cli_reply reply;
    weft_buf_init(&reply.bytes, &weft_alloc_std, WEFT_MAX_REPLY_BYTES);
    weft_wire_arena_init(&reply.arena, WEFT_MSG_MODEL_INFO, &weft_alloc_std);
    weft_msg_model_info model;
    weft_status status = cli_send_model(c, &header, i->blob, &reply.bytes, err);
    if (status == WEFT_OK) {
        status = weft_msg_model_info_decode(&model, reply.bytes.data, reply.bytes.size,
                                            &reply.arena, err);
    }
    if (status == WEFT_OK) {
        status = print_imported(c, &model, err);
    }
    cli_reply_done(&reply);
    return status;
}

weft_status cli_model_import(cli *c, weft_err *err)
{
import i;
    memset(&i, 0, sizeof i);
    weft_buf_init(&i.spec_text, &weft_alloc_std, WEFT_MAX_SPEC_BYTES);
    weft_buf_init(&i.schema_text, &weft_alloc_std, WEFT_MAX_SCHEMA_BYTES);
    weft_buf_init(&i.canonical, &weft_alloc_std, WEFT_MAX_SPEC_BYTES + 1);
    weft_status status = load(c, &i, err);
    if (status == WEFT_OK) {
        status = send(c, &i, err);
    }
    import_done(&i);
    return status;
}

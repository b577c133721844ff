/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML documents against tables of fields. libyaml's tree knows each node's line; what our files
 * have no use for (anchors, tags, lists, depth) is refused in a first pass over the events, so that
 * the tree is as small as the file. libyaml allocates by malloc; the size of the file bounds it.
 */
#include "config/yaml.h"

#include "base/file.h"
#include "base/limits.h"
#include "config/scalar_priv.h"

#include <yaml.h>

#include <stdio.h>
#include <string.h>

#define MAX_DEPTH  4U
#define MAX_FIELDS 64U

typedef struct walk {
    const char *file;
    const weft_alloc *alloc;
    yaml_document_t *document;
    void *base;
    weft_yaml_lines *lines;
    const weft_yaml_field *root;
} walk;

/* ---- first pass: is it a document of ours at all? -------------------------------------------- */

static weft_status not_yaml(const yaml_parser_t *parser, const char *file, weft_err *err)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "reading %.80s", file);
    }
    WEFT_FAIL(err, WEFT_E_FORMAT, "%.80s:%zu: %s", file, parser->problem_mark.line + 1,
              parser->problem ? parser->problem : "this is not YAML");
}

static weft_status refuse(const char *file, const yaml_event_t *event, const char *what,
                          weft_status code, weft_err *err)
{
    return weft_err_set(err, code, 0, __FILE__, __LINE__, "%.80s:%zu: %s", file,
                        event->start_mark.line + 1, what);
}

static weft_status check_event(const char *file, const yaml_event_t *e, uint32_t *depth,
                               uint32_t *documents, weft_err *err)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*documents > 1) {
            return refuse(file, e, "a second document: one a file", WEFT_E_INVALID, err);
        }
        return WEFT_OK;
    case YAML_ALIAS_EVENT:
        return refuse(file, e, "aliases (*name) are not used here", WEFT_E_INVALID, err);
    case YAML_SEQUENCE_START_EVENT:
        return refuse(file, e, "a list: a value or a section is expected", WEFT_E_INVALID, err);
    case YAML_SCALAR_EVENT:
        if (e->data.scalar.anchor || e->data.scalar.tag) {
            return refuse(file, e, "anchors and tags are not used here", WEFT_E_INVALID, err);
        }
        return WEFT_OK;
    case YAML_MAPPING_START_EVENT:
        if (e->data.mapping_start.anchor || e->data.mapping_start.tag) {
            return refuse(file, e, "anchors and tags are not used here", WEFT_E_INVALID, err);
        }
        if (++*depth > MAX_DEPTH) {
            return refuse(file, e, "sections nest too deeply", WEFT_E_LIMIT, err);
        }
        return WEFT_OK;
    case YAML_MAPPING_END_EVENT:
        --*depth;
        return WEFT_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
    default:
        return WEFT_OK;
    }
}

static weft_status check_events(yaml_parser_t *parser, const char *file, weft_err *err)
{
    uint32_t depth = 0;
    uint32_t documents = 0;
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return not_yaml(parser, file, err);
        }
        more = event.type != YAML_STREAM_END_EVENT;
        const weft_status status = check_event(file, &event, &depth, &documents, err);
        yaml_event_delete(&event);
        WEFT_TRY(status);
    }
    return WEFT_OK;
}

static weft_status check_form(const char *file, const char *text, size_t size, weft_err *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "reading %.80s", file);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    const weft_status status = check_events(&parser, file, err);
    yaml_parser_delete(&parser);
    return status;
}

/* ---- the walk -------------------------------------------------------------------------------- */

static uint32_t line_of(const yaml_node_t *node)
{
    return (uint32_t)node->start_mark.line + 1;
}

static void scalar_of(weft_yaml_scalar *s, const walk *w, const yaml_node_t *node, const char *path)
{
    *s =
        (weft_yaml_scalar){.file = w->file, .path = path, .line = line_of(node), .alloc = w->alloc};
    if (node->type == YAML_SCALAR_NODE) {
        s->text = (const char *)node->data.scalar.value;
        s->size = node->data.scalar.length;
        s->first_line = node->data.scalar.style == YAML_LITERAL_SCALAR_STYLE ? s->line + 1 : 0;
    }
}

static void note_line(walk *w, const char *path, uint32_t line)
{
    if (!w->lines || w->lines->n == WEFT_YAML_MAX_LINES ||
        strlen(path) > WEFT_YAML_MAX_PATH_BYTES) {
        return; /* only less precise messages */
    }
    memcpy(w->lines->item[w->lines->n].path, path, strlen(path) + 1);
    w->lines->item[w->lines->n].line = line;
    w->lines->n++;
}

static const weft_yaml_field *find_field(const weft_yaml_field *fields, const char *name)
{
    while (fields->name && strcmp(fields->name, name) != 0) {
        fields++;
    }
    return fields->name ? fields : NULL;
}

/* The section of the root that has a field of this name. */
static const char *section_with(const weft_yaml_field *root, const char *name)
{
    for (; root->name; root++) {
        if (root->type == WEFT_YAML_SECTION && find_field(root->fields, name)) {
            return root->name;
        }
    }
    return NULL;
}

static weft_status unknown_field(const walk *w, const weft_yaml_field *fields,
                                 const weft_yaml_scalar *at, const char *name, weft_err *err)
{
    const char *names[MAX_FIELDS];
    size_t n = 0;
    for (const weft_yaml_field *f = fields; f->name && n < MAX_FIELDS; f++) {
        names[n++] = f->name;
    }
    const char *best = weft_yaml_suggest(name, names, n);
    const char *section = section_with(w->root, name);
    if (section) {
        return weft_yaml_fail(at, WEFT_E_INVALID, err, "unknown here; did you mean %s.%.40s?",
                              section, name);
    }
    if (best) {
        return weft_yaml_fail(at, WEFT_E_INVALID, err, "unknown field; did you mean %s?", best);
    }
    return weft_yaml_fail(at, WEFT_E_INVALID, err, "unknown field");
}

static weft_status walk_mapping(walk *w, const yaml_node_t *mapping, const weft_yaml_field *fields,
                                const char *prefix, weft_err *err);

static weft_status walk_section(walk *w, const weft_yaml_field *field, const yaml_node_t *value,
                                const weft_yaml_scalar *at, weft_err *err)
{
    if (value->type == YAML_MAPPING_NODE) {
        return walk_mapping(w, value, field->fields, at->path, err);
    }
    if (at->size == 0) {
        return WEFT_OK; /* "train:" and nothing: its defaults */
    }
    return weft_yaml_fail(at, WEFT_E_INVALID, err, "is a value: a section of fields is expected");
}

static weft_status walk_value(walk *w, const weft_yaml_field *field, const yaml_node_t *value,
                              const char *path, weft_err *err)
{
    weft_yaml_scalar at;
    scalar_of(&at, w, value, path);
    if (field->type == WEFT_YAML_SECTION) {
        return walk_section(w, field, value, &at, err);
    }
    if (value->type != YAML_SCALAR_NODE) {
        return weft_yaml_fail(&at, WEFT_E_INVALID, err, "is a section: a value is expected");
    }
    const bool quoted = value->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return weft_yaml_store(w->base, field, &at, quoted, err);
}

/* seen: [MAX_FIELDS], line in which a field was given, 0: not yet */
static weft_status walk_pair(walk *w, const yaml_node_pair_t *pair, const weft_yaml_field *fields,
                             const char *prefix, uint32_t *seen, weft_err *err)
{
    const yaml_node_t *key = yaml_document_get_node(w->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(w->document, pair->value);
    weft_yaml_scalar at;
    scalar_of(&at, w, key, prefix);
    char path[160];
    if (key->type != YAML_SCALAR_NODE || at.size == 0 || at.size > 64 ||
        strlen(at.text) != at.size) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.80s:%u: this is not a field's name", w->file,
                  (unsigned)at.line);
    }
    (void)snprintf(path, sizeof path, "%.80s%s%s", prefix, *prefix ? "." : "", at.text); /* fits */
    at.path = path;
    const weft_yaml_field *field = find_field(fields, at.text);
    if (!field) {
        return unknown_field(w, fields, &at, at.text, err);
    }
    uint32_t *line = &seen[field - fields];
    if (*line) {
        return weft_yaml_fail(&at, WEFT_E_INVALID, err, "given twice, first in line %u",
                              (unsigned)*line);
    }
    *line = at.line;
    note_line(w, path, at.line);
    return walk_value(w, field, value, path, err);
}

static weft_status check_required(const walk *w, const yaml_node_t *mapping,
                                  const weft_yaml_field *fields, const char *prefix,
                                  const uint32_t *seen, weft_err *err)
{
    for (size_t i = 0; fields[i].name; i++) {
        if (fields[i].required && !seen[i]) {
            WEFT_FAIL(err, WEFT_E_INVALID, "%.80s:%u: %s%s%s: is missing", w->file,
                      (unsigned)line_of(mapping), prefix, *prefix ? "." : "", fields[i].name);
        }
    }
    return WEFT_OK;
}

static weft_status walk_mapping(walk *w, const yaml_node_t *mapping, const weft_yaml_field *fields,
                                const char *prefix, weft_err *err)
{
    uint32_t seen[MAX_FIELDS] = {0};
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        WEFT_TRY(walk_pair(w, pair, fields, prefix, seen, err));
    }
    return check_required(w, mapping, fields, prefix, seen, err);
}

static weft_status walk_document(walk *w, weft_err *err)
{
    const yaml_node_t *root = yaml_document_get_root_node(w->document);
    if (!root) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.80s:1: the file is empty", w->file);
    }
    if (root->type != YAML_MAPPING_NODE) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.80s:%u: fields of the form \"name: value\" are expected",
                  w->file, (unsigned)line_of(root));
    }
    return walk_mapping(w, root, w->root, "", err);
}

weft_status weft_yaml_parse(void *base, weft_yaml_lines *lines, const weft_yaml_field *fields,
                            const char *file, const char *text, size_t size, const weft_alloc *a,
                            weft_err *err)
{
    if (lines) {
        lines->n = 0;
    }
    if (size > WEFT_MAX_YAML_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%.80s: %zu bytes, the limit is %u", file, size,
                  WEFT_MAX_YAML_BYTES);
    }
    WEFT_TRY(check_form(file, text, size, err));
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser)) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "reading %.80s", file);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    weft_status status = WEFT_OK;
    if (yaml_parser_load(&parser, &document)) {
        walk w = {file, a, &document, base, lines, fields};
        status = walk_document(&w, err);
        yaml_document_delete(&document);
    } else {
        status = not_yaml(&parser, file, err);
    }
    yaml_parser_delete(&parser);
    return status;
}

weft_status weft_yaml_load(weft_buf *out, const char *path, const weft_alloc *a, weft_err *err)
{
    weft_buf_init(out, a, WEFT_MAX_YAML_BYTES);
    const weft_status status = weft_file_read(out, path, err);
    if (status != WEFT_OK) {
        weft_buf_done(out);
    }
    return status;
}

uint32_t weft_yaml_line_of(const weft_yaml_lines *lines, const char *path)
{
    for (uint32_t i = 0; i < lines->n; i++) {
        if (strcmp(lines->item[i].path, path) == 0) {
            return lines->item[i].line;
        }
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Inside cli: what the files of `weft model` share. */
#ifndef WEFT_CLI_MODEL_H
#define WEFT_CLI_MODEL_H

#include "cli/cli.h"

/* Blocks of this size and more are mapped by a cli_file_alloc, smaller ones are the heap's. */
#define CLI_FILE_BLOCK_BYTES ((size_t)1 << 20)

/* An allocator for whole models: large blocks lie in unnamed files. Blocks are taken and freed,
 * never resized. It must outlive them; free is safe on any thread. */
typedef struct cli_file_alloc {
    weft_alloc alloc;
    const char *near; /* borrowed: the files lie in its folder */
    weft_err err;     /* why the last block was refused; WEFT_OK: no memory */
} cli_file_alloc;
void cli_file_alloc_init(cli_file_alloc *a, const char *near);

/** A file without a name in the folder of `near`: gone when closed, whatever happens. */
WEFT_NODISCARD weft_status cli_open_temporary(int *ret, const char *near, weft_err *err);

/** Send a model's bytes for import; the coordinator's ModelInfo is appended to reply. */
WEFT_NODISCARD weft_status cli_send_model(cli *c, const weft_msg_import_header *header,
                                          weft_rt_blob *blob, weft_buf *reply, weft_err *err);
weft_status cli_model_export(cli *c, weft_err *err);
weft_status cli_model_import(cli *c, weft_err *err);

#endif

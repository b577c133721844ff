/* SPDX-License-Identifier: Apache-2.0 */
/* Inside cli: what the files of `weft model` share. */
#ifndef WEFT_CLI_MODEL_H
#define WEFT_CLI_MODEL_H

#include "cli/cli.h"

/** Send a model's bytes for import; the coordinator's ModelInfo is appended to reply. */
WEFT_NODISCARD weft_status cli_send_model(cli *c, const weft_msg_import_header *header,
                                          weft_rt_blob *blob, weft_buf *reply, weft_err *err);
weft_status cli_model_export(cli *c, weft_err *err);
weft_status cli_model_import(cli *c, weft_err *err);

#endif

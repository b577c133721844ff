/* SPDX-License-Identifier: Apache-2.0 */
/* Inside cli: what the files of `weft job` share. */
#ifndef WEFT_CLI_JOB_H
#define WEFT_CLI_JOB_H

#include "cli/cli.h"

/** Submit a definition (or only have it checked). *ret lives as long as reply. */
WEFT_NODISCARD weft_status cli_job_send(cli *c, const weft_job_def *def, bool dry_run,
                                        weft_msg_submit_job_reply *ret, cli_reply *reply,
                                        weft_err *err);
weft_status cli_job_plan(cli *c, weft_err *err);
/** Tell, on stderr, what is allowed and still unwise about a job. */
WEFT_NODISCARD weft_status cli_job_warn(const weft_job_def *def, weft_err *err);
weft_status cli_job_stats(cli *c, weft_err *err);

#endif

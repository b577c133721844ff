/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Job files: YAML <-> weft_job_def. examples/quickstart/digits.yaml shows every section.
 * Called by the operator's command; any thread.
 */
#ifndef WEFT_CONFIG_JOB_H
#define WEFT_CONFIG_JOB_H

#include "base/buf.h"
#include "model/job.h"

/**
 * Parse and check a job file.
 * @param out   uninitialised before; the caller's to finish (weft_job_def_done) on success.
 * @param file  its name in messages.
 * @return WEFT_E_FORMAT, WEFT_E_INVALID with "FILE:LINE: field: ..."; WEFT_E_LIMIT; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_job_yaml_parse(weft_job_def *out, const char *file,
                                               const char *text, size_t size, const weft_alloc *a,
                                               weft_err *err);
/** The same from a file. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_job_yaml_load(weft_job_def *out, const char *path,
                                              const weft_alloc *a, weft_err *err);
/** Append the definition as YAML: parse(print(def)) equals def. */
WEFT_NODISCARD weft_status weft_job_yaml_print(const weft_job_def *def, weft_buf *out,
                                               weft_err *err);

#endif

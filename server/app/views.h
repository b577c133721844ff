/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows as messages: what operators see. The messages borrow from the rows. Pure, owner thread.
 */
#ifndef WEFT_APP_VIEWS_H
#define WEFT_APP_VIEWS_H

#include "core/core.h"
#include "store/clients.h"
#include "store/queries.h"
#include "wire/wire.h"

/** "running", "training", ...: static strings. */
const char *weft_view_job_status(weft_job_status status);
const char *weft_view_round_state(weft_round_state state);
const char *weft_view_assignment_state(weft_assignment_state state);
const char *weft_view_client_status(weft_store_client_status status);

/** The job of an id, or NULL. */
const weft_job_row *weft_view_find_job(const weft_core *core, uint64_t job_id);

/** @param open  the open round, or NULL. row->def must be set. */
void weft_view_job(weft_msg_job_info *out, const weft_job_row *row, const weft_round_row *open);
void weft_view_round(weft_msg_round_info *out, const weft_round_row *row, const weft_job_def *def);
void weft_view_assignment(weft_msg_assignment_info *out, const weft_assignment_row *row);
void weft_view_version(weft_msg_model_info *out, const weft_store_version *version);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* weft status: is the coordinator there, and how is it? */
#include "cli/cli.h"

#include <stdio.h>

static weft_status print_status(cli *c, const weft_msg_status_reply *s, weft_err *err)
{
    if (!cli_is_text(c)) {
        return cli_print_json(
            c,
            json_pack(
                "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "federation", s->federation, "software",
                s->software, "address", s->address, "uptime_ms", (json_int_t)s->uptime_ms,
                "clients_connected", (json_int_t)s->clients_connected, "clients_enrolled",
                (json_int_t)s->clients_enrolled, "jobs_running", (json_int_t)s->jobs_running,
                "operator_certificate_not_after_unix_ms", (json_int_t)c->certificate_until_unix_ms),
            err);
    }
    char uptime[CLI_TEXT_BYTES];
    char until[CLI_TEXT_BYTES];
    cli_field("federation", "%s", s->federation);
    cli_field("coordinator", "%s at %s, up %s", s->software, s->address,
              cli_duration(uptime, s->uptime_ms));
    cli_field("clients", "%u connected of %u enrolled", s->clients_connected, s->clients_enrolled);
    cli_field("jobs", "%u running", s->jobs_running);
    cli_field("certificate", "the operator's, good until %s",
              cli_time(until, c->certificate_until_unix_ms));
    return WEFT_OK;
}

static weft_status run_status(cli *c, weft_err *err)
{
    const weft_msg_status_request request = {0};
    weft_msg_status_reply answer;
    cli_reply reply;
    WEFT_TRY(cli_call(c, WEFT_METHOD_STATUS, WEFT_MSG_STATUS_REQUEST, &request,
                      WEFT_MSG_STATUS_REPLY, &answer, &reply, err));
    const weft_status status = print_status(c, &answer, err);
    cli_reply_done(&reply);
    return status;
}

const cli_verb cli_status_verbs[] = {
    {"status", NULL, "", 0, 0, "the coordinator and its clients at a glance", NULL, NULL,
     run_status},
    {0},
};

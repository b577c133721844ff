/* SPDX-License-Identifier: Apache-2.0 */
/* The method table. Static data, any thread. */
#include "wire/methods.h"

#define FEDERATION(name) "/weft.v1.Federation/" name
#define ADMIN(name)      "/weft.v1.Admin/" name

static const weft_method_info methods[WEFT_METHOD_COUNT] = {
    [WEFT_METHOD_ENROLL] = {FEDERATION("Enroll"), WEFT_METHOD_ROLE_ANYONE, false, false},
    [WEFT_METHOD_RENEW] = {FEDERATION("Renew"), WEFT_METHOD_ROLE_ANYONE, false, false},
    [WEFT_METHOD_CHECK_IN] = {FEDERATION("CheckIn"), WEFT_METHOD_ROLE_CLIENT, false, false},
    [WEFT_METHOD_FETCH_MODEL] = {FEDERATION("FetchModel"), WEFT_METHOD_ROLE_CLIENT, false, true},
    [WEFT_METHOD_SUBMIT_UPDATE] = {FEDERATION("SubmitUpdate"), WEFT_METHOD_ROLE_CLIENT, true,
                                   false},
    [WEFT_METHOD_PROGRESS] = {FEDERATION("Progress"), WEFT_METHOD_ROLE_CLIENT, false, false},
    [WEFT_METHOD_ABANDON] = {FEDERATION("Abandon"), WEFT_METHOD_ROLE_CLIENT, false, false},
    [WEFT_METHOD_SECURE_STEP] = {FEDERATION("SecureStep"), WEFT_METHOD_ROLE_CLIENT, false, false},
    [WEFT_METHOD_LEDGER] = {FEDERATION("Ledger"), WEFT_METHOD_ROLE_CLIENT, false, false},
    [WEFT_METHOD_SUBMIT_JOB] = {ADMIN("SubmitJob"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_CONTROL_JOB] = {ADMIN("ControlJob"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_LIST_JOBS] = {ADMIN("ListJobs"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_GET_JOB] = {ADMIN("GetJob"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_LIST_ROUNDS] = {ADMIN("ListRounds"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_GET_ROUND] = {ADMIN("GetRound"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_LIST_MODELS] = {ADMIN("ListModels"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_FETCH_VERSION] = {ADMIN("FetchModel"), WEFT_METHOD_ROLE_OPERATOR, false, true},
    [WEFT_METHOD_IMPORT_MODEL] = {ADMIN("ImportModel"), WEFT_METHOD_ROLE_OPERATOR, true, false},
    [WEFT_METHOD_TAG_MODEL] = {ADMIN("TagModel"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_INVITE] = {ADMIN("Invite"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_LIST_CLIENTS] = {ADMIN("ListClients"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_REVOKE_CLIENT] = {ADMIN("RevokeClient"), WEFT_METHOD_ROLE_OPERATOR, false, false},
    [WEFT_METHOD_WATCH] = {ADMIN("Watch"), WEFT_METHOD_ROLE_OPERATOR, false, true},
    [WEFT_METHOD_STATUS] = {ADMIN("Status"), WEFT_METHOD_ROLE_OPERATOR, false, false},
};

const weft_method_info *weft_method_get(weft_method method)
{
    return &methods[method];
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The identity in a certificate's SAN URI: set, printed, read. Pure, any thread. */
#include "crypto/cert.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

static const char *const role_names[] = {"none", "coordinator", "operator", "client", "authority"};
enum { N_ROLES = sizeof role_names / sizeof role_names[0] };

static const char scheme[] = "weft://";

const char *weft_role_name(weft_role role)
{
    const size_t i = (size_t)role;
    return i < N_ROLES ? role_names[i] : "none";
}

static weft_status copy_name(char out[WEFT_MAX_NAME_BYTES + 1], const char *name, const char *what,
                             weft_err *err)
{
    if (!weft_name_valid(name)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the %s '%.64s' is not acceptable: 1 to %d of A-Z a-z 0-9 . _ -, not starting "
                  "with . or -",
                  what, name, WEFT_MAX_NAME_BYTES);
    }
    memset(out, 0, WEFT_MAX_NAME_BYTES + 1);
    memcpy(out, name, strlen(name) + 1);
    return WEFT_OK;
}

weft_status weft_identity_set(weft_identity *ret, const char *federation, weft_role role,
                              const char *name, weft_err *err)
{
    weft_identity id = {.role = role};
    WEFT_TRY(copy_name(id.federation, federation, "federation's name", err));
    WEFT_TRY(copy_name(id.name, name, "name", err));
    if ((size_t)role == 0 || (size_t)role >= N_ROLES) {
        WEFT_FAIL(err, WEFT_E_INVALID, "role %d does not exist", (int)role);
    }
    *ret = id;
    return WEFT_OK;
}

/* The part of r up to the next '/' (or the end) as a name; false when it is none. */
static bool take_part(weft_reader *r, char out[WEFT_MAX_NAME_BYTES + 1])
{
    size_t n = 0;
    while (n < weft_reader_left(r) && r->at[n] != '/') {
        n++;
    }
    if (n > WEFT_MAX_NAME_BYTES || memchr(r->at, 0, n)) {
        return false;
    }
    memset(out, 0, WEFT_MAX_NAME_BYTES + 1);
    memcpy(out, r->at, n);
    (void)weft_reader_take(r, n); /* n <= left */
    if (weft_reader_left(r) > 0) {
        (void)weft_reader_take(r, 1); /* the '/' */
    }
    return weft_name_valid(out);
}

static weft_role role_of(const char *name)
{
    for (size_t i = 1; i < N_ROLES; i++) {
        if (strcmp(name, role_names[i]) == 0) {
            return (weft_role)i;
        }
    }
    return WEFT_ROLE_NONE;
}

weft_status weft_identity_parse(weft_identity *ret, const char *uri, size_t n, weft_err *err)
{
    weft_identity id = {.role = WEFT_ROLE_NONE};
    weft_reader r;
    weft_reader_init(&r, uri, n);
    const uint8_t *start = weft_reader_take(&r, sizeof scheme - 1);
    char role[WEFT_MAX_NAME_BYTES + 1];
    bool good = start && memcmp(start, scheme, sizeof scheme - 1) == 0;
    good = good && take_part(&r, id.federation) && take_part(&r, role);
    good = good && take_part(&r, id.name) && weft_reader_left(&r) == 0 && uri[n - 1] != '/';
    if (good) {
        id.role = role_of(role);
    }
    if (id.role == WEFT_ROLE_NONE) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "'%.*s' is no identity of the form weft://federation/role/name",
                  (int)(n < 150 ? n : 150), uri);
    }
    *ret = id;
    return WEFT_OK;
}

void weft_identity_print(char out[WEFT_MAX_IDENTITY_URI_BYTES + 1], const weft_identity *id)
{
    (void)snprintf(out, WEFT_MAX_IDENTITY_URI_BYTES + 1, "%s%s/%s/%s", scheme, id->federation,
                   weft_role_name(id->role), id->name); /* fits: both names are bounded */
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and paths in configuration files. */
#include "config/path_priv.h"

#include "data/number.h"

#include <stdio.h>
#include <string.h>

static bool host_valid(const char *host, size_t n)
{
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') { /* IPv6 */
        return strspn(host + 1, "0123456789abcdefABCDEF:.") == n - 2;
    }
    for (size_t i = 0; i < n; i++) {
        const char c = host[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '-') {
            return false;
        }
    }
    return n > 0;
}

weft_status weft_config_check_address(const char *address, bool any_port, const char *field,
                                      const weft_yaml_lines *lines, const char *file, weft_err *err)
{
    const char *colon = strrchr(address, ':');
    uint32_t port = 0;
    const bool good = colon && host_valid(address, (size_t)(colon - address)) &&
                      weft_number_parse_u32(&port, colon + 1, strlen(colon + 1), 65535) &&
                      (port > 0 || any_port);
    if (!good) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.80s:%u: %s: \"%.80s\" is not host:port%s", file,
                  (unsigned)weft_yaml_line_of(lines, field), field, address,
                  any_port ? "" : " with a port from 1 to 65535");
    }
    return WEFT_OK;
}

weft_status weft_config_complete_path(char *path, const char *file, weft_err *err)
{
    const char *slash = strrchr(file, '/');
    if (path[0] == '/' || !slash) {
        return WEFT_OK;
    }
    char whole[WEFT_CONFIG_MAX_PATH_BYTES + 1];
    const int n = snprintf(whole, sizeof whole, "%.*s/%s", (int)(slash - file), file, path);
    if (n < 0 || (size_t)n >= sizeof whole) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the path %.60s behind the folder of %.60s is too long", path,
                  file);
    }
    memcpy(path, whole, (size_t)n + 1);
    return WEFT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and paths of configuration files: shared by server.c and operator.c. */
#ifndef WEFT_CONFIG_PATH_PRIV_H
#define WEFT_CONFIG_PATH_PRIV_H

#include "config/server.h"
#include "config/yaml.h"

/** "host:port", "[v6]:port"; port 1..65535, or 0 where any_port. */
WEFT_NODISCARD weft_status weft_config_check_address(const char *address, bool any_port,
                                                     const char *field,
                                                     const weft_yaml_lines *lines, const char *file,
                                                     weft_err *err);
/** A relative path behind the folder of file, in place: char [WEFT_CONFIG_MAX_PATH_BYTES + 1]. */
WEFT_NODISCARD weft_status weft_config_complete_path(char *path, const char *file, weft_err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Scalars of a YAML file into fields: shared by yaml.c and scalar.c. */
#ifndef WEFT_CONFIG_SCALAR_PRIV_H
#define WEFT_CONFIG_SCALAR_PRIV_H

#include "config/yaml.h"

/** Convert and store; quoted says that the file has the value in quotes or as a block. */
WEFT_NODISCARD weft_status weft_yaml_store(void *base, const weft_yaml_field *field,
                                           const weft_yaml_scalar *scalar, bool quoted,
                                           weft_err *err);
/** The best of n names for a misspelt one, or NULL: at most a third of its letters differ. */
const char *weft_yaml_suggest(const char *name, const char *const *names, size_t n);

#endif

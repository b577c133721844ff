/* SPDX-License-Identifier: Apache-2.0 */
/* weft.yaml of the operator's folder. */
#include "config/operator.h"

#include "config/path_priv.h"
#include "config/yaml.h"

#include <stdio.h>
#include <string.h>

#define AT(field) .offset = offsetof(weft_operator_config, field)
#define PATH      .type = WEFT_YAML_STRING, .min = 1, .max = WEFT_CONFIG_MAX_PATH_BYTES

static const weft_yaml_field key_fields[] = {
    {.name = "ca_certificate", PATH, AT(ca_certificate)},
    {.name = "certificate", PATH, AT(certificate)},
    {.name = "key", PATH, AT(key)},
    {.name = "member_key", PATH, AT(member_key)},
    {.name = "receipt_public_key", PATH, AT(receipt_public_key)},
    {0},
};

static const weft_yaml_field operator_fields[] = {
    {.name = "federation", .type = WEFT_YAML_NAME, .required = true, AT(federation)},
    {.name = "address",
     .type = WEFT_YAML_STRING,
     .required = true,
     AT(address),
     .min = 1,
     .max = WEFT_CONFIG_MAX_ADDRESS_BYTES},
    {.name = "keys", .type = WEFT_YAML_SECTION, .fields = key_fields},
    {0},
};

static void set(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text); /* the defaults fit */
}

void weft_operator_config_init(weft_operator_config *config)
{
    memset(config, 0, sizeof *config);
    set(config->ca_certificate, sizeof config->ca_certificate, "ca.pem");
    set(config->certificate, sizeof config->certificate, "operator.pem");
    set(config->key, sizeof config->key, "operator-tls.key");
    set(config->member_key, sizeof config->member_key, "operator.key");
    set(config->receipt_public_key, sizeof config->receipt_public_key, "receipt.pub");
}

weft_status weft_operator_config_parse(weft_operator_config *out, const char *file,
                                       const char *text, size_t size, const weft_alloc *a,
                                       weft_err *err)
{
    weft_operator_config config;
    weft_operator_config_init(&config);
    weft_yaml_lines lines;
    WEFT_TRY(weft_yaml_parse(&config, &lines, operator_fields, file, text, size, a, err));
    WEFT_TRY(weft_config_check_address(config.address, false, "address", &lines, file, err));
    *out = config;
    return WEFT_OK;
}

static weft_status complete_paths(weft_operator_config *config, const char *file, weft_err *err)
{
    char *const paths[] = {config->ca_certificate, config->certificate, config->key,
                           config->member_key, config->receipt_public_key};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        WEFT_TRY(weft_config_complete_path(paths[i], file, err));
    }
    return WEFT_OK;
}

weft_status weft_operator_config_load(weft_operator_config *out, const char *path,
                                      const weft_alloc *a, weft_err *err)
{
    weft_buf text;
    WEFT_TRY(weft_yaml_load(&text, path, a, err));
    weft_operator_config config;
    const weft_status status = weft_operator_config_parse(
        &config, path, text.size ? (const char *)text.data : "", text.size, a, err);
    weft_buf_done(&text);
    WEFT_TRY(status);
    WEFT_TRY(complete_paths(&config, path, err));
    *out = config;
    return WEFT_OK;
}

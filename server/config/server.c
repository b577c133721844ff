/* SPDX-License-Identifier: Apache-2.0 */
/* weftd.yaml. */
#include "config/server.h"

#include "config/path_priv.h"
#include "config/yaml.h"

#include <stdio.h>
#include <string.h>

#define AT(field) .offset = offsetof(weft_server_config, field)
#define ADDRESS   .type = WEFT_YAML_STRING, .min = 1, .max = WEFT_CONFIG_MAX_ADDRESS_BYTES
#define PATH      .type = WEFT_YAML_STRING, .min = 1, .max = WEFT_CONFIG_MAX_PATH_BYTES
#define HOUR_MS   3600000.0

static const weft_yaml_word levels[] = {{"error", WEFT_LOG_ERROR},
                                        {"warn", WEFT_LOG_WARN},
                                        {"info", WEFT_LOG_INFO},
                                        {"debug", WEFT_LOG_DEBUG},
                                        {NULL, 0}};
static const weft_yaml_word worker_words[] = {{"auto", 0}, {NULL, 0}};

static const weft_yaml_field key_fields[] = {
    {.name = "ca_certificate", PATH, AT(ca_certificate)},
    {.name = "ca_key", PATH, AT(ca_key)},
    {.name = "certificate", PATH, AT(certificate)},
    {.name = "key", PATH, AT(key)},
    {.name = "receipt_key", PATH, AT(receipt_key)},
    {.name = "operator_public_key", PATH, AT(operator_public_key)},
    {0},
};

static const weft_yaml_field limit_fields[] = {
    {.name = "clients", .type = WEFT_YAML_U32, AT(max_clients), .min = 1, .max = WEFT_MAX_COHORT},
    {.name = "calls_per_client",
     .type = WEFT_YAML_U32,
     AT(max_calls_per_client),
     .min = 1,
     .max = 1000},
    {.name = "jobs", .type = WEFT_YAML_U32, AT(max_jobs), .min = 1, .max = 10000},
    {.name = "model_bytes",
     .type = WEFT_YAML_U64,
     AT(max_model_bytes),
     .min = 4,
     .max = (double)(WEFT_MAX_PARAMS * 4)},
    {0},
};

static const weft_yaml_field certificate_fields[] = {
    {.name = "lifetime_days", .type = WEFT_YAML_U32, AT(lifetime_days), .min = 1, .max = 3650},
    {0},
};

static const weft_yaml_field server_fields[] = {
    {.name = "federation", .type = WEFT_YAML_NAME, .required = true, AT(federation)},
    {.name = "listen", ADDRESS, AT(listen)},
    {.name = "advertise", ADDRESS, AT(advertise)},
    {.name = "data_dir", PATH, AT(data_dir)},
    {.name = "keys", .type = WEFT_YAML_SECTION, .fields = key_fields},
    {.name = "limits", .type = WEFT_YAML_SECTION, .fields = limit_fields},
    {.name = "certificates", .type = WEFT_YAML_SECTION, .fields = certificate_fields},
    {.name = "come_back", .type = WEFT_YAML_DURATION, AT(come_back_ms), .min = 10, .max = HOUR_MS},
    {.name = "hold", .type = WEFT_YAML_DURATION, AT(hold_ms), .max = HOUR_MS / 6},
    {.name = "workers", .type = WEFT_YAML_U32, AT(workers), .max = 256, .words = worker_words},
    {.name = "log_level", .type = WEFT_YAML_CHOICE, AT(log_level), .words = levels},
    {0},
};

static void set(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text); /* the defaults fit */
}

void weft_server_config_init(weft_server_config *config)
{
    memset(config, 0, sizeof *config);
    set(config->listen, sizeof config->listen, "0.0.0.0:7443");
    set(config->data_dir, sizeof config->data_dir, "data");
    set(config->ca_certificate, sizeof config->ca_certificate, "ca.pem");
    set(config->ca_key, sizeof config->ca_key, "ca.key");
    set(config->certificate, sizeof config->certificate, "server.pem");
    set(config->key, sizeof config->key, "server.key");
    set(config->receipt_key, sizeof config->receipt_key, "receipt.key");
    set(config->operator_public_key, sizeof config->operator_public_key, "operator.pub");
    config->max_clients = 10000;
    config->max_calls_per_client = 8;
    config->max_jobs = 64;
    config->max_model_bytes = WEFT_MAX_PARAMS * 4;
    config->lifetime_days = 30;
    config->come_back_ms = 2000;
    config->hold_ms = 30000;
    config->log_level = WEFT_LOG_INFO;
}

static weft_status check_addresses(const weft_server_config *config, const weft_yaml_lines *lines,
                                   const char *file, weft_err *err)
{
    WEFT_TRY(weft_config_check_address(config->listen, true, "listen", lines, file, err));
    if (config->advertise[0]) {
        WEFT_TRY(
            weft_config_check_address(config->advertise, false, "advertise", lines, file, err));
    }
    return WEFT_OK;
}

weft_status weft_server_config_parse(weft_server_config *out, const char *file, const char *text,
                                     size_t size, const weft_alloc *a, weft_err *err)
{
    weft_server_config config;
    weft_server_config_init(&config);
    weft_yaml_lines lines;
    WEFT_TRY(weft_yaml_parse(&config, &lines, server_fields, file, text, size, a, err));
    WEFT_TRY(check_addresses(&config, &lines, file, err));
    *out = config;
    return WEFT_OK;
}

static weft_status complete_paths(weft_server_config *config, const char *file, weft_err *err)
{
    char *const paths[] = {config->data_dir,
                           config->ca_certificate,
                           config->ca_key,
                           config->certificate,
                           config->key,
                           config->receipt_key,
                           config->operator_public_key};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        WEFT_TRY(weft_config_complete_path(paths[i], file, err));
    }
    return WEFT_OK;
}

weft_status weft_server_config_load(weft_server_config *out, const char *path, const weft_alloc *a,
                                    weft_err *err)
{
    weft_buf text;
    WEFT_TRY(weft_yaml_load(&text, path, a, err));
    weft_server_config config;
    weft_status status = weft_server_config_parse(
        &config, path, text.size ? (const char *)text.data : "", text.size, a, err);
    weft_buf_done(&text);
    WEFT_TRY(status);
    WEFT_TRY(complete_paths(&config, path, err));
    *out = config;
    return WEFT_OK;
}

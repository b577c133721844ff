/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_yaml_parse, weft_job_yaml_parse, weft_job_yaml_print, weft_server_config_parse,
 * weft_operator_config_parse */
#include "config/job.h"
#include "config/operator.h"
#include "config/server.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* What was accepted prints, parses again, and prints the same. */
static void round_trip(weft_job_def *def)
{
    weft_buf first;
    weft_buf second;
    weft_job_def again;
    weft_buf_init(&first, &weft_alloc_std, 2 * WEFT_MAX_YAML_BYTES);
    weft_buf_init(&second, &weft_alloc_std, 2 * WEFT_MAX_YAML_BYTES);
    require(weft_job_yaml_print(def, &first, NULL) == WEFT_OK);
    require(weft_job_yaml_parse(&again, "again", (const char *)first.data, first.size,
                                &weft_alloc_std, NULL) == WEFT_OK);
    require(weft_job_yaml_print(&again, &second, NULL) == WEFT_OK);
    require(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    require(strcmp(def->model_spec, again.model_spec) == 0);
    weft_job_def_done(&again, &weft_alloc_std);
    weft_job_def_done(def, &weft_alloc_std);
    weft_buf_done(&first);
    weft_buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    weft_job_def def;
    weft_err err = WEFT_ERR_INIT;
    if (weft_job_yaml_parse(&def, "job.yaml", text, size, &weft_alloc_std, &err) == WEFT_OK) {
        round_trip(&def);
    } else {
        require(strncmp(err.msg, "job.yaml:", 9) == 0); /* a refusal always says where */
    }
    weft_server_config server;
    if (weft_server_config_parse(&server, "s", text, size, &weft_alloc_std, NULL) == WEFT_OK) {
        require(server.federation[0] != '\0' && server.max_clients > 0);
    }
    weft_operator_config operator;
    if (weft_operator_config_parse(&operator, "o", text, size, &weft_alloc_std, NULL) == WEFT_OK) {
        require(operator.address[0] != '\0');
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* weft init: a new federation. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "auth/init.h"

static const char default_address[] = "localhost:7443";

/* "a,b,c" into hosts, cut in place; localhost is always there: the operator may sit beside it. */
static weft_status split_hosts(cli *c, const char **hosts, size_t *ret_n, char *text, weft_err *err)
{
    size_t n = 0;
    hosts[n++] = "localhost";
    hosts[n++] = "127.0.0.1";
    for (char *at = text; at;) {
        char *comma = strchr(at, ',');
        if (comma) {
            *comma = '\0';
        }
        if (n == WEFT_MAX_CERT_HOSTS - 1) {
            return cli_usage(c, err, "--hosts: at most %d names", WEFT_MAX_CERT_HOSTS - 3);
        }
        if (*at && strcmp(at, "localhost") != 0 && strcmp(at, "127.0.0.1") != 0) {
            hosts[n++] = at;
        }
        at = comma ? comma + 1 : NULL;
    }
    *ret_n = n;
    return WEFT_OK;
}

static weft_status print_result(cli *c, const weft_auth_init *init, weft_err *err)
{
    if (!cli_is_text(c)) {
        return cli_print_json(c,
                              json_pack("{s:s, s:s, s:s, s:s}", "federation", init->federation,
                                        "address", init->address, "coordinator_dir",
                                        init->coordinator_dir, "operator_dir", init->operator_dir),
                              err);
    }
    printf("federation %s is ready, to be reached at %s\n\n", init->federation, init->address);
    cli_field("coordinator", "%s: for the machine of the coordinator; weftd --config %s/weftd.yaml",
              init->coordinator_dir, init->coordinator_dir);
    cli_field("operator", "%s: keep it to yourself, its operator.key vouches for every member",
              init->operator_dir);
    cli_field("next", "weft --operator %s client invite NAME", init->operator_dir);
    return WEFT_OK;
}

static weft_status run_init(cli *c, weft_err *err)
{
    const char *hosts[WEFT_MAX_CERT_HOSTS];
    char host_text[1024] = "";
    const char *host_option = cli_value(c, "hosts");
    const char *address = c->address ? c->address : default_address;
    const char *port = strrchr(address, ':');
    char listen[64];
    const char *listen_option = cli_value(c, "listen");
    const int n = snprintf(listen, sizeof listen, "%s:%.10s", *address == '[' ? "[::]" : "0.0.0.0",
                           port ? port + 1 : "");
    weft_auth_init init = {.coordinator_dir = cli_value(c, "dir"),
                           .operator_dir = c->operator_dir,
                           .federation = cli_value(c, "federation"),
                           .operator_name = cli_value(c, "name"),
                           .listen = listen_option ? listen_option : listen,
                           .address = address,
                           .hosts = hosts};
    if (n < 0 || !init.federation) {
        return cli_usage(c, err,
                         "weft init needs --federation NAME: it goes into every certificate");
    }
    init.coordinator_dir = init.coordinator_dir ? init.coordinator_dir : "weftd";
    init.operator_name = init.operator_name ? init.operator_name : "operator";
    if (host_option && strlen(host_option) >= sizeof host_text) {
        return cli_usage(c, err, "--hosts is longer than %zu bytes", sizeof host_text - 1);
    }
    if (host_option) {
        memcpy(host_text, host_option, strlen(host_option) + 1);
    }
    WEFT_TRY(split_hosts(c, hosts, &init.n_hosts, host_text, err));
    WEFT_TRY(weft_auth_init_federation(&init, &weft_entropy_system, cli_now_unix_ms(),
                                       &weft_alloc_std, err));
    return print_result(c, &init, err);
}

static const cli_option init_options[] = {
    {"federation", 0, "NAME", "the federation's name, in every certificate; needed"},
    {"dir", 0, "DIR", "the coordinator's new folder; default ./weftd"},
    {"listen", 0, "HOST:PORT", "what weftd binds; default all interfaces, the address's port"},
    {"hosts", 0, "NAME,...", "more host names and IPs of the coordinator, for its certificate"},
    {"name", 0, "NAME", "of the operator, in the certificate; default operator"},
    {0},
};

const cli_verb cli_init_verbs[] = {
    {"init", NULL, "", 0, 0, "make a new federation",
     "Writes two folders: the coordinator's (--dir: configuration, transport authority, keys), "
     "for\n"
     "the machine that runs weftd, and the operator's (--operator, a general option), which stays\n"
     "with you. --address is where clients and operators reach the coordinator, localhost:7443\n"
     "unless given. Nothing that exists is overwritten.",
     init_options, run_init},
    {0},
};

/* SPDX-License-Identifier: Apache-2.0 */
/* config: weftd.yaml, weft.yaml, and the values that tables know. */
#include "support/support.h"

#include "base/file.h"
#include "config/operator.h"
#include "config/server.h"
#include "config/yaml.h"

#include <stdio.h>
#include <string.h>

static weft_status parse(weft_server_config *config, const char *text, weft_err *err)
{
    return weft_server_config_parse(config, "weftd.yaml", text, strlen(text), &weft_alloc_std, err);
}

static void assert_refused(const char *text, const char *message)
{
    weft_server_config config;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(parse(&config, text, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, message);
}

static void test_server_config_parse__defaults(void **state)
{
    (void)state;
    weft_server_config config;
    assert_ok(parse(&config, "federation: hearts\n", &assert_err));
    assert_string_equal(config.federation, "hearts");
    assert_string_equal(config.listen, "0.0.0.0:7443");
    assert_string_equal(config.advertise, "");
    assert_string_equal(config.data_dir, "data");
    assert_string_equal(config.receipt_key, "receipt.key");
    assert_int_equal(config.max_clients, 10000);
    assert_int_equal(config.lifetime_days, 30);
    assert_int_equal(config.hold_ms, 30000);
    assert_int_equal(config.workers, 0);
    assert_int_equal(config.log_level, WEFT_LOG_INFO);
}

static void test_server_config_parse__every_field(void **state)
{
    (void)state;
    weft_server_config config;
    assert_ok(parse(&config,
                    "federation: f\n"
                    "listen: \"[::1]:0\"\n"
                    "advertise: weft.example.org:7443\n"
                    "data_dir: /var/lib/weft\n"
                    "keys:\n"
                    "  ca_certificate: a\n"
                    "  ca_key: b\n"
                    "  certificate: c\n"
                    "  key: d\n"
                    "  receipt_key: e\n"
                    "  operator_public_key: f\n"
                    "limits: {clients: 100000, calls_per_client: 1, jobs: 10000,\n"
                    "  model_bytes: 34359738368}\n"
                    "certificates: {lifetime_days: 3650}\n"
                    "come_back: 10ms\n"
                    "hold: 10m\n"
                    "workers: 256\n"
                    "log_level: debug\n",
                    &assert_err));
    assert_string_equal(config.listen, "[::1]:0");
    assert_string_equal(config.operator_public_key, "f");
    assert_true(config.max_clients == 100000 && config.max_calls_per_client == 1);
    assert_true(config.max_jobs == 10000 && config.max_model_bytes == UINT64_C(34359738368));
    assert_true(config.lifetime_days == 3650 && config.come_back_ms == 10);
    assert_true(config.hold_ms == 600000 && config.workers == 256);
    assert_int_equal(config.log_level, WEFT_LOG_DEBUG);
    assert_ok(parse(&config, "federation: f\nworkers: auto\n", &assert_err));
    assert_int_equal(config.workers, 0);
}

static void test_server_config_parse__mistakes(void **state)
{
    (void)state;
    assert_refused("listen: 0.0.0.0:1\n", "weftd.yaml:1: federation: is missing");
    assert_refused("federation: f\nlisten: 7443\n",
                   "weftd.yaml:2: listen: \"7443\" is not host:port");
    assert_refused("federation: f\nlisten: a:65536\n",
                   "weftd.yaml:2: listen: \"a:65536\" is not host:port");
    assert_refused(
        "federation: f\n\nadvertise: a b:1\n",
        "weftd.yaml:3: advertise: \"a b:1\" is not host:port with a port from 1 to 65535");
    assert_refused("federation: f\nadvertise: a:0\n",
                   "weftd.yaml:2: advertise: \"a:0\" is not host:port with a port from 1 to 65535");
    assert_refused("federation: f\nlimits: {clients: 0}\n",
                   "weftd.yaml:2: limits.clients: 0 is out of range (1 to 100000)");
    assert_refused("federation: f\nlimits: {clients: 100001}\n",
                   "weftd.yaml:2: limits.clients: 100001 is out of range (1 to 100000)");
    assert_refused("federation: f\nlimits: {model_bytes: 34359738369}\n",
                   "weftd.yaml:2: limits.model_bytes: 34359738369 is out of range (4 to "
                   "34359738368)");
    assert_refused("federation: f\nhold: 601s\n",
                   "weftd.yaml:2: hold: 601s is out of range (0s to 10m)");
    assert_refused("federation: f\nworkers: 4294967296\n",
                   "weftd.yaml:2: workers: 4294967296 is out of range (0 to 256)");
    assert_refused("federation: f\nworkers: 99999999999999999999\n",
                   "weftd.yaml:2: workers: \"99999999999999999999\" is not a whole number (or a "
                   "word)");
    assert_refused("federation: f\nlog_level: loud\n",
                   "weftd.yaml:2: log_level: \"loud\" is none of: error, warn, info, debug");
    assert_refused("federation: f\ndata_dir: \"a\\tb\"\n",
                   "weftd.yaml:2: data_dir: holds a character that cannot be printed");
    assert_refused("federation: f\ndata_dir: \"\"\n",
                   "weftd.yaml:2: data_dir: 0 bytes of text, 1 to 1023 are allowed");
}

static void test_server_config_parse__text_at_its_limit(void **state)
{
    (void)state;
    char text[2048];
    char path[WEFT_CONFIG_MAX_PATH_BYTES + 2];
    weft_server_config config;
    memset(path, 'p', sizeof path);
    for (int n = WEFT_CONFIG_MAX_PATH_BYTES - 1; n <= WEFT_CONFIG_MAX_PATH_BYTES + 1; n++) {
        (void)snprintf(text, sizeof text, "federation: f\ndata_dir: %.*s\n", n, path);
        assert_int_equal(parse(&config, text, NULL),
                         n <= WEFT_CONFIG_MAX_PATH_BYTES ? WEFT_OK : WEFT_E_INVALID);
    }
}

static void test_server_config_load__paths_are_behind_the_files_folder(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char file[256];
    char want[512];
    (void)snprintf(file, sizeof file, "%s/weftd.yaml", dir);
    const char text[] = "federation: f\ndata_dir: /abs/data\nkeys: {key: sub/s.key}\n";
    assert_ok(weft_file_write(file, text, strlen(text), 0600, &assert_err));
    weft_server_config config;
    assert_ok(weft_server_config_load(&config, file, &weft_alloc_std, &assert_err));
    assert_string_equal(config.data_dir, "/abs/data");
    (void)snprintf(want, sizeof want, "%s/sub/s.key", dir);
    assert_string_equal(config.key, want);
    (void)snprintf(want, sizeof want, "%s/ca.pem", dir);
    assert_string_equal(config.ca_certificate, want);
    assert_int_equal(weft_server_config_load(&config, "/nonexistent", &weft_alloc_std, NULL),
                     WEFT_E_NOTFOUND);
    test_dir_done(dir);
}

static void test_operator_config__parses_and_refuses(void **state)
{
    (void)state;
    weft_operator_config config;
    const char text[] = "federation: f\naddress: coordinator:7443\nkeys:\n  member_key: m\n";
    assert_ok(weft_operator_config_parse(&config, "weft.yaml", text, strlen(text), &weft_alloc_std,
                                         &assert_err));
    assert_string_equal(config.address, "coordinator:7443");
    assert_string_equal(config.member_key, "m");
    assert_string_equal(config.key, "operator-tls.key");
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_operator_config_parse(&config, "weft.yaml", "federation: f\n", 14,
                                                &weft_alloc_std, &err),
                     WEFT_E_INVALID);
    assert_string_equal(err.msg, "weft.yaml:1: address: is missing");
    char *dir = test_dir_new();
    char file[256];
    char want[512];
    (void)snprintf(file, sizeof file, "%s/weft.yaml", dir);
    assert_ok(weft_file_write(file, text, strlen(text), 0600, &assert_err));
    assert_ok(weft_operator_config_load(&config, file, &weft_alloc_std, &assert_err));
    (void)snprintf(want, sizeof want, "%s/m", dir);
    assert_string_equal(config.member_key, want);
    test_dir_done(dir);
}

static void test_yaml_duration__units_and_overflow(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"0ms", 0},      {"500ms", 500},    {"30s", 30000}, {"10m", 600000},
        {"2h", 7200000}, {"7d", 604800000}, {"007s", 7000}, {"18446744073709551615ms", UINT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t ms = 1;
        assert_true(weft_yaml_duration(good[i].text, &ms));
        assert_true(ms == good[i].ms);
    }
    const char *const bad[] = {"",
                               "10",
                               "s",
                               "1 s",
                               "-1s",
                               "1.5s",
                               "1sec",
                               "1S",
                               "+1s",
                               "1s ",
                               " 1s",
                               "0x1s",
                               "18446744073709551616ms",
                               "18446744073709552s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t ms = 1;
        assert_false(weft_yaml_duration(bad[i], &ms));
        assert_true(ms == 1);
    }
}

static void test_yaml_print_duration__the_largest_exact_unit(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{0, "0s"},         {1, "1ms"},
                 {1000, "1s"},      {1500, "1500ms"},
                 {60000, "1m"},     {90000, "90s"},
                 {3600000, "1h"},   {86400000, "1d"},
                 {90000000, "25h"}, {UINT64_MAX, "18446744073709551615ms"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_buf b;
        weft_buf_init(&b, &weft_alloc_std, 64);
        assert_ok(weft_yaml_print_duration(&b, cases[i].ms, &assert_err));
        assert_string_equal(weft_buf_text(&b), cases[i].text);
        uint64_t ms = 0;
        assert_true(weft_yaml_duration(weft_buf_text(&b), &ms));
        assert_true(ms == cases[i].ms);
        weft_buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_config_parse__defaults),
        cmocka_unit_test(test_server_config_parse__every_field),
        cmocka_unit_test(test_server_config_parse__mistakes),
        cmocka_unit_test(test_server_config_parse__text_at_its_limit),
        cmocka_unit_test(test_server_config_load__paths_are_behind_the_files_folder),
        cmocka_unit_test(test_operator_config__parses_and_refuses),
        cmocka_unit_test(test_yaml_duration__units_and_overflow),
        cmocka_unit_test(test_yaml_print_duration__the_largest_exact_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

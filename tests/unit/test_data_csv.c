/* SPDX-License-Identifier: Apache-2.0 */
/* data: numbers, schemas, CSV, column statistics. */
#include "support/support.h"

#include "base/limits.h"
#include "data/csv.h"
#include "data/number.h"
#include "data/partition.h"
#include "data/stats.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers --------------------------------------------------------------------------------- */

static bool number(const char *text, double *ret)
{
    return weft_number_parse(ret, text, strlen(text));
}

static void test_number_parse__is_correctly_rounded(void **state)
{
    (void)state;
    static const char *const texts[] = {"0",
                                        "1",
                                        "-1.5",
                                        "+2",
                                        "0.1",
                                        ".5",
                                        "5.",
                                        "1e3",
                                        "1E-3",
                                        "1e22",
                                        "1e23",
                                        "123456789012345",
                                        "1234567890123456789",
                                        "0.30000000000000004",
                                        "1.7976931348623157e308",
                                        "4.9e-324",
                                        "9007199254740993",
                                        "2.2250738585072011e-308",
                                        "000000000000000000000001.5",
                                        "1e-400",
                                        "3.14159265358979323846"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        double v = -7.0;
        assert_true(number(texts[i], &v));
        assert_true(v == strtod(texts[i], NULL)); /* the C library rounds correctly */
    }
}

static void test_number_parse__refuses_what_is_no_decimal(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      ".",    "-",     "+",   "e5", "1e",
                                        "1e+",   "0x10", "inf",   "nan", "1 ", " 1",
                                        "1.2.3", "1,5",  "1e400", "--1", "1-"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        double v = -7.0;
        assert_false(number(texts[i], &v));
        assert_true(v == -7.0);
    }
    char digits[66];
    memset(digits, '1', sizeof digits);
    double v = 0.0;
    assert_true(weft_number_parse(&v, digits, 64));
    assert_false(weft_number_parse(&v, digits, 65));
}

static void test_number_print__round_trips_in_every_locale(void **state)
{
    (void)state;
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8"};
    static const double values[] = {0.0,       1.0,   -54.1,  0.1,       1e-9,
                                    1.0 / 3.0, 1e300, 5e-324, 123456.789};
    for (size_t l = 0; l < 3; l++) {
        if (!setlocale(LC_NUMERIC, locales[l])) {
            continue; /* not installed: the C locale is always there */
        }
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            char text[WEFT_NUMBER_BYTES];
            weft_number_print(text, values[i]);
            assert_null(strchr(text, ','));
            double back = -7.0;
            assert_true(number(text, &back));
            assert_true(back == values[i]);
        }
    }
    assert_non_null(setlocale(LC_NUMERIC, "C"));
    char text[WEFT_NUMBER_BYTES];
    weft_number_print(text, 54.1);
    assert_string_equal(text, "54.1");
}

/* ---- schemas --------------------------------------------------------------------------------- */

static weft_schema *schema_of(const char *text)
{
    weft_schema *s = NULL;
    assert_ok(weft_schema_parse(&s, text, strlen(text), &weft_alloc_std, &assert_err));
    return s;
}

static void assert_prints(const char *text, const char *want)
{
    weft_schema *s = schema_of(text);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_SCHEMA_BYTES);
    assert_ok(weft_schema_print(s, &b, &assert_err));
    assert_string_equal(weft_buf_text(&b), want);
    weft_schema_free(s);
    if (strcmp(text, want) != 0) {
        assert_prints(want, want);
    }
    weft_buf_done(&b);
}

static void test_schema_print__is_canonical(void **state)
{
    (void)state;
    assert_prints("column a numeric", "csv header=1\ncolumn a numeric\n");
    assert_prints(
        "# x\n\ncsv missing=? header=0 delimiter=\";\" comment=\"|\"\r\n"
        "column  \"age group\"\tnumeric missing_flag=1 std=9.0 mean=54.10 zero_missing=1 # y\n"
        "column cp categorical missing_flag=1 values=1,\"2,3\"|4,\"say \"\"hi\"\"\" other=1\n"
        "column id ignore\ncolumn site group\n"
        "target num positive_above=0.0 classes=2 drop_missing=1\n",
        "csv header=0 delimiter=; missing=? comment=\"|\"\n"
        "column \"age group\" numeric mean=54.1 std=9 zero_missing=1 missing_flag=1\n"
        "column cp categorical values=1,\"2,3\"|4,\"say \"\"hi\"\"\" other=1 missing_flag=1\n"
        "column id ignore\ncolumn site group\n"
        "target num classes=2 positive_above=0 drop_missing=1\n");
    assert_prints("csv delimiter=tab\ncolumn a numeric\ntarget y values=<=50K|<=50K.,>50K|>50K.\n",
                  "csv header=1 delimiter=tab\ncolumn a numeric\n"
                  "target y values=<=50K|<=50K.,>50K|>50K.\n");
    assert_prints("column a numeric\ntarget y numeric std=2 mean=1e6\n",
                  "csv header=1\ncolumn a numeric\ntarget y numeric mean=1e+06 std=2\n");
}

static void test_schema_parse__places_features(void **state)
{
    (void)state;
    weft_schema *s = schema_of("column a numeric missing_flag=1\n"
                               "column b categorical values=x|X,y other=1 missing_flag=1\n"
                               "column c ignore\ncolumn d numeric\ntarget t values=no,yes\n");
    assert_int_equal(s->n_features, 2 + 4 + 1);
    assert_int_equal(weft_schema_classes(s), 2);
    assert_int_equal(s->columns[1].n_categories, 2);
    assert_int_equal(s->target, 4);
    assert_int_equal(s->group, 5);
    static const char *const names[] = {"a", "a?", "b=x", "b=y", "b=other", "b?", "d"};
    for (uint32_t i = 0; i < 7; i++) {
        char name[80];
        weft_schema_feature_name(name, sizeof name, s, i);
        assert_string_equal(name, names[i]);
    }
    weft_schema_free(s);
}

static void test_schema_parse__refuses_and_says_where(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"", "the schema has no numeric or categorical column"},
        {"column a numeric\nfoo", "line 2: starts with 'foo', wanted is csv, column or target"},
        {"column a numeric\ncsv header=0", "line 2: the csv line comes once and first"},
        {"csv header=2", "line 1: header=2, allowed are 0 and 1"},
        {"csv x=2", "line 1: unknown word 'x=2'"},
        {"csv delimiter=ab", "line 1: delimiter=ab, wanted is one character"},
        {"csv comment=,", "line 1: delimiter and comment are the same"},
        {"column a", "line 1: a column is 'numeric', 'categorical', 'ignore' or 'group'"},
        {"column a numeric mean=1",
         "line 1: mean= and std= come together and belong to numeric columns"},
        {"column a numeric mean=1 std=0", "line 1: std= must be above 0"},
        {"column a numeric mean=x std=1", "line 1: mean=x is not a number"},
        {"column a numeric mean=nan std=1", "line 1: mean=nan is not a number"},
        {"column a categorical",
         "line 1: values= belongs to categorical columns and class targets"},
        {"column a categorical values=", "line 1: an empty value: empty cells are missing ones"},
        {"column a categorical values=x,x", "line 1: the value 'x' is there twice"},
        {"column a categorical values=x values=y", "line 1: values= is there twice"},
        {"column a ignore missing_flag=1",
         "line 1: an option does not belong to this kind of column"},
        {"column a numeric other=1", "line 1: an option does not belong to this kind of column"},
        {"column a numeric drop_missing=1",
         "line 1: an option does not belong to this kind of column"},
        {"column a numeric\ncolumn a ignore", "line 2: the column 'a' is there twice"},
        {"column a numeric\ntarget t", "line 2: a class target has either classes= or values="},
        {"target t classes=1", "line 1: classes=1, allowed are 2 to 65536"},
        {"target t values=a|b", "line 1: a class target has at least two values"},
        {"target t classes=3 positive_above=0", "line 1: positive_above= goes with classes=2"},
        {"target t numeric\ntarget u numeric", "line 2: a second target"},
        {"column g group\ncolumn h group", "line 2: a second group column"},
        {"column \"a numeric", "line 1: a quote is not closed"},
        {"column a numeric\001", "line 1: a control character (0x01)"},
        {"column \"\" numeric", "line 1: a column name of 0 bytes, allowed are 1 to 64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weft_schema *s = NULL;
        weft_err err = WEFT_ERR_INIT;
        assert_int_not_equal(
            weft_schema_parse(&s, cases[i].text, strlen(cases[i].text), &weft_alloc_std, &err),
            WEFT_OK);
        assert_null(s);
        assert_string_equal(err.msg, cases[i].message);
    }
}

/* n columns, or one column of n values. */
static weft_status parse_many(uint32_t columns, uint32_t values)
{
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 1U << 20);
    for (uint32_t i = 0; i < columns; i++) {
        assert_ok(weft_buf_addf(&b, &assert_err, "column c%u numeric\n", i));
    }
    for (uint32_t i = 0; i < values; i++) {
        assert_ok(
            weft_buf_addf(&b, &assert_err, "%s%u", i ? "," : "column v categorical values=", i));
    }
    weft_schema *s = NULL;
    const weft_status status =
        weft_schema_parse(&s, (const char *)b.data, b.size, &weft_alloc_std, NULL);
    weft_schema_free(s);
    weft_buf_done(&b);
    return status;
}

static void test_schema_parse__keeps_to_its_limits(void **state)
{
    (void)state;
    assert_int_equal(parse_many(WEFT_MAX_COLUMNS - 1, 0), WEFT_OK);
    assert_int_equal(parse_many(WEFT_MAX_COLUMNS, 0), WEFT_OK);
    assert_int_equal(parse_many(WEFT_MAX_COLUMNS + 1, 0), WEFT_E_LIMIT);
    assert_int_equal(parse_many(0, WEFT_MAX_CATEGORIES), WEFT_OK);
    assert_int_equal(parse_many(0, WEFT_MAX_CATEGORIES + 1), WEFT_E_FORMAT);
    char *text = test_malloc(WEFT_MAX_SCHEMA_BYTES + 1);
    memset(text, ' ', WEFT_MAX_SCHEMA_BYTES + 1);
    memcpy(text, "column a numeric", 16);
    weft_schema *s = NULL;
    assert_ok(weft_schema_parse(&s, text, WEFT_MAX_SCHEMA_BYTES, &weft_alloc_std, &assert_err));
    weft_schema_free(s);
    assert_int_equal(weft_schema_parse(&s, text, WEFT_MAX_SCHEMA_BYTES + 1, &weft_alloc_std, NULL),
                     WEFT_E_LIMIT);
    test_free(text);
}

static const char ALL_KINDS[] =
    "csv header=0 missing=?\n"
    "column a numeric mean=2 std=4 missing_flag=1\ncolumn b categorical values=x,y|z other=1\n"
    "column c ignore\ncolumn g group\ntarget t values=no,yes\n";

static weft_status parse_and_read(const weft_alloc *a, void *arg)
{
    weft_schema *s = NULL;
    weft_data *d = NULL;
    weft_err err = WEFT_ERR_INIT;
    weft_status status = weft_schema_parse(&s, ALL_KINDS, sizeof ALL_KINDS - 1, a, &err);
    if (status == WEFT_OK) {
        weft_source source;
        weft_source_init_bytes(&source, arg, strlen(arg), "input");
        status = weft_csv_read(&d, s, &source, a, &err);
    }
    weft_data_free(d);
    weft_schema_free(s);
    return status;
}

static void test_csv_read__every_allocation_may_fail(void **state)
{
    (void)state;
    char text[] = "6,x,,north,yes\n?,z,,south,no\n";
    test_every_allocation_may_fail(parse_and_read, text);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static weft_status read_text(weft_data **ret, const char *schema, const char *text, weft_err *err)
{
    weft_schema *s = schema_of(schema);
    weft_source source;
    weft_source_init_bytes(&source, text, strlen(text), "in.csv");
    const weft_status status = weft_csv_read(ret, s, &source, &weft_alloc_std, err);
    weft_schema_free(s);
    return status;
}

static void test_csv_read__makes_features_of_every_kind(void **state)
{
    (void)state;
    weft_data *d = NULL;
    assert_ok(read_text(&d, ALL_KINDS,
                        "6,x,junk,north,yes\n?,z,,south,no\n2.0,q,\"a,\nb\",north,no\n",
                        &assert_err));
    assert_int_equal(d->n, 3);
    assert_int_equal(d->n_features, 5);
    const float want[15] = {1, 0, 1, 0, 0, /* (6-2)/4, flag, x, y, other */
                            0, 1, 0, 1, 0, 0, 0, 0, 0, 1};
    assert_memory_equal(d->f32, want, sizeof want);
    const uint32_t classes[3] = {1, 0, 0};
    assert_memory_equal(d->classes, classes, sizeof classes);
    assert_int_equal(d->n_classes, 2);
    assert_int_equal(d->n_groups, 2);
    assert_string_equal(d->group_names[0], "north");
    assert_string_equal(d->group_names[1], "south");
    weft_partition *p = NULL;
    assert_ok(weft_partition_column(&p, d, &weft_alloc_std, &assert_err));
    assert_int_equal(p->n_parts, 2);
    assert_int_equal(p->start[1], 2);
    assert_int_equal(p->index[2], 1);
    weft_partition_free(p);
    weft_data_free(d);
}

static void test_csv_read__finds_columns_by_the_header(void **state)
{
    (void)state;
    weft_data *d = NULL;
    assert_ok(read_text(&d, "column b numeric\ncolumn a numeric\ntarget y numeric mean=1 std=2\n",
                        "\xef\xbb\xbf"
                        "a, more ,\"b\",y\r\n1,x,2,3\r\n\r\n 4 ,, 5,-1",
                        &assert_err));
    assert_int_equal(d->n, 2);
    const float want[4] = {2, 1, 5, 4};
    assert_memory_equal(d->f32, want, sizeof want);
    assert_true(d->values[0] == 1.0F && d->values[1] == -1.0F);
    weft_data_free(d);
}

static void test_csv_read__groups_many(void **state)
{
    (void)state;
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 1U << 20);
    for (unsigned i = 0; i < 3000; i++) {
        assert_ok(weft_buf_addf(&b, &assert_err, "%u,g%u\n", i, i % 1000));
    }
    weft_data *d = NULL;
    assert_ok(read_text(&d, "csv header=0\ncolumn a numeric\ncolumn g group\n", weft_buf_text(&b),
                        &assert_err));
    assert_int_equal(d->n_groups, 1000);
    for (uint32_t i = 0; i < 3000; i++) {
        assert_int_equal(d->groups[i], i % 1000);
    }
    weft_data_free(d);
    weft_buf_done(&b);
}

static void test_csv_read__targets(void **state)
{
    (void)state;
    weft_data *d = NULL;
    assert_ok(read_text(&d,
                        "csv header=0 missing=?\ncolumn a numeric\ntarget t classes=2 "
                        "positive_above=0 drop_missing=1\n",
                        "1,0\n1,4\n1,?\n1,\n1,1.0\n", &assert_err));
    assert_int_equal(d->n, 3);
    assert_true(d->classes[0] == 0 && d->classes[1] == 1 && d->classes[2] == 1);
    weft_data_free(d);
    assert_ok(read_text(&d, "csv header=0\ncolumn a numeric\ntarget t classes=3\n", "1,2\n1,0.0\n",
                        &assert_err));
    assert_true(d->classes[0] == 2 && d->classes[1] == 0 && d->n_classes == 3);
    weft_data_free(d);
    assert_ok(read_text(
        &d,
        "csv header=0 comment=\"|\"\ncolumn a numeric\ntarget t values=<=50K|<=50K.,>50K|>50K.\n",
        "|1x3 Cross validator\n1, >50K.\n2, <=50K\n\n", &assert_err));
    assert_true(d->n == 2 && d->classes[0] == 1 && d->classes[1] == 0);
    weft_data_free(d);
}

static void test_csv_read__says_where_but_never_what(void **state)
{
    (void)state;
    static const char head[] = "csv header=0 missing=?\ncolumn a numeric\ncolumn b categorical "
                               "values=1,2\ntarget t classes=2\n";
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"", "in.csv has no rows"},
        {"\n\n", "in.csv has no rows"},
        {"1,1,0\n1,1\n", "in.csv line 2 has 2 columns, wanted are 3"},
        {"1,1,0,5\n", "in.csv line 1 has 4 columns, wanted are 3"},
        {"secret,1,0\n", "in.csv line 1 column a: the cell is not a number"},
        {"1e39,1,0\n", "in.csv line 1 column a: the number is too large"},
        {"\n1,3,0\n",
         "in.csv line 2 column b: the cell is none of the values (other=1 would take it)"},
        {"1,1.0,2\n", "in.csv line 1 column t: the cell is not one of the classes"},
        {"1,1,0.5\n", "in.csv line 1 column t: the cell is not one of the classes"},
        {"1,1,-1\n", "in.csv line 1 column t: the cell is not one of the classes"},
        {"1,1,?\n",
         "in.csv line 1 column t: the target is missing (drop_missing=1 would leave the line out)"},
        {"1,\"1\n1\",0\n1,\"2\n",
         "in.csv line 1 column b: the cell is none of the values (other=1 would take it)"},
        {"1,1,0\n1,\"2\n", "in.csv line 2: a quote is not closed"},
        {"1,\"1\"x,0\n", "in.csv line 1 column 2: text behind a closing quote"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weft_data *d = NULL;
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(read_text(&d, head, cases[i].text, &err), WEFT_E_FORMAT);
        assert_null(d);
        assert_string_equal(err.msg, cases[i].message);
        assert_null(strstr(err.msg, "secret"));
    }
    weft_data *d = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(read_text(&d, "column a numeric\n", "b,c\n1,2\n", &err), WEFT_E_FORMAT);
    assert_string_equal(err.msg, "in.csv line 1: the header lacks the column 'a'");
    weft_err_clear(&err);
    assert_int_equal(read_text(&d, "column a numeric\n", "", &err), WEFT_E_FORMAT);
    assert_string_equal(err.msg, "in.csv is empty, wanted is a header line");
}

static weft_status read_long_line(size_t bytes)
{
    char *text = test_malloc(bytes + 3);
    memset(text, 'x', bytes);
    memcpy(text + bytes, ",1", 3);
    weft_data *d = NULL;
    const weft_status status =
        read_text(&d, "csv header=0\ncolumn a ignore\ncolumn b numeric\n", text, NULL);
    weft_data_free(d);
    test_free(text);
    return status;
}

static void test_csv_read__limits_a_line(void **state)
{
    (void)state;
    /* kept are the cells and a zero behind each: 3 bytes beside the long one */
    assert_int_equal(read_long_line(WEFT_MAX_LINE_BYTES - 4), WEFT_OK);
    assert_int_equal(read_long_line(WEFT_MAX_LINE_BYTES - 3), WEFT_OK);
    assert_int_equal(read_long_line(WEFT_MAX_LINE_BYTES - 2), WEFT_E_LIMIT);
}

/* ---- statistics ------------------------------------------------------------------------------ */

static const char STATS[] =
    "csv header=0 missing=?\ncolumn x numeric\ncolumn k categorical values=a,b other=1\n"
    "column id ignore\ncolumn big numeric\ntarget t classes=2\n";

static uint64_t stats_of(float *out, const weft_schema *s, const char *text)
{
    weft_source source;
    weft_source_init_bytes(&source, text, strlen(text), "in.csv");
    uint64_t n = 0;
    assert_ok(weft_stats_compute(out, &n, s, &source, &weft_alloc_std, &assert_err));
    return n;
}

static const char *const PARTS[3] = {
    "1,a,7,1000000,0\n3,b,8,2000000,1\n?,c,9,1500000,1\n",
    "10,a,1,1250000,0\n",
    "-4,?,1,?,1\n5,a,2,3000000,0\n7.5,a,2,-0.001,0\n0,a,3,12345678,0\n?,b,4,1,1\n",
};

/* FedAvg's mean of n vectors, as the exact sums round it at the end. */
static void average(float *out, float (*v)[128], const uint64_t *n, uint32_t parts, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        double sum = 0.0;
        double total = 0.0;
        for (uint32_t k = 0; k < parts; k++) {
            sum += (double)v[k][i] * (double)n[k];
            total += (double)n[k];
        }
        out[i] = (float)(sum / total);
    }
}

static void near(double got, double want, double relative)
{
    if (!(fabs(got - want) <= relative * fabs(want))) {
        fail_msg("got %.9g, want %.9g", got, want);
    }
}

static void test_stats__averages_to_the_pooled_data(void **state)
{
    (void)state;
    weft_schema *s = schema_of(STATS);
    const uint32_t length = weft_stats_length(s);
    assert_int_equal(length, 23 + 3 + 23 + 2);
    float v[3][128];
    float mean[128];
    uint64_t n[3];
    for (int k = 0; k < 3; k++) {
        n[k] = stats_of(v[k], s, PARTS[k]);
        double norm = 0.0;
        for (uint32_t i = 0; i < length; i++) {
            norm += (double)v[k][i] * (double)v[k][i];
        }
        assert_true(sqrt(norm) < weft_stats_norm(s));
    }
    assert_true(n[0] == 3 && n[1] == 1 && n[2] == 5);
    average(mean, v, n, 3, length);
    weft_column_stats c;
    assert_ok(weft_stats_column(&c, s, 0, mean, length, &assert_err));
    /* x: 1 3 10 -4 5 7.5 0: sum 22.5, squares 216.25 - of numpy: mean 3.2142857, std 4.4870593 */
    near(c.present, 7.0 / 9.0, 1e-6);
    near(c.mean, 22.5 / 7.0, 1e-6);
    near(c.std, sqrt(207.25 / 7.0 - (22.5 / 7.0) * (22.5 / 7.0)), 1e-6);
    assert_ok(weft_stats_column(&c, s, 3, mean, length, &assert_err));
    const double sum = 1e6 + 2e6 + 1.5e6 + 1.25e6 + 3e6 - 0.001 + 12345678.0 + 1.0;
    const double squares =
        1e12 + 4e12 + 2.25e12 + 1.5625e12 + 9e12 + 1e-6 + 12345678.0 * 12345678.0 + 1.0;
    near(c.mean, sum / 8, 1e-6);
    near(c.std, sqrt(squares / 8 - (sum / 8) * (sum / 8)), 1e-5);
    assert_ok(weft_stats_column(&c, s, 1, mean, length, &assert_err));
    assert_int_equal(c.n_fractions, 3);
    near((double)c.fractions[0], 5.0 / 9, 1e-6);
    near((double)c.fractions[2], 1.0 / 9, 1e-6); /* "c" is another */
    near(c.present, 8.0 / 9, 1e-6);
    assert_int_equal(weft_stats_column(&c, s, 2, mean, length, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_stats_column(&c, s, 0, mean, length - 1, NULL), WEFT_E_INVALID);
    weft_schema_free(s);
}

/* A column whose mean is a million times its deviation: the second round finds it. */
static void test_stats_apply__a_second_round_refines(void **state)
{
    (void)state;
    weft_schema *s = schema_of("csv header=0\ncolumn x numeric\n");
    const uint32_t length = weft_stats_length(s);
    const char *const parts[2] = {"1000001\n999999\n1000002\n", "1000000\n999997\n"};
    for (int round = 0; round < 2; round++) {
        float v[2][128];
        float mean[128];
        uint64_t n[2];
        n[0] = stats_of(v[0], s, parts[0]);
        n[1] = stats_of(v[1], s, parts[1]);
        average(mean, v, n, 2, length);
        weft_schema *next = NULL;
        assert_ok(weft_stats_apply(&next, s, mean, length, &weft_alloc_std, &assert_err));
        weft_schema_free(s);
        s = next;
    }
    near(s->columns[0].mean, 999999.8, 1e-7);
    near(s->columns[0].std, sqrt(14.8 / 5), 1e-3); /* sum of squared deviations: 14.8 */
    weft_schema_free(s);
}

static void test_stats_apply__fills_in_and_keeps_the_rest(void **state)
{
    (void)state;
    weft_schema *s = schema_of(STATS);
    const uint32_t length = weft_stats_length(s);
    float v[128];
    (void)stats_of(v, s, "5,a,1,2,0\n5,b,1,4,1\n");
    weft_schema *filled = NULL;
    assert_ok(weft_stats_apply(&filled, s, v, length, &weft_alloc_std, &assert_err));
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_SCHEMA_BYTES);
    assert_ok(weft_schema_print(filled, &b, &assert_err));
    assert_string_equal(weft_buf_text(&b),
                        "csv header=0 missing=?\ncolumn x numeric mean=5 std=1\n" /* no spread: 1 */
                        "column k categorical values=a,b other=1\ncolumn id ignore\n"
                        "column big numeric mean=3 std=1\ntarget t classes=2\n");
    weft_buf_clear(&b);
    assert_ok(weft_stats_spec(&b, s, &assert_err));
    assert_string_equal(weft_buf_text(&b), "tensor stats 51\n");
    weft_schema_free(filled);
    v[3] = NAN;
    assert_int_equal(weft_stats_apply(&filled, s, v, length, &weft_alloc_std, NULL),
                     WEFT_E_INVALID);
    v[3] = 0.0F;
    v[0] = 1.5F;
    assert_int_equal(weft_stats_apply(&filled, s, v, length, &weft_alloc_std, NULL),
                     WEFT_E_INVALID);
    weft_buf_done(&b);
    weft_schema_free(s);
}

static void test_stats_compute__takes_large_and_tiny_numbers(void **state)
{
    (void)state;
    weft_schema *s = schema_of("csv header=0\ncolumn x numeric\n");
    static const struct {
        const char *text;
        double mean, std;
    } cases[] = {{"1e-7\n3e-7\n", 2e-7, 1e-7},
                 {"1e13\n3e13\n", 2e13, 1e13},
                 {"-5e3\n-5e3\n", -5e3, 0.0},
                 {"140737488355328\n", 140737488355328.0, 0.0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float v[128];
        (void)stats_of(v, s, cases[i].text);
        weft_column_stats c;
        assert_ok(weft_stats_column(&c, s, 0, v, weft_stats_length(s), &assert_err));
        near(c.mean, cases[i].mean, 1e-7);
        near(c.std, cases[i].std, 1e-6);
    }
    weft_source source;
    weft_source_init_bytes(&source, "140737488355329\n", 16, "in.csv");
    float v[128];
    uint64_t n = 0;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_stats_compute(v, &n, s, &source, &weft_alloc_std, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, "line 1 column x: a number above 2^47 has no statistics");
    weft_schema_free(s);
}

static weft_status compute_and_apply(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_schema *s = NULL;
    weft_schema *t = NULL;
    float v[128];
    uint64_t n = 0;
    weft_status status = weft_schema_parse(&s, STATS, sizeof STATS - 1, a, NULL);
    if (status == WEFT_OK) {
        weft_source source;
        weft_source_init_bytes(&source, PARTS[0], strlen(PARTS[0]), "input");
        status = weft_stats_compute(v, &n, s, &source, a, NULL);
    }
    if (status == WEFT_OK) {
        status = weft_stats_apply(&t, s, v, weft_stats_length(s), a, NULL);
    }
    weft_schema_free(t);
    weft_schema_free(s);
    return status;
}

static void test_stats__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(compute_and_apply, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_parse__is_correctly_rounded),
        cmocka_unit_test(test_number_parse__refuses_what_is_no_decimal),
        cmocka_unit_test(test_number_print__round_trips_in_every_locale),
        cmocka_unit_test(test_schema_print__is_canonical),
        cmocka_unit_test(test_schema_parse__places_features),
        cmocka_unit_test(test_schema_parse__refuses_and_says_where),
        cmocka_unit_test(test_schema_parse__keeps_to_its_limits),
        cmocka_unit_test(test_csv_read__every_allocation_may_fail),
        cmocka_unit_test(test_csv_read__makes_features_of_every_kind),
        cmocka_unit_test(test_csv_read__finds_columns_by_the_header),
        cmocka_unit_test(test_csv_read__groups_many),
        cmocka_unit_test(test_csv_read__targets),
        cmocka_unit_test(test_csv_read__says_where_but_never_what),
        cmocka_unit_test(test_csv_read__limits_a_line),
        cmocka_unit_test(test_stats__averages_to_the_pooled_data),
        cmocka_unit_test(test_stats_apply__a_second_round_refines),
        cmocka_unit_test(test_stats_apply__fills_in_and_keeps_the_rest),
        cmocka_unit_test(test_stats_compute__takes_large_and_tiny_numbers),
        cmocka_unit_test(test_stats__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which reader for which path. Any thread. */
#include "data/load.h"

#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "data/locator.h"
#include "data/text.h"

weft_status weft_data_find_csv(char *out, size_t out_size, const char *path, weft_split split,
                               weft_err *err)
{
    static const char *const train[] = {"train.csv", "train.csv.gz", "data.csv", "data.csv.gz"};
    static const char *const test[] = {"test.csv", "test.csv.gz"};
    const bool is_test = split == WEFT_SPLIT_TEST;
    const char *const *names = is_test ? test : train;
    const size_t n = is_test ? 2 : 4;
    struct stat st;
    if (stat(path, &st) != 0) {
        const int sys = errno;
        return weft_err_set(err, sys == ENOENT ? WEFT_E_NOTFOUND : WEFT_E_IO, sys, __FILE__,
                            __LINE__, "cannot open %.160s: %s", path, strerrordesc_np(sys));
    }
    if (!S_ISDIR(st.st_mode)) {
        const int len = snprintf(out, out_size, "%s", path);
        if (len < 0 || (size_t)len >= out_size) {
            WEFT_FAIL(err, WEFT_E_LIMIT, "the path %.160s is too long", path);
        }
        return WEFT_OK;
    }
    for (size_t i = 0; i < n; i++) {
        WEFT_TRY(weft_path_join(out, out_size, path, names[i], err));
        if (stat(out, &st) == 0 && S_ISREG(st.st_mode)) {
            return WEFT_OK;
        }
    }
    WEFT_FAIL(err, WEFT_E_NOTFOUND,
              "%.140s holds no data: wanted are IDX files, NPY files or %s (README, Data)", path,
              is_test ? "test.csv" : "train.csv or data.csv");
}

static weft_status load_folder(weft_data **ret, const char *path, weft_split split, bool *ret_found,
                               const weft_alloc *a, weft_err *err)
{
    weft_err quiet = WEFT_ERR_INIT;
    weft_status status = weft_idx_load(ret, path, split, a, &quiet);
    if (status == WEFT_E_NOTFOUND) {
        weft_err_clear(&quiet);
        status = weft_npy_load(ret, path, split, a, &quiet);
    }
    *ret_found = status != WEFT_E_NOTFOUND;
    if (status != WEFT_OK && *ret_found) {
        WEFT_FAIL(err, status, "%s", quiet.msg);
    }
    return WEFT_OK;
}

static weft_status load_path(weft_data **ret, const char *path, weft_split split,
                             const weft_schema *schema, const weft_alloc *a, weft_err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        bool found = false;
        WEFT_TRY(load_folder(ret, path, split, &found, a, err));
        if (found) {
            return WEFT_OK;
        }
    }
    char csv[PATH_MAX];
    WEFT_TRY(weft_data_find_csv(csv, sizeof csv, path, split, err));
    if (!schema) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.160s is a CSV: a data schema must say what is in it",
                  csv);
    }
    return weft_csv_load(ret, schema, csv, a, err);
}

weft_status weft_data_load(weft_data **ret, const char *path, weft_split split,
                           const weft_schema *schema, const weft_alloc *a, weft_err *err)
{
    weft_locator locator;
    WEFT_TRY(weft_locator_parse(&locator, path, err));
    if (locator.digits) {
        return weft_locator_draw(ret, &locator, split, a, err);
    }
    weft_data *data = NULL;
    if (locator.window > 0) {
        WEFT_TRY(weft_text_load(&data, locator.path, locator.window, locator.stride, a, err));
    } else {
        WEFT_TRY(load_path(&data, locator.path, split, schema, a, err));
    }
    const weft_status status = weft_locator_cut(&data, &locator, a, err);
    if (status != WEFT_OK) {
        weft_data_free(data);
        return status;
    }
    *ret = data;
    return WEFT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target over the files of its corpus folder, and over each of their prefixes cut at a
 * few places: the fuzzers' findings stay found, under any compiler.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    static uint8_t block[4U << 20];
    const size_t n = fread(block, 1, sizeof block, f);
    (void)fclose(f); /* only read */
    for (size_t cut = 0; cut <= 8; cut++) {
        const size_t size = n * cut / 8;
        uint8_t *exact = malloc(size ? size : 1); /* exact size: ASan sees a read past the end */
        if (!exact) {
            return 1;
        }
        memcpy(exact, block, size);
        (void)LLVMFuzzerTestOneInput(exact, size); /* always 0 by libFuzzer's contract */
        free(exact);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int failed = argc < 2;
    size_t files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
            char path[4096];
            if (e->d_name[0] == '.') {
                continue;
            }
            const int n = snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            failed |= n < 0 || (size_t)n >= sizeof path || run_file(path);
            files++;
        }
        (void)closedir(dir); /* only read */
    }
    printf("%zu files\n", files);
    return failed || files == 0;
}

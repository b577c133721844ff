/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_cert_parse, weft_csr_open, weft_key_from_pem, weft_sign_key_from_pem,
 *          weft_sign_public_from_pem, weft_identity_parse */
/* Property: an identity that parses prints to the same text; an accepted request has a key whose
 * digest can be told. */
#include <stdlib.h>
#include <string.h>

#include "crypto/cert.h"
#include "crypto/sign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int good)
{
    if (!good) {
        abort();
    }
}

static void check_identity(const weft_identity *id)
{
    char uri[WEFT_MAX_IDENTITY_URI_BYTES + 1];
    weft_identity back;
    weft_identity_print(uri, id);
    check(weft_identity_parse(&back, uri, strlen(uri), NULL) == WEFT_OK);
    check(memcmp(&back, id, sizeof back) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_identity id;
    if (weft_identity_parse(&id, (const char *)data, size, NULL) == WEFT_OK) {
        char uri[WEFT_MAX_IDENTITY_URI_BYTES + 1];
        weft_identity_print(uri, &id);
        check(strlen(uri) == size && memcmp(uri, data, size) == 0);
    }
    weft_cert_info info;
    if (weft_cert_parse(&info, data, size, NULL) == WEFT_OK) {
        check_identity(&info.id);
    }
    uint8_t digest[WEFT_SHA256_BYTES];
    weft_key *key = NULL;
    if (weft_csr_open(&key, data, size, &weft_alloc_std, NULL) == WEFT_OK) {
        check(weft_key_digest(digest, key, NULL) == WEFT_OK);
        weft_key_free(key);
        key = NULL;
    }
    if (weft_key_from_pem(&key, data, size, &weft_alloc_std, NULL) == WEFT_OK) {
        check(weft_key_digest(digest, key, NULL) == WEFT_OK);
        weft_key_free(key);
    }
    weft_sign_key pair;
    if (weft_sign_key_from_pem(&pair, data, size, NULL) == WEFT_OK) {
        weft_sign_key again;
        check(weft_sign_key_from_seed(&again, pair.seed, NULL) == WEFT_OK);
        check(memcmp(again.public_key, pair.public_key, sizeof again.public_key) == 0);
    }
    if (weft_sign_public_from_pem(digest, data, size, NULL) == WEFT_OK) {
        weft_buf b;
        uint8_t again[WEFT_SIGN_PUBLIC_BYTES];
        weft_buf_init(&b, &weft_alloc_std, 4096);
        check(weft_sign_public_to_pem(&b, digest, NULL) == WEFT_OK);
        check(weft_sign_public_from_pem(again, b.data, b.size, NULL) == WEFT_OK);
        check(memcmp(again, digest, sizeof again) == 0);
        weft_buf_done(&b);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_invitation_decode, weft_member_decode, weft_invitation_encode, weft_member_encode
 */
/* Property: what decodes encodes to the same bytes; a foreign operator never vouches for it. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "crypto/member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The public part of nobody's key: all signatures under it fail. */
static const uint8_t nobody[32] = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe,
                                   0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6,
                                   0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};

static void check(int good)
{
    if (!good) {
        abort();
    }
}

static void check_same(weft_status encoded, weft_buf *b, const uint8_t *data, size_t size)
{
    check(encoded == WEFT_OK && b->size == size && memcmp(b->data, data, size) == 0);
    weft_buf_done(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_CHAIN_BYTES);
    weft_invitation invitation;
    if (weft_invitation_decode(&invitation, data, size, NULL) == WEFT_OK) {
        check_same(weft_invitation_encode(&b, &invitation, NULL), &b, data, size);
        check(weft_invitation_verify(&invitation, nobody, NULL, WEFT_MEMBER_ANY_TIME, NULL) ==
              WEFT_E_AUTH);
    }
    weft_member_chain chain;
    if (weft_member_decode(&chain, data, size, NULL) == WEFT_OK) {
        check_same(weft_member_encode(&b, &chain, NULL), &b, data, size);
        check(weft_member_verify(&chain, nobody, NULL, WEFT_MEMBER_ANY_TIME, NULL) == WEFT_E_AUTH);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_secagg_decode, weft_secagg_encode */
/* Property: what decodes encodes to the same bytes; everything else is refused. */
#include "secagg/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_secagg_message m;
    if (weft_secagg_decode(&m, data, size, NULL) == WEFT_OK) {
        weft_buf out;
        weft_buf_init(&out, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
        if (weft_secagg_encode(&out, &m, NULL) != WEFT_OK || out.size != size ||
            memcmp(out.data, data, size) != 0) {
            abort();
        }
        weft_buf_done(&out);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Target: weft_rt_certificate_read */
/* Property: where crypto's parser takes the certificate, too, both say the same end. (Not the same
 * digest: that parser writes what is not quite DER, a signature's unused bits, anew before it
 * hashes it; here the bytes are hashed as they came.) */
#include <stdlib.h>

#include "crypto/cert.h"
#include "rt/certificate_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t print[32];
    int64_t end = 0;
    weft_cert_info info;
    if (weft_rt_certificate_read(print, &end, (const char *)data, size) &&
        weft_cert_parse(&info, data, size, NULL) == WEFT_OK && end != info.not_after_unix_ms) {
        abort();
    }
    return 0;
}

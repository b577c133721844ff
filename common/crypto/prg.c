/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mask streams over OpenSSL's EVP, whose AES-CTR is the processor's fastest. One block of the
 * vector takes all streams of a bank before the next block is touched: block, keystream and zeros
 * stay in the cache, and the vector goes through memory once a bank, not once a stream.
 */
#include "crypto/prg.h"

#include "base/limits.h"
#include "crypto/hash.h"
#include "crypto/openssl_priv.h"

#include <string.h>

#define WORD_BYTES      4U
#define AES_BLOCK_WORDS 4U
/* Streams of one pass of weft_prg_apply: their contexts take about 64 KiB. */
#define APPLY_STREAMS 64U
#define MAX_FIRST     (2 * WEFT_MAX_PARAMS)

struct weft_prg_bank {
    const weft_alloc *alloc;
    size_t n;
    EVP_CIPHER_CTX **ctx; /* [n], owned, all at the same position */
    bool *subtract;       /* [n], owned */
    bool ended;           /* an odd piece was added */
    /* keystream of one block, secret; apart from the vector so that both are read once */
    _Alignas(64) uint8_t stream[WEFT_PRG_BLOCK_WORDS * WORD_BYTES];
};

static const _Alignas(64) uint8_t zeros[WEFT_PRG_BLOCK_WORDS * WORD_BYTES];

/* The counter is the big-endian initial value of SP 800-38A. */
static weft_status begin(EVP_CIPHER_CTX *ctx, const uint8_t *key, uint64_t first, weft_err *err)
{
    uint8_t counter[16] = {0};
    const uint64_t block = first / AES_BLOCK_WORDS;
    for (size_t i = 0; i < 8; i++) {
        counter[15 - i] = (uint8_t)(block >> (8 * i));
    }
    if (EVP_EncryptInit_ex(ctx, EVP_aes_256_ctr(), NULL, key, counter) != 1) {
        return weft_openssl_fail(err, "AES-256-CTR");
    }
    return WEFT_OK;
}

static weft_status fill_bank(weft_prg_bank *bank, const weft_prg_stream *streams, uint64_t first,
                             weft_err *err)
{
    for (size_t i = 0; i < bank->n; i++) {
        bank->subtract[i] = streams[i].subtract;
        bank->ctx[i] = EVP_CIPHER_CTX_new();
        if (!bank->ctx[i]) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a mask stream");
        }
        WEFT_TRY(begin(bank->ctx[i], streams[i].key, first, err));
    }
    return WEFT_OK;
}

weft_status weft_prg_bank_new(weft_prg_bank **ret, const weft_prg_stream *streams, size_t n,
                              uint64_t first, const weft_alloc *a, weft_err *err)
{
    if (first % AES_BLOCK_WORDS != 0 || first > MAX_FIRST) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a mask cannot begin at word %llu",
                  (unsigned long long)first);
    }
    weft_prg_bank *bank = weft_array(a, 1, sizeof *bank);
    if (!bank) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for mask streams");
    }
    bank->alloc = a;
    bank->ctx = weft_array(a, n ? n : 1, sizeof(EVP_CIPHER_CTX *));
    bank->subtract = weft_array(a, n ? n : 1, sizeof *bank->subtract);
    if (!bank->ctx || !bank->subtract) {
        weft_prg_bank_free(bank);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %zu mask streams", n);
    }
    bank->n = n;
    const weft_status status = fill_bank(bank, streams, first, err);
    if (status != WEFT_OK) {
        weft_prg_bank_free(bank);
        return status;
    }
    *ret = bank;
    return WEFT_OK;
}

void weft_prg_bank_free(weft_prg_bank *bank)
{
    if (!bank) {
        return;
    }
    for (size_t i = 0; bank->ctx && i < bank->n; i++) {
        EVP_CIPHER_CTX_free(bank->ctx[i]); /* wipes the key */
    }
    weft_free(bank->alloc, bank->ctx);
    weft_free(bank->alloc, bank->subtract);
    weft_wipe(bank->stream, sizeof bank->stream);
    weft_free(bank->alloc, bank);
}

static uint32_t read_word(const uint8_t *at)
{
    uint32_t w = 0;
    memcpy(&w, at, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap32(w);
#endif
    return w;
}

/* Both loops are vectorised by the compiler; wrapping is the arithmetic of the masks. */
static void add_words(uint32_t *words, const uint8_t *stream, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        words[i] += read_word(stream + i * WORD_BYTES);
    }
}

static void subtract_words(uint32_t *words, const uint8_t *stream, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        words[i] -= read_word(stream + i * WORD_BYTES);
    }
}

static weft_status add_block(weft_prg_bank *bank, uint32_t *words, size_t n, weft_err *err)
{
    const int size = (int)(n * WORD_BYTES);
    for (size_t i = 0; i < bank->n; i++) {
        int got = 0;
        if (EVP_EncryptUpdate(bank->ctx[i], bank->stream, &got, zeros, size) != 1 || got != size) {
            return weft_openssl_fail(err, "AES-256-CTR");
        }
        if (bank->subtract[i]) {
            subtract_words(words, bank->stream, n);
        } else {
            add_words(words, bank->stream, n);
        }
    }
    return WEFT_OK;
}

weft_status weft_prg_bank_add(weft_prg_bank *bank, uint32_t *words, size_t n, weft_err *err)
{
    if (bank->ended && n > 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "words after the last piece of a masked vector");
    }
    for (size_t at = 0; at < n; at += WEFT_PRG_BLOCK_WORDS) {
        const size_t left = n - at;
        WEFT_TRY(add_block(bank, words + at,
                           left < WEFT_PRG_BLOCK_WORDS ? left : WEFT_PRG_BLOCK_WORDS, err));
    }
    bank->ended = bank->ended || n % AES_BLOCK_WORDS != 0;
    return WEFT_OK;
}

weft_status weft_prg_apply(uint32_t *words, uint64_t first, uint64_t n,
                           const weft_prg_stream *streams, size_t n_streams, const weft_alloc *a,
                           weft_err *err)
{
    for (size_t at = 0; at < n_streams; at += APPLY_STREAMS) {
        const size_t left = n_streams - at;
        weft_prg_bank *bank = NULL;
        WEFT_TRY(weft_prg_bank_new(&bank, streams + at, left < APPLY_STREAMS ? left : APPLY_STREAMS,
                                   first, a, err));
        const weft_status status = weft_prg_bank_add(bank, words, n, err);
        weft_prg_bank_free(bank);
        WEFT_TRY(status);
    }
    return WEFT_OK;
}

weft_status weft_prg_bytes(void *out, size_t n, const uint8_t key[WEFT_PRG_KEY_BYTES],
                           weft_err *err)
{
    WEFT_AUTO_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a stream");
    }
    WEFT_TRY(begin(ctx, key, 0, err));
    uint8_t *at = out;
    while (n > 0) {
        const size_t size = n < sizeof zeros ? n : sizeof zeros;
        int got = 0;
        if (EVP_EncryptUpdate(ctx, at, &got, zeros, (int)size) != 1) {
            return weft_openssl_fail(err, "AES-256-CTR");
        }
        at += size;
        n -= size;
    }
    return WEFT_OK;
}

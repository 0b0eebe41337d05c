/*
 * ChaCha20-Poly1305 with associated data and XChaCha20-Poly1305, one message at a time through libcrypto: for
 * cookie replies, not for transport data (aead.h). No cipher is written here: HChaCha20 is read out of
 * libcrypto's ChaCha20 block by taking the initial state words off again.
 */
#ifndef WGPY_XAEAD_H
#define WGPY_XAEAD_H

#include <stddef.h>
#include <stdint.h>

#include "dataplane.h"

#define XAEAD_NONCE_LEN 24

/* out: length + 16 bytes, may be the same place as `in`. 0 or -EIO (libcrypto failed, e.g. no memory). */
int chacha_seal(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[12], const uint8_t *in, size_t length,
                const uint8_t *ad, size_t ad_len, uint8_t *out);
/* `in` is length + 16 bytes with the tag last; out gets length bytes. -EBADMSG: not authentic. */
int chacha_open(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[12], const uint8_t *in, size_t length,
                const uint8_t *ad, size_t ad_len, uint8_t *out);

int hchacha20(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[16], uint8_t out[DP_KEY_LEN]);

/* As chacha_seal and chacha_open with a 24-byte nonce. */
int xaead_seal(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[XAEAD_NONCE_LEN], const uint8_t *in,
               size_t length, const uint8_t *ad, size_t ad_len, uint8_t *out);
int xaead_open(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[XAEAD_NONCE_LEN], const uint8_t *in,
               size_t length, const uint8_t *ad, size_t ad_len, uint8_t *out);

#endif

#include "xaead.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "packet.h"

#define NONCE_LEN 12
#define BLOCK_LEN 64

int chacha_seal(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[NONCE_LEN], const uint8_t *in,
                size_t length, const uint8_t *ad, size_t ad_len, uint8_t *out)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int done = 0;
    int ok = context && EVP_EncryptInit_ex(context, EVP_chacha20_poly1305(), NULL, key, nonce) &&
             (ad_len == 0 || EVP_EncryptUpdate(context, NULL, &done, ad, (int)ad_len)) &&
             (length == 0 || EVP_EncryptUpdate(context, out, &done, in, (int)length)) &&
             EVP_EncryptFinal_ex(context, out + length, &done) &&
             EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, out + length);
    EVP_CIPHER_CTX_free(context);
    return ok ? 0 : -EIO;
}

int chacha_open(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[NONCE_LEN], const uint8_t *in,
                size_t length, const uint8_t *ad, size_t ad_len, uint8_t *out)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t tag[TAG_LEN];
    int done = 0;

    memcpy(tag, in + length, TAG_LEN);
    int ok = context && EVP_DecryptInit_ex(context, EVP_chacha20_poly1305(), NULL, key, nonce) &&
             EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) &&
             (ad_len == 0 || EVP_DecryptUpdate(context, NULL, &done, ad, (int)ad_len)) &&
             (length == 0 || EVP_DecryptUpdate(context, out, &done, in, (int)length)) &&
             EVP_DecryptFinal_ex(context, out + length, &done) > 0;
    EVP_CIPHER_CTX_free(context);
    return ok ? 0 : -EBADMSG;
}

/*
 * ChaCha20's block is its rounds applied to the state, plus the state. HChaCha20 is the first and last four
 * words of the rounds alone, and there the state is public: four constants, and the 16 bytes libcrypto takes
 * as IV.
 */
int hchacha20(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[16], uint8_t out[DP_KEY_LEN])
{
    static const uint8_t constants[16] = {'e', 'x', 'p', 'a', 'n', 'd', ' ', '3',
                                          '2', '-', 'b', 'y', 't', 'e', ' ', 'k'};
    uint8_t block[BLOCK_LEN] = {0};
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int done = 0;
    int ok = context && EVP_EncryptInit_ex(context, EVP_chacha20(), NULL, key, nonce) &&
             EVP_EncryptUpdate(context, block, &done, block, BLOCK_LEN);
    EVP_CIPHER_CTX_free(context);
    for (size_t at = 0; at < 16; at += 4) {
        put_le32(out + at, get_le32(block + at) - get_le32(constants + at));
        put_le32(out + 16 + at, get_le32(block + 48 + at) - get_le32(nonce + at));
    }
    OPENSSL_cleanse(block, sizeof block);
    return ok ? 0 : -EIO;
}

static int subkey(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[XAEAD_NONCE_LEN],
                  uint8_t out[DP_KEY_LEN], uint8_t rest[NONCE_LEN])
{
    memset(rest, 0, 4);
    memcpy(rest + 4, nonce + 16, 8);
    return hchacha20(key, nonce, out);
}

int xaead_seal(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[XAEAD_NONCE_LEN], const uint8_t *in,
               size_t length, const uint8_t *ad, size_t ad_len, uint8_t *out)
{
    uint8_t derived[DP_KEY_LEN], rest[NONCE_LEN];
    int error = subkey(key, nonce, derived, rest);
    if (!error)
        error = chacha_seal(derived, rest, in, length, ad, ad_len, out);
    OPENSSL_cleanse(derived, sizeof derived);
    return error;
}

int xaead_open(const uint8_t key[DP_KEY_LEN], const uint8_t nonce[XAEAD_NONCE_LEN], const uint8_t *in,
               size_t length, const uint8_t *ad, size_t ad_len, uint8_t *out)
{
    uint8_t derived[DP_KEY_LEN], rest[NONCE_LEN];
    int error = subkey(key, nonce, derived, rest);
    if (!error)
        error = chacha_open(derived, rest, in, length, ad, ad_len, out);
    OPENSSL_cleanse(derived, sizeof derived);
    return error;
}

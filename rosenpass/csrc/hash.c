/* SHAKE256 by libcrypto. */
#include <errno.h>
#include <openssl/evp.h>

#include "internal.h"

int mc_shake256(uint8_t out[MCELIECE_SHARED_SECRET_LEN], uint8_t first, const uint8_t *data, size_t data_len,
                const uint8_t *tail, size_t tail_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx && EVP_DigestInit_ex(ctx, EVP_shake256(), NULL) && EVP_DigestUpdate(ctx, &first, 1) &&
             EVP_DigestUpdate(ctx, data, data_len) && EVP_DigestUpdate(ctx, tail, tail_len) &&
             EVP_DigestFinalXOF(ctx, out, MCELIECE_SHARED_SECRET_LEN);
    EVP_MD_CTX_free(ctx); /* the provider wipes the sponge */
    return ok ? 0 : -ENOMEM;
}

/* What a sender of handshake messages puts at their end. */
#ifndef WGPY_TEST_MAC1_H
#define WGPY_TEST_MAC1_H

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "harness.h"
#include "packet.h"

/* The right mac1 for whoever has the public key; `length` is the whole message's. mac2 stays as it is. */
static inline void put_mac1(const uint8_t public_key[32], uint8_t *message, size_t length)
{
    uint8_t input[8 + 32] = "mac1----", key[32];
    size_t size = MAC_LEN, written = 0, covered = length - 2 * MAC_LEN;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                           OSSL_PARAM_construct_end()};
    EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(algorithm);

    memcpy(input + 8, public_key, 32);
    CHECK(EVP_Digest(input, sizeof input, key, NULL, EVP_blake2s256(), NULL));
    CHECK(EVP_MAC_init(mac, key, sizeof key, params) && EVP_MAC_update(mac, message, covered) &&
          EVP_MAC_final(mac, message + covered, &written, MAC_LEN));
    EVP_MAC_CTX_free(mac);
    EVP_MAC_free(algorithm);
}

#endif

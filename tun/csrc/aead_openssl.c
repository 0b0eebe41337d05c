#include "aead.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "packet.h"

#define NONCE_LEN 12

/* Contexts keyed once, one for each worker; a packet only sets the nonce. */
struct aead_key {
    uint32_t workers;
    EVP_CIPHER_CTX *contexts[];
};

/* Everything else is in the keys. */
struct aead_state {
    uint32_t worker;
};

static struct aead_state *state_new(uint32_t worker)
{
    struct aead_state *state = calloc(1, sizeof(*state));

    if (state)
        state->worker = worker;
    return state;
}

static void state_free(struct aead_state *state)
{
    free(state);
}

static void key_free(struct aead_key *key)
{
    if (!key)
        return;
    for (uint32_t i = 0; i < key->workers; i++)
        EVP_CIPHER_CTX_free(key->contexts[i]); /* wipes */
    free(key);
}

static EVP_CIPHER_CTX *context_new(const uint8_t bytes[DP_KEY_LEN], enum aead_direction direction)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

    if (context &&
        !EVP_CipherInit_ex(context, EVP_chacha20_poly1305(), NULL, bytes, NULL, direction == AEAD_SEAL)) {
        EVP_CIPHER_CTX_free(context);
        return NULL;
    }
    return context;
}

static struct aead_key *key_new(const uint8_t bytes[DP_KEY_LEN], enum aead_direction direction,
                                uint32_t workers)
{
    struct aead_key *key = calloc(1, sizeof *key + workers * sizeof key->contexts[0]);
    if (!key)
        return NULL;
    for (; key->workers < workers; key->workers++) {
        key->contexts[key->workers] = context_new(bytes, direction);
        if (!key->contexts[key->workers]) {
            key_free(key);
            return NULL;
        }
    }
    return key;
}

static void put_nonce(uint8_t nonce[NONCE_LEN], uint64_t counter)
{
    memset(nonce, 0, 4);
    put_le64(nonce + 4, counter);
}

static int seal(const struct aead_state *state, const struct aead_op *op)
{
    EVP_CIPHER_CTX *context = op->key->contexts[state->worker];
    uint8_t nonce[NONCE_LEN];
    int done = 0;

    put_nonce(nonce, op->counter);
    return EVP_CipherInit_ex(context, NULL, NULL, NULL, nonce, -1) &&
           (op->length == 0 || EVP_CipherUpdate(context, op->data, &done, op->data, (int)op->length)) &&
           EVP_CipherFinal_ex(context, op->data + op->length, &done) &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, op->data + op->length);
}

static int open_one(const struct aead_state *state, const struct aead_op *op)
{
    EVP_CIPHER_CTX *context = op->key->contexts[state->worker];
    uint8_t nonce[NONCE_LEN];
    int done = 0;

    put_nonce(nonce, op->counter);
    return EVP_CipherInit_ex(context, NULL, NULL, NULL, nonce, -1) &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, op->data + op->length) &&
           (op->length == 0 || EVP_CipherUpdate(context, op->data, &done, op->data, (int)op->length)) &&
           EVP_CipherFinal_ex(context, op->data + op->length, &done) > 0;
}

static void seal_batch(struct aead_state *state, struct aead_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ops[i].ok = seal(state, &ops[i]) == 1;
}

static void open_batch(struct aead_state *state, struct aead_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ops[i].ok = open_one(state, &ops[i]) == 1;
}

const struct aead *aead_openssl(void)
{
    static const struct aead implementation = {
        .name = "openssl",
        .state_new = state_new,
        .state_free = state_free,
        .key_new = key_new,
        .key_free = key_free,
        .seal_batch = seal_batch,
        .open_batch = open_batch,
    };
    return &implementation;
}

#include "noise.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#define KEY_LEN NOISE_KEY_LEN
#define TAG_LEN NOISE_TAG_LEN

/* Errors of several steps: the first one stays. */
#define TRY(result, step)                                                                                    \
    do {                                                                                                     \
        if (!(result))                                                                                       \
            (result) = (step);                                                                               \
    } while (0)

struct noise {
    EVP_MD *blake2s;
    EVP_MD_CTX *hash;
    EVP_MAC_CTX *hmac;
    EVP_CIPHER *chacha20_poly1305;
    EVP_CIPHER_CTX *aead;
    EVP_PKEY_CTX *x25519; /* makes keys */
    struct noise_state initial;
};

/* ---- the paper's functions */

static int hash(struct noise *noise, const uint8_t *first, size_t first_len, const uint8_t *second,
                size_t second_len, uint8_t out[KEY_LEN])
{
    return EVP_DigestInit_ex2(noise->hash, noise->blake2s, NULL) &&
                   EVP_DigestUpdate(noise->hash, first, first_len) &&
                   EVP_DigestUpdate(noise->hash, second, second_len) &&
                   EVP_DigestFinal_ex(noise->hash, out, NULL)
               ? 0
               : -EIO;
}

static int hmac(struct noise *noise, const uint8_t key[KEY_LEN], const uint8_t *data, size_t length,
                uint8_t out[KEY_LEN])
{
    size_t done = 0;

    return EVP_MAC_init(noise->hmac, key, KEY_LEN, NULL) && EVP_MAC_update(noise->hmac, data, length) &&
                   EVP_MAC_final(noise->hmac, out, &done, KEY_LEN) && done == KEY_LEN
               ? 0
               : -EIO;
}

/* Kdf_n: the first `count` (at most 3) outputs, one after the other in `out`. */
static int kdf(struct noise *noise, const uint8_t chaining_key[KEY_LEN], const uint8_t *data, size_t length,
               size_t count, uint8_t *out)
{
    uint8_t secret[KEY_LEN], input[KEY_LEN + 1];
    int error = hmac(noise, chaining_key, data, length, secret);

    input[KEY_LEN] = 1;
    TRY(error, hmac(noise, secret, input + KEY_LEN, 1, out));
    for (size_t i = 1; i < count; i++) {
        memcpy(input, out + (i - 1) * KEY_LEN, KEY_LEN);
        input[KEY_LEN] = (uint8_t)(i + 1);
        TRY(error, hmac(noise, secret, input, sizeof(input), out + i * KEY_LEN));
    }
    OPENSSL_cleanse(secret, sizeof(secret));
    OPENSSL_cleanse(input, sizeof(input));
    return error;
}

/* Every key is used for one message: the counter is 0. */
static const uint8_t nonce[12];

static int seal(struct noise *noise, const uint8_t key[KEY_LEN], const uint8_t *plaintext, size_t length,
                const uint8_t ad[KEY_LEN], uint8_t *out)
{
    uint8_t nothing;
    int n = 0;

    return EVP_EncryptInit_ex2(noise->aead, noise->chacha20_poly1305, key, nonce, NULL) &&
                   EVP_EncryptUpdate(noise->aead, NULL, &n, ad, KEY_LEN) &&
                   (!length || EVP_EncryptUpdate(noise->aead, out, &n, plaintext, (int)length)) &&
                   EVP_EncryptFinal_ex(noise->aead, &nothing, &n) &&
                   EVP_CIPHER_CTX_ctrl(noise->aead, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, out + length)
               ? 0
               : -EIO;
}

/* `length` without the tag; at most 32. */
static int open(struct noise *noise, const uint8_t key[KEY_LEN], const uint8_t *sealed, size_t length,
                const uint8_t ad[KEY_LEN], uint8_t *out)
{
    uint8_t tag[TAG_LEN], nothing;
    int n = 0;

    memcpy(tag, sealed + length, TAG_LEN);
    if (!EVP_DecryptInit_ex2(noise->aead, noise->chacha20_poly1305, key, nonce, NULL) ||
        !EVP_CIPHER_CTX_ctrl(noise->aead, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) ||
        !EVP_DecryptUpdate(noise->aead, NULL, &n, ad, KEY_LEN) ||
        (length && !EVP_DecryptUpdate(noise->aead, out, &n, sealed, (int)length)))
        return -EIO;
    return EVP_DecryptFinal_ex(noise->aead, &nothing, &n) > 0 ? 0 : -EBADMSG;
}

/* The library's form of a pair; NULL: no memory. With both halves at hand it need not compute one. */
static EVP_PKEY *pkey_of_pair(struct noise *noise, const struct noise_key_pair *pair)
{
    struct noise_key_pair copy = *pair;
    EVP_PKEY *key = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, copy.private_key, KEY_LEN),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy.public_key, KEY_LEN),
        OSSL_PARAM_construct_end()};

    if (EVP_PKEY_fromdata_init(noise->x25519) <= 0 ||
        EVP_PKEY_fromdata(noise->x25519, &key, EVP_PKEY_KEYPAIR, params) <= 0)
        key = NULL;
    OPENSSL_cleanse(&copy, sizeof(copy));
    return key;
}

/* DH with a key the library holds. */
static int dh_with(EVP_PKEY *own, const uint8_t public_key[KEY_LEN], uint8_t out[KEY_LEN])
{
    static const uint8_t zeros[KEY_LEN];
    EVP_PKEY *other = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, public_key, KEY_LEN);
    EVP_PKEY_CTX *context = own && other ? EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL) : NULL;
    size_t length = KEY_LEN;
    int error = -ENOMEM;

    if (context && EVP_PKEY_derive_init(context) > 0 && EVP_PKEY_derive_set_peer_ex(context, other, 0) > 0)
        error = EVP_PKEY_derive(context, out, &length) > 0 && CRYPTO_memcmp(out, zeros, KEY_LEN) != 0
                    ? 0
                    : -EBADMSG;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(other);
    return error;
}

static int dh(struct noise *noise, const struct noise_key_pair *pair, const uint8_t public_key[KEY_LEN],
              uint8_t out[KEY_LEN])
{
    EVP_PKEY *own = pkey_of_pair(noise, pair);
    int error = dh_with(own, public_key, out);

    EVP_PKEY_free(own);
    return error;
}

/* ---- C and H */

static int mix_hash(struct noise *noise, struct noise_state *state, const uint8_t *data, size_t length)
{
    return hash(noise, state->hash, KEY_LEN, data, length, state->hash);
}

static int mix_key(struct noise *noise, struct noise_state *state, const uint8_t data[KEY_LEN])
{
    return kdf(noise, state->chaining_key, data, KEY_LEN, 1, state->chaining_key);
}

static int start(struct noise *noise, struct noise_state *state, const uint8_t responder_static[KEY_LEN])
{
    *state = noise->initial;
    return mix_hash(noise, state, responder_static, KEY_LEN);
}

static int mix_ephemeral(struct noise *noise, struct noise_state *state, const uint8_t ephemeral[KEY_LEN])
{
    int error = mix_hash(noise, state, ephemeral, KEY_LEN);

    TRY(error, mix_key(noise, state, ephemeral));
    return error;
}

/* (C, k) = Kdf2(C, data) */
static int derive_key(struct noise *noise, struct noise_state *state, const uint8_t data[KEY_LEN],
                      uint8_t key[KEY_LEN])
{
    uint8_t out[2 * KEY_LEN];
    int error = kdf(noise, state->chaining_key, data, KEY_LEN, 2, out);

    memcpy(state->chaining_key, out, KEY_LEN);
    memcpy(key, out + KEY_LEN, KEY_LEN);
    OPENSSL_cleanse(out, sizeof(out));
    return error;
}

/* (C, tau, k) = Kdf3(C, Q); tau enters H */
static int mix_psk(struct noise *noise, struct noise_state *state, const uint8_t preshared_key[KEY_LEN],
                   uint8_t key[KEY_LEN])
{
    uint8_t out[3 * KEY_LEN];
    int error = kdf(noise, state->chaining_key, preshared_key, KEY_LEN, 3, out);

    memcpy(state->chaining_key, out, KEY_LEN);
    TRY(error, mix_hash(noise, state, out + KEY_LEN, KEY_LEN));
    memcpy(key, out + 2 * KEY_LEN, KEY_LEN);
    OPENSSL_cleanse(out, sizeof(out));
    return error;
}

static int split(struct noise *noise, const struct noise_state *state, struct noise_transport_keys *keys)
{
    uint8_t out[2 * KEY_LEN];
    int error = kdf(noise, state->chaining_key, nonce, 0, 2, out);

    memcpy(keys->initiator, out, KEY_LEN);
    memcpy(keys->responder, out + KEY_LEN, KEY_LEN);
    OPENSSL_cleanse(out, sizeof(out));
    return error;
}

static int seal_and_mix(struct noise *noise, struct noise_state *state, const uint8_t key[KEY_LEN],
                        const uint8_t *plaintext, size_t length, uint8_t *out)
{
    int error = seal(noise, key, plaintext, length, state->hash, out);

    TRY(error, mix_hash(noise, state, out, length + TAG_LEN));
    return error;
}

static int open_and_mix(struct noise *noise, struct noise_state *state, const uint8_t key[KEY_LEN],
                        const uint8_t *sealed, size_t length, uint8_t *out)
{
    int error = open(noise, key, sealed, length, state->hash, out);

    TRY(error, mix_hash(noise, state, sealed, length + TAG_LEN));
    return error;
}

/* ---- the messages */

/* What a message is worked out in, wiped as a whole. */
struct work {
    struct noise_state state;
    uint8_t dh[KEY_LEN];
    uint8_t key[KEY_LEN];
    uint8_t plaintext[KEY_LEN];
    struct noise_transport_keys transport;
};

/* The library's contexts keep the key they had last: a zero key takes its place. */
static int finish(struct noise *noise, struct work *work, int error)
{
    static const uint8_t zeros[KEY_LEN];

    OPENSSL_cleanse(work, sizeof(*work));
    (void)EVP_MAC_init(noise->hmac, zeros, KEY_LEN, NULL);
    (void)EVP_CIPHER_CTX_reset(noise->aead);
    return error;
}

int noise_public_key(struct noise *noise, struct noise_key_pair *pair)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, pair->private_key, KEY_LEN);
    size_t length = KEY_LEN;
    int ok = key && EVP_PKEY_get_raw_public_key(key, pair->public_key, &length);

    (void)noise;
    EVP_PKEY_free(key);
    return ok ? 0 : -EIO;
}

int noise_create_initiation(struct noise *noise, const uint8_t *static_public, const uint8_t *remote_static,
                            const uint8_t *shared, const struct noise_key_pair *ephemeral,
                            const uint8_t *timestamp, struct noise_state *state,
                            struct noise_initiation *message)
{
    struct work work;
    struct noise_initiation made;
    int error = start(noise, &work.state, remote_static);

    memcpy(made.ephemeral, ephemeral->public_key, KEY_LEN);
    TRY(error, mix_ephemeral(noise, &work.state, made.ephemeral));
    TRY(error, dh(noise, ephemeral, remote_static, work.dh));
    TRY(error, derive_key(noise, &work.state, work.dh, work.key));
    TRY(error, seal_and_mix(noise, &work.state, work.key, static_public, KEY_LEN, made.encrypted_static));
    TRY(error, derive_key(noise, &work.state, shared, work.key));
    TRY(error,
        seal_and_mix(noise, &work.state, work.key, timestamp, NOISE_TIMESTAMP_LEN, made.encrypted_timestamp));
    if (!error) {
        *state = work.state;
        *message = made;
    }
    return finish(noise, &work, error);
}

int noise_open_initiation(struct noise *noise, const struct noise_key_pair *identity,
                          const struct noise_initiation *message, struct noise_state *state,
                          uint8_t *remote_static)
{
    struct work work;
    int error = start(noise, &work.state, identity->public_key);

    TRY(error, mix_ephemeral(noise, &work.state, message->ephemeral));
    TRY(error, dh(noise, identity, message->ephemeral, work.dh));
    TRY(error, derive_key(noise, &work.state, work.dh, work.key));
    TRY(error,
        open_and_mix(noise, &work.state, work.key, message->encrypted_static, KEY_LEN, work.plaintext));
    if (!error) {
        *state = work.state;
        memcpy(remote_static, work.plaintext, KEY_LEN);
    }
    return finish(noise, &work, error);
}

int noise_consume_initiation(struct noise *noise, const uint8_t *shared,
                             const struct noise_initiation *message, struct noise_state *state,
                             uint8_t *timestamp)
{
    struct work work = {.state = *state};
    int error = derive_key(noise, &work.state, shared, work.key);

    TRY(error, open_and_mix(noise, &work.state, work.key, message->encrypted_timestamp, NOISE_TIMESTAMP_LEN,
                            work.plaintext));
    if (!error) {
        *state = work.state;
        memcpy(timestamp, work.plaintext, NOISE_TIMESTAMP_LEN);
    }
    return finish(noise, &work, error);
}

int noise_create_response(struct noise *noise, const struct noise_state *state,
                          const uint8_t *remote_ephemeral, const uint8_t *remote_static,
                          struct noise_key_pair *ephemeral, const uint8_t *preshared_key,
                          struct noise_response *message, struct noise_transport_keys *keys)
{
    struct work work = {.state = *state};
    struct noise_response made;
    EVP_PKEY *own = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, ephemeral->private_key, KEY_LEN);
    size_t length = KEY_LEN;
    int error = own && EVP_PKEY_get_raw_public_key(own, made.ephemeral, &length) ? 0 : -ENOMEM;

    TRY(error, mix_ephemeral(noise, &work.state, made.ephemeral));
    TRY(error, dh_with(own, remote_ephemeral, work.dh));
    TRY(error, mix_key(noise, &work.state, work.dh));
    TRY(error, dh_with(own, remote_static, work.dh));
    EVP_PKEY_free(own);
    TRY(error, mix_key(noise, &work.state, work.dh));
    TRY(error, mix_psk(noise, &work.state, preshared_key, work.key));
    TRY(error, seal_and_mix(noise, &work.state, work.key, nonce, 0, made.encrypted_empty));
    TRY(error, split(noise, &work.state, &work.transport));
    if (!error) {
        *message = made;
        *keys = work.transport;
    }
    return finish(noise, &work, error);
}

/* With one preshared key: from before it to the transport keys. */
static int try_psk(struct noise *noise, const struct noise_state *before,
                   const uint8_t preshared_key[KEY_LEN], const struct noise_response *message,
                   struct noise_transport_keys *keys)
{
    struct work work = {.state = *before};
    int error = mix_psk(noise, &work.state, preshared_key, work.key);

    TRY(error, open_and_mix(noise, &work.state, work.key, message->encrypted_empty, 0, work.plaintext));
    TRY(error, split(noise, &work.state, &work.transport));
    if (!error)
        *keys = work.transport;
    return finish(noise, &work, error);
}

int noise_consume_response(struct noise *noise, const struct noise_key_pair *identity,
                           const struct noise_state *state, const struct noise_key_pair *ephemeral,
                           const struct noise_response *message, const uint8_t *preshared_keys, size_t count,
                           struct noise_transport_keys *keys)
{
    struct work work = {.state = *state};
    int error = mix_ephemeral(noise, &work.state, message->ephemeral);

    TRY(error, dh(noise, ephemeral, message->ephemeral, work.dh));
    TRY(error, mix_key(noise, &work.state, work.dh));
    TRY(error, dh(noise, identity, message->ephemeral, work.dh));
    TRY(error, mix_key(noise, &work.state, work.dh));
    if (error)
        return finish(noise, &work, error);
    for (size_t i = 0; i < count; i++) {
        error = try_psk(noise, &work.state, preshared_keys + i * KEY_LEN, message, keys);
        if (error != -EBADMSG)
            return finish(noise, &work, error ? error : (int)i);
    }
    return finish(noise, &work, -EBADMSG);
}

/* ---- life */

/* HASH(construction), and HASH of that with the identifier */
static int set_initial(struct noise *noise)
{
    static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
    static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
    struct noise_state *initial = &noise->initial;
    int error =
        hash(noise, (const uint8_t *)construction, sizeof(construction) - 1, nonce, 0, initial->chaining_key);

    memcpy(initial->hash, initial->chaining_key, KEY_LEN);
    TRY(error, mix_hash(noise, initial, (const uint8_t *)identifier, sizeof(identifier) - 1));
    return error;
}

static EVP_MAC_CTX *hmac_context(void)
{
    char digest[] = "BLAKE2S-256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = algorithm ? EVP_MAC_CTX_new(algorithm) : NULL;

    EVP_MAC_free(algorithm); /* the context keeps its own reference */
    if (context && !EVP_MAC_CTX_set_params(context, params)) {
        EVP_MAC_CTX_free(context);
        context = NULL;
    }
    return context;
}

struct noise *noise_new(void)
{
    struct noise *noise = calloc(1, sizeof(*noise));

    if (!noise)
        return NULL;
    noise->blake2s = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
    noise->hash = EVP_MD_CTX_new();
    noise->hmac = hmac_context();
    noise->chacha20_poly1305 = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    noise->aead = EVP_CIPHER_CTX_new();
    noise->x25519 = EVP_PKEY_CTX_new_from_name(NULL, "X25519", NULL);
    if (!noise->blake2s || !noise->hash || !noise->hmac || !noise->chacha20_poly1305 || !noise->aead ||
        !noise->x25519 || set_initial(noise) < 0) {
        noise_free(noise);
        return NULL;
    }
    return noise;
}

void noise_free(struct noise *noise)
{
    if (!noise)
        return;
    EVP_MD_CTX_free(noise->hash);
    EVP_MD_free(noise->blake2s);
    EVP_MAC_CTX_free(noise->hmac);
    EVP_CIPHER_CTX_free(noise->aead);
    EVP_CIPHER_free(noise->chacha20_poly1305);
    EVP_PKEY_CTX_free(noise->x25519);
    free(noise);
}

#include "cookie.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "xaead.h"

#define SECRET_LEN 32
#define LABEL_LEN 8
#define MACS_LEN (2 * MAC_LEN) /* mac1 and mac2 end every initiation and response */

struct cookie_checker {
    EVP_MAC_CTX *mac;
    bool has_identity;
    bool has_secret;
    uint64_t secret_birthdate_ns;
    uint8_t mac1_key[DP_KEY_LEN];
    uint8_t cookie_key[DP_KEY_LEN];
    uint8_t secret[SECRET_LEN];
};

struct cookie_checker *cookie_new(void)
{
    struct cookie_checker *checker = calloc(1, sizeof *checker);
    EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
    if (checker && algorithm)
        checker->mac = EVP_MAC_CTX_new(algorithm);
    EVP_MAC_free(algorithm); /* the context keeps its own reference */
    if (checker && !checker->mac) {
        free(checker);
        return NULL;
    }
    return checker;
}

void cookie_free(struct cookie_checker *checker)
{
    if (!checker)
        return;
    EVP_MAC_CTX_free(checker->mac);
    OPENSSL_cleanse(checker, sizeof *checker);
    free(checker);
}

/* MAC(key, input) of the paper: BLAKE2s in its keyed mode with 16 bytes of output. */
static int mac(struct cookie_checker *checker, const uint8_t *key, size_t key_len, const uint8_t *input,
               size_t length, uint8_t out[MAC_LEN])
{
    size_t size = MAC_LEN, done = 0;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                           OSSL_PARAM_construct_end()};
    int ok = EVP_MAC_init(checker->mac, key, key_len, params) &&
             EVP_MAC_update(checker->mac, input, length) && EVP_MAC_final(checker->mac, out, &done, MAC_LEN);
    return ok && done == MAC_LEN ? 0 : -EIO;
}

/* HASH(label || public key) */
static int hash_labelled(const char *label, const uint8_t public_key[DP_KEY_LEN], uint8_t out[DP_KEY_LEN])
{
    uint8_t input[LABEL_LEN + DP_KEY_LEN];
    memcpy(input, label, LABEL_LEN);
    memcpy(input + LABEL_LEN, public_key, DP_KEY_LEN);
    return EVP_Digest(input, sizeof input, out, NULL, EVP_blake2s256(), NULL) ? 0 : -EIO;
}

int cookie_set_identity(struct cookie_checker *checker, const uint8_t *public_key)
{
    checker->has_identity = false;
    if (!public_key)
        return 0;
    if (hash_labelled("mac1----", public_key, checker->mac1_key) < 0 ||
        hash_labelled("cookie--", public_key, checker->cookie_key) < 0)
        return -EIO;
    checker->has_identity = true;
    return 0;
}

bool cookie_mac1_valid(struct cookie_checker *checker, const uint8_t *message, size_t length)
{
    uint8_t expected[MAC_LEN];
    size_t covered = length - MACS_LEN;
    return checker->has_identity &&
           mac(checker, checker->mac1_key, DP_KEY_LEN, message, covered, expected) == 0 &&
           CRYPTO_memcmp(expected, message + covered, MAC_LEN) == 0;
}

static bool secret_is_fresh(const struct cookie_checker *checker, uint64_t now_ns)
{
    uint64_t birthdate = checker->secret_birthdate_ns;
    return checker->has_secret && (now_ns <= birthdate || now_ns - birthdate < COOKIE_SECRET_MAX_AGE_NS);
}

/* cookie = MAC(secret, source IP || source port BE): proof that what we send there is received. */
static int make_cookie(struct cookie_checker *checker, const struct dp_address *source,
                       uint8_t out[COOKIE_LEN])
{
    uint8_t input[18];
    size_t ip_len = source->family == AF_INET6 ? 16 : 4;
    memcpy(input, source->ip, ip_len);
    put_be16(input + ip_len, source->port);
    return mac(checker, checker->secret, SECRET_LEN, input, ip_len + 2, out);
}

bool cookie_mac2_valid(struct cookie_checker *checker, const uint8_t *message, size_t length,
                       const struct dp_address *source, uint64_t now_ns)
{
    static const uint8_t none[MAC_LEN];
    uint8_t cookie[COOKIE_LEN], expected[MAC_LEN];
    size_t covered = length - MAC_LEN;

    if (!memcmp(message + covered, none, MAC_LEN)) /* what a sender without a cookie puts there */
        return false;
    bool valid = secret_is_fresh(checker, now_ns) && make_cookie(checker, source, cookie) == 0 &&
                 mac(checker, cookie, COOKIE_LEN, message, covered, expected) == 0 &&
                 CRYPTO_memcmp(expected, message + covered, MAC_LEN) == 0;
    OPENSSL_cleanse(cookie, sizeof cookie);
    OPENSSL_cleanse(expected, sizeof expected);
    return valid;
}

void cookie_set_secret(struct cookie_checker *checker, const uint8_t secret[32], uint64_t now_ns)
{
    memcpy(checker->secret, secret, SECRET_LEN);
    checker->secret_birthdate_ns = now_ns;
    checker->has_secret = true;
}

static int random_bytes(uint8_t *out, size_t length)
{
    return getrandom(out, length, 0) == (ssize_t)length ? 0 : -EIO;
}

static int renew_secret(struct cookie_checker *checker, uint64_t now_ns)
{
    uint8_t secret[SECRET_LEN];
    if (secret_is_fresh(checker, now_ns))
        return 0;
    if (random_bytes(secret, sizeof secret) < 0)
        return -EIO;
    cookie_set_secret(checker, secret, now_ns);
    OPENSSL_cleanse(secret, sizeof secret);
    return 0;
}

int cookie_reply_with_nonce(struct cookie_checker *checker, const uint8_t *message, size_t length,
                            const struct dp_address *source, uint64_t now_ns,
                            const uint8_t nonce[COOKIE_REPLY_NONCE_LEN],
                            uint8_t out[MESSAGE_COOKIE_REPLY_LEN])
{
    uint8_t cookie[COOKIE_LEN];
    if (!checker->has_identity)
        return -ENOKEY;
    int error = renew_secret(checker, now_ns);
    if (!error)
        error = make_cookie(checker, source, cookie);
    if (error)
        return error;
    put_le32(out, MESSAGE_COOKIE_REPLY);
    memcpy(out + COOKIE_REPLY_RECEIVER_AT, message + MESSAGE_SENDER_AT, 4);
    memcpy(out + COOKIE_REPLY_NONCE_AT, nonce, COOKIE_REPLY_NONCE_LEN);
    error = xaead_seal(checker->cookie_key, nonce, cookie, COOKIE_LEN, message + length - MACS_LEN, MAC_LEN,
                       out + COOKIE_REPLY_COOKIE_AT);
    OPENSSL_cleanse(cookie, sizeof cookie);
    return error;
}

int cookie_reply(struct cookie_checker *checker, const uint8_t *message, size_t length,
                 const struct dp_address *source, uint64_t now_ns, uint8_t out[MESSAGE_COOKIE_REPLY_LEN])
{
    uint8_t nonce[COOKIE_REPLY_NONCE_LEN];
    if (random_bytes(nonce, sizeof nonce) < 0)
        return -EIO;
    return cookie_reply_with_nonce(checker, message, length, source, now_ns, nonce, out);
}

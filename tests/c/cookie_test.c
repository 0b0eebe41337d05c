#include "cookie.h"

#include <sys/socket.h>

#include "harness.h"
#include "xaead.h"

#define SECOND 1000000000ull

static uint8_t public_key[32] = {9, 8, 7};
static uint8_t message[MESSAGE_INITIATION_LEN];

static struct cookie_checker *checker_for(const uint8_t *key)
{
    struct cookie_checker *checker = cookie_new();
    CHECK(checker);
    CHECK_EQUAL(cookie_set_identity(checker, key), 0);
    return checker;
}

/* cookie PUBLIC SECRET IP PORT NONCE INITIATION REPLY INITIATION_WITH_MAC2 | mac1 PUBLIC RESPONSE */
static void step(const struct words *words)
{
    uint8_t key[32], secret[32], nonce[24], reply[64], out[64];
    struct dp_address source = {0};
    unhex(words->word[1], key, 32);
    struct cookie_checker *checker = checker_for(key);
    if (strcmp(words->word[0], "mac1") == 0) {
        CHECK_EQUAL(unhex(words->word[2], message, sizeof message), MESSAGE_RESPONSE_LEN);
        CHECK(cookie_mac1_valid(checker, message, MESSAGE_RESPONSE_LEN));
        cookie_free(checker);
        return;
    }
    unhex(words->word[2], secret, 32);
    source.family = unhex(words->word[3], source.ip, 16) == 4 ? AF_INET : AF_INET6;
    source.port = (uint16_t)atoi(words->word[4]);
    unhex(words->word[5], nonce, 24);
    unhex(words->word[7], reply, 64);
    cookie_set_secret(checker, secret, SECOND);

    CHECK_EQUAL(unhex(words->word[6], message, sizeof message), sizeof message);
    CHECK(cookie_mac1_valid(checker, message, sizeof message));
    CHECK(!cookie_mac2_valid(checker, message, sizeof message, &source, SECOND));
    CHECK_EQUAL(cookie_reply_with_nonce(checker, message, sizeof message, &source, SECOND, nonce, out), 0);
    CHECK(memcmp(out, reply, 64) == 0);

    CHECK_EQUAL(unhex(words->word[8], message, sizeof message), sizeof message);
    CHECK(cookie_mac2_valid(checker, message, sizeof message, &source, SECOND));
    source.port++;
    CHECK(!cookie_mac2_valid(checker, message, sizeof message, &source, SECOND));
    source.port--;
    source.ip[1]++;
    CHECK(!cookie_mac2_valid(checker, message, sizeof message, &source, SECOND));
    source.ip[1]--;
    CHECK(!cookie_mac2_valid(checker, message, sizeof message, &source, SECOND + COOKIE_SECRET_MAX_AGE_NS));
    cookie_free(checker);
}

static void vectors_hold(void)
{
    each_vector("handshake_generated", step);
}

static void random_messages_have_no_valid_mac1(void)
{
    struct cookie_checker *checker = checker_for(public_key);
    uint64_t random = 1;
    for (int i = 0; i < 1000; i++) {
        draw_bytes(&random, message, sizeof message);
        CHECK(!cookie_mac1_valid(checker, message, sizeof message));
        CHECK(!cookie_mac1_valid(checker, message, MESSAGE_RESPONSE_LEN));
    }
    cookie_free(checker);
}

static void without_an_identity_nothing_is_valid(void)
{
    struct cookie_checker *checker = checker_for(NULL);
    struct dp_address source = {.family = AF_INET};
    uint8_t out[64];
    CHECK(!cookie_mac1_valid(checker, message, sizeof message));
    CHECK(!cookie_mac2_valid(checker, message, sizeof message, &source, SECOND));
    CHECK_EQUAL(cookie_reply(checker, message, sizeof message, &source, SECOND, out), -ENOKEY);
    cookie_free(checker);
    cookie_free(NULL);
}

/* HASH("cookie--" || 0908070000...), by hashlib. */
static const char cookie_key_hex[] = "9449df021140d2652fee14a4100e6ebc4f98923c6e8e51afc0a6a0e89f5a5a83";

static void a_reply_carries_the_cookie_until_the_secret_is_renewed(void)
{
    struct cookie_checker *checker = checker_for(public_key);
    struct dp_address source = {.family = AF_INET6, .port = 5, .ip = {0xfe, 0x80}};
    uint8_t first[64], second[64], cookies[3][16], key[32];
    uint64_t times[3] = {SECOND, SECOND + COOKIE_SECRET_MAX_AGE_NS - 1, SECOND + COOKIE_SECRET_MAX_AGE_NS};
    unhex(cookie_key_hex, key, 32);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(cookie_reply(checker, message, sizeof message, &source, times[i], i ? second : first), 0);
        const uint8_t *reply = i ? second : first;
        CHECK_EQUAL(message_type(reply, 64), MESSAGE_COOKIE_REPLY);
        CHECK(memcmp(reply + 4, message + 4, 4) == 0);
        CHECK_EQUAL(xaead_open(key, reply + 8, reply + 32, 16, message + 116, 16, cookies[i]), 0);
    }
    CHECK(memcmp(first + 8, second + 8, 24) != 0);
    CHECK(memcmp(cookies[0], cookies[1], 16) == 0);
    CHECK(memcmp(cookies[0], cookies[2], 16) != 0);
    cookie_free(checker);
}

/* An implementation once left the port out: one flooder behind a NAT then spoke for all of it. */
static void a_cookie_is_good_for_one_address_and_one_port(void)
{
    struct cookie_checker *checker = checker_for(public_key);
    struct dp_address source = {.family = AF_INET, .port = 5, .ip = {192, 0, 2, 1}};
    struct dp_address sources[] = {source, source, source};
    uint8_t reply[64], key[32], cookies[3][16];
    unhex(cookie_key_hex, key, 32);
    sources[1].port++;
    sources[2].ip[3]++;
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(cookie_reply(checker, message, sizeof message, &sources[i], SECOND, reply), 0);
        CHECK_EQUAL(xaead_open(key, reply + 8, reply + 32, 16, message + 116, 16, cookies[i]), 0);
    }
    CHECK(memcmp(cookies[0], cookies[1], 16) != 0);
    CHECK(memcmp(cookies[0], cookies[2], 16) != 0);
    cookie_free(checker);
}

int main(void)
{
    RUN(vectors_hold);
    RUN(random_messages_have_no_valid_mac1);
    RUN(without_an_identity_nothing_is_valid);
    RUN(a_reply_carries_the_cookie_until_the_secret_is_renewed);
    RUN(a_cookie_is_good_for_one_address_and_one_port);
    return 0;
}

#include "xaead.h"

#include <errno.h>

#include "harness.h"
#include "packet.h"

#define ROOM 4096

static void widen(uint8_t nonce[12], size_t length)
{
    if (length == 8) {
        memmove(nonce + 4, nonce, 8);
        memset(nonce, 0, 4);
    }
}

static void chacha_step(const struct words *words)
{
    uint8_t key[32], nonce[12], ad[ROOM], plain[ROOM], sealed[ROOM], out[ROOM];
    CHECK_EQUAL(unhex(words->word[1], key, 32), 32);
    widen(nonce, unhex(words->word[2], nonce, 12));
    size_t ad_len = unhex(words->word[3], ad, ROOM);
    unhex(words->word[4], plain, ROOM);
    size_t length = unhex(words->word[5], sealed, ROOM) - TAG_LEN;
    int valid = atoi(words->word[6]);
    if (strcmp(words->word[0], "seal") == 0) {
        CHECK_EQUAL(chacha_seal(key, nonce, plain, length, ad, ad_len, out), 0);
        CHECK(memcmp(out, sealed, length + TAG_LEN) == 0);
    }
    CHECK_EQUAL(chacha_open(key, nonce, sealed, length, ad, ad_len, out), valid ? 0 : -EBADMSG);
    CHECK(!valid || memcmp(out, plain, length) == 0);
}

static void xchacha_step(const struct words *words)
{
    uint8_t key[32], nonce[24], ad[ROOM], plain[ROOM], sealed[ROOM], out[ROOM];
    CHECK_EQUAL(unhex(words->word[1], key, 32), 32);
    if (strcmp(words->word[0], "hchacha20") == 0) {
        CHECK_EQUAL(unhex(words->word[2], nonce, 16), 16);
        CHECK_EQUAL(unhex(words->word[3], plain, 32), 32);
        CHECK_EQUAL(hchacha20(key, nonce, out), 0);
        CHECK(memcmp(out, plain, 32) == 0);
        return;
    }
    CHECK_EQUAL(unhex(words->word[2], nonce, 24), 24);
    size_t ad_len = unhex(words->word[3], ad, ROOM);
    unhex(words->word[4], plain, ROOM);
    size_t length = unhex(words->word[5], sealed, ROOM) - TAG_LEN;
    int valid = atoi(words->word[6]);
    if (valid) {
        CHECK_EQUAL(xaead_seal(key, nonce, plain, length, ad, ad_len, out), 0);
        CHECK(memcmp(out, sealed, length + TAG_LEN) == 0);
    }
    CHECK_EQUAL(xaead_open(key, nonce, sealed, length, ad, ad_len, out), valid ? 0 : -EBADMSG);
    CHECK(!valid || memcmp(out, plain, length) == 0);
}

static void chacha_vectors_hold(void)
{
    each_vector("chacha20poly1305", chacha_step);
}

static void xchacha_vectors_hold(void)
{
    each_vector("xchacha20poly1305", xchacha_step);
}

static void sealing_in_place_opens_again(void)
{
    uint8_t key[32] = {1}, nonce[24] = {2}, data[16 + TAG_LEN] = "sixteen bytes...";
    CHECK_EQUAL(xaead_seal(key, nonce, data, 16, nonce, 3, data), 0);
    CHECK_EQUAL(xaead_open(key, nonce, data, 16, nonce, 3, data), 0);
    CHECK(memcmp(data, "sixteen bytes...", 16) == 0);
}

int main(void)
{
    RUN(chacha_vectors_hold);
    RUN(xchacha_vectors_hold);
    RUN(sealing_in_place_opens_again);
    return 0;
}

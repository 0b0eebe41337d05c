/* That the values are the paper's is shown by tests/wgpy/test_noise.py; here are memory and refusals. */
#include "noise.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

static struct noise *noise;
static uint64_t random_state = 5;

struct story {
    struct noise_key_pair alice, bob, first, second;
    uint8_t shared[32], timestamp[12], preshared_key[32];
    struct noise_state sent, received;
    struct noise_initiation initiation;
    struct noise_response response;
    struct noise_transport_keys keys;
};

static void draw_pair(struct noise_key_pair *pair)
{
    draw_bytes(&random_state, pair->private_key, 32);
    pair->private_key[0] &= 248;
    pair->private_key[31] = (uint8_t)((pair->private_key[31] & 127) | 64);
    CHECK_EQUAL(noise_public_key(noise, pair), 0);
}

static struct story begin(void)
{
    struct story story;
    memset(&story, 0, sizeof story);
    draw_pair(&story.alice);
    draw_pair(&story.bob);
    draw_pair(&story.first);
    draw_pair(&story.second);
    draw_bytes(&random_state, story.shared, 32);
    draw_bytes(&random_state, story.timestamp, 12);
    draw_bytes(&random_state, story.preshared_key, 32);
    CHECK_EQUAL(noise_create_initiation(noise, story.alice.public_key, story.bob.public_key, story.shared,
                                        &story.first, story.timestamp, &story.sent, &story.initiation),
                0);
    return story;
}

static int receive(struct story *story, uint8_t remote_static[32])
{
    uint8_t timestamp[12];
    int error =
        noise_open_initiation(noise, &story->bob, &story->initiation, &story->received, remote_static);
    if (!error)
        error =
            noise_consume_initiation(noise, story->shared, &story->initiation, &story->received, timestamp);
    if (!error)
        CHECK(memcmp(timestamp, story->timestamp, 12) == 0);
    return error;
}

static int respond(struct story *story)
{
    return noise_create_response(noise, &story->received, story->initiation.ephemeral,
                                 story->alice.public_key, &story->second, story->preshared_key,
                                 &story->response, &story->keys);
}

static void both_ends_derive_the_same_keys(void)
{
    for (int i = 0; i < 50; i++) {
        struct story story = begin();
        struct noise_transport_keys keys;
        uint8_t remote_static[32], candidates[3 * 32] = {0};
        int fits = i % 3;
        memcpy(candidates + fits * 32, story.preshared_key, 32);
        CHECK_EQUAL(receive(&story, remote_static), 0);
        CHECK(memcmp(remote_static, story.alice.public_key, 32) == 0);
        CHECK_EQUAL(respond(&story), 0);
        CHECK_EQUAL(noise_consume_response(noise, &story.alice, &story.sent, &story.first, &story.response,
                                           candidates, 3, &keys),
                    fits);
        CHECK(memcmp(&keys, &story.keys, sizeof keys) == 0);
    }
}

static void a_changed_byte_of_an_initiation_never_opens(void)
{
    struct story story = begin();
    for (size_t at = 0; at < sizeof story.initiation; at++) {
        struct story changed = story;
        uint8_t remote_static[32] = {9};
        ((uint8_t *)&changed.initiation)[at] ^= 0x40;
        CHECK_EQUAL(receive(&changed, remote_static), -EBADMSG);
    }
}

static void a_refused_message_writes_nothing(void)
{
    struct story story = begin();
    uint8_t remote_static[32], timestamp[12] = {7};
    CHECK_EQUAL(receive(&story, remote_static), 0);
    CHECK_EQUAL(respond(&story), 0);

    struct story before = story;
    struct noise_transport_keys keys = {{1}, {2}}, same = keys;
    story.response.encrypted_empty[3] ^= 1;
    CHECK_EQUAL(noise_consume_response(noise, &story.alice, &story.sent, &story.first, &story.response,
                                       story.preshared_key, 1, &keys),
                -EBADMSG);
    CHECK(memcmp(&keys, &same, sizeof keys) == 0);
    CHECK(memcmp(&story.sent, &before.sent, sizeof story.sent) == 0);
    CHECK_EQUAL(noise_consume_response(noise, &story.alice, &story.sent, &story.first, &story.response, NULL,
                                       0, &keys),
                -EBADMSG);

    CHECK_EQUAL(noise_open_initiation(noise, &story.bob, &story.initiation, &story.received, remote_static),
                0);
    struct noise_state opened = story.received;
    story.shared[0] ^= 1;
    CHECK_EQUAL(noise_consume_initiation(noise, story.shared, &story.initiation, &story.received, timestamp),
                -EBADMSG);
    CHECK(memcmp(&opened, &story.received, sizeof opened) == 0 && timestamp[0] == 7);
}

static void keys_of_small_order_are_refused(void)
{
    struct story story = begin();
    struct noise_initiation initiation = {{0}, {0}, {0}};
    static const uint8_t zeros[32], one[32] = {1};
    uint8_t remote_static[32];
    CHECK_EQUAL(noise_open_initiation(noise, &story.bob, &initiation, &story.received, remote_static),
                -EBADMSG);
    CHECK_EQUAL(noise_create_initiation(noise, story.alice.public_key, one, story.shared, &story.first,
                                        story.timestamp, &story.sent, &initiation),
                -EBADMSG);
    CHECK_EQUAL(receive(&story, remote_static), 0);
    CHECK_EQUAL(noise_create_response(noise, &story.received, story.initiation.ephemeral, zeros,
                                      &story.second, story.preshared_key, &story.response, &story.keys),
                -EBADMSG);
}

#define MEMORY_MAX (256ul << 20)
#define MAPPING_MAX (64ul << 20) /* a larger one is a sanitizer's */

/* A copy of all we can write to but the stack: what libcrypto's assembly leaves there the next call
 * overwrites. */
static size_t copy_memory(uint8_t *out)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY);
    size_t length = 0;
    char line[512];
    CHECK(maps && memory >= 0);
    while (fgets(line, sizeof line, maps)) {
        unsigned long first, last;
        char mode[5];
        CHECK(sscanf(line, "%lx-%lx %4s", &first, &last, mode) == 3);
        if (mode[1] != 'w' || strstr(line, "[stack]") || last - first > MAPPING_MAX ||
            length + (last - first) > MEMORY_MAX)
            continue;
        ssize_t n = pread(memory, out + length, last - first, (off_t)first);
        length += n > 0 ? (size_t)n : 0;
    }
    close(memory);
    fclose(maps);
    return length;
}

static void hmac(const uint8_t key[32], const uint8_t *data, size_t length, uint8_t out[32])
{
    CHECK(HMAC(EVP_blake2s256(), key, 32, data, length, out, NULL));
}

static void the_contexts_keep_no_key_of_ours(void)
{
    struct story story = begin();
    uint8_t remote_static[32], timestamp[12], secret[32], input[33], key[32];
    uint8_t *memory =
        mmap(NULL, MEMORY_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK_EQUAL(noise_open_initiation(noise, &story.bob, &story.initiation, &story.received, remote_static),
                0);
    struct noise_state opened = story.received;
    CHECK_EQUAL(noise_consume_initiation(noise, story.shared, &story.initiation, &story.received, timestamp),
                0);
    size_t length = copy_memory(memory);
    CHECK(memmem(memory, length, &random_state, sizeof random_state)); /* it does find what is there */

    /* what must not be there is computed only now */
    hmac(opened.chaining_key, story.shared, 32, secret);
    hmac(secret, (const uint8_t *)"\1", 1, input);
    CHECK(memcmp(input, story.received.chaining_key, 32) == 0);
    input[32] = 2;
    hmac(secret, input, sizeof input, key);
    CHECK(!memmem(memory, length, secret, 32));
    CHECK(!memmem(memory, length, key, 32));
    munmap(memory, MEMORY_MAX);
}

int main(void)
{
    noise = noise_new();
    CHECK(noise);
    RUN(both_ends_derive_the_same_keys);
    RUN(a_changed_byte_of_an_initiation_never_opens);
    RUN(a_refused_message_writes_nothing);
    RUN(keys_of_small_order_are_refused);
    RUN(the_contexts_keep_no_key_of_ours);
    noise_free(noise);
    return 0;
}

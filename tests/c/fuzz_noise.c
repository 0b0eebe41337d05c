/*
 * Handshake messages of any bytes against fixed keys: first byte what to do, the rest is laid over a genuine
 * message. Whatever does not open writes nothing.
 */
#include <errno.h>

#include "fuzz.h"
#include "noise.h"

static struct noise *noise;
static struct noise_key_pair alice, bob, first, second;
static struct noise_initiation initiation;
static struct noise_response response;
static struct noise_state sent, received;
static const uint8_t shared[32] = {5}, timestamp[12] = {6}, preshared_keys[96] = {0};

static void make_pair(struct noise_key_pair *pair, uint8_t seed)
{
    memset(pair->private_key, seed, 32);
    pair->private_key[0] &= 248;
    pair->private_key[31] = (uint8_t)((pair->private_key[31] & 127) | 64);
    MUST(noise_public_key(noise, pair) == 0);
}

static void begin(void)
{
    struct noise_transport_keys keys;
    uint8_t remote[32], stamp[12];
    noise = noise_new();
    MUST(noise);
    make_pair(&alice, 1);
    make_pair(&bob, 2);
    make_pair(&first, 3);
    make_pair(&second, 4);
    MUST(noise_create_initiation(noise, alice.public_key, bob.public_key, shared, &first, timestamp, &sent,
                                 &initiation) == 0);
    MUST(noise_open_initiation(noise, &bob, &initiation, &received, remote) == 0);
    MUST(noise_consume_initiation(noise, shared, &initiation, &received, stamp) == 0);
    MUST(noise_create_response(noise, &received, initiation.ephemeral, alice.public_key, &second,
                               preshared_keys, &response, &keys) == 0);
}

static int changed(void *message, size_t length, struct input *input)
{
    uint8_t *bytes = message, any = 0;
    for (size_t i = 0; i < length; i++) {
        uint8_t with = take_byte(input);
        bytes[i] ^= with;
        any |= with;
    }
    return any != 0;
}

static void an_initiation(struct input *input)
{
    struct noise_initiation message = initiation;
    struct noise_state state = {.hash = {9}};
    uint8_t remote[32] = {8}, stamp[12] = {7};
    int is_changed = changed(&message, sizeof message, input);
    int error = noise_open_initiation(noise, &bob, &message, &state, remote);
    if (error) {
        MUST(is_changed && error == -EBADMSG && remote[0] == 8 && state.hash[0] == 9);
        return;
    }
    error = noise_consume_initiation(noise, shared, &message, &state, stamp);
    MUST(error ? is_changed && error == -EBADMSG && stamp[0] == 7 : !is_changed && stamp[0] == 6);
}

static void a_response(struct input *input)
{
    struct noise_response message = response;
    struct noise_transport_keys keys;
    struct noise_transport_keys before;
    memset(&keys, 9, sizeof keys);
    before = keys;
    size_t count = 1 + take_byte(input) % 3;
    int is_changed = changed(&message, sizeof message, input);
    int found = noise_consume_response(noise, &alice, &sent, &first, &message, preshared_keys, count, &keys);
    /* the topmost bit of an X25519 key has no meaning for the curve, but it is hashed */
    MUST(is_changed ? found == -EBADMSG && memcmp(&keys, &before, sizeof keys) == 0 : found == 0);
}

static void an_answer(struct input *input)
{
    struct noise_response answer;
    struct noise_transport_keys keys;
    uint8_t ephemeral[32], remote[32];
    take_bytes(input, ephemeral, sizeof ephemeral);
    take_bytes(input, remote, sizeof remote);
    int error =
        noise_create_response(noise, &received, ephemeral, remote, &second, preshared_keys, &answer, &keys);
    MUST(error == 0 || error == -EBADMSG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(struct input *) = {an_initiation, a_response, an_answer};
    struct input input = {data, size};
    if (!noise)
        begin();
    kinds[take_byte(&input) % 3](&input);
    return 0;
}

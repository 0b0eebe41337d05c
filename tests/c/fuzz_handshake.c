/* Datagrams of any bytes from a stranger: the checks that come before any work. */
#include <sys/socket.h>

#include "cookie.h"
#include "fuzz.h"
#include "packet.h"
#include "ratelimiter.h"
#include "segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cookie_checker *checker;
    static struct ratelimiter *limiter;
    static const uint8_t public_key[32] = {1};
    static uint64_t now_ns = 1;
    if (!checker) {
        checker = cookie_new();
        limiter = ratelimiter_new();
        MUST(checker && limiter && cookie_set_identity(checker, public_key) == 0);
    }
    struct input input = {data, size};
    struct dp_address source = {.family = take_byte(&input) & 1 ? AF_INET : AF_INET6,
                                .port = take_word(&input)};
    take_bytes(&input, source.ip, 16);
    uint32_t segment = take_word(&input), length = (uint32_t)input.left, offset = 0;

    for (uint32_t left = segment_count(length, segment); left > 0; left--) {
        uint32_t one = segment_length(length, segment, offset);
        uint8_t *message = malloc(one + 1), reply[MESSAGE_COOKIE_REPLY_LEN];
        MUST(message && offset + one <= length);
        memcpy(message, input.data + offset, one);
        offset += one;
        uint32_t type = message_type(message, one);
        if (type != 0 && type != MESSAGE_INITIATION)
            (void)message_receiver(message, type);
        if (type == MESSAGE_INITIATION || type == MESSAGE_RESPONSE) {
            now_ns += 1000000;
            (void)cookie_mac1_valid(checker, message, one);
            (void)cookie_mac2_valid(checker, message, one, &source, now_ns);
            (void)ratelimiter_allow(limiter, &source, now_ns);
            MUST(cookie_reply(checker, message, one, &source, now_ns, reply) == 0);
            MUST(message_type(reply, sizeof reply) == MESSAGE_COOKIE_REPLY);
        }
        free(message);
    }
    MUST(offset == length);
    return 0;
}

#include "checksum.h"

#include "packets.h"

static uint16_t folded(uint64_t sum)
{
    uint8_t bytes[2];
    checksum_put(bytes, checksum_fold(sum));
    return get_be16(bytes);
}

static void sums_agree_with_the_naive_one_at_every_length_and_alignment(void)
{
    static uint8_t data[4096], copy[4096];
    uint64_t random = 5;
    draw_bytes(&random, data, sizeof data);
    for (uint32_t round = 0; round < 3000; round++) {
        uint32_t at = draw_below(&random, 70), to = draw_below(&random, 70);
        uint32_t length = round < 300 ? round : draw_below(&random, 3900);
        uint32_t before = draw_below(&random, 0x10000);
        uint8_t word[2];
        put_be16(word, (uint16_t)before);
        uint64_t start = checksum_add(0, word, 2);
        uint16_t expected = (uint16_t)naive_sum(before, data + at, length);
        CHECK_EQUAL(folded(checksum_add(start, data + at, length)), expected);
        memset(copy, 0xee, sizeof copy);
        CHECK_EQUAL(folded(checksum_copy(start, copy + to, data + at, length)), expected);
        CHECK(memcmp(copy + to, data + at, length) == 0 && copy[to + length] == 0xee);
    }
}

static void all_ones_do_not_overflow(void)
{
    static uint8_t ones[65536];
    memset(ones, 0xff, sizeof ones);
    CHECK_EQUAL(checksum_fold(checksum_add(UINT32_MAX, ones, sizeof ones)), 0xffff);
    CHECK_EQUAL(checksum_fold(UINT64_MAX), 0xffff);
    CHECK_EQUAL(checksum_fold(0), 0);
}

static void pseudo_headers_are_right(void)
{
    static const struct packet_shape shapes[] = {
        {.version = 4, .protocol = PROTO_TCP, .payload = 11, .flags = 0x10},
        {.version = 6, .protocol = PROTO_TCP, .payload = 70000 - 65536, .flags = 0x10},
        {.version = 4, .protocol = PROTO_UDP, .payload = 1},
        {.version = 6, .protocol = PROTO_UDP, .payload = 1000},
    };
    static uint8_t packet[8192];
    for (size_t i = 0; i < 4; i++) {
        struct inner inner;
        uint32_t length = build_packet(packet, &shapes[i]);
        CHECK_EQUAL(inner_parse(packet, length, &inner), 0);
        uint64_t sum = checksum_pseudo(&inner, inner.protocol, length - inner.header_len);
        sum = checksum_add(sum, packet + inner.header_len, length - inner.header_len);
        CHECK_EQUAL(checksum_fold(sum), 0xffff);
    }
}

static void a_udp_checksum_is_never_zero(void)
{
    uint8_t at[2];
    checksum_finish_udp(at, 0xffff);
    CHECK_EQUAL(get_be16(at), 0xffff);
    checksum_finish(at, 0xffff);
    CHECK_EQUAL(get_be16(at), 0);
}

int main(void)
{
    RUN(sums_agree_with_the_naive_one_at_every_length_and_alignment);
    RUN(all_ones_do_not_overflow);
    RUN(pseudo_headers_are_right);
    RUN(a_udp_checksum_is_never_zero);
    return 0;
}

#include "icmp.h"

#include "packets.h"

static uint8_t packet[4096], answer[ICMP_MAX_LEN];

static const struct packet_shape udp4 = {.version = 4, .protocol = PROTO_UDP, .ttl = 64, .payload = 60};
static const struct packet_shape udp6 = {.version = 6, .protocol = PROTO_UDP, .ttl = 64, .payload = 60};

static size_t answer_to(uint32_t length)
{
    return icmp_unreachable(packet, length, answer);
}

static void ipv4_gets_host_unreachable_from_the_destination(void)
{
    uint32_t length = build_packet(packet, &udp4);
    CHECK_EQUAL(answer_to(length), 28 + length);
    CHECK(answer[0] == 0x45 && answer[9] == PROTO_ICMP && get_be16(answer + 2) == 28 + length);
    CHECK(memcmp(answer + 12, packet + 16, 4) == 0 && memcmp(answer + 16, packet + 12, 4) == 0);
    CHECK(answer[20] == 3 && answer[21] == 1 && get_be32(answer + 24) == 0);
    CHECK(memcmp(answer + 28, packet, length) == 0);
    CHECK_EQUAL(naive_sum(0, answer, 20), 0xffff);
    CHECK_EQUAL(naive_sum(0, answer + 20, 8 + length), 0xffff);
}

static void ipv6_gets_address_unreachable_from_the_destination(void)
{
    uint32_t length = build_packet(packet, &udp6);
    CHECK_EQUAL(answer_to(length), 48 + length);
    CHECK(answer[0] == 0x60 && answer[6] == PROTO_ICMPV6 && get_be16(answer + 4) == 8 + length);
    CHECK(memcmp(answer + 8, packet + 24, 16) == 0 && memcmp(answer + 24, packet + 8, 16) == 0);
    CHECK(answer[40] == 1 && answer[41] == 3);
    CHECK(checksums_right(answer, 48 + length));
}

static void long_packets_are_quoted_in_part(void)
{
    struct packet_shape big = udp4;
    big.payload = 3000;
    CHECK_EQUAL(answer_to(build_packet(packet, &big)), 576);
    big.version = 6;
    CHECK_EQUAL(answer_to(build_packet(packet, &big)), 1280);
    CHECK(checksums_right(answer, 1280));
}

static void no_answer_to_or_from_what_is_not_one_host(void)
{
    static const uint8_t bad[][4] = {{0, 0, 0, 0},   {224, 0, 0, 1},       {239, 1, 1, 1},
                                     {127, 0, 0, 1}, {255, 255, 255, 255}, {240, 0, 0, 1}};
    for (size_t i = 0; i < sizeof bad / 4; i++) {
        for (int at = 12; at <= 16; at += 4) {
            uint32_t length = build_packet(packet, &udp4);
            memcpy(packet + at, bad[i], 4);
            CHECK_EQUAL(answer_to(length), 0);
        }
    }
    for (int at = 8; at <= 24; at += 16) {
        uint32_t length = build_packet(packet, &udp6);
        memset(packet + at, 0, 16);
        CHECK_EQUAL(answer_to(length), 0);
        packet[at] = 0xff;
        CHECK_EQUAL(answer_to(length), 0);
    }
}

static void no_answer_to_errors_or_later_fragments(void)
{
    uint32_t length = build_packet(packet, &udp4);
    packet[9] = PROTO_ICMP;
    for (uint32_t type = 0; type < 256; type++) {
        packet[20] = (uint8_t)type;
        int error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
        CHECK_EQUAL(answer_to(length) == 0, error);
    }
    length = build_packet(packet, &udp4);
    put_be16(packet + 6, 0x2000); /* the first fragment may be answered */
    CHECK(answer_to(length) != 0);
    put_be16(packet + 6, 0x0001);
    CHECK_EQUAL(answer_to(length), 0);
}

static void ipv6_errors_are_found_behind_extension_headers(void)
{
    uint32_t length = build_packet(packet, &udp6);
    packet[6] = PROTO_ICMPV6;
    for (uint32_t type = 0; type < 256; type++) {
        packet[40] = (uint8_t)type;
        CHECK_EQUAL(answer_to(length) == 0, type < 128 || type == 137);
    }
    packet[6] = 0; /* hop by hop, then ICMPv6 */
    packet[40] = PROTO_ICMPV6;
    packet[41] = 0;
    packet[48] = 128;
    CHECK(answer_to(length) != 0);
    packet[48] = 1;
    CHECK_EQUAL(answer_to(length), 0);
    packet[41] = 255; /* a chain that leaves the packet */
    CHECK_EQUAL(answer_to(length), 0);
    packet[6] = 44;
    packet[40] = PROTO_UDP;
    put_be16(packet + 42, 8 << 3);
    CHECK_EQUAL(answer_to(length), 0);
    put_be16(packet + 42, 1);
    CHECK(answer_to(length) != 0);
}

static void errors_are_limited(void)
{
    struct icmp_limit limit = {0};
    uint64_t now = 1000;
    for (int i = 0; i < ICMP_BURST; i++)
        CHECK(icmp_allowed(&limit, now));
    CHECK(!icmp_allowed(&limit, now));
    CHECK(!icmp_allowed(&limit, now + ICMP_INTERVAL_NS - 1));
    CHECK(icmp_allowed(&limit, now + ICMP_INTERVAL_NS));
    CHECK(!icmp_allowed(&limit, now + ICMP_INTERVAL_NS));
}

int main(void)
{
    RUN(ipv4_gets_host_unreachable_from_the_destination);
    RUN(ipv6_gets_address_unreachable_from_the_destination);
    RUN(long_packets_are_quoted_in_part);
    RUN(no_answer_to_or_from_what_is_not_one_host);
    RUN(no_answer_to_errors_or_later_fragments);
    RUN(ipv6_errors_are_found_behind_extension_headers);
    RUN(errors_are_limited);
    return 0;
}

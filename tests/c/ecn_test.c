#include "ecn.h"

#include "packets.h"

static void the_outer_header_gets_ecn_but_never_dscp_or_ce(void)
{
    for (uint32_t ds = 0; ds < 256; ds++) {
        uint8_t ecn = ds & 3;
        CHECK_EQUAL(ecn_encapsulate((uint8_t)ds), ecn == ECN_CE ? ECN_ECT0 : ecn);
    }
}

static uint8_t expected_ecn(uint8_t outer, uint8_t inner)
{
    if (inner == ECN_NOT_ECT)
        return inner;
    if (outer == ECN_CE)
        return ECN_CE;
    return outer == ECN_ECT1 && inner == ECN_ECT0 ? ECN_ECT1 : inner;
}

static void congestion_marks_come_in_and_nothing_else_changes(void)
{
    uint8_t packet[200], before[200];
    for (uint32_t i = 0; i < 2 * 256 * 256; i++) {
        uint8_t inner = (uint8_t)(i >> 8), outer = (uint8_t)i;
        struct packet_shape shape = {
            .version = i >> 16 ? 4 : 6, .protocol = PROTO_UDP, .ds = inner, .ttl = 3, .payload = 4};
        uint32_t length = build_packet(packet, &shape);
        shape.ds = (uint8_t)((inner & 0xfc) | expected_ecn(outer & 3, inner & 3));
        build_packet(before, &shape);
        ecn_decapsulate(outer, packet);
        CHECK(memcmp(packet, before, length) == 0);
    }
}

int main(void)
{
    RUN(the_outer_header_gets_ecn_but_never_dscp_or_ce);
    RUN(congestion_marks_come_in_and_nothing_else_changes);
    return 0;
}

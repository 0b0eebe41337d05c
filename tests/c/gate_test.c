/* The gate as packets meet it; the choice of keypairs alone is in keypair_test.c. */
#include "gate.h"

#include "plane.h"

static struct plane plane;
static struct dp_gate strict;

static void address(struct dp_address *out, uint16_t port, uint8_t last)
{
    *out = (struct dp_address){.family = AF_INET, .port = port, .ip = {10, 0, last == 1 ? 1 : 0, last}};
}

/* 10.0.1.1:51821 and 10.0.0.2:51821 talk about keys; tun_gives sends from 10.0.1.1:1000 to 10.0.0.2:2000. */
static void begin_strict(void)
{
    plane_begin(&plane, 0);
    strict = (struct dp_gate){.user_kinds = 1u << DP_PSK_PQ, .user_psk_max_age_ns = 600000000000ull};
    address(&strict.control_local, 51821, 1);
    address(&strict.control_remote, 51821, 2);
    CHECK_EQUAL(dp_peer_set_gate(plane.dp, plane.peer, &strict), 0);
}

static uint32_t udp4(uint8_t *packet, int outgoing, uint16_t source_port, uint16_t destination_port)
{
    memset(packet, 0, 40);
    packet[0] = 0x45;
    packet[3] = 40;
    packet[8] = 64;
    packet[9] = PROTO_UDP;
    memcpy(packet + (outgoing ? 12 : 16), "\x0a\x00\x01\x01", 4);
    memcpy(packet + (outgoing ? 16 : 12), "\x0a\x00\x00\x02", 4);
    put_be16(packet + 20, source_port);
    put_be16(packet + 22, destination_port);
    put_be16(packet + 24, 20);
    return 40;
}

static void tun_gives_control(void)
{
    uint8_t packet[40];
    CHECK(send(plane.tun, packet, udp4(packet, 1, 51821, 51821), 0) == 40);
}

static void user_packets_wait_for_a_session_the_gate_admits(void)
{
    begin_strict();
    plane_session(&plane, 1, DP_PSK_INTERIM);
    for (int i = 0; i < 5; i++)
        tun_gives(&plane, (uint32_t)(10 + 16 * i), 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    CHECK_EQUAL(record_of(&plane)->staged, 5);
    CHECK_EQUAL(record_of(&plane)->tx_gated, 5);
    CHECK_EQUAL(record_of(&plane)->user_birthdate_ns, 0);
    struct dp_event event;
    CHECK(!take_event(&plane, DP_EVENT_WANT_SESSION, &event)); /* another such session would not help */
    plane_session(&plane, 1, DP_PSK_PQ);
    CHECK_EQUAL(dp_peer_flush(plane.dp, plane.peer, 1), 0);
    outbound(&plane);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(peer_gets(&plane, NULL), 32 + (38 + 16 * i + 15) / 16 * 16);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    CHECK_EQUAL(record_of(&plane)->user_psk_kind, DP_PSK_PQ);
    plane_end(&plane);
}

static void control_packets_do_not_wait_behind_user_packets(void)
{
    begin_strict();
    tun_gives(&plane, 10, 0);
    tun_gives_control();
    tun_gives_control();
    outbound(&plane);
    CHECK_EQUAL(record_of(&plane)->staged, 3);
    plane_session(&plane, 1, DP_PSK_INTERIM);
    dp_peer_flush(plane.dp, plane.peer, 1);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 2);
    CHECK_EQUAL(record_of(&plane)->staged, 1);
    tun_gives_control();
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    plane_end(&plane);
}

static void a_keepalive_confirms_a_session_that_user_packets_may_not_use(void)
{
    begin_strict();
    tun_gives(&plane, 10, 0);
    outbound(&plane);
    plane_session(&plane, 1, DP_PSK_INTERIM);
    dp_peer_flush(plane.dp, plane.peer, 1);
    outbound(&plane);
    CHECK_EQUAL(peer_gets(&plane, NULL), 32);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    plane_end(&plane);
}

static void a_keepalive_confirms_a_session_while_user_packets_leave_on_an_older_one(void)
{
    uint8_t message[2000], packet[40];
    begin_strict();
    tun_gives(&plane, 10, 0);
    outbound(&plane);
    plane_session(&plane, 0, DP_PSK_PQ);
    struct dp_keypair_config weak = {
        .remote_index = 99, .birthdate_ns = now_boottime_ns(), .is_initiator = 1};
    CHECK_EQUAL(dp_index_reserve(plane.dp, plane.peer, &weak.local_index), 0);
    CHECK_EQUAL(dp_keypair_install(plane.dp, plane.peer, &weak), 0);
    peer_sends(&plane, 0, packet, udp4(packet, 0, 1, 2)); /* confirms the older one, which is previous */
    inbound(&plane);
    dp_peer_flush(plane.dp, plane.peer, 1);
    outbound(&plane);
    CHECK(peer_gets(&plane, message) > 32);
    CHECK_EQUAL(get_le32(message + 4), 0x01020304);
    CHECK_EQUAL(peer_gets(&plane, message), 32);
    CHECK_EQUAL(get_le32(message + 4), 99);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    plane_end(&plane);
}

static void incoming_user_packets_are_refused_and_control_packets_pass(void)
{
    uint8_t packet[40], taken[100];
    begin_strict();
    plane_session(&plane, 1, DP_PSK_INTERIM);
    peer_sends(&plane, 0, packet, udp4(packet, 0, 1, 2));
    peer_sends(&plane, 1, packet, udp4(packet, 0, 51821, 51821));
    peer_sends(&plane, 2, packet, udp4(packet, 0, 51821, 51822));
    inbound(&plane);
    CHECK_EQUAL(recv(plane.tun, taken, sizeof taken, MSG_DONTWAIT), 40);
    CHECK_EQUAL(get_be16(taken + 22), 51821);
    CHECK(recv(plane.tun, taken, sizeof taken, MSG_DONTWAIT) < 0);
    CHECK_EQUAL(record_of(&plane)->rx_gated, 2);
    plane_session(&plane, 1, DP_PSK_PQ);
    peer_sends(&plane, 0, packet, udp4(packet, 0, 1, 2));
    inbound(&plane);
    CHECK_EQUAL(recv(plane.tun, taken, sizeof taken, MSG_DONTWAIT), 40);
    plane_end(&plane);
}

static void a_weaker_session_does_not_take_user_packets_over(void)
{
    uint8_t message[2000];
    begin_strict();
    plane_session(&plane, 1, DP_PSK_PQ);
    struct dp_keypair_config weak = {
        .remote_index = 99, .birthdate_ns = now_boottime_ns(), .is_initiator = 1};
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(dp_index_reserve(plane.dp, plane.peer, &weak.local_index), 0);
        CHECK_EQUAL(dp_keypair_install(plane.dp, plane.peer, &weak), 0);
    }
    tun_gives(&plane, 10, 0);
    outbound(&plane);
    CHECK(peer_gets(&plane, message) > 0);
    CHECK_EQUAL(get_le32(message + 4), 0x01020304);
    tun_gives_control();
    outbound(&plane);
    CHECK(peer_gets(&plane, message) > 0);
    CHECK_EQUAL(get_le32(message + 4), 99);
    plane_end(&plane);
}

static void a_key_that_grew_too_old_closes_the_gate(void)
{
    begin_strict();
    plane_session(&plane, 1, DP_PSK_PQ);
    struct peer *peer = plane.dp->peers[plane.peer];
    CHECK(record_of(&plane)->user_birthdate_ns > 0);
    peer->slots.current->psk_birthdate_ns = now_boottime_ns() - 600000000000ull;
    tun_gives(&plane, 10, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    CHECK_EQUAL(record_of(&plane)->tx_gated, 1);
    CHECK_EQUAL(record_of(&plane)->user_birthdate_ns, 0);
    plane_end(&plane);
}

static void opening_the_gate_lets_what_waits_go(void)
{
    struct dp_gate open_gate = {.user_kinds = 0xf};
    begin_strict();
    plane_session(&plane, 1, DP_PSK_NONE);
    tun_gives(&plane, 10, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    CHECK_EQUAL(dp_peer_set_gate(plane.dp, plane.peer, &open_gate), 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    plane_end(&plane);
}

static int is_control(uint8_t *packet, uint32_t length)
{
    struct inner inner;
    return inner_parse(packet, length, &inner) == 0 && gate_is_control_out(&strict, &inner);
}

static void only_whole_datagrams_between_both_ends_are_control_packets(void)
{
    uint8_t packet[100];
    begin_strict();
    uint32_t length = udp4(packet, 1, 51821, 51821);
    CHECK(is_control(packet, length));
    packet[6] = 0x20; /* more fragments */
    CHECK(!is_control(packet, length));
    packet[6] = 0x00, packet[7] = 1; /* a later fragment */
    CHECK(!is_control(packet, length));
    packet[6] = 0x40, packet[7] = 0; /* don't fragment */
    CHECK(is_control(packet, length));
    packet[9] = PROTO_TCP;
    CHECK(!is_control(packet, length));
    CHECK(!is_control(packet, udp4(packet, 1, 51821, 51820)));
    CHECK(!is_control(packet, udp4(packet, 1, 51820, 51821)));
    CHECK(!is_control(packet, udp4(packet, 0, 51821, 51821))); /* the wrong way round */
    udp4(packet, 1, 51821, 51821);
    packet[3] = 27; /* no room for the UDP header */
    CHECK(!is_control(packet, 40));
    plane_end(&plane);
}

static void control_packets_are_known_in_ipv6_too(void)
{
    uint8_t packet[60] = {0x60};
    struct inner inner;
    struct dp_gate gate = {.control_local = {.family = AF_INET6, .port = 5, .ip = {0xfe, 0x80}},
                           .control_remote = {.family = AF_INET6, .port = 6, .ip = {0xfe, 0x81}}};
    put_be16(packet + 4, 20);
    packet[6] = PROTO_UDP;
    packet[8] = 0xfe, packet[9] = 0x80, packet[24] = 0xfe, packet[25] = 0x81;
    put_be16(packet + 40, 5);
    put_be16(packet + 42, 6);
    CHECK(inner_parse(packet, sizeof packet, &inner) == 0);
    CHECK(gate_is_control_out(&gate, &inner) && !gate_is_control_in(&gate, &inner));
    packet[6] = 44; /* a fragment header */
    CHECK(inner_parse(packet, sizeof packet, &inner) == 0 && !gate_is_control_out(&gate, &inner));
}

int main(void)
{
    RUN(user_packets_wait_for_a_session_the_gate_admits);
    RUN(control_packets_do_not_wait_behind_user_packets);
    RUN(a_keepalive_confirms_a_session_that_user_packets_may_not_use);
    RUN(a_keepalive_confirms_a_session_while_user_packets_leave_on_an_older_one);
    RUN(incoming_user_packets_are_refused_and_control_packets_pass);
    RUN(a_weaker_session_does_not_take_user_packets_over);
    RUN(a_key_that_grew_too_old_closes_the_gate);
    RUN(opening_the_gate_lets_what_waits_go);
    RUN(only_whole_datagrams_between_both_ends_are_control_packets);
    RUN(control_packets_are_known_in_ipv6_too);
    return 0;
}

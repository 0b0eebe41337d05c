#include "plane.h"

#include "checksum.h"
#include "packets.h"

static struct plane plane;

/* A UDP packet from the peer's network, checksums right. */
static uint32_t make_inner(uint8_t *out, uint32_t payload)
{
    struct packet_shape shape = {.version = 4, .protocol = PROTO_UDP, .ttl = 64, .source_port = 7};
    uint32_t length = 28 + payload;
    shape.payload = payload;
    memset(out, 0, length);
    out[0] = 0x45;
    out[8] = 64;
    out[9] = PROTO_UDP;
    memcpy(out + 12, "\x0a\x00\x00\x02\x0a\x00\x01\x01", 8);
    put_be16(out + 20, shape.source_port);
    put_be16(out + 22, 9);
    put_be16(out + 24, (uint16_t)(8 + payload));
    memset(out + 28, 0x5a, payload);
    seal_headers(out, length);
    return length;
}

static void begin_with_session(int vnet)
{
    plane_begin(&plane, vnet);
    plane_session(&plane, 1, DP_PSK_NONE);
}

static void send_inner(uint64_t counter, uint32_t payload)
{
    uint8_t packet[2000];
    peer_sends(&plane, counter, packet, make_inner(packet, payload));
}

static ssize_t tun_takes(uint8_t *out)
{
    return recv(plane.tun, out, 70000, MSG_DONTWAIT);
}

static uint8_t taken[70000];

static void a_packet_arrives_without_its_padding(void)
{
    uint8_t packet[2000] = {0};
    begin_with_session(0);
    uint32_t length = make_inner(packet, 5);
    peer_sends(&plane, 0, packet, 48);
    inbound(&plane);
    CHECK_EQUAL(tun_takes(taken), length);
    CHECK(memcmp(taken, packet, length) == 0);
    CHECK_EQUAL(record_of(&plane)->rx_bytes, 16 + 48 + 16);
    CHECK_EQUAL(record_of(&plane)->rx_packets, 1);
    CHECK(record_of(&plane)->rx_unanswered_ns > 0);
    plane_end(&plane);
}

static void a_keepalive_is_counted_and_not_written(void)
{
    begin_with_session(0);
    peer_sends(&plane, 0, NULL, 0);
    inbound(&plane);
    CHECK(tun_takes(taken) < 0);
    CHECK_EQUAL(record_of(&plane)->rx_bytes, 32);
    CHECK(record_of(&plane)->last_rx_auth_ns > 0);
    CHECK_EQUAL(record_of(&plane)->last_rx_data_ns, 0);
    CHECK_EQUAL(record_of(&plane)->rx_unanswered_ns, 0);
    plane_end(&plane);
}

static void a_replay_is_dropped(void)
{
    begin_with_session(0);
    send_inner(5, 10);
    send_inner(5, 10);
    send_inner(4, 10);
    inbound(&plane);
    CHECK(tun_takes(taken) > 0);
    CHECK(tun_takes(taken) > 0);
    CHECK(tun_takes(taken) < 0);
    CHECK_EQUAL(record_of(&plane)->rx_replayed, 1);
    plane_end(&plane);
}

static void an_empty_datagram_does_not_end_the_batch(void)
{
    begin_with_session(0);
    send_inner(0, 10);
    peer_sends_raw(&plane, "", 0);
    send_inner(1, 20);
    inbound(&plane);
    CHECK_EQUAL(tun_takes(taken), 38);
    CHECK_EQUAL(tun_takes(taken), 48);
    CHECK_EQUAL(dropped(&plane, DROP_UDP_EMPTY), 1);
    plane_end(&plane);
}

static void a_truncated_datagram_is_dropped(void)
{
    begin_with_session(0);
    send_inner(0, 10);
    kernel.truncated = 1;
    inbound(&plane);
    CHECK(tun_takes(taken) < 0);
    CHECK_EQUAL(dropped(&plane, DROP_UDP_TRUNCATED), 1);
    plane_end(&plane);
}

static void garbage_of_every_length_is_counted(void)
{
    uint8_t garbage[300];
    uint64_t state = 7;
    begin_with_session(0);
    for (uint32_t length = 1; length < sizeof garbage; length++) {
        draw_bytes(&state, garbage, length);
        for (uint32_t type = 0; type <= 5; type++) {
            if (length >= 4)
                put_le32(garbage, type);
            peer_sends_raw(&plane, garbage, length);
            if (length >= 4)
                garbage[2] = 1;
            peer_sends_raw(&plane, garbage, length);
        }
        inbound(&plane);
    }
    CHECK(tun_takes(taken) < 0);
    CHECK_EQUAL(dp_events(plane.dp, &(struct dp_event){0}, 1), 0);
    CHECK(dropped(&plane, DROP_UDP_MALFORMED) > 1000);
    CHECK(dropped(&plane, DROP_DATA_INDEX) > 200);
    CHECK_EQUAL(dropped(&plane, DROP_HANDSHAKE_IDENTITY), 3);
    plane_end(&plane);
}

static void a_forged_packet_changes_nothing(void)
{
    uint8_t message[2000], packet[2000];
    struct dp_endpoint before, after;
    begin_with_session(0);
    size_t length = make_data(&plane, 0, packet, make_inner(packet, 10), message);
    dp_peer_endpoint(plane.dp, plane.peer, &before);
    message[length - 1] ^= 1;
    peer_sends_raw(&plane, message, length);
    inbound(&plane);
    CHECK_EQUAL(dropped(&plane, DROP_DATA_AUTHENTICATION), 1);
    CHECK_EQUAL(record_of(&plane)->last_rx_auth_ns, 0);
    dp_peer_endpoint(plane.dp, plane.peer, &after);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    message[length - 1] ^= 1;
    peer_sends_raw(&plane, message, length); /* the counter was not used up */
    inbound(&plane);
    CHECK(tun_takes(taken) > 0);
    plane_end(&plane);
}

static void an_authenticated_packet_moves_the_endpoint_even_if_it_is_bad_inside(void)
{
    uint8_t bad[16] = {0x75};
    struct dp_endpoint endpoint;
    uint16_t port;
    begin_with_session(0);
    int elsewhere = bound_udp4(&port), old = plane.remote;
    plane.remote = elsewhere;
    peer_sends(&plane, 0, bad, sizeof bad);
    inbound(&plane);
    dp_peer_endpoint(plane.dp, plane.peer, &endpoint);
    CHECK_EQUAL(endpoint.remote.port, port);
    CHECK_EQUAL(endpoint.local.family, AF_INET);
    CHECK(memcmp(endpoint.local.ip, "\x7f\x00\x00\x01", 4) == 0);
    CHECK(endpoint.ifindex > 0);
    CHECK_EQUAL(record_of(&plane)->rx_dropped, 1);
    tun_gives(&plane, 10, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    plane_end(&plane);
    close(old);
}

static void the_last_packet_of_a_burst_says_where_the_peer_is(void)
{
    struct dp_endpoint endpoint;
    uint16_t port;
    begin_with_session(0);
    int elsewhere = bound_udp4(&port), home = plane.remote;
    send_inner(0, 10);
    inbound(&plane);
    dp_peer_endpoint(plane.dp, plane.peer, &endpoint);
    uint16_t home_port = endpoint.remote.port;
    plane.remote = elsewhere;
    send_inner(1, 10);
    plane.remote = home;
    send_inner(2, 10);
    inbound(&plane);
    CHECK_EQUAL(record_of(&plane)->rx_packets, 3);
    dp_peer_endpoint(plane.dp, plane.peer, &endpoint);
    CHECK_EQUAL(endpoint.remote.port, home_port);
    plane_end(&plane);
    close(elsewhere);
}

static void an_inner_source_of_somebody_else_is_dropped(void)
{
    uint8_t packet[2000];
    begin_with_session(0);
    uint32_t other = (uint32_t)dp_peer_add(plane.dp);
    struct dp_address prefix = {.family = AF_INET, .ip = {10, 0, 0, 2}};
    CHECK_EQUAL(dp_allowed_ip_insert(plane.dp, other, &prefix, 32), 0); /* more specific than ours */
    peer_sends(&plane, 0, packet, make_inner(packet, 10));
    inbound(&plane);
    CHECK(tun_takes(taken) < 0);
    CHECK_EQUAL(record_of(&plane)->rx_dropped, 1);
    CHECK_EQUAL(dropped(&plane, DROP_DATA_SOURCE), 1);
    plane_end(&plane);
}

static void merged_arrivals_are_taken_apart(void)
{
    uint8_t messages[20 * 200], packet[200];
    struct sockaddr_in to;
    socklen_t size = sizeof to;
    size_t length = 0;
    begin_with_session(0);
    for (uint64_t i = 0; i < 20; i++)
        length += make_data(&plane, i, packet, make_inner(packet, i == 19 ? 30 : 100), messages + length);
    CHECK(getsockname(plane.udp4, (struct sockaddr *)&to, &size) == 0);
    int segment = 16 + 128 + 16;
    CHECK(setsockopt(plane.remote, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0);
    CHECK(sendto(plane.remote, messages, length, 0, (struct sockaddr *)&to, size) == (ssize_t)length);
    inbound(&plane);
    for (int i = 0; i < 20; i++)
        CHECK_EQUAL(tun_takes(taken), i == 19 ? 58 : 128);
    CHECK_EQUAL(record_of(&plane)->rx_packets, 20);
    plane_end(&plane);
}

static void packets_of_a_flow_are_written_as_one_super_packet(void)
{
    begin_with_session(1);
    for (uint64_t i = 0; i < 5; i++)
        send_inner(i, 100);
    inbound(&plane);
    CHECK_EQUAL(tun_takes(taken), VNET_HEADER_LEN + 28 + 500);
    CHECK(tun_takes(taken) < 0);
    plane_end(&plane);
}

static void coalescing_can_be_switched_off(void)
{
    begin_with_session(1);
    feature_lost(plane.dp, DP_FEATURE_TUN_COALESCE);
    for (uint64_t i = 0; i < 5; i++)
        send_inner(i, 100);
    inbound(&plane);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(tun_takes(taken), VNET_HEADER_LEN + 28 + 100);
    plane_end(&plane);
}

static void a_refused_super_packet_is_written_singly_and_intact(void)
{
    uint8_t packet[2000];
    begin_with_session(1);
    kernel.merged = EINVAL;
    uint32_t length = make_inner(packet, 100);
    for (uint64_t round = 0; round < 4; round++) {
        for (uint64_t i = 0; i < 5; i++)
            send_inner(round * 5 + i, 100);
        inbound(&plane);
        for (int i = 0; i < 5; i++) {
            CHECK_EQUAL(tun_takes(taken), VNET_HEADER_LEN + length);
            CHECK(checksums_right(taken + VNET_HEADER_LEN, length));
            CHECK(memcmp(taken + VNET_HEADER_LEN, packet, length) == 0);
        }
        CHECK_EQUAL(dropped(&plane, DROP_TUN_MERGE_REFUSED), round < 3 ? round + 1 : 3); /* then it stops */
    }
    CHECK_EQUAL(dropped(&plane, DROP_TUN_WRITE), 0);
    plane_end(&plane);
}

static void a_congestion_mark_outside_comes_inside(void)
{
    uint8_t packet[2000];
    int ce = 3;
    begin_with_session(0);
    uint32_t length = make_inner(packet, 10);
    packet[1] = 2; /* ECT(0) */
    seal_headers(packet, length);
    CHECK(setsockopt(plane.remote, IPPROTO_IP, IP_TOS, &ce, sizeof ce) == 0);
    peer_sends(&plane, 0, packet, length);
    inbound(&plane);
    CHECK_EQUAL(tun_takes(taken), length);
    CHECK_EQUAL(taken[1], 3);
    CHECK(checksums_right(taken, length));
    feature_lost(plane.dp, DP_FEATURE_ECN);
    peer_sends(&plane, 1, packet, length);
    inbound(&plane);
    CHECK_EQUAL(tun_takes(taken), length);
    CHECK_EQUAL(taken[1], 2);
    plane_end(&plane);
}

static void an_old_session_neither_sends_nor_receives(void)
{
    begin_with_session(0);
    struct peer *peer = plane.dp->peers[plane.peer];
    peer->slots.current->birthdate_ns = now_boottime_ns() - 180000000000ull;
    send_inner(0, 10);
    inbound(&plane);
    CHECK(tun_takes(taken) < 0);
    CHECK_EQUAL(dropped(&plane, DROP_DATA_EXPIRED), 1);
    tun_gives(&plane, 10, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    CHECK_EQUAL(record_of(&plane)->staged, 1);
    plane_end(&plane);
}

static void the_message_limit_stops_both_directions(void)
{
    struct dp_event event;
    begin_with_session(0);
    plane.dp->limits.reject_after_messages = 10;
    for (int i = 0; i < 15; i++)
        tun_gives(&plane, 10, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 10);
    CHECK_EQUAL(record_of(&plane)->staged, 5);
    CHECK(!(record_of(&plane)->current_flags & DP_KEYPAIR_SENDABLE));
    CHECK(take_event(&plane, DP_EVENT_WANT_SESSION, &event));
    send_inner(9, 10);
    send_inner(10, 10);
    inbound(&plane);
    CHECK_EQUAL(record_of(&plane)->rx_packets, 1);
    CHECK_EQUAL(dropped(&plane, DROP_DATA_EXPIRED), 1);
    plane_session(&plane, 1, DP_PSK_NONE); /* what waits leaves in order on the new session */
    dp_peer_flush(plane.dp, plane.peer, 1);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 5);
    plane_end(&plane);
}

static void rekey_after_messages_only_sets_a_flag(void)
{
    begin_with_session(0);
    plane.dp->limits.rekey_after_messages = 3;
    for (int i = 0; i < 5; i++)
        tun_gives(&plane, 10, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 5);
    CHECK(record_of(&plane)->current_flags & DP_KEYPAIR_REKEY_MESSAGES);
    CHECK(record_of(&plane)->current_flags & DP_KEYPAIR_SENDABLE);
    plane_end(&plane);
}

int main(void)
{
    RUN(a_packet_arrives_without_its_padding);
    RUN(a_keepalive_is_counted_and_not_written);
    RUN(a_replay_is_dropped);
    RUN(an_empty_datagram_does_not_end_the_batch);
    RUN(a_truncated_datagram_is_dropped);
    RUN(garbage_of_every_length_is_counted);
    RUN(a_forged_packet_changes_nothing);
    RUN(an_authenticated_packet_moves_the_endpoint_even_if_it_is_bad_inside);
    RUN(the_last_packet_of_a_burst_says_where_the_peer_is);
    RUN(an_inner_source_of_somebody_else_is_dropped);
    RUN(merged_arrivals_are_taken_apart);
    RUN(packets_of_a_flow_are_written_as_one_super_packet);
    RUN(coalescing_can_be_switched_off);
    RUN(a_refused_super_packet_is_written_singly_and_intact);
    RUN(a_congestion_mark_outside_comes_inside);
    RUN(an_old_session_neither_sends_nor_receives);
    RUN(the_message_limit_stops_both_directions);
    RUN(rekey_after_messages_only_sets_a_flag);
    return 0;
}

#include "plane.h"

static struct plane plane;

static void begin_with_session(void)
{
    plane_begin(&plane, 0);
    plane_session(&plane, 1, DP_PSK_NONE);
}

static void equal_packets_leave_in_one_segmented_send(void)
{
    begin_with_session();
    for (int i = 0; i < 10; i++)
        tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 10);
    CHECK_EQUAL(kernel.segmented_sends, 1);
    CHECK_EQUAL(kernel.sends, 1);
    CHECK_EQUAL(record_of(&plane)->tx_packets, 10);
    CHECK_EQUAL(record_of(&plane)->tx_bytes, 10 * (16 + 528 + 16));
    plane_end(&plane);
}

/* A TCP super-packet of 47 segments, as the kernel likes to make them: 45 are what one send may hold. */
static void tun_gives_a_super_packet(void)
{
    static uint8_t frame[VNET_HEADER_LEN + 65535];
    struct vnet_header vnet = {.flags = VNET_NEEDS_CSUM, .gso_type = VNET_GSO_TCPV4, .gso_size = 1368};
    uint32_t length = 52 + 47 * 1368;
    uint8_t *packet = frame + VNET_HEADER_LEN;

    vnet.csum_start = 20;
    vnet.csum_offset = 16;
    memcpy(frame, &vnet, VNET_HEADER_LEN);
    packet[0] = 0x45;
    put_be16(packet + 2, (uint16_t)length);
    packet[8] = 64;
    packet[9] = PROTO_TCP;
    memcpy(packet + 12, "\x0a\x00\x01\x01\x0a\x00\x00\x02", 8);
    packet[20 + 12] = 8 << 4;
    packet[20 + 13] = 0x10;
    CHECK(send(plane.tun, frame, VNET_HEADER_LEN + length, 0) > 0);
}

static void what_a_super_packet_leaves_over_goes_with_the_next(void)
{
    plane_begin(&plane, 1);
    plane_session(&plane, 1, DP_PSK_NONE);
    for (int i = 0; i < 3; i++)
        tun_gives_a_super_packet();
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(kernel.sends, 4); /* 3 * 45 + 6 */
    CHECK_EQUAL(record_of(&plane)->tx_packets, 3 * 47);
    plane_end(&plane);
}

static void what_is_left_over_does_not_wait(void)
{
    plane_begin(&plane, 1);
    plane_session(&plane, 1, DP_PSK_NONE);
    tun_gives_a_super_packet();
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(kernel.sends, 2);
    CHECK_EQUAL(peer_gets_all(&plane), 47);
    plane_end(&plane);
}

static void a_longer_packet_begins_a_new_send(void)
{
    begin_with_session();
    tun_gives(&plane, 500, 0);
    tun_gives(&plane, 100, 0);
    tun_gives(&plane, 500, 0);
    outbound(&plane);
    CHECK_EQUAL(kernel.sends, 2);
    CHECK_EQUAL(peer_gets_all(&plane), 3);
    plane_end(&plane);
}

static void congestion_marks_are_not_mixed_in_one_send(void)
{
    begin_with_session();
    tun_gives(&plane, 500, 0);
    tun_gives(&plane, 500, 2);
    tun_gives(&plane, 500, 2);
    outbound(&plane);
    CHECK_EQUAL(kernel.sends, 2);
    CHECK_EQUAL(peer_gets_all(&plane), 3);
    plane_end(&plane);
}

static void without_the_feature_every_datagram_is_its_own(void)
{
    begin_with_session();
    feature_lost(plane.dp, DP_FEATURE_UDP_GSO);
    for (int i = 0; i < 10; i++)
        tun_gives(&plane, 500, 0);
    outbound(&plane);
    CHECK_EQUAL(kernel.segmented_sends, 0);
    CHECK_EQUAL(peer_gets_all(&plane), 10);
    plane_end(&plane);
}

static void eio_turns_segmentation_off_on_the_socket_and_loses_nothing(void)
{
    begin_with_session();
    kernel.segments = EIO;
    for (int i = 0; i < 10; i++)
        tun_gives(&plane, 500, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 10);
    CHECK(!(dp_features(plane.dp) & DP_FEATURE_UDP_GSO));
    CHECK_EQUAL(dropped(&plane, DROP_SEGMENTS_REFUSED), 1);
    CHECK_EQUAL(record_of(&plane)->tx_packets, 10);
    tun_gives(&plane, 500, 0);
    tun_gives(&plane, 500, 0);
    outbound(&plane);
    CHECK_EQUAL(dropped(&plane, DROP_SEGMENTS_REFUSED), 1);
    CHECK_EQUAL(peer_gets_all(&plane), 2);
    plane_end(&plane);
}

static void a_path_too_small_for_segments_costs_only_its_peer(int error)
{
    begin_with_session();
    kernel.segments = error;
    for (int i = 0; i < 10; i++)
        tun_gives(&plane, 500, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 10);
    CHECK(dp_features(plane.dp) & DP_FEATURE_UDP_GSO);
    CHECK(plane.dp->peers[plane.peer]->segments_refused);
    CHECK_EQUAL(dropped(&plane, DROP_SEGMENTS_REFUSED), 1);
    tun_gives(&plane, 500, 0);
    tun_gives(&plane, 500, 0);
    outbound(&plane);
    CHECK_EQUAL(dropped(&plane, DROP_SEGMENTS_REFUSED), 1);
    plane_session(&plane, 1, DP_PSK_NONE); /* the next session asks the kernel again */
    CHECK(!plane.dp->peers[plane.peer]->segments_refused);
    plane_end(&plane);
}

static void emsgsize_and_einval_send_singly_for_one_peer(void)
{
    a_path_too_small_for_segments_costs_only_its_peer(EMSGSIZE);
    a_path_too_small_for_segments_costs_only_its_peer(EINVAL);
}

static void give_source(void)
{
    struct dp_endpoint endpoint;
    CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &endpoint), 0);
    endpoint.local = loopback(0);
    endpoint.ifindex = 1;
    CHECK_EQUAL(dp_peer_set_endpoint(plane.dp, plane.peer, &endpoint), 0);
}

static void a_stale_source_is_cleared_and_the_batch_sent_once_more(void)
{
    const int errors[] = {EINVAL, ENETUNREACH, ENODEV, EADDRNOTAVAIL};
    for (size_t i = 0; i < 4; i++) {
        struct dp_endpoint endpoint;
        begin_with_session();
        give_source();
        kernel.source = errors[i];
        tun_gives(&plane, 500, 0);
        tun_gives(&plane, 500, 0);
        outbound(&plane);
        CHECK_EQUAL(peer_gets_all(&plane), 2);
        CHECK_EQUAL(dropped(&plane, DROP_SOURCE_REFUSED), 1);
        CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &endpoint), 0);
        CHECK_EQUAL(endpoint.local.family, 0);
        CHECK_EQUAL(endpoint.ifindex, 0);
        CHECK_EQUAL(record_of(&plane)->tx_errors, 0);
        plane_end(&plane);
    }
}

static void segments_refused_with_einval_do_not_cost_the_source(void)
{
    struct dp_endpoint endpoint;
    begin_with_session();
    give_source();
    kernel.segments = EINVAL;
    tun_gives(&plane, 500, 0);
    tun_gives(&plane, 500, 0);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 2);
    CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &endpoint), 0);
    CHECK_EQUAL(endpoint.local.family, AF_INET);
    plane_end(&plane);
}

static void a_stale_source_does_not_stop_a_handshake(void)
{
    uint8_t message[148] = {1};
    begin_with_session();
    give_source();
    kernel.source = ENETUNREACH;
    CHECK_EQUAL(dp_send_handshake(plane.dp, plane.peer, message, sizeof message), 0);
    CHECK_EQUAL(peer_gets(&plane, NULL), 148);
    CHECK_EQUAL(record_of(&plane)->tx_bytes, 148);
    CHECK(record_of(&plane)->last_tx_auth_ns > 0);
    plane_end(&plane);
}

static void a_full_queue_costs_the_batch_and_no_more(void)
{
    const int errors[] = {ENOBUFS, EAGAIN};
    for (size_t i = 0; i < 2; i++) {
        begin_with_session();
        kernel.any = errors[i];
        kernel.any_times = 1;
        for (int k = 0; k < 3; k++)
            tun_gives(&plane, 500, 0);
        outbound(&plane);
        CHECK_EQUAL(peer_gets_all(&plane), 0);
        CHECK_EQUAL(record_of(&plane)->tx_errors, 3);
        CHECK_EQUAL(record_of(&plane)->tx_packets, 0);
        CHECK_EQUAL(record_of(&plane)->last_tx_data_ns, 0);
        CHECK_EQUAL(record_of(&plane)->tx_unanswered_ns, 0);
        tun_gives(&plane, 500, 0);
        outbound(&plane);
        uint8_t message[2000];
        CHECK(peer_gets(&plane, message) > 0);
        CHECK_EQUAL(get_le64(message + DATA_COUNTER_AT), 3); /* a lost packet's counter is never used again */
        plane_end(&plane);
    }
}

static void an_unreachable_host_is_counted_and_forgotten(void)
{
    begin_with_session();
    kernel.any = EHOSTUNREACH;
    kernel.any_times = 1;
    tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(record_of(&plane)->tx_errors, 1);
    plane_end(&plane);
}

static void a_partly_taken_batch_is_continued(void)
{
    begin_with_session();
    kernel.at_most = 1;
    for (uint32_t i = 0; i < 6; i++)
        tun_gives(&plane, 100 + 100 * i, 0); /* growing: every one is its own message */
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 6);
    CHECK_EQUAL(record_of(&plane)->tx_packets, 6);
    plane_end(&plane);
}

static void counters_go_out_in_order_without_gaps(void)
{
    uint8_t message[2000];
    begin_with_session();
    for (uint32_t i = 0; i < 100; i++)
        tun_gives(&plane, 100 + i % 7, 0);
    outbound(&plane);
    for (uint64_t i = 0; i < 100; i++) {
        CHECK(peer_gets(&plane, message) > 0);
        CHECK_EQUAL(get_le64(message + DATA_COUNTER_AT), i);
    }
    plane_end(&plane);
}

static void a_tun_that_is_down_is_waited_for(void)
{
    begin_with_session();
    kernel.read = EIO;
    CHECK_EQUAL(outbound(&plane), 0);
    kernel.read = 0;
    tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    plane_end(&plane);
}

static void a_deleted_tun_ends_the_run_and_says_so(void)
{
    struct dp_event event;
    begin_with_session();
    kernel.read = EBADFD;
    CHECK_EQUAL(outbound(&plane), -EBADFD);
    CHECK(take_event(&plane, DP_EVENT_DEVICE_GONE, &event));
    CHECK_EQUAL(event.length, EBADFD);
    plane_end(&plane);
}

static void our_own_outer_packet_is_not_sealed_again(void)
{
    uint8_t packet[100] = {0x45};
    struct sockaddr_in from, to;
    socklen_t size = sizeof from;
    struct dp_address route = loopback(0);
    begin_with_session();
    CHECK_EQUAL(dp_allowed_ip_insert(plane.dp, plane.peer, &route, 8), 0);
    getsockname(plane.udp4, (struct sockaddr *)&from, &size);
    getsockname(plane.remote, (struct sockaddr *)&to, &size);
    put_be16(packet + 2, sizeof packet);
    packet[9] = PROTO_UDP;
    memcpy(packet + 12, "\x7f\x00\x00\x01\x7f\x00\x00\x01", 8);
    memcpy(packet + 20, &from.sin_port, 2);
    memcpy(packet + 22, &to.sin_port, 2);
    CHECK(send(plane.tun, packet, sizeof packet, 0) == sizeof packet);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_LOOP), 1);
    packet[21] ^= 1; /* from another port it is somebody's packet */
    CHECK(send(plane.tun, packet, sizeof packet, 0) == sizeof packet);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    plane_end(&plane);
}

static void a_loop_through_two_peers_ends_at_its_first_turn(void)
{
    uint8_t packet[100] = {0x45};
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    struct dp_endpoint far = {.remote = {.family = AF_INET, .port = 7, .ip = {10, 0, 0, 77}}};
    begin_with_session();
    int other = dp_peer_add(plane.dp); /* its endpoint lies behind the first peer */
    CHECK_EQUAL(dp_peer_set_endpoint(plane.dp, (uint32_t)other, &far), 0);
    getsockname(plane.udp4, (struct sockaddr *)&from, &size);
    put_be16(packet + 2, sizeof packet);
    packet[9] = PROTO_UDP;
    memcpy(packet + 12, "\x7f\x00\x00\x01\x0a\x00\x00\x4d", 8);
    memcpy(packet + 20, &from.sin_port, 2);
    put_be16(packet + 22, 7);
    CHECK(send(plane.tun, packet, sizeof packet, 0) == sizeof packet);
    outbound(&plane);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_LOOP), 1);
    CHECK_EQUAL(dp_peer_remove(plane.dp, (uint32_t)other), 0);
    CHECK(send(plane.tun, packet, sizeof packet, 0) == sizeof packet);
    outbound(&plane);
    CHECK_EQUAL(peer_gets_all(&plane), 1); /* nobody's endpoint any more */
    plane_end(&plane);
}

int main(void)
{
    RUN(equal_packets_leave_in_one_segmented_send);
    RUN(what_a_super_packet_leaves_over_goes_with_the_next);
    RUN(what_is_left_over_does_not_wait);
    RUN(a_longer_packet_begins_a_new_send);
    RUN(congestion_marks_are_not_mixed_in_one_send);
    RUN(without_the_feature_every_datagram_is_its_own);
    RUN(eio_turns_segmentation_off_on_the_socket_and_loses_nothing);
    RUN(emsgsize_and_einval_send_singly_for_one_peer);
    RUN(a_stale_source_is_cleared_and_the_batch_sent_once_more);
    RUN(segments_refused_with_einval_do_not_cost_the_source);
    RUN(a_stale_source_does_not_stop_a_handshake);
    RUN(a_full_queue_costs_the_batch_and_no_more);
    RUN(an_unreachable_host_is_counted_and_forgotten);
    RUN(a_partly_taken_batch_is_continued);
    RUN(counters_go_out_in_order_without_gaps);
    RUN(a_tun_that_is_down_is_waited_for);
    RUN(a_deleted_tun_ends_the_run_and_says_so);
    RUN(our_own_outer_packet_is_not_sealed_again);
    RUN(a_loop_through_two_peers_ends_at_its_first_turn);
    return 0;
}

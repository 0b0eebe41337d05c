/*
 * Two pairs of workers on one plane, each run in turn in the test's own thread: what belongs to one of them,
 * and what they share. That they may run at the same time is races_test.c's.
 */
#include "plane.h"

#define WORKERS 2

static struct plane plane;
static int udps[WORKERS];

static void begin(size_t sockets)
{
    struct dp_socket_pair pairs[WORKERS];

    plane_begin_wide(&plane, 0, WORKERS);
    udps[0] = plane.udp4;
    for (size_t i = 0; i < sockets; i++) {
        uint16_t port;
        if (i)
            udps[i] = bound_udp4(&port);
        pairs[i] = (struct dp_socket_pair){udps[i], -1};
    }
    CHECK_EQUAL(dp_set_sockets(plane.dp, pairs, sockets), 0);
}

static void end(size_t sockets)
{
    plane_end(&plane);
    if (sockets > 1)
        close(udps[1]);
}

static int run_out(uint32_t worker)
{
    atomic_store(&plane.dp->is_stopped, false);
    return dp_run_outbound(plane.dp, worker);
}

static int run_in(uint32_t worker)
{
    atomic_store(&plane.dp->is_stopped, false);
    return dp_run_inbound(plane.dp, worker);
}

/* The kernel puts a packet of this size into one queue. */
static void queue_gives(uint32_t worker, uint32_t payload)
{
    int first = plane.tun;
    plane.tun = plane.tuns[worker][1];
    tun_gives(&plane, payload, 0);
    plane.tun = first;
}

static int queue_has(uint32_t worker)
{
    uint8_t frame[2000];
    int n = 0;
    while (recv(plane.tuns[worker][1], frame, sizeof frame, MSG_DONTWAIT) > 0)
        n++;
    return n;
}

static void send_to(int udp, const uint8_t *message, size_t length)
{
    int first = plane.udp4;
    plane.udp4 = udp;
    peer_sends_raw(&plane, message, length);
    plane.udp4 = first;
}

static size_t make_packet(uint64_t counter, uint8_t *message)
{
    uint8_t packet[112] = {0x45, 0, 0, 100};
    packet[9] = PROTO_UDP;
    memcpy(packet + 12, "\x0a\x00\x00\x02\x0a\x00\x01\x01", 8);
    return make_data(&plane, counter, packet, sizeof packet, message);
}

static void each_worker_reads_its_queue_and_nonces_are_never_the_same(void)
{
    uint8_t message[2000];
    uint64_t seen = 0;

    begin(2);
    plane_session(&plane, 1, 0);
    for (uint32_t i = 0; i < 20; i++)
        queue_gives(i % WORKERS, 100);
    CHECK_EQUAL(run_out(1), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 10); /* the other queue's wait for the other worker */
    CHECK_EQUAL(run_out(0), 0);
    for (int i = 0; i < 10; i++) {
        CHECK(peer_gets(&plane, message) > 0);
        CHECK(get_le64(message + DATA_COUNTER_AT) >= 10);
        seen |= 1ull << get_le64(message + DATA_COUNTER_AT);
    }
    CHECK_EQUAL(seen, 0xffc00ull);
    CHECK_EQUAL(record_of(&plane)->tx_packets, 20);
    end(2);
}

static void a_replay_is_seen_by_whichever_worker_it_comes_to(void)
{
    uint8_t message[2000];

    begin(2);
    plane_session(&plane, 1, 0);
    size_t length = make_packet(5, message);
    send_to(udps[0], message, length);
    CHECK_EQUAL(run_in(0), 0);
    CHECK_EQUAL(queue_has(0), 1);
    length = make_packet(5, message);
    send_to(udps[1], message, length);
    CHECK_EQUAL(run_in(1), 0);
    CHECK_EQUAL(queue_has(0) + queue_has(1), 0);
    CHECK_EQUAL(dropped(&plane, DROP_DATA_REPLAYED), 1);
    CHECK_EQUAL(record_of(&plane)->rx_replayed, 1);
    length = make_packet(6, message);
    send_to(udps[1], message, length);
    CHECK_EQUAL(run_in(1), 0);
    CHECK_EQUAL(queue_has(1), 1); /* written by the worker that read it */
    CHECK_EQUAL(record_of(&plane)->rx_packets, 2);
    end(2);
}

static void what_waits_leaves_by_its_own_worker_in_order(void)
{
    begin(2);
    for (uint32_t i = 0; i < 3; i++)
        queue_gives(1, 16 + 16 * i);
    queue_gives(0, 160);
    CHECK_EQUAL(run_out(0), 0);
    CHECK_EQUAL(run_out(1), 0);
    CHECK_EQUAL(record_of(&plane)->staged, 4);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    plane_session(&plane, 1, 0);
    CHECK_EQUAL(dp_peer_flush(plane.dp, plane.peer, 1), 0);
    queue_gives(1, 112); /* comes behind those that wait */
    CHECK_EQUAL(run_out(1), 0);
    for (ssize_t size = 16; size <= 48; size += 16)
        CHECK_EQUAL(peer_gets(&plane, NULL), 32 + ((28 + size + 15) & ~15));
    CHECK_EQUAL(peer_gets(&plane, NULL), 32 + 144);
    CHECK_EQUAL(record_of(&plane)->staged, 1);
    CHECK_EQUAL(run_out(0), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 1); /* its packet, and no keepalive beside */
    CHECK_EQUAL(record_of(&plane)->staged, 0);
    CHECK_EQUAL(record_of(&plane)->tx_dropped, 0);
    end(2);
}

static void a_keepalive_is_one_packet_of_one_worker(void)
{
    begin(2);
    plane_session(&plane, 1, 0);
    CHECK_EQUAL(dp_peer_flush(plane.dp, plane.peer, 1), 0);
    CHECK_EQUAL(run_out(1), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    CHECK_EQUAL(run_out(0), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    end(2);
}

static void dropping_and_removing_reach_every_lane(void)
{
    begin(2);
    for (uint32_t i = 0; i < 6; i++)
        queue_gives(i % WORKERS, 100);
    CHECK_EQUAL(run_out(0), 0);
    CHECK_EQUAL(run_out(1), 0);
    CHECK_EQUAL(record_of(&plane)->staged, 6);
    CHECK(atomic_load(&plane.dp->staged_bytes) > 600);
    CHECK_EQUAL(dp_peer_drop_staged(plane.dp, plane.peer), 0);
    CHECK_EQUAL(record_of(&plane)->staged, 0);
    CHECK_EQUAL(record_of(&plane)->tx_dropped, 6);
    CHECK_EQUAL(dropped(&plane, DROP_STAGED), 6);
    CHECK_EQUAL(atomic_load(&plane.dp->staged_bytes), 0);
    queue_gives(1, 100);
    CHECK_EQUAL(run_out(1), 0);
    CHECK_EQUAL(dp_peer_flush(plane.dp, plane.peer, 1), 0);
    CHECK_EQUAL(dp_peer_remove(plane.dp, plane.peer), 0); /* and is on no list any more */
    CHECK_EQUAL(run_out(1), 0);
    CHECK_EQUAL(atomic_load(&plane.dp->staged_bytes), 0);
    end(2);
}

static void what_waited_for_ninety_seconds_is_not_sent_late(void)
{
    begin(2);
    for (uint32_t i = 0; i < 3; i++)
        queue_gives(1, 100);
    CHECK_EQUAL(run_out(1), 0);
    struct staged *staged = &peer_find(plane.dp, plane.peer)->lanes[1].staged;
    staged->user.head->since_ns -= STAGED_MAX_AGE_NS;
    plane_session(&plane, 1, 0);
    CHECK_EQUAL(dp_peer_flush(plane.dp, plane.peer, 0), 0);
    CHECK_EQUAL(run_out(1), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 2);
    CHECK_EQUAL(record_of(&plane)->staged, 0);
    CHECK_EQUAL(record_of(&plane)->tx_dropped, 1);
    CHECK_EQUAL(dropped(&plane, DROP_STAGED), 1);
    end(2);
}

static void with_one_socket_one_worker_reads_and_all_send(void)
{
    struct dp_socket_pair three[3] = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    uint8_t message[2000];
    uint16_t port = 0;

    begin(1);
    CHECK(getsockname(udps[0], (struct sockaddr *)&from, &size) == 0);
    port = ntohs(from.sin_port);
    plane_session(&plane, 1, 0);
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        queue_gives(worker, 100);
        CHECK_EQUAL(run_out(worker), 0);
        CHECK(recvfrom(plane.remote, message, sizeof message, MSG_DONTWAIT, (struct sockaddr *)&from, &size) >
              0);
        CHECK_EQUAL(ntohs(from.sin_port), port);
    }
    CHECK_EQUAL(plane.dp->sockets.readers, 1);
    CHECK_EQUAL(dp_set_sockets(plane.dp, three, 3), -EINVAL);
    end(1);
}

static void a_roam_seen_later_wins_whoever_applies_it_first(void)
{
    struct dp_endpoint early = {.remote = loopback(1111)}, late = {.remote = loopback(2222)}, now;
    struct deferred first = {0}, second = {0};

    begin(2);
    struct peer *peer = peer_find(plane.dp, plane.peer);
    defer_roam(&first, peer, &early, 1000);
    defer_roam(&second, peer, &late, 2000);
    deferred_apply(&second, plane.dp);
    deferred_apply(&first, plane.dp);
    CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &now), 0);
    CHECK_EQUAL(now.remote.port, 2222);
    end(2);
}

static void workers_that_are_not_there_are_refused(void)
{
    begin(2);
    CHECK_EQUAL(dp_run_outbound(plane.dp, 2), -EINVAL);
    CHECK_EQUAL(dp_run_inbound(plane.dp, 2), -EINVAL);
    struct dp_config config = plane.dp->config;
    int error = 0;
    for (uint32_t workers = 0; workers <= DP_MAX_WORKERS + 1; workers += DP_MAX_WORKERS + 1) {
        config.workers = workers;
        CHECK(!dp_new(&config, &error));
        CHECK_EQUAL(error, -EINVAL);
    }
    config.workers = 2;
    config.queues[1].write_fd = -1;
    CHECK(!dp_new(&config, &error));
    CHECK_EQUAL(error, -EBADF);
    end(2);
}

int main(void)
{
    RUN(each_worker_reads_its_queue_and_nonces_are_never_the_same);
    RUN(a_replay_is_seen_by_whichever_worker_it_comes_to);
    RUN(what_waits_leaves_by_its_own_worker_in_order);
    RUN(a_keepalive_is_one_packet_of_one_worker);
    RUN(dropping_and_removing_reach_every_lane);
    RUN(what_waited_for_ninety_seconds_is_not_sent_late);
    RUN(with_one_socket_one_worker_reads_and_all_send);
    RUN(a_roam_seen_later_wins_whoever_applies_it_first);
    RUN(workers_that_are_not_there_are_refused);
    return 0;
}

/*
 * Both workers run while threads change everything under them: peers come and go, allowed IPs and keys move,
 * the peer roams, sockets are replaced and closed, strangers send garbage. The sanitizers watch; what is
 * claimed is that it ends, that a stable peer's packets flowed meanwhile, and that all of them flow
 * afterwards.
 *
 * First with one pair of workers, then with three, half the time each. WGPY_RACE_SECONDS says for how long
 * (4); `make races` takes a minute of it under the thread sanitizer.
 */
#include <pthread.h>
#include <sys/ioctl.h>
#include <time.h>

#include "mac1.h"
#include "plane.h"

#define REMOTES 3 /* addresses the stable peer roams between */

static struct plane plane;
static atomic_bool done;
static _Atomic uint32_t live_index;                 /* of the stable peer's newest session */
static _Atomic uint16_t live_ports[DP_MAX_WORKERS]; /* where the plane listens */
static int sockets[DP_MAX_WORKERS];
static _Atomic uint64_t counter; /* of what the peer sends: never twice */
static int remotes[REMOTES];
static struct dp_address remote_address[REMOTES];
static const uint8_t public_key[DP_KEY_LEN] = {1};
static uint8_t initiation[MESSAGE_INITIATION_LEN] = {MESSAGE_INITIATION}; /* its mac1 is right */

static void pause_us(long us)
{
    struct timespec span = {.tv_nsec = us * 1000};
    nanosleep(&span, NULL);
}

static void *run_outbound(void *worker)
{
    CHECK_EQUAL(dp_run_outbound(plane.dp, (uint32_t)(uintptr_t)worker), 0);
    return NULL;
}

static void *run_inbound(void *worker)
{
    CHECK_EQUAL(dp_run_inbound(plane.dp, (uint32_t)(uintptr_t)worker), 0);
    return NULL;
}

static int one_of(int result, int other)
{
    CHECK(result >= 0 || result == other);
    return result;
}

static int install(uint32_t peer, int is_initiator, uint32_t psk_kind)
{
    struct dp_keypair_config keys = {.remote_index = 7,
                                     .birthdate_ns = now_boottime_ns(),
                                     .is_initiator = (uint32_t)is_initiator,
                                     .psk_kind = psk_kind};
    memset(keys.send_key, 1, sizeof keys.send_key);
    memset(keys.receive_key, 2, sizeof keys.receive_key);
    if (one_of(dp_index_reserve(plane.dp, peer, &keys.local_index), -ENOENT) < 0 ||
        one_of(dp_keypair_install(plane.dp, peer, &keys), -ENOENT) < 0)
        return -ENOENT; /* the peer was removed meanwhile */
    if (peer == plane.peer)
        atomic_store(&live_index, keys.local_index);
    return 0;
}

/* The kernel's side of the TUN: packets to the stable peer, to those that come and go, to nobody. */
static void *feed_tun(void *ignored)
{
    uint8_t packet[200] = {0x45}, taken[70000];
    uint64_t state = 1;
    (void)ignored;
    packet[9] = PROTO_UDP;
    while (!atomic_load(&done)) {
        memcpy(packet + 12, "\x0a\x00\x01\x01\x0a\x00\x00\x02", 8);
        packet[17] = (uint8_t)draw_below(&state, 3); /* 10.0, 10.1, 10.2 */
        packet[19] = (uint8_t)draw_below(&state, 8);
        for (uint32_t i = 0; i < plane.workers; i++) {
            uint32_t length = 100 + draw_below(&state, 100);
            put_be16(packet + 2, (uint16_t)length);
            if (send(plane.tuns[i][1], packet, length, MSG_DONTWAIT) < 0)
                pause_us(100);
            while (recv(plane.tuns[i][1], taken, sizeof taken, MSG_DONTWAIT) > 0)
                ;
        }
    }
    return NULL;
}

/* To any of the plane's sockets: one session's packets reach all inbound workers at once. */
static void send_from(int remote, const void *data, size_t length)
{
    static _Atomic uint32_t next;
    uint32_t worker = atomic_fetch_add(&next, 1) % plane.workers;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(atomic_load(&live_ports[worker]))};
    (void)!sendto(remotes[remote], data, length, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
}

static size_t seal_as_peer(uint8_t *message)
{
    struct plane sender = {.keys = {.local_index = atomic_load(&live_index)}};
    uint8_t packet[112] = {0x45, 0, 0, 100};
    packet[9] = PROTO_UDP;
    memcpy(packet + 12, "\x0a\x00\x00\x02\x0a\x00\x01\x01", 8);
    memset(sender.keys.receive_key, 2, sizeof sender.keys.receive_key);
    return make_data(&sender, atomic_fetch_add(&counter, 1), packet, sizeof packet, message);
}

/* The network's side: the stable peer from one address after the other, and strangers. */
static void *feed_network(void *ignored)
{
    uint8_t message[400], ignored_bytes[2000];
    uint64_t state = 2;
    (void)ignored;
    while (!atomic_load(&done)) {
        int remote = (int)draw_below(&state, REMOTES);
        send_from(remote, message, seal_as_peer(message));
        draw_bytes(&state, message, sizeof message);
        message[0] = (uint8_t)(1 + draw_below(&state, 4));
        memset(message + 1, 0, 3);
        send_from(remote, message, draw_below(&state, 2) ? 148 : 1 + draw_below(&state, 300));
        send_from(remote, initiation, sizeof initiation);
        for (int i = 0; i < REMOTES; i++)
            while (recv(remotes[i], ignored_bytes, sizeof ignored_bytes, MSG_DONTWAIT) >= 0)
                ;
    }
    return NULL;
}

/* Peers with prefixes that belonged to the one before, sessions and staged packets; then gone. */
static void *churn_peers(void *start)
{
    uint64_t state = 3 + (uint64_t)(uintptr_t)start;
    while (!atomic_load(&done)) {
        struct dp_endpoint endpoint = {.remote = remote_address[draw_below(&state, REMOTES)]};
        struct dp_address host = {.family = AF_INET, .ip = {10, 1, 0, (uint8_t)draw_below(&state, 8)}};
        struct dp_address net = {.family = AF_INET6, .ip = {0xfd, (uint8_t)draw_below(&state, 8)}};
        struct dp_allowed_ip listed[4];
        int number = one_of(dp_peer_add(plane.dp), -ENOSPC);
        if (number < 0)
            continue;
        uint32_t peer = (uint32_t)number;
        CHECK_EQUAL(dp_allowed_ip_insert(plane.dp, peer, &host, 32), 0);
        CHECK_EQUAL(dp_allowed_ip_insert(plane.dp, peer, &net, 16), 0);
        CHECK_EQUAL(dp_peer_set_endpoint(plane.dp, peer, &endpoint), 0);
        CHECK(dp_allowed_ips(plane.dp, peer, listed, 4) <= 2);
        CHECK_EQUAL(install(peer, (int)draw_below(&state, 2), DP_PSK_PQ), 0);
        CHECK_EQUAL(dp_peer_flush(plane.dp, peer, 1), 0);
        pause_us(draw_below(&state, 500));
        if (draw_below(&state, 2)) {
            CHECK_EQUAL(dp_allowed_ips_clear(plane.dp, peer), 0);
            CHECK_EQUAL(dp_peer_drop_staged(plane.dp, peer), 0);
        }
        CHECK_EQUAL(dp_peer_remove(plane.dp, peer), 0);
    }
    return NULL;
}

/* New sessions of the stable peer; now and then its gate closes or its keys are wiped. */
static void *churn_keys(void *ignored)
{
    uint64_t state = 5;
    (void)ignored;
    while (!atomic_load(&done)) {
        struct dp_gate gate = {.user_kinds = draw_below(&state, 5) ? 0xf : 1u << DP_PSK_PQ};
        CHECK_EQUAL(install(plane.peer, (int)draw_below(&state, 2), draw_below(&state, 2) ? DP_PSK_PQ : 0),
                    0);
        CHECK_EQUAL(dp_peer_set_gate(plane.dp, plane.peer, &gate), 0);
        CHECK_EQUAL(dp_peer_flush(plane.dp, plane.peer, (int)draw_below(&state, 2)), 0);
        if (draw_below(&state, 20) == 0)
            CHECK_EQUAL(dp_keypairs_clear(plane.dp, plane.peer), 0);
        if (draw_below(&state, 20) == 0)
            CHECK_EQUAL(dp_keypairs_stop_sending(plane.dp, plane.peer), 0);
        pause_us(draw_below(&state, 500));
    }
    return NULL;
}

/* The peer is moved by hand, authenticated from elsewhere, written to. */
static void *roam(void *ignored)
{
    uint8_t message[148] = {1};
    uint64_t state = 7;
    (void)ignored;
    while (!atomic_load(&done)) {
        struct dp_endpoint endpoint = {.remote = remote_address[draw_below(&state, REMOTES)]};
        struct dp_endpoint now;
        CHECK_EQUAL(dp_peer_set_endpoint(plane.dp, plane.peer, &endpoint), 0);
        CHECK_EQUAL(dp_peer_clear_source(plane.dp, plane.peer), 0);
        endpoint.remote = remote_address[draw_below(&state, REMOTES)];
        CHECK_EQUAL(dp_peer_authenticated(plane.dp, plane.peer, &endpoint, 148), 0);
        CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &now), 0);
        dp_send_handshake(plane.dp, plane.peer, message, sizeof message);
        pause_us(draw_below(&state, 300));
    }
    return NULL;
}

static void new_sockets(void)
{
    struct dp_socket_pair pairs[DP_MAX_WORKERS];
    uint16_t ports[DP_MAX_WORKERS];
    for (uint32_t i = 0; i < plane.workers; i++) {
        sockets[i] = bound_udp4(&ports[i]);
        pairs[i] = (struct dp_socket_pair){sockets[i], -1};
    }
    CHECK_EQUAL(dp_set_sockets(plane.dp, pairs, plane.workers), 0);
    for (uint32_t i = 0; i < plane.workers; i++)
        atomic_store(&live_ports[i], ports[i]);
}

/* The device itself: another port (the old socket is closed at once), none, another MTU, another key. */
static void *reconfigure(void *ignored)
{
    uint64_t state = 11;
    (void)ignored;
    while (!atomic_load(&done)) {
        int old[DP_MAX_WORKERS];
        memcpy(old, sockets, sizeof old);
        if (draw_below(&state, 4) == 0)
            CHECK_EQUAL(use_socket(plane.dp, -1), 0);
        new_sockets();
        for (uint32_t i = 0; i < plane.workers; i++)
            close(old[i]);
        dp_set_mtu(plane.dp, 1280 + draw_below(&state, 200));
        CHECK_EQUAL(dp_set_identity(plane.dp, draw_below(&state, 4) ? public_key : NULL), 0);
        pause_us(draw_below(&state, 50) ? 2000 : 300000); /* long enough for the police to look */
    }
    return NULL;
}

/* What Python does all the time; and now and then handshakes are too many for it. */
static void *observe(void *ignored)
{
    uint64_t before = 0;
    (void)ignored;
    while (!atomic_load(&done)) {
        struct dp_address address = {.family = AF_INET, .ip = {10, 1, 0, 1}};
        struct dp_event events[16];
        uint32_t owner;
        pthread_mutex_lock(&plane.dp->events.lock);
        plane.dp->events.loaded_until_ns = now_boottime_ns() + 100000;
        pthread_mutex_unlock(&plane.dp->events.lock);
        CHECK(dp_events(plane.dp, events, 16) <= 16);
        one_of(dp_allowed_ip_lookup(plane.dp, &address, &owner), -ENOENT);
        uint64_t packets = record_get(&dp_records(plane.dp)[plane.peer].tx_packets);
        CHECK(packets >= before);
        before = packets;
        CHECK(dp_features(plane.dp) <= DP_FEATURE_ALL);
        atomic_fetch_or(&plane.dp->features, DP_FEATURE_UDP_GSO);
        pause_us(500);
    }
    return NULL;
}

/* A route over a device that computes no checksums, once in a while. */
static int refusing_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    static _Atomic uint32_t calls;

    if (has_control(&messages[0].msg_hdr, SOL_UDP, UDP_SEGMENT) && atomic_fetch_add(&calls, 1) % 16 == 0) {
        errno = EIO;
        return -1;
    }
    return sendmmsg(fd, messages, count, flags);
}

static void begin(uint32_t pairs)
{
    plane_begin_wide(&plane, 0, pairs);
    plane.dp->system = (struct system_calls){read, writev, refusing_sendmmsg, recvmmsg};
    put_mac1(public_key, initiation, sizeof initiation);
    new_sockets();
    atomic_store(&counter, 0);
    atomic_store(&done, false);
    for (int i = 0; i < REMOTES; i++) {
        uint16_t port;
        remotes[i] = bound_udp4(&port);
        remote_address[i] = loopback(port);
    }
    CHECK_EQUAL(install(plane.peer, 1, DP_PSK_PQ), 0);
}

static uint64_t ms_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)((now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000);
}

static void let_it_run(void)
{
    const char *seconds = getenv("WGPY_RACE_SECONDS");
    uint64_t limit_ms = 500 * (seconds ? strtoul(seconds, NULL, 10) : 4);
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (ms_since(&start) < limit_ms)
        pause_us(100000);
    atomic_store(&done, true);
}

/* What one of the queues was written, or -1. */
static ssize_t tuns_give(uint8_t *out, size_t size)
{
    ssize_t length = -1;
    for (uint32_t i = 0; i < plane.workers && length < 0; i++)
        length = recv(plane.tuns[i][1], out, size, MSG_DONTWAIT);
    return length;
}

/* Takes what has come to the peer, wherever that listens, and to the kernel. */
static int take_arrivals(void)
{
    uint8_t taken[70000];
    int arrived = 0;

    for (int i = 0; i < REMOTES; i++)
        while (recv(remotes[i], taken, sizeof taken, MSG_DONTWAIT) >= 0)
            arrived++;
    while (tuns_give(taken, sizeof taken) >= 0)
        arrived++;
    return arrived;
}

static bool something_waits(void)
{
    int length = 0;

    for (uint32_t i = 0; i < plane.workers; i++) {
        CHECK(ioctl(sockets[i], FIONREAD, &length) == 0);
        if (length || (ioctl(plane.tuns[i][0], FIONREAD, &length) == 0 && length))
            return true;
    }
    return false;
}

/* What was on its way has arrived: three looks in a row, a tenth of a second apart, see nothing move. */
static void wait_for_quiet(void)
{
    for (int looks = 0, quiet = 0; quiet < 3; looks++) {
        quiet = take_arrivals() || something_waits() ? 0 : quiet + 1;
        CHECK(looks < 600);
        pause_us(100000);
    }
}

/* Afterwards nothing is left half done: a new session carries every packet, both ways. */
static void everything_flows_again(void)
{
    struct dp_gate open = {.user_kinds = 0xf};
    struct dp_endpoint endpoint = {.remote = remote_address[0]};
    uint8_t message[400];
    int arrived = 0;

    dp_set_mtu(plane.dp, 1420);
    CHECK_EQUAL(dp_peer_set_gate(plane.dp, plane.peer, &open), 0);
    CHECK_EQUAL(dp_keypairs_clear(plane.dp, plane.peer), 0);
    CHECK_EQUAL(dp_peer_drop_staged(plane.dp, plane.peer), 0);
    CHECK_EQUAL(dp_peer_set_endpoint(plane.dp, plane.peer, &endpoint), 0);
    CHECK_EQUAL(install(plane.peer, 1, DP_PSK_PQ), 0);
    CHECK_EQUAL(dp_peer_flush(plane.dp, plane.peer, 0), 0); /* what was staged in between */
    wait_for_quiet();
    send_from(0, message, seal_as_peer(message)); /* a burst may have come from elsewhere since then */
    wait_for_quiet();
    for (int i = 0; i < 50; i++) {
        plane.tun = plane.tuns[(uint32_t)i % plane.workers][1];
        tun_gives(&plane, 100, 0);
        send_from(0, message, seal_as_peer(message));
        pause_us(2000);
    }
    for (int i = 0; i < 1000 && arrived < 100; i++) {
        arrived += take_arrivals();
        pause_us(5000);
    }
    CHECK_EQUAL(arrived, 100);
}

static void run_races(uint32_t pairs)
{
    void *(*const churn[])(void *) = {feed_tun,   feed_network, churn_peers, churn_peers,
                                      churn_keys, roam,         reconfigure, observe};
    pthread_t workers[2 * DP_MAX_WORKERS], threads[8];
    begin(pairs);
    for (uintptr_t i = 0; i < pairs; i++) {
        pthread_create(&workers[2 * i], NULL, run_outbound, (void *)i);
        pthread_create(&workers[2 * i + 1], NULL, run_inbound, (void *)i);
    }
    for (uintptr_t i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, churn[i], (void *)i);
    let_it_run();
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    CHECK(record_get(&record_of(&plane)->tx_packets) > 0);
    CHECK(record_get(&record_of(&plane)->rx_packets) > 0);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_MALFORMED), 0);
    printf("the stable peer's packets meanwhile: %llu out, %llu in; refused segments %llu, cookies %llu,"
           " overflows %llu\n",
           (unsigned long long)record_get(&record_of(&plane)->tx_packets),
           (unsigned long long)record_get(&record_of(&plane)->rx_packets),
           (unsigned long long)dropped(&plane, DROP_SEGMENTS_REFUSED),
           (unsigned long long)dropped(&plane, DROP_HANDSHAKE_COOKIE),
           (unsigned long long)dropped(&plane, DROP_UDP_OVERFLOW));
    everything_flows_again();
    dp_stop(plane.dp);
    for (uint32_t i = 0; i < 2 * pairs; i++)
        pthread_join(workers[i], NULL);
    for (int i = 0; i < REMOTES; i++)
        close(remotes[i]);
    for (uint32_t i = 0; i < pairs; i++)
        close(sockets[i]);
    plane_end(&plane);
}

static void control_calls_are_safe_while_the_workers_run(void)
{
    run_races(1);
}

static void they_are_with_three_pairs_of_workers(void)
{
    run_races(3);
}

int main(void)
{
    RUN(control_calls_are_safe_while_the_workers_run);
    RUN(they_are_with_three_pairs_of_workers);
    return 0;
}

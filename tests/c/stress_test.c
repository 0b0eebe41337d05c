/*
 * Both workers run while a control thread changes everything under them and two more threads feed the TUN and
 * the socket. Nothing is claimed but that it ends: the sanitizers watch.
 */
#include <pthread.h>
#include <time.h>

#include "plane.h"

#define ROUNDS 400

static struct plane plane;
static atomic_bool done;
static _Atomic uint32_t live_index;

static void *run_outbound(void *ignored)
{
    (void)ignored;
    CHECK_EQUAL(dp_run_outbound(plane.dp), 0);
    return NULL;
}

static void *run_inbound(void *ignored)
{
    (void)ignored;
    CHECK_EQUAL(dp_run_inbound(plane.dp), 0);
    return NULL;
}

static void pause_us(long us)
{
    struct timespec span = {.tv_nsec = us * 1000};
    nanosleep(&span, NULL);
}

static void *feed(void *ignored)
{
    uint8_t packet[600] = {0x45, 0, 0, 200}, message[700], taken[70000];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint64_t counter = 0;
    socklen_t size = sizeof to;
    (void)ignored;
    packet[9] = PROTO_UDP;
    memcpy(packet + 12, "\x0a\x00\x00\x02\x0a\x00\x00\x03", 8);
    CHECK(getsockname(plane.udp4, (struct sockaddr *)&to, &size) == 0);
    while (!atomic_load(&done)) {
        (void)!send(plane.tun, packet, 200, MSG_DONTWAIT);
        plane.keys.local_index = atomic_load(&live_index);
        size_t length = make_data(&plane, counter++, packet, 208, message);
        (void)!sendto(plane.remote, message, length, 0, (struct sockaddr *)&to, size);
        while (recv(plane.tun, taken, sizeof taken, MSG_DONTWAIT) > 0 || peer_gets(&plane, NULL) > 0)
            ;
    }
    return NULL;
}

static void install(uint32_t peer, int is_initiator)
{
    struct dp_keypair_config keys = {.remote_index = 7,
                                     .birthdate_ns = now_boottime_ns(),
                                     .is_initiator = (uint32_t)is_initiator,
                                     .psk_kind = DP_PSK_PQ};
    memset(keys.send_key, 1, sizeof keys.send_key);
    memset(keys.receive_key, 2, sizeof keys.receive_key);
    CHECK_EQUAL(dp_index_reserve(plane.dp, peer, &keys.local_index), 0);
    CHECK_EQUAL(dp_keypair_install(plane.dp, peer, &keys), 0);
    if (peer == plane.peer)
        atomic_store(&live_index, keys.local_index);
}

static void change_everything(int round)
{
    struct dp_gate gate = {.user_kinds = round % 5 ? 0xf : 8};
    struct dp_address prefix = {.family = AF_INET, .ip = {10, 0, 0, 3}};
    struct dp_endpoint endpoint;
    struct dp_event events[16];
    uint8_t message[148] = {1};
    uint64_t staged = 0;

    install(plane.peer, round & 1);
    CHECK_EQUAL(dp_peer_set_gate(plane.dp, plane.peer, &gate), 0);
    CHECK_EQUAL(dp_peer_flush(plane.dp, plane.peer, 1), 0);
    int other = dp_peer_add(plane.dp);
    CHECK(other >= 0);
    CHECK_EQUAL(dp_allowed_ip_insert(plane.dp, (uint32_t)other, &prefix, 32), 0);
    CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &endpoint), 0);
    CHECK_EQUAL(dp_peer_set_endpoint(plane.dp, (uint32_t)other, &endpoint), 0);
    install((uint32_t)other, 1);
    dp_peer_flush(plane.dp, (uint32_t)other, 1);
    dp_send_handshake(plane.dp, plane.peer, message, sizeof message);
    dp_set_mtu(plane.dp, 1280 + (uint32_t)round % 100);
    if (round % 7 == 0)
        CHECK_EQUAL(dp_set_sockets(plane.dp, round % 14 ? plane.udp4 : -1, -1), 0);
    if (round % 11 == 0)
        dp_keypairs_clear(plane.dp, plane.peer);
    pause_us(500);
    for (uint32_t i = 0; i < 16; i++)
        staged += record_get(&dp_records(plane.dp)[i].tx_packets);
    CHECK(staged + 1 > 0);
    dp_events(plane.dp, events, 16);
    CHECK_EQUAL(dp_peer_remove(plane.dp, (uint32_t)other), 0);
}

static void control_calls_are_safe_while_both_workers_run(void)
{
    pthread_t threads[3];
    plane_begin(&plane, 0);
    plane.dp->system = (struct system_calls){read, writev, sendmmsg, recvmmsg};
    memset(plane.keys.receive_key, 2, sizeof plane.keys.receive_key);
    install(plane.peer, 1);
    pthread_create(&threads[0], NULL, run_outbound, NULL);
    pthread_create(&threads[1], NULL, run_inbound, NULL);
    pthread_create(&threads[2], NULL, feed, NULL);
    for (int round = 0; round < ROUNDS; round++)
        change_everything(round);
    CHECK_EQUAL(dp_set_sockets(plane.dp, plane.udp4, -1), 0);
    atomic_store(&done, true);
    pthread_join(threads[2], NULL);
    dp_stop(plane.dp);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    CHECK(record_of(&plane)->tx_packets > 0);
    CHECK(record_of(&plane)->rx_packets > 0);
    plane_end(&plane);
}

int main(void)
{
    RUN(control_calls_are_safe_while_both_workers_run);
    return 0;
}

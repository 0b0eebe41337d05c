/*
 * Every allocation of the data plane fails once: the call says -ENOMEM and has changed nothing, so that the
 * same call succeeds when there is memory again. The address sanitizer watches that nothing is lost or freed
 * twice.
 */
#include "memory.h"
#include "noise.h"
#include "plane.h"

static struct plane plane;
static int refused; /* calls that said -ENOMEM in this round */

/* Fails with -ENOMEM where an allocation fails, and then succeeds. */
#define HOLDS(call)                                                                                          \
    do {                                                                                                     \
        memory_error = 0;                                                                                    \
        int result_ = (call);                                                                                \
        if (memory_error) {                                                                                  \
            CHECK_EQUAL(result_, -ENOMEM);                                                                   \
            refused++;                                                                                       \
            result_ = (call);                                                                                \
        }                                                                                                    \
        CHECK(result_ >= 0);                                                                                 \
    } while (0)

/* Runs `story` with its first allocation failing, its second, ... until it has no n-th. Returns how many. */
static long each_allocation(void (*story)(void))
{
    for (long n = 0;; n++) {
        CHECK(n < 1000);
        memory_failures = 0;
        memory_left = n;
        story();
        memory_left = -1;
        if (!memory_failures)
            return n;
    }
}

static struct dp_config config_of(int tun_fd, uint32_t aead)
{
    return (struct dp_config){.queues = {{tun_fd, tun_fd}},
                              .workers = 1,
                              .tun_has_vnet_header = 1,
                              .mtu = 1420,
                              .features = DP_FEATURE_ALL,
                              .aead = aead,
                              .max_peers = 16,
                              .reject_after_time_ns = 180000000000ull,
                              .reject_after_messages = REJECT_AFTER_MESSAGES,
                              .rekey_after_messages = 1ull << 60};
}

static int tun_pair[2];
static uint32_t chosen_aead;

static void create_and_free(void)
{
    struct dp_config config = config_of(tun_pair[0], chosen_aead);
    int error = 1;

    memory_error = 0;
    struct dp *dp = dp_new(&config, &error);
    CHECK((dp == NULL) == (error != 0));
    if (chosen_aead == DP_AEAD_OPENSSL && memory_error)
        CHECK_EQUAL(error, -memory_error);
    if (!memory_error)
        CHECK_EQUAL(error, 0);
    dp_free(dp);
}

static void a_device_that_cannot_be_made_leaves_nothing(void)
{
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, tun_pair) == 0);
    int before = open_descriptors();
    chosen_aead = DP_AEAD_OPENSSL;
    long allocations = each_allocation(create_and_free);
    CHECK(allocations > 15);
    printf("dp_new: %ld allocations\n", allocations);
    memory_stays_away = true;
    CHECK_EQUAL(each_allocation(create_and_free), allocations);
    memory_stays_away = false;
    chosen_aead = DP_AEAD_AUTO;
    each_allocation(create_and_free);
#ifdef DP_WITH_IPSEC_MB
    chosen_aead = DP_AEAD_IPSEC_MB;
    each_allocation(create_and_free);
#endif
    CHECK_EQUAL(open_descriptors(), before);
    close(tun_pair[0]);
    close(tun_pair[1]);
}

static struct dp_address prefix4(uint8_t c, uint8_t d)
{
    return (struct dp_address){.family = AF_INET, .ip = {10, 1, c, d}};
}

static int add_peer(int *number)
{
    *number = dp_peer_add(plane.dp);
    return *number;
}

static int fork_the_trie(uint32_t peer)
{
    static const struct dp_address six[] = {{.family = AF_INET6, .ip = {0xfc, 0x80}},
                                            {.family = AF_INET6, .ip = {0xfc, 0x40}}};
    for (uint8_t i = 0; i < 6; i++) {
        struct dp_address prefix = prefix4((uint8_t)(i * 37), (uint8_t)(i * 91));
        HOLDS(dp_allowed_ip_insert(plane.dp, peer, &prefix, i & 1 ? 32 : 24));
        uint32_t owner;
        CHECK_EQUAL(dp_allowed_ip_lookup(plane.dp, &prefix, &owner), 0);
        CHECK_EQUAL(owner, peer);
    }
    HOLDS(dp_allowed_ip_insert(plane.dp, peer, &six[0], 10));
    HOLDS(dp_allowed_ip_insert(plane.dp, peer, &six[1], 10));
    CHECK_EQUAL(dp_allowed_ips(plane.dp, peer, NULL, 0), 8);
    return 0;
}

static void install(uint32_t peer, int is_initiator)
{
    struct dp_keypair_config keys = {.remote_index = 7,
                                     .birthdate_ns = now_boottime_ns(),
                                     .is_initiator = (uint32_t)is_initiator,
                                     .psk_kind = DP_PSK_PQ};
    HOLDS(dp_index_reserve(plane.dp, peer, &keys.local_index));
    HOLDS(dp_keypair_install(plane.dp, peer, &keys));
}

static void peers_come_and_go(void)
{
    int one, other;
    uint32_t index;

    HOLDS(add_peer(&one));
    HOLDS(add_peer(&other));
    CHECK(one != other);
    fork_the_trie((uint32_t)one);
    for (int i = 0; i < 4; i++)
        install((uint32_t)other, i & 1);
    for (int i = 0; i < 200; i++) /* beyond the table's first size */
        HOLDS(dp_index_reserve(plane.dp, (uint32_t)one, &index));
    CHECK_EQUAL(dp_peer_remove(plane.dp, (uint32_t)one), 0);
    CHECK_EQUAL(dp_peer_remove(plane.dp, (uint32_t)other), 0);
    CHECK_EQUAL(plane.dp->indices.count, 0);
}

static void a_control_call_without_memory_can_be_repeated(void)
{
    plane_begin(&plane, 1);
    refused = 0;
    long allocations = each_allocation(peers_come_and_go);
    printf("control calls: %ld allocations, %d refusals\n", allocations, refused);
    CHECK(refused >= allocations - 1);
    CHECK(allocations > 25);
    plane_end(&plane);
}

static void packets_wait(void)
{
    uint64_t before = dropped(&plane, DROP_STAGED);

    memory_error = 0;
    for (int i = 0; i < 5; i++)
        tun_gives(&plane, 100, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    uint32_t waiting = record_of(&plane)->staged;
    CHECK_EQUAL(waiting + dropped(&plane, DROP_STAGED) - before, 5);
    CHECK_EQUAL(waiting, memory_error ? 4 : 5);
    CHECK_EQUAL(dp_peer_drop_staged(plane.dp, plane.peer), 0);
    CHECK_EQUAL(plane.dp->staged_bytes, 0);
}

static void a_packet_that_cannot_wait_is_counted(void)
{
    plane_begin(&plane, 0);
    CHECK_EQUAL(each_allocation(packets_wait), 5);
    plane_end(&plane);
}

static void a_stranger_asks_under_load(void)
{
    uint8_t message[MESSAGE_INITIATION_LEN] = {MESSAGE_INITIATION}, reply[MESSAGE_COOKIE_REPLY_LEN];
    struct dp_address source = loopback(1);
    uint64_t now_ns = now_boottime_ns();

    memory_error = 0;
    int result = cookie_reply(plane.dp->pairs[0].cookies, message, sizeof message, &source, now_ns, reply);
    CHECK(memory_error ? result < 0 : result == 0);
}

static void a_cookie_reply_without_memory_is_not_sent(void)
{
    uint8_t public_key[32] = {1};

    plane_begin(&plane, 0);
    CHECK_EQUAL(dp_set_identity(plane.dp, public_key), 0);
    CHECK_EQUAL(each_allocation(a_stranger_asks_under_load), 2);
    plane_end(&plane);
}

/* No allocation at all once the device stands, sessions are there and the sockets are set. */
static void traffic_flows(void)
{
    uint8_t packet[128] = {0x45, 0, 0, 100}, taken[2000];
    static uint64_t counter;

    packet[9] = PROTO_UDP;
    memcpy(packet + 12, "\x0a\x00\x00\x02\x0a\x01\x00\x01", 8);
    memory_error = 0;
    for (int i = 0; i < 20; i++)
        tun_gives(&plane, 100, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 20);
    long left = memory_left;
    memory_left = -1; /* the peer's own work */
    for (int i = 0; i < 20; i++)
        peer_sends(&plane, counter++, packet, 112);
    memory_left = left;
    CHECK_EQUAL(inbound(&plane), 0);
    int arrived = 0;
    while (recv(plane.tun, taken, sizeof taken, MSG_DONTWAIT) > 0)
        arrived++;
    CHECK(arrived > 0 && memory_error == 0);
}

static void the_packet_path_allocates_nothing(void)
{
    plane_begin(&plane, 0);
    plane_session(&plane, 1, DP_PSK_NONE);
    CHECK_EQUAL(each_allocation(traffic_flows), 0);
    plane_end(&plane);
}

static struct noise *noise;

static void make_noise(void)
{
    memory_error = 0;
    struct noise *made = noise_new();
    CHECK((made == NULL) == (memory_error != 0));
    noise_free(made);
}

/* Fails with -ENOMEM or -EIO where an allocation fails, has written nothing, and then succeeds. */
#define WRITES_ALL_OR_NOTHING(call, out)                                                                     \
    do {                                                                                                     \
        memory_error = 0;                                                                                    \
        memset(&(out), 0x5a, sizeof(out));                                                                   \
        uint8_t before_[sizeof(out)];                                                                        \
        memcpy(before_, &(out), sizeof(out));                                                                \
        int result_ = (call);                                                                                \
        if (memory_error) {                                                                                  \
            CHECK(result_ == -ENOMEM || result_ == -EIO);                                                    \
            CHECK(memcmp(before_, &(out), sizeof(out)) == 0);                                                \
            result_ = (call);                                                                                \
        }                                                                                                    \
        CHECK_EQUAL(result_, 0);                                                                             \
    } while (0)

static int own_public_key(struct noise_key_pair *pair)
{
    memset(pair->private_key, 0x40, sizeof pair->private_key);
    return noise_public_key(noise, pair);
}

static void two_ends_shake_hands(void)
{
    static const uint8_t shared[32] = {5}, timestamp[12] = {6}, preshared_key[32] = {0};
    struct noise_key_pair pair, ephemeral;
    struct noise_initiation initiation;
    struct noise_response response;
    struct noise_state sent, received;
    struct noise_transport_keys keys;
    uint8_t remote[32], stamp[12];

    memory_error = 0;
    if (own_public_key(&pair) < 0)
        CHECK(memory_error && own_public_key(&pair) == 0);
    ephemeral = pair;
    WRITES_ALL_OR_NOTHING(noise_create_initiation(noise, pair.public_key, pair.public_key, shared, &ephemeral,
                                                  timestamp, &sent, &initiation),
                          initiation);
    WRITES_ALL_OR_NOTHING(noise_open_initiation(noise, &pair, &initiation, &received, remote), remote);
    struct noise_state opened = received;
    WRITES_ALL_OR_NOTHING(
        (received = opened, noise_consume_initiation(noise, shared, &initiation, &received, stamp)), stamp);
    WRITES_ALL_OR_NOTHING(noise_create_response(noise, &received, initiation.ephemeral, pair.public_key,
                                                &ephemeral, preshared_key, &response, &keys),
                          keys);
    WRITES_ALL_OR_NOTHING(
        noise_consume_response(noise, &pair, &sent, &ephemeral, &response, preshared_key, 1, &keys), keys);
}

static void a_handshake_without_memory_writes_nothing_and_can_be_repeated(void)
{
    CHECK(each_allocation(make_noise) > 5);
    noise = noise_new();
    CHECK(noise);
    long allocations = each_allocation(two_ends_shake_hands);
    printf("a handshake: %ld allocations\n", allocations);
    CHECK(allocations > 5);
    noise_free(noise);
}

int main(void)
{
    RUN(a_device_that_cannot_be_made_leaves_nothing);
    RUN(a_control_call_without_memory_can_be_repeated);
    RUN(a_packet_that_cannot_wait_is_counted);
    RUN(a_cookie_reply_without_memory_is_not_sent);
    RUN(the_packet_path_allocates_nothing);
    RUN(a_handshake_without_memory_writes_nothing_and_can_be_repeated);
    return 0;
}

/*
 * What a packet costs in instructions, for guard.py: run under callgrind with --collect-atstart=no. Each claim
 * of the list below dumps its counts under "NAME PACKETS". Everything is warm, nothing is random, no threads.
 */
#include <valgrind/callgrind.h>

#include "coalesce.h"
#include "loop.h"
#include "packets.h"
#include "plane.h"
#include "split.h"

#define SEGMENTS 44
#define MTU 1420
#define STRIDE 1452
#define PEERS 10000
#define FEW 10 /* packets a socket pair takes without a reader */

static uint8_t frame[VNET_HEADER_LEN + 65535], messages[SEGMENTS * STRIDE], copy[SEGMENTS * STRIDE];
static struct aead_op ops[COALESCE_MAX];
static struct coalesce coalesce;
static struct plane plane;
static volatile uint64_t sink;

/* `code` is run once before, to be warm; `before` is not counted. */
#define COUNT(name, packets, before, code)                                                                   \
    do {                                                                                                     \
        before;                                                                                              \
        code;                                                                                                \
        before;                                                                                              \
        CALLGRIND_ZERO_STATS;                                                                                \
        CALLGRIND_TOGGLE_COLLECT;                                                                            \
        code;                                                                                                \
        CALLGRIND_TOGGLE_COLLECT;                                                                            \
        snprintf(label, sizeof(label), "%s|%d", name, (int)(packets));                                       \
        CALLGRIND_DUMP_STATS_AT(label);                                                                      \
    } while (0)
static char label[64];

static size_t make_frame(uint8_t protocol, uint32_t segment, uint32_t count)
{
    struct packet_shape shape = {.version = 4, .protocol = protocol, .ttl = 64, .flags = 0x10};
    bool tcp = protocol == PROTO_TCP;
    struct vnet_header vnet = {.flags = VNET_NEEDS_CSUM,
                               .gso_type = tcp ? VNET_GSO_TCPV4 : VNET_GSO_UDP_L4,
                               .csum_start = 20,
                               .csum_offset = tcp ? 16 : 6};
    shape.options = tcp ? 12 : 0;
    shape.payload = segment * count;
    vnet.gso_size = (uint16_t)segment;
    memcpy(frame, &vnet, VNET_HEADER_LEN);
    size_t length = VNET_HEADER_LEN + build_packet(frame + VNET_HEADER_LEN, &shape);
    memcpy(frame + VNET_HEADER_LEN + 12, "\x0a\x00\x00\x02\x0a\x00\x00\x02", 8); /* to and from the peer */
    return length;
}

static void split_frame(size_t length)
{
    struct split split;
    CHECK_EQUAL(split_parse(&split, frame, length, true), 0);
    CHECK_EQUAL(split_next(&split, MTU, messages, sizeof messages, ops, SEGMENTS), SEGMENTS);
}

static void coalesce_messages(void)
{
    coalesce_begin(&coalesce, true, true, true);
    for (int i = 0; i < SEGMENTS; i++) {
        struct inner inner;
        CHECK_EQUAL(inner_parse(ops[i].data, ops[i].length, &inner), 0);
        coalesce_add(&coalesce, ops[i].data, inner.length);
    }
    CHECK_EQUAL(coalesce_finish(&coalesce), 1);
}

static void count_path(const char *split_name, const char *coalesce_name, uint8_t protocol, uint32_t segment)
{
    size_t length = make_frame(protocol, segment, SEGMENTS);
    COUNT(split_name, SEGMENTS, (void)0, split_frame(length));
    memcpy(copy, messages, sizeof copy);
    COUNT(coalesce_name, SEGMENTS, memcpy(messages, copy, sizeof copy), coalesce_messages());
}

static void count_aead(void)
{
    static const uint8_t zeros[DP_KEY_LEN];
    const struct aead *aead = aead_openssl();
    struct aead_state *state = aead->state_new(0);
    struct aead_key *send = aead->key_new(zeros, AEAD_SEAL, 1), *receive = aead->key_new(zeros, AEAD_OPEN, 1);
    for (int i = 0; i < SEGMENTS; i++)
        ops[i] = (struct aead_op){.key = send, .data = messages + i * STRIDE, .length = MTU};
    COUNT("seal", SEGMENTS, (void)0, aead->seal_batch(state, ops, SEGMENTS));
    memcpy(copy, messages, sizeof copy);
    for (int i = 0; i < SEGMENTS; i++)
        ops[i].key = receive;
    COUNT("open", SEGMENTS, memcpy(messages, copy, sizeof copy), aead->open_batch(state, ops, SEGMENTS));
    CHECK_EQUAL(ops[SEGMENTS - 1].ok, 1);
    aead->key_free(send);
    aead->key_free(receive);
    aead->state_free(state);
}

/* Four prefixes a peer; `addresses` are inside them, in an order without a pattern. */
static struct dp_address addresses[PEERS];

static struct allowedips *make_table(uint32_t peers, uint16_t family)
{
    struct allowedips *table = allowedips_new(peers);
    uint64_t random = 7;
    for (uint32_t peer = 0; peer < peers; peer++) {
        struct dp_address prefix = {.family = family, .ip = {10, (uint8_t)(peer >> 8), (uint8_t)peer}};
        for (uint32_t n = 0; n < 4; n++) {
            prefix.ip[3] = (uint8_t)(n << 4);
            CHECK_EQUAL(allowedips_insert(table, peer, &prefix, n ? (family == AF_INET ? 32 : 64) : 28), 0);
        }
    }
    for (uint32_t i = 0; i < PEERS; i++) {
        uint32_t peer = draw_below(&random, peers);
        addresses[i] = (struct dp_address){.family = family, .ip = {10, (uint8_t)(peer >> 8), (uint8_t)peer}};
        addresses[i].ip[3] = (uint8_t)(draw_below(&random, 4) << 4);
    }
    return table;
}

static void look_up(const struct allowedips *table, unsigned version)
{
    for (uint32_t i = 0; i < PEERS; i++)
        sink += allowedips_lookup(table, version, addresses[i].ip);
}

static void count_allowed_ips(uint32_t peers, const char *name4, const char *name6)
{
    struct allowedips *table = make_table(peers, AF_INET);
    COUNT(name4, PEERS, (void)0, look_up(table, 4));
    allowedips_free(table);
    table = make_table(peers, AF_INET6);
    COUNT(name6, PEERS, (void)0, look_up(table, 6));
    allowedips_free(table);
}

static uint32_t indices[PEERS];

static void look_up_indices(const struct index_table *table)
{
    for (uint32_t i = 0; i < PEERS; i++)
        sink += index_find(table, indices[i])->peer;
}

/* Random by nature: with this many look-ups it shows in the third digit only. */
static void count_index(uint32_t peers, const char *name)
{
    struct index_table table;
    index_init(&table);
    for (uint32_t i = 0; i < PEERS; i++) {
        if (i < peers)
            CHECK_EQUAL(index_reserve(&table, i, &indices[i]), 0);
        else
            indices[i] = indices[i % peers];
    }
    COUNT(name, PEERS, (void)0, look_up_indices(&table));
    index_clear(&table);
}

/* Whether a packet is one of our own: asked of every datagram that comes out of the TUN from our port. */
static void look_up_endpoints(const struct dp *dp)
{
    for (uint32_t i = 0; i < PEERS; i++)
        sink += is_endpoint(dp, &addresses[i]);
}

static void count_endpoints(uint32_t peers, const char *name)
{
    static struct dp dp = {.endpoint_hash_key = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb}};
    struct peer *all = calloc(peers, sizeof(*all));
    uint64_t random = 11;
    dp.endpoints = calloc(ENDPOINT_BUCKETS, sizeof(struct peer *));
    CHECK(all && dp.endpoints);
    for (uint32_t i = 0; i < PEERS; i++) {
        addresses[i] = (struct dp_address){.family = AF_INET, .port = (uint16_t)draw(&random)};
        draw_bytes(&random, addresses[i].ip, 4);
    }
    for (uint32_t i = 0; i < peers; i++) {
        all[i].endpoint.remote = (struct dp_address){.family = AF_INET, .port = (uint16_t)draw(&random)};
        draw_bytes(&random, all[i].endpoint.remote.ip, 4);
        endpoint_link(&dp, &all[i]);
    }
    COUNT(name, PEERS, (void)0, look_up_endpoints(&dp));
    free(dp.endpoints);
    free(all);
}

static void drain_all(void)
{
    while (recv(plane.tun, frame, sizeof frame, MSG_DONTWAIT) >= 0)
        continue;
    peer_gets_all(&plane);
}

static void give_frame(size_t length)
{
    drain_all();
    make_frame(PROTO_TCP, 1368, SEGMENTS);
    CHECK(send(plane.tun, frame, length, 0) == (ssize_t)length);
}

static void give_few(void)
{
    drain_all();
    for (int i = 0; i < FEW; i++)
        tun_gives(&plane, 64, 0);
}

static uint64_t counter;

static void send_segments(void)
{
    drain_all();
    split_frame(make_frame(PROTO_TCP, 1368, SEGMENTS));
    for (int i = 0; i < SEGMENTS; i++)
        peer_sends(&plane, counter++, ops[i].data, ops[i].length);
}

/* Everything between the TUN and the sockets, the kernel and the library left out by who counts. */
static void count_workers(void)
{
    size_t length = make_frame(PROTO_TCP, 1368, SEGMENTS);
    plane_begin(&plane, 1);
    plane_session(&plane, 1, DP_PSK_NONE);
    COUNT("outbound worker, a super-packet", SEGMENTS, give_frame(length), outbound(&plane));
    CHECK_EQUAL(peer_gets_all(&plane), SEGMENTS);
    COUNT("outbound worker, small packets", FEW, give_few(), outbound(&plane));
    CHECK_EQUAL(peer_gets_all(&plane), FEW);
    COUNT("inbound worker, segments of a stream", SEGMENTS, send_segments(), inbound(&plane));
    CHECK_EQUAL(record_of(&plane)->rx_packets, 2 * SEGMENTS);
    plane_end(&plane);
}

int main(void)
{
    printf("%s\n", __builtin_cpu_supports("avx512f") ? "avx512f"
                   : __builtin_cpu_supports("avx2")  ? "avx2"
                                                     : "baseline");
    fflush(stdout);
    count_aead();
    count_path("splitter, TCP", "coalescer, TCP", PROTO_TCP, 1368);
    count_path("splitter, UDP of 64", "coalescer, UDP of 64", PROTO_UDP, 64);
    count_allowed_ips(1, "allowed IPs, IPv4, 1 peer", "allowed IPs, IPv6, 1 peer");
    count_allowed_ips(PEERS, "allowed IPs, IPv4, 10000 peers", "allowed IPs, IPv6, 10000 peers");
    count_index(1, "receiver index, 1 peer");
    count_index(PEERS, "receiver index, 10000 peers");
    count_endpoints(1, "endpoint of a peer, 1 peer");
    count_endpoints(PEERS, "endpoint of a peer, 10000 peers");
    count_workers();
    return 0;
}

/* What one packet costs in each unit of tun/csrc: make -C bench/units run. Best of several rounds, ns per
 * packet. */
#include <time.h>

#include "aead.h"
#include "allowedips.h"
#include "coalesce.h"
#include "cookie.h"
#include "counter.h"
#include "index.h"
#include "packets.h"
#include "ratelimiter.h"
#include "split.h"

#include <sys/socket.h>

#define PACKETS 44
#define MTU 1420
#define STRIDE 1452
#define ROUNDS 400

static uint8_t frame[VNET_HEADER_LEN + 65535], messages[PACKETS * STRIDE], copy[PACKETS * STRIDE];
static struct aead_op ops[COALESCE_MAX];
static struct coalesce coalesce;

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static volatile uint64_t sink;

/* Measures `code` in rounds; prints the best round divided by the number of packets in it. */
#define MEASURE(name, packets, before, code)                                                                 \
    do {                                                                                                     \
        double best_ = 1e18;                                                                                 \
        for (int round_ = 0; round_ < ROUNDS; round_++) {                                                    \
            before;                                                                                          \
            double begin_ = now_ns();                                                                        \
            code;                                                                                            \
            double took_ = now_ns() - begin_;                                                                \
            best_ = took_ < best_ ? took_ : best_;                                                           \
        }                                                                                                    \
        printf("%-44s %8.1f ns\n", name, best_ / (packets));                                                 \
    } while (0)

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
    return VNET_HEADER_LEN + build_packet(frame + VNET_HEADER_LEN, &shape);
}

static void split_frame(size_t length)
{
    struct split split;
    CHECK_EQUAL(split_parse(&split, frame, length, true), 0);
    CHECK_EQUAL(split_next(&split, MTU, messages, sizeof messages, ops, PACKETS), PACKETS);
}

static void coalesce_messages(uint32_t expected)
{
    coalesce_begin(&coalesce, true, true, true);
    for (int i = 0; i < PACKETS; i++) {
        struct inner inner;
        CHECK_EQUAL(inner_parse(ops[i].data, ops[i].length, &inner), 0);
        coalesce_add(&coalesce, ops[i].data, inner.length);
    }
    CHECK_EQUAL(coalesce_finish(&coalesce), expected);
}

static void bench_aead(const struct aead *aead, uint32_t length)
{
    static const uint8_t zeros[DP_KEY_LEN];
    char name[64];
    struct aead_state *state = aead->state_new(0);
    struct aead_key *send = aead->key_new(zeros, AEAD_SEAL, 1), *receive = aead->key_new(zeros, AEAD_OPEN, 1);
    for (uint32_t i = 0; i < PACKETS; i++)
        ops[i] = (struct aead_op){.key = send, .data = messages + i * STRIDE, .length = length};
    snprintf(name, sizeof name, "%s: seal %u bytes", aead->name, length);
    MEASURE(name, PACKETS, (void)0, aead->seal_batch(state, ops, PACKETS));
    for (int i = 0; i < PACKETS; i++)
        ops[i].key = send;
    aead->seal_batch(state, ops, PACKETS);
    memcpy(copy, messages, sizeof copy);
    for (int i = 0; i < PACKETS; i++)
        ops[i].key = receive;
    snprintf(name, sizeof name, "%s: open %u bytes", aead->name, length);
    MEASURE(name, PACKETS, memcpy(messages, copy, sizeof copy), aead->open_batch(state, ops, PACKETS));
    CHECK_EQUAL(ops[0].ok, 1);
    aead->key_free(send);
    aead->key_free(receive);
    aead->state_free(state);
}

static void bench_path(void)
{
    size_t length = make_frame(PROTO_TCP, 1368, PACKETS);
    MEASURE("split TCP, 1368 of payload, padded", PACKETS, (void)0, split_frame(length));
    memcpy(copy, messages, sizeof copy);
    MEASURE("coalesce the same", PACKETS, memcpy(messages, copy, sizeof copy), coalesce_messages(1));
    length = make_frame(PROTO_UDP, 64, PACKETS);
    MEASURE("split UDP, 64 of payload", PACKETS, (void)0, split_frame(length));
    memcpy(copy, messages, sizeof copy);
    MEASURE("coalesce the same", PACKETS, memcpy(messages, copy, sizeof copy), coalesce_messages(1));
    memcpy(messages, copy, sizeof copy);
    for (int i = 0; i < PACKETS; i++)
        messages[(size_t)(ops[i].data - messages) + 20] = (uint8_t)i; /* as many flows as packets */
    memcpy(copy, messages, sizeof copy);
    MEASURE("coalesce, every packet a flow of its own", PACKETS, memcpy(messages, copy, sizeof copy),
            coalesce_messages(PACKETS));
}

static void bench_tables(void)
{
    uint64_t random = 1;
    struct allowedips *table = allowedips_new(1000);
    static uint32_t indices[1000], addresses[1000];
    struct index_table index;
    index_init(&index);
    for (uint32_t i = 0; i < 1000; i++) {
        struct dp_address prefix = {.family = AF_INET};
        draw_bytes(&random, prefix.ip, 4);
        memcpy(&addresses[i], prefix.ip, 4);
        allowedips_insert(table, i, &prefix, 16 + i % 17);
        index_reserve(&index, i, &indices[i]);
    }
    MEASURE("allowed IPs: look-up among 1000 prefixes", 1000, (void)0,
            for (int i = 0; i < 1000; i++) sink += allowedips_lookup4(table, (const uint8_t *)&addresses[i]));
    MEASURE("index: look-up among 1000", 1000, (void)0,
            for (int i = 0; i < 1000; i++) sink += index_find(&index, indices[i])->peer);
    static struct counter window;
    static uint64_t next;
    MEASURE("counter: the next one", 1000, (void)0,
            for (int i = 0; i < 1000; i++) sink += counter_accept(&window, next++, REJECT_AFTER_MESSAGES));
    allowedips_free(table);
    index_clear(&index);
}

static void bench_stranger(void)
{
    struct cookie_checker *checker = cookie_new();
    struct ratelimiter *limiter = ratelimiter_new();
    struct dp_address source = {.family = AF_INET};
    uint8_t message[148] = {1}, out[64];
    cookie_set_identity(checker, message);
    MEASURE("mac1 of an initiation", 100, (void)0,
            for (int i = 0; i < 100; i++) sink += cookie_mac1_valid(checker, message, 148));
    MEASURE("cookie reply", 100, (void)0,
            for (int i = 0; i < 100; i++) sink +=
            (uint64_t)cookie_reply(checker, message, 148, &source, 1, out));
    MEASURE("mac2 of an initiation", 100, (void)0,
            for (int i = 0; i < 100; i++) sink += cookie_mac2_valid(checker, message, 148, &source, 1));
    MEASURE("rate limiter, known source", 100, (void)0,
            for (int i = 0; i < 100; i++) sink += ratelimiter_allow(limiter, &source, 1));
    cookie_free(checker);
    ratelimiter_free(limiter);
}

int main(void)
{
    static const uint32_t lengths[] = {1420, 496, 96, 0};
    printf("chosen: %s\n", aead_choose(DP_AEAD_AUTO)->name);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        bench_aead(aead_openssl(), lengths[i]);
        if (aead_ipsec_mb())
            bench_aead(aead_ipsec_mb(), lengths[i]);
    }
    bench_path();
    bench_tables();
    bench_stranger();
    return 0;
}

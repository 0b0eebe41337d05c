#include "coalesce.h"

#include "packets.h"
#include "split.h"

#define ROOM 2048

static struct coalesce coalesce;
static uint8_t packets[COALESCE_MAX][ROOM], originals[COALESCE_MAX][ROOM];
static uint32_t lengths[COALESCE_MAX];
static uint8_t written[VNET_HEADER_LEN + 66000];

static size_t item_bytes(const struct coalesce_item *item)
{
    size_t length = 0;
    for (uint32_t i = 0; i < item->iov_count; i++) {
        memcpy(written + length, item->iov[i].iov_base, item->iov[i].iov_len);
        length += item->iov[i].iov_len;
    }
    return length;
}

/* gro UDP INDICES LENGTHS PACKETS...: which packets head a write, and how long each write is. */
static void check_gro(const struct words *words)
{
    uint32_t indices[32], ip_lengths[32];
    size_t count = numbers(words->word[2], indices, 32);
    numbers(words->word[3], ip_lengths, 32);
    coalesce_begin(&coalesce, true, true, atoi(words->word[1]));
    for (int i = 4; i < words->count; i++)
        CHECK_EQUAL(coalesce_add(&coalesce, packets[i], (uint32_t)unhex(words->word[i], packets[i], ROOM)),
                    0);
    CHECK_EQUAL(coalesce_finish(&coalesce), count);
    uint32_t total = 0, counted = 0;
    for (size_t i = 0; i < count; i++) {
        CHECK_EQUAL(coalesce.items[i].length, ip_lengths[i]);
        CHECK_EQUAL(item_bytes(&coalesce.items[i]), VNET_HEADER_LEN + ip_lengths[i]);
        total += ip_lengths[i];
        counted += coalesce.items[i].packets;
    }
    CHECK_EQUAL(counted, words->count - 4);
    CHECK(total > 0);
}

static void check_candidate(const struct words *words)
{
    uint32_t length = (uint32_t)unhex(words->word[2], packets[0], ROOM);
    coalesce_begin(&coalesce, true, true, atoi(words->word[1]));
    CHECK_EQUAL(coalesce_add(&coalesce, packets[0], length), 0);
    uint8_t kind = coalesce.items[0].kind;
    const char *name = kind == VNET_GSO_TCPV4                               ? "tcp4"
                       : kind == VNET_GSO_TCPV6                             ? "tcp6"
                       : kind == VNET_GSO_UDP_L4 && packets[0][0] >> 4 == 4 ? "udp4"
                       : kind == VNET_GSO_UDP_L4                            ? "udp6"
                                                                            : "-";
    CHECK(strcmp(name, words->word[3]) == 0);
    CHECK_EQUAL(coalesce_finish(&coalesce), 1);
}

static uint32_t datagram(uint8_t *out, const char *header, uint32_t payload)
{
    CHECK_EQUAL(unhex(header, out, ROOM), 28);
    memset(out + 28, 0, payload);
    seal_headers(out, 28 + payload);
    return 28 + payload;
}

/* udp_join HEADER HELD_PAYLOADS NEW_PAYLOAD JOINS */
static void check_udp_join(const struct words *words)
{
    uint32_t held[8];
    size_t count = numbers(words->word[2], held, 8);
    coalesce_begin(&coalesce, true, true, true);
    for (size_t i = 0; i < count; i++)
        CHECK_EQUAL(coalesce_add(&coalesce, packets[i], datagram(packets[i], words->word[1], held[i])), 0);
    CHECK_EQUAL(coalesce.item_count, 1);
    uint32_t length = datagram(packets[count], words->word[1], (uint32_t)atoi(words->word[3]));
    CHECK_EQUAL(coalesce_add(&coalesce, packets[count], length), 0);
    CHECK_EQUAL(coalesce.item_count, atoi(words->word[4]) ? 1 : 2);
}

static void step(const struct words *words)
{
    if (strcmp(words->word[0], "gro") == 0)
        check_gro(words);
    else if (strcmp(words->word[0], "candidate") == 0)
        check_candidate(words);
    else if (strcmp(words->word[0], "udp_join") == 0)
        check_udp_join(words);
}

static void vectors_hold(void)
{
    each_vector("tun_offload", step);
}

static void add_shape(uint32_t number, const struct packet_shape *shape)
{
    lengths[number] = build_packet(packets[number], shape);
    memcpy(originals[number], packets[number], lengths[number]);
    CHECK_EQUAL(coalesce_add(&coalesce, packets[number], lengths[number]), 0);
}

/*
 * Splits what was written as a kernel would and finds each packet among the originals. What a super-packet
 * says only once (IPv4 ID, PSH, window) is left out of the comparison.
 */
static void unify(uint8_t *packet, uint32_t length)
{
    int v4 = packet[0] >> 4 == 4;
    if (v4)
        put_be16(packet + 4, 0);
    if (packet[v4 ? 9 : 6] == PROTO_TCP)
        packet[(v4 ? 20 : 40) + 13] &= (uint8_t)~0x08;
    seal_headers(packet, length);
}

static uint8_t used[COALESCE_MAX];

static int take_original(uint8_t *packet, uint32_t length, uint32_t count)
{
    static uint8_t other[ROOM];
    for (uint32_t i = 0; i < count; i++) {
        if (used[i] || lengths[i] != length)
            continue;
        memcpy(other, originals[i], length);
        unify(other, length);
        if (memcmp(other, packet, length) == 0) {
            used[i] = 1;
            return (int)i;
        }
    }
    return -1;
}

static uint8_t segments[200000];
static struct aead_op ops[1200];

static void check_item(const struct coalesce_item *item, uint32_t count)
{
    struct split split;
    size_t length = item_bytes(item);
    CHECK_EQUAL(length, VNET_HEADER_LEN + item->length);
    CHECK_EQUAL(split_parse(&split, written, length, true), 0);
    CHECK_EQUAL(split.segments, item->packets);
    CHECK_EQUAL(split_next(&split, 0, segments, sizeof segments, ops, 1200), item->packets);
    for (uint32_t i = 0; i < item->packets; i++) {
        struct inner inner;
        CHECK_EQUAL(inner_parse(ops[i].data, ops[i].length, &inner), 0);
        CHECK(checksums_right(ops[i].data, inner.length));
        unify(ops[i].data, inner.length);
        CHECK(take_original(ops[i].data, inner.length, count) >= 0);
    }
}

static struct packet_shape draw_shape(uint64_t *random, uint32_t *sequences)
{
    uint32_t flow = draw_below(random, 6), options = flow & 2 ? 12 : 0;
    struct packet_shape shape = {.version = flow & 1 ? 4 : 6,
                                 .protocol = flow < 4 ? PROTO_TCP : PROTO_UDP,
                                 .ttl = 64,
                                 .flags = draw_below(random, 20) ? 0x10 : 0x18,
                                 .source_port = (uint16_t)flow,
                                 .ip_id = (uint16_t)draw(random),
                                 .payload = draw_below(random, 6) ? 500 : 1 + draw_below(random, 700),
                                 .options = options};
    shape.sequence = sequences[flow];
    sequences[flow] += shape.payload;
    return shape;
}

static void whatever_is_merged_splits_into_the_same_packets(void)
{
    uint64_t random = 21;
    uint32_t merged = 0;
    for (int round = 0; round < 300; round++) {
        uint32_t sequences[6] = {0, 1000, 0xfffffc00, 77}, count = 1 + draw_below(&random, COALESCE_MAX);
        struct packet_shape shapes[COALESCE_MAX];
        for (uint32_t i = 0; i < count; i++)
            shapes[i] = draw_shape(&random, sequences);
        for (uint32_t i = 1; i < count; i++) { /* a little disorder */
            if (draw_below(&random, 15) == 0) {
                struct packet_shape swap = shapes[i];
                shapes[i] = shapes[i - 1];
                shapes[i - 1] = swap;
            }
        }
        coalesce_begin(&coalesce, true, true, true);
        for (uint32_t i = 0; i < count; i++)
            add_shape(i, &shapes[i]);
        memset(used, 0, sizeof used);
        size_t items = coalesce_finish(&coalesce);
        for (size_t i = 0; i < items; i++)
            check_item(&coalesce.items[i], count);
        for (uint32_t i = 0; i < count; i++)
            CHECK(used[i]);
        merged += count - (uint32_t)items;
    }
    CHECK(merged > 10000);
}

static const struct packet_shape tcp = {
    .version = 4, .protocol = PROTO_TCP, .ttl = 64, .flags = 0x10, .source_port = 5, .payload = 1000};
static const struct packet_shape udp = {
    .version = 6, .protocol = PROTO_UDP, .ttl = 64, .source_port = 5, .payload = 100};

static void a_udp_group_ends_at_128_segments(void)
{
    coalesce_begin(&coalesce, true, true, true);
    for (uint32_t i = 0; i < 130; i++)
        add_shape(i, &udp);
    CHECK_EQUAL(coalesce_finish(&coalesce), 2);
    CHECK_EQUAL(coalesce.items[0].packets, 128);
    CHECK_EQUAL(coalesce.items[1].packets, 2);
}

static void a_group_stays_within_an_ip_packet(void)
{
    struct packet_shape shape = tcp;
    coalesce_begin(&coalesce, true, true, true);
    for (uint32_t i = 0; i < 100; i++, shape.sequence += shape.payload)
        add_shape(i, &shape);
    CHECK_EQUAL(coalesce_finish(&coalesce), 2);
    CHECK_EQUAL(coalesce.items[0].packets, 65);
    CHECK(coalesce.items[0].length <= 65535);
}

static void psh_ends_a_group_and_is_carried(void)
{
    struct packet_shape shape = tcp;
    coalesce_begin(&coalesce, true, true, true);
    for (uint32_t i = 0; i < 4; i++, shape.sequence += shape.payload) {
        shape.flags = i == 1 ? 0x18 : 0x10;
        add_shape(i, &shape);
    }
    CHECK_EQUAL(coalesce_finish(&coalesce), 2);
    CHECK_EQUAL(packets[0][20 + 13], 0x18);
    CHECK_EQUAL(packets[2][20 + 13], 0x10);
}

static void a_packet_before_the_first_heads_the_group(void)
{
    struct packet_shape later = tcp, earlier = tcp;
    later.sequence = 1000;
    coalesce_begin(&coalesce, true, true, true);
    add_shape(0, &later);
    add_shape(1, &earlier);
    CHECK_EQUAL(coalesce_finish(&coalesce), 1);
    CHECK(coalesce.items[0].iov[1].iov_base == packets[1]);
    CHECK(coalesce.items[0].iov[2].iov_base == packets[0] + 40);
}

static void a_packet_with_psh_is_not_put_before_others(void)
{
    struct packet_shape later = tcp, earlier = tcp;
    later.sequence = 1000;
    earlier.flags = 0x18;
    coalesce_begin(&coalesce, true, true, true);
    add_shape(0, &later);
    add_shape(1, &earlier);
    CHECK_EQUAL(coalesce_finish(&coalesce), 2);
}

static void a_damaged_packet_is_written_as_it_is(void)
{
    struct packet_shape shape = tcp;
    coalesce_begin(&coalesce, true, true, true);
    for (uint32_t i = 0; i < 3; i++, shape.sequence += shape.payload) {
        lengths[i] = build_packet(packets[i], &shape);
        packets[i][500] ^= i == 1;
        memcpy(originals[i], packets[i], lengths[i]);
        CHECK_EQUAL(coalesce_add(&coalesce, packets[i], lengths[i]), 0);
    }
    CHECK_EQUAL(coalesce_finish(&coalesce), 3);
    for (uint32_t i = 0; i < 3; i++) {
        static const uint8_t zeros[VNET_HEADER_LEN];
        CHECK_EQUAL(item_bytes(&coalesce.items[i]), VNET_HEADER_LEN + lengths[i]);
        CHECK(memcmp(written, zeros, VNET_HEADER_LEN) == 0);
        CHECK(memcmp(written + VNET_HEADER_LEN, originals[i], lengths[i]) == 0);
    }
}

static void flags_other_than_ack_and_psh_are_never_merged(void)
{
    for (uint32_t flags = 0; flags < 256; flags++) {
        struct packet_shape shape = tcp;
        shape.flags = (uint8_t)flags;
        coalesce_begin(&coalesce, true, true, true);
        add_shape(0, &shape);
        shape.sequence += shape.payload;
        add_shape(1, &shape);
        CHECK_EQUAL(coalesce_finish(&coalesce), flags == 0x10 ? 1 : 2);
    }
}

static void udp_without_a_checksum_stays_alone(void)
{
    struct packet_shape shape = udp;
    shape.version = 4;
    coalesce_begin(&coalesce, true, true, true);
    for (uint32_t i = 0; i < 2; i++) {
        lengths[i] = build_packet(packets[i], &shape);
        put_be16(packets[i] + 26, 0);
        CHECK_EQUAL(coalesce_add(&coalesce, packets[i], lengths[i]), 0);
    }
    CHECK_EQUAL(coalesce_finish(&coalesce), 2);
}

static void nothing_overtakes_a_datagram_that_is_not_merged(void)
{
    for (int what = 0; what < 3; what++) {
        struct packet_shape shape = udp;
        shape.version = 4;
        coalesce_begin(&coalesce, true, true, true);
        add_shape(0, &shape);
        shape.payload = what == 0 ? 0 : 100;
        lengths[1] = build_packet(packets[1], &shape);
        if (what == 1)
            put_be16(packets[1] + 26, 0); /* no checksum */
        if (what == 2)
            put_be16(packets[1] + 6, 0x2000); /* the first fragment */
        CHECK_EQUAL(coalesce_add(&coalesce, packets[1], lengths[1]), 0);
        shape.payload = 100;
        add_shape(2, &shape);
        add_shape(3, &shape); /* joins the one before it again */
        CHECK_EQUAL(coalesce_finish(&coalesce), 3);
        CHECK(coalesce.items[1].iov[1].iov_base == packets[1]);
        CHECK_EQUAL(coalesce.items[2].packets, 2);
    }
}

static void without_a_vnet_header_packets_are_plain(void)
{
    struct packet_shape shape = tcp;
    coalesce_begin(&coalesce, false, true, true);
    for (uint32_t i = 0; i < 3; i++, shape.sequence += shape.payload)
        add_shape(i, &shape);
    CHECK_EQUAL(coalesce_finish(&coalesce), 3);
    CHECK_EQUAL(coalesce.items[1].iov_count, 1);
    CHECK(coalesce.items[1].iov[0].iov_base == packets[1] && coalesce.items[1].iov[0].iov_len == lengths[1]);
}

static void a_full_burst_is_said_to_be_full(void)
{
    coalesce_begin(&coalesce, true, true, true);
    for (uint32_t i = 0; i < COALESCE_MAX; i++)
        CHECK_EQUAL(coalesce_add(&coalesce, packets[i], 5), 0);
    CHECK_EQUAL(coalesce_add(&coalesce, packets[0], 5), -ENOSPC);
    CHECK_EQUAL(coalesce_finish(&coalesce), COALESCE_MAX);
}

int main(void)
{
    RUN(vectors_hold);
    RUN(whatever_is_merged_splits_into_the_same_packets);
    RUN(a_udp_group_ends_at_128_segments);
    RUN(a_group_stays_within_an_ip_packet);
    RUN(psh_ends_a_group_and_is_carried);
    RUN(a_packet_before_the_first_heads_the_group);
    RUN(a_packet_with_psh_is_not_put_before_others);
    RUN(a_damaged_packet_is_written_as_it_is);
    RUN(flags_other_than_ack_and_psh_are_never_merged);
    RUN(udp_without_a_checksum_stays_alone);
    RUN(nothing_overtakes_a_datagram_that_is_not_merged);
    RUN(without_a_vnet_header_packets_are_plain);
    RUN(a_full_burst_is_said_to_be_full);
    return 0;
}

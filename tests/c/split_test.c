#include "split.h"

#include "packets.h"

#define MTU 1420
#define MAX_OPS 128

static uint8_t frame[VNET_HEADER_LEN + 65535], out[80000];
static struct aead_op ops[MAX_OPS];
static struct split split;

/* read VNET PACKET SEGMENTS...: the exact packets a super-packet becomes. */
static void step(const struct words *words)
{
    if (strcmp(words->word[0], "read") != 0)
        return;
    uint8_t expected[2000];
    size_t length = unhex(words->word[1], frame, VNET_HEADER_LEN);
    length += unhex(words->word[2], frame + length, sizeof frame - length);
    CHECK_EQUAL(split_parse(&split, frame, length, true), 0);
    CHECK_EQUAL(split.segments, words->count - 3);
    CHECK_EQUAL(split_next(&split, MTU, out, sizeof out, ops, MAX_OPS), split.segments);
    for (uint32_t i = 0; i < split.segments; i++) {
        size_t segment = unhex(words->word[3 + i], expected, sizeof expected);
        CHECK_EQUAL(ops[i].length, padded_length((uint32_t)segment, MTU));
        CHECK(memcmp(ops[i].data, expected, segment) == 0);
        for (size_t at = segment; at < ops[i].length; at++)
            CHECK_EQUAL(ops[i].data[at], 0);
    }
}

static void vectors_hold(void)
{
    each_vector("tun_offload", step);
}

static struct vnet_header vnet_for(const struct packet_shape *shape, uint16_t gso_size)
{
    bool tcp = shape->protocol == PROTO_TCP;
    return (struct vnet_header){
        .flags = VNET_NEEDS_CSUM,
        .gso_type = !tcp                  ? VNET_GSO_UDP_L4
                    : shape->version == 4 ? VNET_GSO_TCPV4
                                          : VNET_GSO_TCPV6,
        .hdr_len = 7, /* not to be believed */
        .gso_size = gso_size,
        .csum_start = shape->version == 4 ? 20 : 40,
        .csum_offset = tcp ? 16 : 6,
    };
}

static size_t make_frame(const struct packet_shape *shape, const struct vnet_header *vnet)
{
    memcpy(frame, vnet, VNET_HEADER_LEN);
    return VNET_HEADER_LEN + build_packet(frame + VNET_HEADER_LEN, shape);
}

/* Checks that the messages are what the shape would have been, sent one by one. */
static void check_segments(const struct packet_shape *shape, uint32_t gso_size)
{
    static uint8_t expected[70000];
    uint32_t done = 0, total = split.segments;
    for (uint32_t i = 0; i < total; i++) {
        if (i % MAX_OPS == 0)
            CHECK_EQUAL(split_next(&split, MTU, out, sizeof out, ops, MAX_OPS),
                        total - i < MAX_OPS ? total - i : MAX_OPS);
        struct packet_shape one = *shape;
        one.payload = shape->payload - done < gso_size ? shape->payload - done : gso_size;
        one.sequence += shape->protocol == PROTO_TCP ? done : 0;
        one.ip_id = (uint16_t)(shape->ip_id + i);
        one.flags = (uint8_t)(shape->flags & ~(i + 1 < total ? 0x09 : 0) & ~(i > 0 ? 0x80 : 0));
        uint32_t header_len = shape_header_len(&one);
        uint32_t length = build_packet(expected, &one);
        memcpy(expected + header_len, frame + VNET_HEADER_LEN + header_len + done, one.payload);
        seal_headers(expected, length);
        const struct aead_op *op = &ops[i % MAX_OPS];
        CHECK_EQUAL(op->length, padded_length(length, MTU));
        CHECK(memcmp(op->data, expected, length) == 0);
        done += one.payload;
    }
    CHECK_EQUAL(done, shape->payload);
    CHECK_EQUAL(split_left(&split), 0);
}

static void super_packets_become_what_single_sends_would_have_been(void)
{
    uint64_t random = 11;
    for (int i = 0; i < 400; i++) {
        struct packet_shape shape = {.version = i & 1 ? 4 : 6,
                                     .protocol = i & 2 ? PROTO_TCP : PROTO_UDP,
                                     .ds = (uint8_t)draw(&random),
                                     .ttl = 9,
                                     .flags = (uint8_t)(0x10 | (draw(&random) & 0x89)),
                                     .source_port = 1,
                                     .ip_id = (uint16_t)draw(&random),
                                     .sequence = (uint32_t)draw(&random),
                                     .ack = 5,
                                     .payload = 1 + draw_below(&random, i < 40 ? 64000 : 9000),
                                     .options = i & 4 ? 12 : 0};
        uint16_t gso_size = (uint16_t)(1 + draw_below(&random, 1340));
        struct vnet_header vnet = vnet_for(&shape, gso_size);
        size_t length = make_frame(&shape, &vnet);
        CHECK_EQUAL(split_parse(&split, frame, length, true), 0);
        check_segments(&shape, gso_size);
    }
}

static void messages_lie_behind_each_other_as_udp_segment_wants(void)
{
    struct packet_shape shape = {
        .version = 4, .protocol = PROTO_TCP, .flags = 0x18, .payload = 10 * 1380 + 77};
    struct vnet_header vnet = vnet_for(&shape, 1380);
    size_t length = make_frame(&shape, &vnet);
    CHECK_EQUAL(split_parse(&split, frame, length, true), 0);
    CHECK_EQUAL(split.segments, 11);
    CHECK_EQUAL(split_next_length(&split, MTU), 16 + 1420 + 16);
    CHECK_EQUAL(split_next(&split, MTU, out, sizeof out, ops, MAX_OPS), 11);
    for (int i = 0; i < 11; i++)
        CHECK(ops[i].data == out + i * 1452 + 16);
    CHECK_EQUAL(ops[10].length, 128);
}

static void splitting_resumes_where_room_ended(void)
{
    struct packet_shape shape = {.version = 6, .protocol = PROTO_UDP, .payload = 20000};
    struct vnet_header vnet = vnet_for(&shape, 100);
    size_t length = make_frame(&shape, &vnet), total = 0;
    CHECK_EQUAL(split_parse(&split, frame, length, true), 0);
    CHECK_EQUAL(split.segments, 200);
    CHECK_EQUAL(split_next(&split, MTU, out, 16 + 160 + 16 - 1, ops, MAX_OPS), 0);
    CHECK_EQUAL(split_next(&split, MTU, out, 3 * (16 + 160 + 16), ops, MAX_OPS), 3);
    for (total = 3; split_left(&split); total += split_next(&split, MTU, out, sizeof out, ops, 64))
        CHECK(total < 200);
    CHECK_EQUAL(total, 200);
}

static void a_plain_packet_is_copied_and_padded(void)
{
    struct packet_shape shape = {.version = 4, .protocol = PROTO_UDP, .payload = 21};
    uint32_t length = build_packet(frame, &shape);
    memset(out, 0xff, 200);
    CHECK_EQUAL(split_parse(&split, frame, length, false), 0);
    CHECK(memcmp(split.inner.destination, frame + 16, 4) == 0);
    CHECK_EQUAL(split_next(&split, MTU, out, sizeof out, ops, MAX_OPS), 1);
    CHECK_EQUAL(ops[0].length, 64);
    CHECK(memcmp(ops[0].data, frame, 49) == 0);
    for (int i = 49; i < 64; i++)
        CHECK_EQUAL(ops[0].data[i], 0);
}

/* What the kernel hands us of a local sender: the pseudo header's sum stands where the checksum belongs. */
static void a_missing_checksum_is_finished(void)
{
    for (int i = 0; i < 8; i++) {
        struct packet_shape shape = {.version = i & 1 ? 4 : 6,
                                     .protocol = i & 2 ? PROTO_TCP : PROTO_UDP,
                                     .flags = 0x18,
                                     .payload = i & 4 ? 100 : 101};
        struct vnet_header vnet = vnet_for(&shape, 0);
        vnet.gso_type = VNET_GSO_NONE;
        size_t length = make_frame(&shape, &vnet);
        uint8_t *packet = frame + VNET_HEADER_LEN;
        uint32_t packet_len = (uint32_t)length - VNET_HEADER_LEN;
        put_be16(packet + vnet.csum_start + vnet.csum_offset,
                 (uint16_t)naive_pseudo(packet, shape.protocol, packet_len - vnet.csum_start));
        CHECK_EQUAL(split_parse(&split, frame, length, true), 0);
        CHECK_EQUAL(split_next(&split, MTU, out, sizeof out, ops, MAX_OPS), 1);
        CHECK(checksums_right(ops[0].data, packet_len));
    }
}

static int parse_with(const struct packet_shape *shape, const struct vnet_header *vnet)
{
    return split_parse(&split, frame, make_frame(shape, vnet), true);
}

static void headers_that_do_not_describe_the_packet_are_refused(void)
{
    struct packet_shape tcp = {.version = 4, .protocol = PROTO_TCP, .flags = 0x10, .payload = 3000};
    struct packet_shape udp = {.version = 6, .protocol = PROTO_UDP, .payload = 3000};
    struct vnet_header good = vnet_for(&tcp, 1000), vnet = good;
    CHECK_EQUAL(parse_with(&tcp, &vnet), 0);
    vnet.gso_size = 0;
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    vnet = good;
    vnet.gso_type = VNET_GSO_TCPV6;
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    vnet.gso_type = VNET_GSO_UDP_L4;
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    vnet.gso_type = 3; /* UDP fragmentation offload of old */
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    vnet = good;
    vnet.csum_start = 24;
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    vnet.csum_start = 65535;
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    vnet = good;
    vnet.csum_offset = 6;
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    vnet = good;
    vnet.gso_type = VNET_GSO_NONE;
    vnet.csum_start = 3039;
    vnet.csum_offset = 0;
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    vnet.csum_start = 10;
    CHECK_EQUAL(parse_with(&tcp, &vnet), -EINVAL);
    CHECK_EQUAL(parse_with(&udp, &good), -EINVAL);
    tcp.payload = 0;
    CHECK_EQUAL(parse_with(&tcp, &good), -EINVAL);
    CHECK_EQUAL(split_parse(&split, frame, VNET_HEADER_LEN - 1, true), -EINVAL);
    CHECK_EQUAL(split_parse(&split, frame, VNET_HEADER_LEN, true), -EINVAL);
}

static void a_tcp_header_longer_than_the_packet_is_refused(void)
{
    struct packet_shape tcp = {.version = 4, .protocol = PROTO_TCP, .flags = 0x10, .payload = 10};
    struct vnet_header vnet = vnet_for(&tcp, 5);
    size_t length = make_frame(&tcp, &vnet);
    frame[VNET_HEADER_LEN + 20 + 12] = 0xf0;
    CHECK_EQUAL(split_parse(&split, frame, length, true), -EINVAL);
    frame[VNET_HEADER_LEN + 20 + 12] = 0x40;
    CHECK_EQUAL(split_parse(&split, frame, length, true), -EINVAL);
}

int main(void)
{
    RUN(vectors_hold);
    RUN(super_packets_become_what_single_sends_would_have_been);
    RUN(messages_lie_behind_each_other_as_udp_segment_wants);
    RUN(splitting_resumes_where_room_ended);
    RUN(a_plain_packet_is_copied_and_padded);
    RUN(a_missing_checksum_is_finished);
    RUN(headers_that_do_not_describe_the_packet_are_refused);
    RUN(a_tcp_header_longer_than_the_packet_is_refused);
    return 0;
}

/* Inner packets for tests, built and checked with the plainest possible arithmetic. */
#ifndef WGPY_TEST_PACKETS_H
#define WGPY_TEST_PACKETS_H

#include "harness.h"
#include "packet.h"

/* RFC 1071, one byte at a time. */
static inline uint32_t naive_sum(uint32_t sum, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static inline uint32_t naive_pseudo(const uint8_t *packet, uint8_t protocol, uint32_t l4_len)
{
    uint32_t sum = packet[0] >> 4 == 4 ? naive_sum(0, packet + 12, 8) : naive_sum(0, packet + 8, 32);
    sum += protocol + (l4_len >> 16) + (l4_len & 0xffff);
    return (sum & 0xffff) + (sum >> 16);
}

/* Are the IPv4 header checksum and the TCP or UDP checksum behind a plain header right? */
static inline int checksums_right(const uint8_t *packet, uint32_t length)
{
    int v4 = packet[0] >> 4 == 4;
    uint32_t ip_len = v4 ? (packet[0] & 15u) * 4u : 40;
    uint32_t sum = naive_pseudo(packet, packet[v4 ? 9 : 6], length - ip_len);
    if (v4 && naive_sum(0, packet, ip_len) != 0xffff)
        return 0;
    return naive_sum(sum, packet + ip_len, length - ip_len) == 0xffff;
}

struct packet_shape {
    uint8_t version, protocol, ds, ttl, flags; /* flags: TCP */
    uint16_t source_port, ip_id;
    uint32_t sequence, ack, payload, options; /* options: bytes of TCP options, a multiple of 4 */
};

static inline uint32_t shape_header_len(const struct packet_shape *shape)
{
    uint32_t l4 = shape->protocol == PROTO_TCP ? TCP_HEADER_LEN + shape->options : UDP_HEADER_LEN;
    return (shape->version == 4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN) + l4;
}

/* Sets lengths and checksums of a packet of plain headers. */
static inline void seal_headers(uint8_t *packet, uint32_t length)
{
    int v4 = packet[0] >> 4 == 4;
    uint32_t ip_len = v4 ? 20 : 40, l4_len = length - ip_len;
    uint8_t protocol = packet[v4 ? 9 : 6], *l4 = packet + ip_len;
    uint32_t at = protocol == PROTO_TCP ? 16 : 6;
    if (v4) {
        put_be16(packet + 2, (uint16_t)length);
        put_be16(packet + 10, 0);
        put_be16(packet + 10, (uint16_t)~naive_sum(0, packet, 20));
    } else {
        put_be16(packet + 4, (uint16_t)l4_len);
    }
    if (protocol == PROTO_UDP)
        put_be16(l4 + 4, (uint16_t)l4_len);
    put_be16(l4 + at, 0);
    uint16_t sum = (uint16_t)~naive_sum(naive_pseudo(packet, protocol, l4_len), l4, l4_len);
    put_be16(l4 + at, sum == 0 && protocol == PROTO_UDP ? 0xffff : sum);
}

/* Returns the packet's length. The payload's bytes depend on the sequence number, so merging can be checked.
 */
static inline uint32_t build_packet(uint8_t *out, const struct packet_shape *shape)
{
    uint32_t header_len = shape_header_len(shape), length = header_len + shape->payload;
    uint8_t *l4 = out + (shape->version == 4 ? 20 : 40);
    memset(out, 0, header_len);
    if (shape->version == 4) {
        out[0] = 0x45;
        out[1] = shape->ds;
        put_be16(out + 4, shape->ip_id);
        put_be16(out + 6, 0x4000);
        out[8] = shape->ttl;
        out[9] = shape->protocol;
        memcpy(out + 12, "\xc0\x00\x02\x01\xc0\x00\x02\x02", 8);
    } else {
        put_be16(out, (uint16_t)(0x6000 | shape->ds << 4));
        out[6] = shape->protocol;
        out[7] = shape->ttl;
        memset(out + 8, 0x20, 16);
        memset(out + 24, 0x21, 16);
    }
    put_be16(l4, shape->source_port);
    put_be16(l4 + 2, 443);
    if (shape->protocol == PROTO_TCP) {
        put_be32(l4 + 4, shape->sequence);
        put_be32(l4 + 8, shape->ack);
        l4[12] = (uint8_t)((TCP_HEADER_LEN + shape->options) / 4 << 4);
        l4[13] = shape->flags;
        put_be16(l4 + 14, 0xfff0);
        memset(l4 + 20, 1, shape->options);
    }
    for (uint32_t i = 0; i < shape->payload; i++)
        out[header_len + i] = (uint8_t)((shape->sequence + i) * 2654435761u >> 24);
    seal_headers(out, length);
    return length;
}

#endif

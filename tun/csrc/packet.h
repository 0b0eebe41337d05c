/*
 * The bytes on the wire: WireGuard's four messages (paper section 5.4) and the few fields of inner IPv4 and
 * IPv6 headers the data plane looks at. Knows no keys, no peers, no sockets.
 *
 *   initiation   0 type=1 | 4 sender | 8 ephemeral 32 | 40 static 48 | 88 timestamp 28 | 116 mac1 | 132 mac2
 *   response     0 type=2 | 4 sender | 8 receiver | 12 ephemeral 32 | 44 empty 16 | 60 mac1 | 76 mac2
 *   cookie reply 0 type=3 | 4 receiver | 8 nonce 24 | 32 cookie 16+16
 *   data         0 type=4 | 4 receiver | 8 counter 8 | 16 sealed packet, tag 16
 */
#ifndef WGPY_PACKET_H
#define WGPY_PACKET_H

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The type is the first 32-bit word: the three reserved bytes must be zero. */
#define MESSAGE_INITIATION 1
#define MESSAGE_RESPONSE 2
#define MESSAGE_COOKIE_REPLY 3
#define MESSAGE_DATA 4

#define MESSAGE_INITIATION_LEN 148
#define MESSAGE_RESPONSE_LEN 92
#define MESSAGE_COOKIE_REPLY_LEN 64
#define MESSAGE_DATA_HEADER_LEN 16
#define MESSAGE_DATA_MIN_LEN 32 /* a keepalive: header and tag */
#define MESSAGE_DATA_MAX_CONTENT (65535 - MESSAGE_DATA_MIN_LEN)

#define TAG_LEN 16
#define MAC_LEN 16
#define COOKIE_LEN 16
#define PADDING_MULTIPLE 16

#define MESSAGE_SENDER_AT 4 /* initiation, response */
#define RESPONSE_RECEIVER_AT 8
#define COOKIE_REPLY_RECEIVER_AT 4
#define COOKIE_REPLY_NONCE_AT 8
#define COOKIE_REPLY_COOKIE_AT 32
#define COOKIE_REPLY_NONCE_LEN 24
#define DATA_RECEIVER_AT 4
#define DATA_COUNTER_AT 8

static inline uint16_t get_be16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return be16toh(value);
}

static inline uint32_t get_be32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return be32toh(value);
}

static inline uint32_t get_le32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static inline uint64_t get_le64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static inline void put_be16(uint8_t *at, uint16_t value)
{
    value = htobe16(value);
    memcpy(at, &value, sizeof value);
}

static inline void put_be32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
}

static inline void put_le32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static inline void put_le64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

/*
 * What a datagram from a stranger claims to be, by its first word and its length alone: MESSAGE_* or 0 for
 * something to be dropped silently. All fields at fixed offsets are readable when this is not 0.
 */
static inline uint32_t message_type(const uint8_t *message, size_t length)
{
    if (length < MESSAGE_DATA_MIN_LEN)
        return 0;
    uint32_t type = get_le32(message);
    switch (type) {
    case MESSAGE_INITIATION:
        return length == MESSAGE_INITIATION_LEN ? type : 0;
    case MESSAGE_RESPONSE:
        return length == MESSAGE_RESPONSE_LEN ? type : 0;
    case MESSAGE_COOKIE_REPLY:
        return length == MESSAGE_COOKIE_REPLY_LEN ? type : 0;
    case MESSAGE_DATA:
        return type;
    default:
        return 0;
    }
}

/* The receiver index of types 2, 3 and 4; an initiation has none. */
static inline uint32_t message_receiver(const uint8_t *message, uint32_t type)
{
    return get_le32(message + (type == MESSAGE_RESPONSE ? RESPONSE_RECEIVER_AT : DATA_RECEIVER_AT));
}

/* Writes the 16 bytes before the sealed packet. */
static inline void put_data_header(uint8_t *message, uint32_t receiver_index, uint64_t counter)
{
    put_le32(message, MESSAGE_DATA);
    put_le32(message + DATA_RECEIVER_AT, receiver_index);
    put_le64(message + DATA_COUNTER_AT, counter);
}

#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ICMPV6 58

#define IPV4_HEADER_LEN 20 /* without options */
#define IPV6_HEADER_LEN 40
#define TCP_HEADER_LEN 20 /* without options */
#define UDP_HEADER_LEN 8

/* The view of one inner packet; the pointers go into it. */
struct inner {
    const uint8_t *source; /* 4 or 16 bytes, network byte order */
    const uint8_t *destination;
    uint32_t length;     /* of the IP packet: without padding behind it */
    uint32_t header_len; /* IPv4 with options; IPv6 always 40 */
    uint8_t version;     /* 4 or 6 */
    uint8_t protocol;    /* IPv4 protocol, IPv6 next header of the fixed header */
    uint8_t ds;          /* TOS or traffic class: DSCP and ECN */
    uint8_t fragment;    /* 1: IPv4 with MF or an offset (IPv6 fragments show as protocol 44) */
};

/*
 * Looks at an inner packet in at most `available` bytes; trailing padding is allowed and left out of
 * inner->length. -EINVAL: not IPv4 or IPv6, or its length fields do not fit (section 7.2 step 9). The IPv4
 * header length is checked too, the header checksum is the receiving kernel's business.
 */
static inline int inner_parse(const uint8_t *packet, size_t available, struct inner *inner)
{
    if (available < IPV4_HEADER_LEN)
        return -EINVAL;
    if (packet[0] >> 4 == 4) {
        uint32_t length = get_be16(packet + 2);
        uint32_t header_len = (packet[0] & 0x0fu) * 4u;
        if (header_len < IPV4_HEADER_LEN || length < header_len || length > available)
            return -EINVAL;
        inner->source = packet + 12;
        inner->destination = packet + 16;
        inner->length = length;
        inner->header_len = header_len;
        inner->version = 4;
        inner->protocol = packet[9];
        inner->ds = packet[1];
        inner->fragment = (get_be16(packet + 6) & 0x3fff) != 0;
        return 0;
    }
    if (packet[0] >> 4 == 6 && available >= IPV6_HEADER_LEN) {
        uint32_t length = IPV6_HEADER_LEN + (uint32_t)get_be16(packet + 4);
        if (length > available)
            return -EINVAL;
        inner->source = packet + 8;
        inner->destination = packet + 24;
        inner->length = length;
        inner->header_len = IPV6_HEADER_LEN;
        inner->version = 6;
        inner->protocol = packet[6];
        inner->ds = (uint8_t)(get_be16(packet) >> 4);
        inner->fragment = 0;
        return 0;
    }
    return -EINVAL;
}

/*
 * How long a plaintext of `length` bytes becomes with its zero padding: a multiple of 16, but never beyond
 * the MTU (0 = no MTU); a packet longer than the MTU is padded as its tail would be (section 7.1 step 2).
 * Grows with length, so that equal packets followed by a shorter one stay so.
 */
static inline uint32_t padded_length(uint32_t length, uint32_t mtu)
{
    uint32_t unit = mtu != 0 && length > mtu ? length % mtu : length;
    uint32_t padded = (unit + PADDING_MULTIPLE - 1) & ~(uint32_t)(PADDING_MULTIPLE - 1);
    if (mtu != 0 && padded > mtu)
        padded = mtu;
    return length + (padded - unit);
}

/* struct virtio_net_hdr of ten bytes, before every packet of a TUN opened with IFF_VNET_HDR; native order. */
struct vnet_header {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
};
#define VNET_HEADER_LEN 10
#define VNET_NEEDS_CSUM 1
#define VNET_GSO_NONE 0
#define VNET_GSO_TCPV4 1
#define VNET_GSO_TCPV6 4
#define VNET_GSO_UDP_L4 5
#define VNET_GSO_ECN 0x80

#endif

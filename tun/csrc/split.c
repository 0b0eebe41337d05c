#include "split.h"

#include "checksum.h"

#define TCP_SEQUENCE_AT 4
#define TCP_DATA_OFFSET_AT 12
#define TCP_FLAGS_AT 13
#define TCP_CHECKSUM_AT 16
#define UDP_LENGTH_AT 4
#define UDP_CHECKSUM_AT 6
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

#define IPV6_HOP_BY_HOP 0
#define IPV6_ROUTING 43
#define IPV6_DESTINATION 60

/* The L4 protocol at `offset`, if headers that every fragment-free packet may have lead there; 0 otherwise.
 */
static uint8_t protocol_at(const uint8_t *packet, const struct inner *inner, uint32_t offset)
{
    if (inner->version == 4)
        return offset == inner->header_len && !inner->fragment ? inner->protocol : 0;
    uint8_t next = inner->protocol;
    uint32_t at = IPV6_HEADER_LEN;
    while (at < offset && at + 2 <= inner->length &&
           (next == IPV6_HOP_BY_HOP || next == IPV6_ROUTING || next == IPV6_DESTINATION)) {
        next = packet[at];
        at += 8u + 8u * packet[at + 1];
    }
    return at == offset ? next : 0;
}

/* Length of the TCP or UDP header at csum_start, 0 if it is not what the GSO type promises. */
static uint32_t l4_header_len(const struct split *split)
{
    uint8_t protocol = protocol_at(split->packet, &split->inner, split->csum_start);
    uint32_t rest = split->length - split->csum_start;

    if (split->gso_type == VNET_GSO_UDP_L4)
        return protocol == PROTO_UDP && rest >= UDP_HEADER_LEN ? UDP_HEADER_LEN : 0;
    if (split->gso_type != (split->inner.version == 4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6))
        return 0;
    if (protocol != PROTO_TCP || rest < TCP_HEADER_LEN)
        return 0;
    uint32_t length = (split->packet[split->csum_start + TCP_DATA_OFFSET_AT] >> 4) * 4u;
    return length >= TCP_HEADER_LEN && length <= rest ? length : 0;
}

/* hdr_len of the vnet header is not believed: forwarded packets come with wrong ones. */
static int parse_super_packet(struct split *split)
{
    uint32_t checksum_at = split->gso_type == VNET_GSO_UDP_L4 ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT;

    if (!split->needs_csum || split->gso_size == 0 || split->csum_offset != checksum_at ||
        split->csum_start >= split->length)
        return -EINVAL;
    uint32_t l4_len = l4_header_len(split);
    if (l4_len == 0)
        return -EINVAL;
    split->header_len = split->csum_start + l4_len;
    if (split->header_len >= split->length)
        return -EINVAL;
    split->segments = (split->length - split->header_len + split->gso_size - 1) / split->gso_size;
    return 0;
}

int split_parse(struct split *split, const uint8_t *frame, size_t length, bool has_vnet_header)
{
    struct vnet_header vnet = {0};

    if (has_vnet_header) {
        if (length < VNET_HEADER_LEN)
            return -EINVAL;
        memcpy(&vnet, frame, VNET_HEADER_LEN);
        frame += VNET_HEADER_LEN;
        length -= VNET_HEADER_LEN;
    }
    *split = (struct split){
        .packet = frame,
        .csum_start = vnet.csum_start,
        .csum_offset = vnet.csum_offset,
        .gso_size = vnet.gso_size,
        .segments = 1,
        .gso_type = vnet.gso_type & (uint8_t)~VNET_GSO_ECN,
        .needs_csum = vnet.flags & VNET_NEEDS_CSUM,
    };
    if (inner_parse(frame, length, &split->inner) < 0)
        return -EINVAL;
    split->length = split->inner.length;
    if (split->gso_type != VNET_GSO_NONE)
        return parse_super_packet(split);
    if (!split->needs_csum)
        return 0;
    /* Never into the IP header: it would change what has just been read there. */
    return split->csum_start >= split->inner.header_len &&
                   split->csum_start + split->csum_offset + 2 <= split->length
               ? 0
               : -EINVAL;
}

static uint32_t payload_len(const struct split *split, uint32_t number)
{
    uint32_t rest = split->length - split->header_len - number * split->gso_size;
    return rest < split->gso_size ? rest : split->gso_size;
}

static uint32_t packet_len(const struct split *split, uint32_t number)
{
    if (split->gso_type == VNET_GSO_NONE)
        return split->length;
    return split->header_len + payload_len(split, number);
}

uint32_t split_next_length(const struct split *split, uint32_t mtu)
{
    return split_message_len(padded_length(packet_len(split, split->next), mtu));
}

/* A packet that was whole already; its checksum is finished if the kernel left that to us. */
static void write_whole(const struct split *split, uint8_t *to)
{
    if (!split->needs_csum) {
        memcpy(to, split->packet, split->length);
        return;
    }
    uint32_t start = split->csum_start, at = start + split->csum_offset;
    memcpy(to, split->packet, start);
    uint64_t sum = checksum_copy(0, to + start, split->packet + start, split->length - start);
    if (split->csum_offset == UDP_CHECKSUM_AT)
        checksum_finish_udp(to + at, sum);
    else
        checksum_finish(to + at, sum);
}

static void adjust_ip(const struct split *split, uint8_t *to, uint32_t length, uint32_t number)
{
    if (split->inner.version == 6) {
        put_be16(to + 4, (uint16_t)(length - IPV6_HEADER_LEN));
        return;
    }
    put_be16(to + 2, (uint16_t)length);
    put_be16(to + 4, (uint16_t)(get_be16(split->packet + 4) + number));
    checksum_ipv4_header(to, split->inner.header_len);
}

static void adjust_tcp(const struct split *split, uint8_t *tcp, uint32_t number)
{
    uint32_t sequence = get_be32(split->packet + split->csum_start + TCP_SEQUENCE_AT);
    put_be32(tcp + TCP_SEQUENCE_AT, sequence + number * split->gso_size);
    if (number + 1 < split->segments)
        tcp[TCP_FLAGS_AT] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    if (number > 0)
        tcp[TCP_FLAGS_AT] &= (uint8_t)~TCP_CWR;
}

/* One packet of a super-packet: headers copied and corrected, its share of the payload behind them. */
static void write_segment(const struct split *split, uint8_t *to, uint32_t number)
{
    uint32_t payload = payload_len(split, number), header_len = split->header_len;
    uint32_t l4_len = header_len - split->csum_start + payload;
    uint8_t *l4 = to + split->csum_start;
    bool udp = split->gso_type == VNET_GSO_UDP_L4;

    memcpy(to, split->packet, header_len);
    adjust_ip(split, to, header_len + payload, number);
    if (udp)
        put_be16(l4 + UDP_LENGTH_AT, (uint16_t)l4_len);
    else
        adjust_tcp(split, l4, number);
    checksum_put(l4 + split->csum_offset, 0);

    uint64_t sum = checksum_pseudo(&split->inner, udp ? PROTO_UDP : PROTO_TCP, l4_len);
    sum = checksum_header(sum, l4, header_len - split->csum_start);
    sum = checksum_copy(sum, to + header_len, split->packet + header_len + number * split->gso_size, payload);
    if (udp)
        checksum_finish_udp(l4 + UDP_CHECKSUM_AT, sum);
    else
        checksum_finish(l4 + TCP_CHECKSUM_AT, sum);
}

size_t split_next(struct split *split, uint32_t mtu, uint8_t *out, size_t capacity, struct aead_op *ops,
                  size_t max)
{
    size_t count = 0;
    for (; count < max && split_left(split) > 0; count++, split->next++) {
        uint32_t length = packet_len(split, split->next);
        uint32_t padded = padded_length(length, mtu);
        uint32_t message = split_message_len(padded);
        if (message > capacity)
            break;
        uint8_t *packet = out + MESSAGE_DATA_HEADER_LEN;
        if (split->gso_type == VNET_GSO_NONE)
            write_whole(split, packet);
        else
            write_segment(split, packet, split->next);
        memset(packet + length, 0, padded - length);
        ops[count].data = packet;
        ops[count].length = padded;
        out += message;
        capacity -= message;
    }
    return count;
}

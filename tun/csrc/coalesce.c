#include "coalesce.h"

#include "checksum.h"

#define TCP_SEQUENCE_AT 4
#define TCP_DATA_OFFSET_AT 12
#define TCP_FLAGS_AT 13
#define TCP_CHECKSUM_AT 16
#define UDP_LENGTH_AT 4
#define UDP_CHECKSUM_AT 6
#define TCP_PSH 0x08
#define TCP_ACK 0x10

#define UNCHECKED 0
#define GOOD 1
#define BAD 2

/* A packet that may join others. */
struct candidate {
    struct inner inner;
    uint8_t *data;
    uint32_t header_len; /* IP and L4 */
    uint32_t payload;
    uint32_t sequence; /* TCP */
    uint8_t kind;      /* VNET_GSO_* */
    uint8_t psh;
};

/* Source, destination and ports lie behind each other in both IP versions, as only 20-byte IPv4 headers are
 * merged. */
struct span {
    uint32_t at, length;
};

static struct span flow_span(uint8_t version)
{
    return version == 4 ? (struct span){12, 12} : (struct span){8, 36};
}

void coalesce_begin(struct coalesce *coalesce, bool vnet, bool tcp, bool udp)
{
    coalesce->vnet = vnet;
    coalesce->tcp = vnet && tcp;
    coalesce->udp = vnet && udp;
    coalesce->packet_count = 0;
    coalesce->item_count = 0;
    memset(coalesce->newest, 0xff, sizeof coalesce->newest);
}

static bool tcp_candidate(struct candidate *c, const uint8_t *tcp, uint32_t available)
{
    if (available < TCP_HEADER_LEN)
        return false;
    uint32_t header_len = (tcp[TCP_DATA_OFFSET_AT] >> 4) * 4u;
    uint8_t flags = tcp[TCP_FLAGS_AT];
    if (header_len < TCP_HEADER_LEN || header_len >= available || (tcp[TCP_DATA_OFFSET_AT] & 0x0f) != 0 ||
        (flags & ~TCP_PSH) != TCP_ACK)
        return false;
    c->header_len = c->inner.header_len + header_len;
    c->payload = available - header_len;
    c->sequence = get_be32(tcp + TCP_SEQUENCE_AT);
    c->psh = (flags & TCP_PSH) != 0;
    c->kind = c->inner.version == 4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
    return true;
}

/* A datagram without a checksum (IPv4) stays alone: merging would have to vouch for it. */
static bool udp_candidate(struct candidate *c, const uint8_t *udp, uint32_t available)
{
    if (available < UDP_HEADER_LEN)
        return false;
    c->header_len = c->inner.header_len + UDP_HEADER_LEN;
    c->payload = available - UDP_HEADER_LEN;
    c->kind = VNET_GSO_UDP_L4;
    return c->payload > 0 && get_be16(udp + UDP_LENGTH_AT) == available &&
           get_be16(udp + UDP_CHECKSUM_AT) != 0 && !c->inner.fragment;
}

/* False with a kind: it is not merged, but has a place in its flow. */
static bool find_candidate(const struct coalesce *coalesce, struct candidate *c, uint8_t *data,
                           uint32_t length)
{
    *c = (struct candidate){.data = data};
    if (inner_parse(data, length, &c->inner) < 0 || c->inner.length != length)
        return false;
    if (c->inner.version == 4 && c->inner.header_len != IPV4_HEADER_LEN)
        return false;
    uint32_t at = c->inner.header_len;
    if (c->inner.protocol == PROTO_TCP && coalesce->tcp && !c->inner.fragment)
        return tcp_candidate(c, data + at, length - at);
    if (c->inner.protocol == PROTO_UDP && coalesce->udp)
        return udp_candidate(c, data + at, length - at);
    return false;
}

static uint16_t bucket_of(const struct candidate *c)
{
    struct span flow = flow_span(c->inner.version);
    uint32_t hash = c->kind, word;
    for (uint32_t i = 0; i < flow.length; i += 4) {
        memcpy(&word, c->data + flow.at + i, 4);
        hash = (hash ^ word) * 0x9e3779b1u;
    }
    return (uint16_t)(hash >> 16 & (COALESCE_BUCKETS - 1));
}

static uint8_t *head_of(const struct coalesce *coalesce, const struct coalesce_item *item)
{
    return coalesce->packets[item->first].data;
}

static bool same_flow(const struct candidate *c, const struct coalesce_item *item, const uint8_t *head)
{
    if (item->kind != c->kind || head[0] >> 4 != c->inner.version)
        return false;
    struct span flow = flow_span(c->inner.version);
    if (memcmp(head + flow.at, c->data + flow.at, flow.length) != 0)
        return false;
    uint32_t ack_at = c->inner.header_len + 8;
    return c->kind == VNET_GSO_UDP_L4 || memcmp(head + ack_at, c->data + ack_at, 4) == 0;
}

/* All that a merged packet can say only once: DS, TTL, DF, flow label, TCP options. */
static bool same_headers(const struct candidate *c, const struct coalesce_item *item, const uint8_t *head)
{
    const uint8_t *data = c->data;
    if (item->header_len != c->header_len)
        return false;
    if (c->inner.version == 4) {
        if (head[1] != data[1] || head[8] != data[8] || (head[6] & 0xe0) != (data[6] & 0xe0))
            return false;
    } else if (memcmp(head, data, 4) != 0 || head[7] != data[7]) {
        return false;
    }
    uint32_t options = c->inner.header_len + TCP_HEADER_LEN;
    return c->kind == VNET_GSO_UDP_L4 || memcmp(head + options, data + options, c->header_len - options) == 0;
}

static bool checksum_good(const struct inner *inner, const uint8_t *data, uint32_t length)
{
    uint32_t l4 = inner->header_len;
    uint64_t sum = checksum_pseudo(inner, inner->protocol, length - l4);
    return checksum_fold(checksum_add(sum, data + l4, length - l4)) == 0xffff;
}

static uint8_t check_candidate(const struct candidate *c)
{
    return checksum_good(&c->inner, c->data, c->inner.length) ? GOOD : BAD;
}

/* Before the first merge the item is one packet, and that has to be right too. */
static bool item_good(struct coalesce *coalesce, struct coalesce_item *item)
{
    if (item->checked == UNCHECKED) {
        struct inner inner;
        uint8_t *head = head_of(coalesce, item);
        bool good = inner_parse(head, coalesce->packets[item->first].length, &inner) == 0 &&
                    checksum_good(&inner, head, inner.length);
        item->checked = good ? GOOD : BAD;
        if (!good)
            item->kind = VNET_GSO_NONE; /* goes out as it is, for the receiver's counters to see */
    }
    return item->checked == GOOD;
}

static bool may_append(const struct candidate *c, const struct coalesce_item *item)
{
    if (item->ended || c->payload > item->gso_size || item->payload % item->gso_size != 0)
        return false;
    if (c->kind == VNET_GSO_UDP_L4)
        return item->packets < COALESCE_MAX_UDP;
    return c->sequence == item->sequence + item->payload;
}

static bool may_prepend(const struct candidate *c, const struct coalesce_item *item)
{
    if (c->kind == VNET_GSO_UDP_L4 || c->psh || c->sequence + c->payload != item->sequence)
        return false;
    return c->payload == item->gso_size || (c->payload > item->gso_size && item->packets == 1);
}

enum joined { JOINED, REFUSED, BAD_PACKET };

static enum joined join(struct coalesce *coalesce, const struct candidate *c, struct coalesce_item *item,
                        uint16_t number, uint8_t *checked)
{
    bool append = may_append(c, item);
    if (item->header_len + item->payload + c->payload > UINT16_MAX || (!append && !may_prepend(c, item)))
        return REFUSED;
    if (!item_good(coalesce, item))
        return REFUSED;
    if (*checked == UNCHECKED)
        *checked = check_candidate(c);
    if (*checked == BAD)
        return BAD_PACKET;
    if (append) {
        coalesce->packets[item->last].next = number;
        item->last = number;
        item->ended = c->psh;
    } else {
        coalesce->packets[number].next = item->first;
        item->first = number;
        item->sequence = c->sequence;
        item->gso_size = c->payload;
    }
    item->payload += c->payload;
    item->packets++;
    return JOINED;
}

/* Tries the items of the flow, newest first; UDP only the newest, so that it is never reordered. */
static enum joined find_and_join(struct coalesce *coalesce, const struct candidate *c, uint16_t bucket,
                                 uint16_t number, uint8_t *checked)
{
    for (uint16_t at = coalesce->newest[bucket]; at != COALESCE_NONE; at = coalesce->items[at].older) {
        struct coalesce_item *item = &coalesce->items[at];
        const uint8_t *head = head_of(coalesce, item);
        if (!same_flow(c, item, head))
            continue;
        enum joined joined = same_headers(c, item, head) ? join(coalesce, c, item, number, checked) : REFUSED;
        if (joined != REFUSED || c->kind == VNET_GSO_UDP_L4)
            return joined;
    }
    return REFUSED;
}

static struct coalesce_item *item_new(struct coalesce *coalesce, uint16_t number)
{
    struct coalesce_item *item = &coalesce->items[coalesce->item_count++];
    *item = (struct coalesce_item){
        .packets = 1, .first = number, .last = number, .older = COALESCE_NONE, .kind = VNET_GSO_NONE};
    return item;
}

static void item_of_flow(struct coalesce *coalesce, struct coalesce_item *item, const struct candidate *c,
                         uint16_t bucket, uint8_t checked)
{
    item->kind = c->kind;
    item->header_len = (uint16_t)c->header_len;
    item->payload = c->payload;
    item->gso_size = c->payload;
    item->sequence = c->sequence;
    item->ended = c->psh;
    item->checked = checked;
    item->older = coalesce->newest[bucket];
    coalesce->newest[bucket] = (uint16_t)(item - coalesce->items);
}

/* A datagram that cannot be merged: those behind it may not join one before it. */
static void end_flow(struct coalesce *coalesce, const struct candidate *c)
{
    for (uint16_t at = coalesce->newest[bucket_of(c)]; at != COALESCE_NONE; at = coalesce->items[at].older) {
        struct coalesce_item *item = &coalesce->items[at];
        if (same_flow(c, item, head_of(coalesce, item))) {
            item->ended = 1;
            return;
        }
    }
}

int coalesce_add(struct coalesce *coalesce, uint8_t *packet, uint32_t length)
{
    if (coalesce->packet_count == COALESCE_MAX)
        return -ENOSPC;
    uint16_t number = coalesce->packet_count++;
    coalesce->packets[number] = (struct coalesce_packet){packet, length, COALESCE_NONE, 0};

    struct candidate c;
    if (!find_candidate(coalesce, &c, packet, length)) {
        if (c.kind == VNET_GSO_UDP_L4)
            end_flow(coalesce, &c);
        item_new(coalesce, number);
        return 0;
    }
    uint8_t checked = UNCHECKED;
    uint16_t bucket = bucket_of(&c);
    enum joined joined = find_and_join(coalesce, &c, bucket, number, &checked);
    if (joined == JOINED)
        return 0;
    struct coalesce_item *item = item_new(coalesce, number);
    if (joined == REFUSED)
        item_of_flow(coalesce, item, &c, bucket, checked);
    return 0;
}

static void adjust_ip(uint8_t *head, uint8_t version, uint32_t length)
{
    if (version == 6) {
        put_be16(head + 4, (uint16_t)(length - IPV6_HEADER_LEN));
        return;
    }
    put_be16(head + 2, (uint16_t)length);
    checksum_ipv4_header(head, IPV4_HEADER_LEN);
}

/* Headers for all the payloads; the checksum field gets the sum of the pseudo header, the kernel does the
 * rest. */
static void make_super_packet(struct coalesce *coalesce, struct coalesce_item *item)
{
    uint8_t *head = head_of(coalesce, item);
    uint8_t version = head[0] >> 4;
    bool udp = item->kind == VNET_GSO_UDP_L4;
    uint16_t l4 = version == 4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN;
    uint32_t l4_len = item->length - l4;
    struct inner inner = {.source = head + (version == 4 ? 12 : 8),
                          .destination = head + (version == 4 ? 16 : 24),
                          .version = version};

    adjust_ip(head, version, item->length);
    if (udp)
        put_be16(head + l4 + UDP_LENGTH_AT, (uint16_t)l4_len);
    else if (item->ended)
        head[l4 + TCP_FLAGS_AT] |= TCP_PSH;
    item->vnet = (struct vnet_header){
        .flags = VNET_NEEDS_CSUM,
        .gso_type = item->kind,
        .hdr_len = item->header_len,
        .gso_size = (uint16_t)item->gso_size,
        .csum_start = l4,
        .csum_offset = udp ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT,
    };
    uint64_t sum = checksum_pseudo(&inner, udp ? PROTO_UDP : PROTO_TCP, l4_len);
    checksum_put(head + l4 + item->vnet.csum_offset, checksum_fold(sum));
}

static struct iovec *gather(struct coalesce *coalesce, struct coalesce_item *item, struct iovec *iov)
{
    item->iov = iov;
    if (coalesce->vnet)
        *iov++ = (struct iovec){&item->vnet, VNET_HEADER_LEN};
    uint32_t skip = 0;
    for (uint16_t at = item->first; at != COALESCE_NONE; at = coalesce->packets[at].next) {
        struct coalesce_packet *packet = &coalesce->packets[at];
        *iov++ = (struct iovec){packet->data + skip, packet->length - skip};
        item->length += packet->length - skip;
        skip = item->header_len;
    }
    item->iov_count = (uint32_t)(iov - item->iov);
    return iov;
}

size_t coalesce_finish(struct coalesce *coalesce)
{
    struct iovec *iov = coalesce->iovs;
    for (uint16_t at = 0; at < coalesce->item_count; at++) {
        struct coalesce_item *item = &coalesce->items[at];
        iov = gather(coalesce, item, iov);
        if (item->packets > 1)
            make_super_packet(coalesce, item);
    }
    return coalesce->item_count;
}

#include "icmp.h"

#include "checksum.h"

#define ICMP_HEADER_LEN 8
#define ICMP4_MAX_LEN 576 /* RFC 1812 section 4.3.2.3 */
#define ICMP4_UNREACHABLE 3
#define ICMP4_HOST 1
#define ICMP6_UNREACHABLE 1
#define ICMP6_ADDRESS 3
#define DS_INTERNETCONTROL 0xc0
#define HOP_LIMIT 64

#define IPV6_HOP_BY_HOP 0
#define IPV6_ROUTING 43
#define IPV6_FRAGMENT 44
#define IPV6_DESTINATION 60
#define ICMP6_REDIRECT 137

int icmp_allowed(struct icmp_limit *limit, uint64_t now_ns)
{
    uint64_t spent = atomic_load(&limit->spent_until_ns), from;
    do {
        from = spent > now_ns ? spent : now_ns;
        if (from - now_ns > (ICMP_BURST - 1) * ICMP_INTERVAL_NS)
            return 0;
    } while (!atomic_compare_exchange_weak(&limit->spent_until_ns, &spent, from + ICMP_INTERVAL_NS));
    return 1;
}

static int unicast4(const uint8_t *ip)
{
    return ip[0] != 0 && ip[0] != 127 && ip[0] < 224;
}

static int unicast6(const uint8_t *ip)
{
    static const uint8_t unspecified[16];
    return ip[0] != 0xff && memcmp(ip, unspecified, 16) != 0;
}

static int is_error4(const uint8_t *packet, const struct inner *inner)
{
    if (inner->protocol != PROTO_ICMP)
        return 0;
    if (inner->header_len >= inner->length)
        return 1; /* no type to look at */
    switch (packet[inner->header_len]) {
    case 3:  /* destination unreachable */
    case 4:  /* source quench */
    case 5:  /* redirect */
    case 11: /* time exceeded */
    case 12: /* parameter problem */
        return 1;
    default:
        return 0;
    }
}

/* An ICMPv6 error or a later fragment, behind whatever extension headers; also what cannot be read to the
 * end. */
static int no_answer6(const uint8_t *packet, const struct inner *inner)
{
    uint8_t next = inner->protocol;
    uint32_t at = IPV6_HEADER_LEN;
    while (next == IPV6_HOP_BY_HOP || next == IPV6_ROUTING || next == IPV6_DESTINATION ||
           next == IPV6_FRAGMENT) {
        if (at + 8 > inner->length)
            return 1;
        if (next == IPV6_FRAGMENT && (get_be16(packet + at + 2) & 0xfff8) != 0)
            return 1;
        uint32_t length = next == IPV6_FRAGMENT ? 8 : 8u + 8u * packet[at + 1];
        next = packet[at];
        at += length;
    }
    if (next != PROTO_ICMPV6)
        return 0;
    return at >= inner->length || packet[at] < 128 || packet[at] == ICMP6_REDIRECT;
}

static size_t answer4(const uint8_t *packet, const struct inner *inner, uint8_t *out)
{
    uint32_t quote = inner->length, room = ICMP4_MAX_LEN - IPV4_HEADER_LEN - ICMP_HEADER_LEN;
    if ((get_be16(packet + 6) & 0x1fff) != 0 || !unicast4(inner->source) || !unicast4(inner->destination) ||
        is_error4(packet, inner))
        return 0;
    quote = quote < room ? quote : room;
    uint32_t length = IPV4_HEADER_LEN + ICMP_HEADER_LEN + quote;

    memset(out, 0, IPV4_HEADER_LEN + ICMP_HEADER_LEN);
    out[0] = 0x45;
    out[1] = DS_INTERNETCONTROL;
    put_be16(out + 2, (uint16_t)length);
    out[8] = HOP_LIMIT;
    out[9] = PROTO_ICMP;
    memcpy(out + 12, inner->destination, 4);
    memcpy(out + 16, inner->source, 4);
    checksum_ipv4_header(out, IPV4_HEADER_LEN);

    uint8_t *icmp = out + IPV4_HEADER_LEN;
    icmp[0] = ICMP4_UNREACHABLE;
    icmp[1] = ICMP4_HOST;
    memcpy(icmp + ICMP_HEADER_LEN, packet, quote);
    checksum_finish(icmp + 2, checksum_add(0, icmp, ICMP_HEADER_LEN + quote));
    return length;
}

static size_t answer6(const uint8_t *packet, const struct inner *inner, uint8_t *out)
{
    uint32_t quote = inner->length, room = ICMP_MAX_LEN - IPV6_HEADER_LEN - ICMP_HEADER_LEN;
    if (!unicast6(inner->source) || !unicast6(inner->destination) || no_answer6(packet, inner))
        return 0;
    quote = quote < room ? quote : room;

    memset(out, 0, IPV6_HEADER_LEN + ICMP_HEADER_LEN);
    out[0] = 0x60;
    put_be16(out + 4, (uint16_t)(ICMP_HEADER_LEN + quote));
    out[6] = PROTO_ICMPV6;
    out[7] = HOP_LIMIT;
    memcpy(out + 8, inner->destination, 16);
    memcpy(out + 24, inner->source, 16);

    uint8_t *icmp = out + IPV6_HEADER_LEN;
    icmp[0] = ICMP6_UNREACHABLE;
    icmp[1] = ICMP6_ADDRESS;
    memcpy(icmp + ICMP_HEADER_LEN, packet, quote);
    uint64_t sum =
        checksum_pseudo(inner, PROTO_ICMPV6, ICMP_HEADER_LEN + quote); /* the same both ways round */
    checksum_finish(icmp + 2, checksum_add(sum, icmp, ICMP_HEADER_LEN + quote));
    return IPV6_HEADER_LEN + ICMP_HEADER_LEN + quote;
}

size_t icmp_unreachable(const uint8_t *packet, size_t length, uint8_t out[ICMP_MAX_LEN])
{
    struct inner inner;
    if (inner_parse(packet, length, &inner) < 0)
        return 0;
    return inner.version == 4 ? answer4(packet, &inner, out) : answer6(packet, &inner, out);
}

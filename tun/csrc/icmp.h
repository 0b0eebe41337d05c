/*
 * The error for a packet that has no way out: ICMP host unreachable, ICMPv6 address unreachable (section 12).
 * It goes back into the TUN with the offending packet's destination as source, the only address the kernel
 * takes from us under reverse-path filtering. Knows no peers and no file descriptors.
 */
#ifndef WGPY_ICMP_H
#define WGPY_ICMP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define ICMP_MAX_LEN 1280 /* IPv6: as much of the packet as fits the minimum MTU; IPv4: 576 in all */

/* All zero is a full bucket. Any thread may take from it. */
struct icmp_limit {
    _Atomic uint64_t spent_until_ns;
};
#define ICMP_INTERVAL_NS 20000000ull /* 50 errors per second, */
#define ICMP_BURST 50                /* and as many at once */

/* Takes one token. 1: send, 0: stay silent. */
int icmp_allowed(struct icmp_limit *limit, uint64_t now_ns);

/*
 * Builds the error in answer to a packet that inner_parse accepts. Returns its length, or 0 if none may be
 * sent: for ICMP errors, later fragments, and sources or destinations that are multicast, broadcast or
 * unspecified.
 */
size_t icmp_unreachable(const uint8_t *packet, size_t length, uint8_t out[ICMP_MAX_LEN]);

#endif

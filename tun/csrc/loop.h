/*
 * Our own outer packets, routed back into the tunnel: sealing them again would make them longer each time
 * round, then two of them. The kernel module refuses such a route; from a TUN we see only the packet, so the
 * packet is recognised: UDP from our port to the endpoint of a peer, whichever.
 *
 * A counting filter over all endpoints makes the usual answer (no) one look; only a hit walks the peers.
 */
#ifndef WGPY_LOOP_H
#define WGPY_LOOP_H

#include "internal.h"
#include "packet.h"

#define LOOP_FILTER_BITS 16
#define LOOP_FILTER_SIZE (1u << LOOP_FILTER_BITS) /* counters */

/* An endpoint was set, or is about to be replaced. Family 0 is ignored. Exclusive lock. */
void loop_filter_add(struct dp *dp, const struct dp_address *remote);
void loop_filter_remove(struct dp *dp, const struct dp_address *remote);

/* False: no peer's endpoint is there. True: probably one is. Either lock. */
bool may_be_endpoint(const struct dp *dp, const struct dp_address *address);

/* `inner` is the whole packet read off the TUN. */
bool is_loop(struct dp *dp, const struct inner *inner);

#endif

/*
 * Our own outer packets, routed back into the tunnel: sealing them again would make them longer each time
 * round, then two of them. The kernel module refuses such a route; from a TUN we see only the packet, so the
 * packet is recognised: UDP from our port to the endpoint of a peer, whichever.
 *
 * Peers hang by the hash of their endpoints: one look, however many there are.
 */
#ifndef WGPY_LOOP_H
#define WGPY_LOOP_H

#include "internal.h"
#include "packet.h"

#define ENDPOINT_BUCKET_BITS 16
#define ENDPOINT_BUCKETS (1u << ENDPOINT_BUCKET_BITS)

/* The peer's endpoint was set, or is about to be replaced. Exclusive lock. */
void endpoint_link(struct dp *dp, struct peer *peer);
void endpoint_unlink(struct dp *dp, struct peer *peer);

/* Is that a peer's endpoint? Either lock. */
bool is_endpoint(const struct dp *dp, const struct dp_address *address);

/* `inner` is the whole packet read off the TUN. */
bool is_loop(const struct dp *dp, const struct inner *inner);

#endif

/*
 * The gate of a peer (product contract, section 5): which keypair carries a user packet, and which packets
 * are control packets that pass on any. Knows keypairs and IP headers; no queues, no sockets.
 */
#ifndef WGPY_GATE_H
#define WGPY_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keypair.h"
#include "packet.h"

#define GATE_OPEN_KINDS 0xf

void gate_init_open(struct dp_gate *gate);
bool gate_is_open(const struct dp_gate *gate);

/* Does the keypair's preshared key, by kind and age, allow user packets? */
bool gate_admits(const struct dp_gate *gate, const struct keypair *keypair, uint64_t now_ns);

/* The keypair user packets leave on now: the newest live confirmed one that the gate admits, or NULL. */
struct keypair *gate_user_keypair(const struct dp_gate *gate, const struct keypair_slots *slots,
                                  const struct keypair_limits *limits, uint64_t now_ns);

/*
 * Is this IP packet a datagram between the two control addresses, on its way out or in? Fragments and packets
 * with extension headers are not. A gate without control addresses has no control packets.
 */
bool gate_is_control_out(const struct dp_gate *gate, const struct inner *inner);
bool gate_is_control_in(const struct dp_gate *gate, const struct inner *inner);

#endif

/*
 * Explicit congestion notification across the tunnel (section 12; RFC 6040 as the kernel module does it). The
 * DS byte is TOS or traffic class; DSCP never crosses.
 */
#ifndef WGPY_ECN_H
#define WGPY_ECN_H

#include <stdint.h>

#define ECN_MASK 3
#define ECN_NOT_ECT 0
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3
#define DS_HANDSHAKE 0x88 /* AF41, for initiations and responses */

/* The outer DS byte for an inner one: DSCP 0, ECN copied, but CE becomes ECT(0). */
static inline uint8_t ecn_encapsulate(uint8_t inner_ds)
{
    uint8_t ecn = inner_ds & ECN_MASK;
    return ecn == ECN_CE ? ECN_ECT0 : ecn;
}

/* Brings the congestion mark of the outer DS byte into an inner packet that inner_parse accepted. */
void ecn_decapsulate(uint8_t outer_ds, uint8_t *packet);

#endif

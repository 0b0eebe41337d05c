#include "ecn.h"

#include "checksum.h"

static void set_ecn4(uint8_t *packet, uint8_t ecn)
{
    packet[1] = (uint8_t)((packet[1] & ~ECN_MASK) | ecn);
    checksum_ipv4_header(packet, (packet[0] & 0x0fu) * 4u);
}

/* The traffic class straddles the first two bytes; its ECN bits are in the middle of the second. */
static void set_ecn6(uint8_t *packet, uint8_t ecn)
{
    packet[1] = (uint8_t)((packet[1] & ~(ECN_MASK << 4)) | ecn << 4);
}

void ecn_decapsulate(uint8_t outer_ds, uint8_t *packet)
{
    uint8_t outer = outer_ds & ECN_MASK;
    if (outer != ECN_CE && outer != ECN_ECT1)
        return;
    int v4 = packet[0] >> 4 == 4;
    uint8_t inner = (v4 ? packet[1] : packet[1] >> 4) & ECN_MASK;

    /* A Not-ECT packet is delivered as it is: RFC 6040 would have it dropped under CE, the kernel module does
     * not. */
    if (inner == ECN_NOT_ECT || inner == ECN_CE || inner == outer)
        return;
    if (v4)
        set_ecn4(packet, outer);
    else
        set_ecn6(packet, outer);
}

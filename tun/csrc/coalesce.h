/*
 * From the inner packets of one burst to what is written to the TUN: packets of one flow that follow each
 * other become one super-packet behind a vnet header (section 19), everything else stays as it is. Nothing is
 * copied: an item is a list of iovecs, the first packet whole, of the others their payloads only.
 *
 *   coalesce_begin(c, vnet, tcp, udp);
 *   coalesce_add(c, packet, length) for each; -ENOSPC: finish, write, begin again
 *   for (i < coalesce_finish(c)) writev(tun, c->items[i].iov, c->items[i].iov_count);
 *
 * The packets must stay until they are written; the headers of first packets are changed by coalesce_finish.
 * Items are in the order of their first packets. Knows no keys, no peers, no file descriptors. Packets come
 * from authenticated peers, but are not trusted.
 */
#ifndef WGPY_COALESCE_H
#define WGPY_COALESCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "packet.h"

#define COALESCE_MAX 256     /* packets of one burst */
#define COALESCE_MAX_UDP 128 /* segments the TUN takes in one UDP super-packet: 129 give EINVAL */
#define COALESCE_BUCKETS 256 /* a power of two */

/* One packet of the burst. */
struct coalesce_packet {
    uint8_t *data;
    uint32_t length;
    uint16_t next; /* in its item; COALESCE_NONE = the last */
    uint16_t reserved;
};
#define COALESCE_NONE 0xffff

/* What is written with one writev. */
struct coalesce_item {
    struct iovec *iov;
    uint32_t iov_count;
    uint32_t packets;
    uint32_t length; /* of the IP packet, vnet header not counted */
    struct vnet_header vnet;

    /* while gathering */
    uint16_t first, last; /* packets; TCP may put one before the first */
    uint16_t older;       /* the item before this one in its bucket */
    uint16_t bucket;
    uint32_t sequence; /* TCP: of the first byte */
    uint32_t payload;  /* bytes in all */
    uint32_t gso_size;
    uint16_t header_len; /* IP and L4 */
    uint8_t kind;        /* VNET_GSO_*; NONE: never merged */
    uint8_t ended;       /* by PSH, a shorter segment or a bad checksum: nothing may be appended */
    uint8_t checked;     /* the checksum of its only packet: 0 not looked at, 1 good, 2 bad */
};

struct coalesce {
    bool vnet, tcp, udp;
    uint16_t packet_count, item_count;
    uint16_t newest[COALESCE_BUCKETS]; /* the newest item of each bucket of flows */
    struct coalesce_packet packets[COALESCE_MAX];
    struct coalesce_item items[COALESCE_MAX];
    struct iovec iovs[2 * COALESCE_MAX];
};

/*
 * Empties it for a burst. vnet: the TUN wants a vnet header. tcp, udp: what may be merged (the TUN took TSO,
 * USO); without vnet nothing is.
 */
void coalesce_begin(struct coalesce *coalesce, bool vnet, bool tcp, bool udp);

/* One IP packet, already trimmed to its own length by inner_parse. -ENOSPC: full. */
int coalesce_add(struct coalesce *coalesce, uint8_t *packet, uint32_t length);

/* Builds headers and iovecs; returns how many items there are to write, in order. */
size_t coalesce_finish(struct coalesce *coalesce);

#endif

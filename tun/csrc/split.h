/*
 * From one frame read off the TUN to the transport data messages that carry it: a plain packet is one
 * message, a TCP or UDP super-packet (vnet header with a GSO type) becomes many, each with headers of its
 * own.
 *
 *   int left = split_parse(&split, frame, length, has_vnet_header);      where does it go:
 * split.inner.destination while (split_left(&split)) { size_t count = split_next(&split, mtu, out, capacity,
 * ops, max); put_data_header(ops[i].data - MESSAGE_DATA_HEADER_LEN, ...) for each, seal them, send; again
 *   }
 *
 * The messages lie one behind the other in `out` as UDP_SEGMENT wants them: all of one size, the very last of
 * the frame perhaps shorter. Each is 16 bytes of room for the message header, the packet (copied once), zero
 * padding and 16 bytes of room for the tag. Knows no keys, no peers, no file descriptors; local input is not
 * trusted either.
 */
#ifndef WGPY_SPLIT_H
#define WGPY_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aead.h"
#include "packet.h"

struct split {
    struct inner inner; /* of the whole frame: addresses, version, ds. The frame must stay while splitting */
    const uint8_t *packet; /* behind the vnet header */
    uint32_t length;       /* of the packet, all payload included */
    uint32_t header_len;   /* IP and L4 headers copied to every segment; gso_type none: unused */
    uint32_t csum_start;
    uint32_t csum_offset;
    uint32_t gso_size; /* payload bytes per segment */
    uint32_t segments; /* messages in all, at least 1 */
    uint32_t next;     /* the first one not yet written */
    uint8_t gso_type;  /* VNET_GSO_* */
    uint8_t needs_csum;
};

/*
 * Validates a frame. -EINVAL: not an IP packet, or a vnet header that does not describe it (section 19); it
 * is to be dropped.
 */
int split_parse(struct split *split, const uint8_t *frame, size_t length, bool has_vnet_header);

static inline uint32_t split_left(const struct split *split)
{
    return split->segments - split->next;
}

/* Length of the next message, so that the caller can ask first whether it fits its batch. */
uint32_t split_next_length(const struct split *split, uint32_t mtu);

/*
 * Writes the next messages to `out`, as many as `max` and `capacity` bytes allow, and returns how many
 * (0: not even one fits). For each sets ops[i].data (the packet, MESSAGE_DATA_HEADER_LEN behind the beginning
 * of the message) and ops[i].length (with padding); key and counter are the caller's. out + capacity must not
 * overlap the frame.
 */
size_t split_next(struct split *split, uint32_t mtu, uint8_t *out, size_t capacity, struct aead_op *ops,
                  size_t max);

/* Bytes a message of this plaintext length takes. */
static inline uint32_t split_message_len(uint32_t plaintext)
{
    return MESSAGE_DATA_HEADER_LEN + plaintext + TAG_LEN;
}

#endif

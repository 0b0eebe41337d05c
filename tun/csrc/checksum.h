/*
 * One's complement sums of RFC 1071. A running sum is 64 bits wide and made of 16-bit words in native byte
 * order (the sum is the same in either order, section 2(B) there), so every piece added must begin at an even
 * offset of what is summed; only the last may have an odd length.
 */
#ifndef WGPY_CHECKSUM_H
#define WGPY_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "packet.h"

uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t length);
/* The same while copying; the two places do not overlap. */
uint64_t checksum_copy(uint64_t sum, uint8_t *restrict to, const uint8_t *restrict from, size_t length);

/* For headers: a multiple of four bytes, too few for the wide loop to pay. */
static inline uint64_t checksum_header(uint64_t sum, const uint8_t *header, uint32_t length)
{
    for (uint32_t at = 0; at < length; at += 4) {
        uint32_t word;
        memcpy(&word, header + at, 4);
        sum += word;
    }
    return sum;
}

/* The pseudo header of the packet's addresses for an L4 packet of `length` bytes. */
static inline uint64_t checksum_pseudo(const struct inner *inner, uint8_t protocol, uint32_t length)
{
    uint64_t sum = (uint64_t)htobe32(length) + htobe16(protocol);
    return checksum_header(sum, inner->source, inner->version == 4 ? 8 : 32); /* the destination follows it */
}

/* Down to 16 bits, not complemented. */
static inline uint16_t checksum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* Stores the word as it is: a fold, or its complement. */
static inline void checksum_put(uint8_t *at, uint16_t word)
{
    memcpy(at, &word, sizeof word);
}

/* Folds, complements and stores. */
static inline void checksum_finish(uint8_t *at, uint64_t sum)
{
    checksum_put(at, (uint16_t)~checksum_fold(sum));
}

/* The same for UDP, where zero on the wire would mean "none". */
static inline void checksum_finish_udp(uint8_t *at, uint64_t sum)
{
    uint16_t word = (uint16_t)~checksum_fold(sum);
    checksum_put(at, word ? word : 0xffff);
}

/* IPv4: sets the header checksum anew. */
static inline void checksum_ipv4_header(uint8_t *packet, uint32_t header_len)
{
    checksum_put(packet + 10, 0);
    checksum_finish(packet + 10, checksum_header(0, packet, header_len));
}

#endif

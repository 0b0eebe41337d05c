/*
 * What UDP_SEGMENT and UDP_GRO allow: one buffer is many datagrams of one size, the last perhaps shorter.
 * Arithmetic only; knows no sockets.
 */
#ifndef WGPY_SEGMENT_H
#define WGPY_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_MAX 64           /* UDP_MAX_SEGMENTS of kernels before 6.9 */
#define SEGMENT_MAX_BYTES4 65507 /* 65535 - 20 - 8 */
#define SEGMENT_MAX_BYTES6 65527 /* 65535 - 8 */

/* A batch being gathered. All zero is an empty one. */
struct segment_batch {
    uint32_t count;
    uint32_t size;   /* of all segments but perhaps the last: the value for UDP_SEGMENT if count > 1 */
    uint32_t length; /* bytes in all */
    bool ended;      /* by a shorter segment */
};

/* May a datagram of this length follow, if max_bytes fit in the buffer and the address family? */
static inline bool segment_fits(const struct segment_batch *batch, uint32_t length, uint32_t max_bytes)
{
    if (batch->count == 0)
        return length <= max_bytes;
    return !batch->ended && batch->count < SEGMENT_MAX && length > 0 && length <= batch->size &&
           batch->length + length <= max_bytes;
}

static inline void segment_add(struct segment_batch *batch, uint32_t length)
{
    if (batch->count == 0)
        batch->size = length;
    batch->ended = batch->ended || length < batch->size;
    batch->count++;
    batch->length += length;
}

/* How many datagrams were received in `length` bytes with this UDP_GRO value (0 = none was given). */
static inline uint32_t segment_count(uint32_t length, uint32_t size)
{
    return size == 0 || size >= length ? 1 : (length + size - 1) / size;
}

/* Length of the datagram that begins at `offset`. */
static inline uint32_t segment_length(uint32_t length, uint32_t size, uint32_t offset)
{
    uint32_t rest = length - offset;
    return size == 0 || rest < size ? rest : size;
}

#endif

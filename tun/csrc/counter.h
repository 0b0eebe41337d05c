/*
 * The receive window of one keypair, after RFC 6479: a ring of 64-bit blocks, so that moving forward clears
 * whole blocks. One block is always given up, which leaves a window of 8192 - 64. Knows no packets, no locks.
 */
#ifndef WGPY_COUNTER_H
#define WGPY_COUNTER_H

#include <stdbool.h>
#include <stdint.h>

#define COUNTER_BLOCKS 128
#define COUNTER_WINDOW ((COUNTER_BLOCKS - 1) * 64)
#define REJECT_AFTER_MESSAGES (UINT64_MAX - COUNTER_WINDOW - 64) /* 2^64 - 2^13 - 1 */

/* All zero is a fresh window. */
struct counter {
    uint64_t greatest;
    uint64_t blocks[COUNTER_BLOCKS];
};

/*
 * True once for every counter: below reject_after, and new, and at most COUNTER_WINDOW behind the greatest
 * one seen. Only for authenticated packets. Constant time in the size of the jump.
 */
bool counter_accept(struct counter *window, uint64_t counter, uint64_t reject_after);

#endif

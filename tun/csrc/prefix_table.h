/*
 * The prefixes of one family by hash: what a packet's address costs does not grow with the number of
 * prefixes, only with the number of different lengths among them, which in practice are one to four.
 *
 * A look-up tries one length after the other, the longest first. The trie of allowedips.c stays the truth and
 * answers where there are more than PREFIX_LENGTHS_MAX lengths.
 */
#ifndef WGPY_PREFIX_TABLE_H
#define WGPY_PREFIX_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define PREFIX_LENGTHS_MAX 16

/* An address as a 128-bit number, its first bit on top; IPv4 fills the upper 32 bits. */
struct key {
    uint64_t high, low;
};

struct prefix_slot {
    struct key key;
    uint32_t peer;
    uint32_t length; /* in bits, plus one; 0 = empty */
};

struct prefix_length {
    struct key mask;
    uint32_t bits;
};

struct prefix_table {
    struct prefix_slot *slots; /* at most a quarter of them in use */
    uint32_t size_log2;
    uint32_t used;
    uint32_t length_count;                            /* of different lengths, all of them */
    struct prefix_length lengths[PREFIX_LENGTHS_MAX]; /* the longest first, while they fit */
    uint32_t count_of[129];                           /* prefixes by length */
};

struct key key_mask(struct key key, unsigned bits);

void prefix_table_clear(struct prefix_table *table);
/* Room for one more. -ENOMEM. */
int prefix_table_reserve(struct prefix_table *table);
/* Adds, or gives to another peer; the room was reserved. Host bits are zero. */
void prefix_table_set(struct prefix_table *table, struct key key, unsigned bits, uint32_t peer);
/* A prefix that is there. */
void prefix_table_remove(struct prefix_table *table, struct key key, unsigned bits);

/* Whether prefix_table_lookup may be asked. */
static inline bool prefix_table_answers(const struct prefix_table *table)
{
    return table->length_count <= PREFIX_LENGTHS_MAX;
}

/* The peer of the longest prefix that holds the address, or DP_NO_PEER. */
uint32_t prefix_table_lookup(const struct prefix_table *table, struct key key);

#endif

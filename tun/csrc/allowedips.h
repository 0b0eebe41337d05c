/*
 * Allowed IPs: two longest-prefix tries, IPv4 and IPv6, whose values are peer numbers. A prefix belongs to
 * one peer at most. Knows no packets and no locks: changes need the exclusive lock, look-ups the shared one.
 */
#ifndef WGPY_ALLOWEDIPS_H
#define WGPY_ALLOWEDIPS_H

#include <stddef.h>
#include <stdint.h>

#include "dataplane.h"

struct allowedips;

struct allowedips *allowedips_new(uint32_t max_peers); /* NULL: no memory */
void allowedips_free(struct allowedips *table);

/*
 * Gives the prefix to the peer; host bits are masked off. An exact prefix of another peer moves, one's own
 * stays where it is in the listing. -EINVAL: family, bits or peer out of range. -ENOMEM: nothing has changed.
 */
int allowedips_insert(struct allowedips *table, uint32_t peer, const struct dp_address *prefix,
                      uint32_t bits);
/* Takes the prefix back if exactly this peer has exactly this prefix; otherwise nothing happens. -EINVAL. */
int allowedips_remove(struct allowedips *table, uint32_t peer, const struct dp_address *prefix,
                      uint32_t bits);
/* Takes all prefixes of the peer back; costs what it has, not what the table has. */
void allowedips_remove_peer(struct allowedips *table, uint32_t peer);

/* The peer of the longest matching prefix, or DP_NO_PEER. */
uint32_t allowedips_lookup4(const struct allowedips *table, const uint8_t ip[4]);
uint32_t allowedips_lookup6(const struct allowedips *table, const uint8_t ip[16]);
static inline uint32_t allowedips_lookup(const struct allowedips *table, unsigned version, const uint8_t *ip)
{
    return version == 4 ? allowedips_lookup4(table, ip) : allowedips_lookup6(table, ip);
}

/* The peer's prefixes in the order of their insertion: returns how many there are, writes at most max. */
size_t allowedips_list(const struct allowedips *table, uint32_t peer, struct dp_allowed_ip *out, size_t max);

#endif

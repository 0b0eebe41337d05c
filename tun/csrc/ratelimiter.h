/*
 * How many handshake messages one source may have processed while we are under load: a token bucket per IPv4
 * address or IPv6 /64, capacity 5, refilled with 20 per second (section 5.4). The table is bounded; when it
 * is full, new sources are refused. Any thread.
 */
#ifndef WGPY_RATELIMITER_H
#define WGPY_RATELIMITER_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane.h"

#define RATELIMITER_COST_NS 50000000ull
#define RATELIMITER_BUDGET_NS 250000000ull
#define RATELIMITER_IDLE_NS 1000000000ull
#define RATELIMITER_MAX 8192 /* sources */

struct ratelimiter;

struct ratelimiter *ratelimiter_new(void); /* NULL: no memory or no randomness (the table's hash is keyed) */
void ratelimiter_free(struct ratelimiter *limiter);

/* Takes one token of this source. Collects idle sources by itself, at most once a second. */
bool ratelimiter_allow(struct ratelimiter *limiter, const struct dp_address *source, uint64_t now_ns);

/* How many sources are held. */
uint32_t ratelimiter_count(const struct ratelimiter *limiter);

#endif

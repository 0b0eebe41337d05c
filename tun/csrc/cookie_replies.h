/*
 * Cookie replies are what a stranger can make us send: a reply costs several times what its cause does. So a
 * source gets few, all together get a bounded number, and they leave in one system call after the burst.
 * Where no peer's endpoint lies somebody may claim any number of sources; a flood of those takes nothing from
 * the peers, who have a budget of their own.
 */
#ifndef WGPY_COOKIE_REPLIES_H
#define WGPY_COOKIE_REPLIES_H

#include "internal.h"

#define REPLIES_SOURCE_INTERVAL_NS 50000000u /* 20 a second for one source */
#define REPLIES_SOURCE_BURST 5
#define REPLIES_INTERVAL_NS 20000u /* 50,000 a second for all of a budget */
#define REPLIES_BURST 500
#define REPLIES_AT_ONCE 64

struct cookie_replies;

/* One of so many workers, who share what is bounded in all. NULL: no memory or no randomness. */
struct cookie_replies *cookie_replies_new(uint32_t worker, uint32_t workers);
void cookie_replies_free(struct cookie_replies *replies);

/* Answers an initiation or response whose mac1 was right, or does not. Inbound worker. */
void cookie_replies_add(struct dp *dp, uint32_t worker, const uint8_t *message, size_t length,
                        const struct dp_endpoint *source, uint64_t now_ns);
/* Sends what was added; what the kernel refuses is nobody's business. Inbound worker. */
void cookie_replies_send(struct dp *dp, uint32_t worker);

#endif

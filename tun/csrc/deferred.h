/*
 * What a burst found out and may not apply itself, because it holds the lock only shared: a bounded list,
 * applied afterwards under the exclusive lock. Peers are named by number and generation, since they may be
 * gone by then. What does not fit is forgotten: the next packet finds it out again.
 */
#ifndef WGPY_DEFERRED_H
#define WGPY_DEFERRED_H

#include "internal.h"

#define DEFERRED_MAX 64

enum deferred_kind {
    DEFERRED_ROAM,         /* the peer's packets come from this endpoint */
    DEFERRED_CONFIRM,      /* the keypair with this local index was used by the other end */
    DEFERRED_CLEAR_SOURCE, /* the kernel refused this endpoint's cached source */
    DEFERRED_REFRESH       /* the record's view of the keypairs is out of date */
};

struct deferred_change {
    enum deferred_kind kind;
    uint32_t peer;
    uint32_t index;
    uint64_t generation;
    uint64_t time_ns; /* ROAM: of the burst */
    struct dp_endpoint endpoint;
};

struct deferred {
    struct deferred_change changes[DEFERRED_MAX];
    size_t count;
};

void defer_roam(struct deferred *deferred, const struct peer *peer, const struct dp_endpoint *endpoint,
                uint64_t now_ns);
void defer_confirm(struct deferred *deferred, const struct keypair *keypair);
void defer_clear_source(struct deferred *deferred, const struct peer *peer);
void defer_refresh(struct deferred *deferred, const struct peer *peer);

/* Takes the exclusive lock if there is anything to do. */
void deferred_apply(struct deferred *deferred, struct dp *dp);

bool endpoint_equal(const struct dp_endpoint *a, const struct dp_endpoint *b);

#endif

#include "deferred.h"

#include <string.h>

static bool address_equal(const struct dp_address *a, const struct dp_address *b)
{
    return a->family == b->family && a->port == b->port && a->scope_id == b->scope_id &&
           !memcmp(a->ip, b->ip, sizeof(a->ip));
}

bool endpoint_equal(const struct dp_endpoint *a, const struct dp_endpoint *b)
{
    return address_equal(&a->remote, &b->remote) && address_equal(&a->local, &b->local) &&
           a->ifindex == b->ifindex;
}

/* The change of this kind already noted for the peer (and index), or NULL. */
static struct deferred_change *find(struct deferred *deferred, enum deferred_kind kind,
                                    const struct peer *peer, uint32_t index)
{
    for (size_t i = deferred->count; i-- > 0;) {
        struct deferred_change *change = &deferred->changes[i];

        if (change->kind == kind && change->generation == peer->generation && change->index == index)
            return change;
    }
    return NULL;
}

/* That one, or a new one; NULL if there is no room. */
static struct deferred_change *note(struct deferred *deferred, enum deferred_kind kind,
                                    const struct peer *peer, uint32_t index)
{
    struct deferred_change *change = find(deferred, kind, peer, index);

    if (change || deferred->count == DEFERRED_MAX)
        return change;
    change = &deferred->changes[deferred->count++];
    change->kind = kind;
    change->peer = peer->number;
    change->generation = peer->generation;
    change->index = index;
    return change;
}

void defer_roam(struct deferred *deferred, const struct peer *peer, const struct dp_endpoint *endpoint,
                uint64_t now_ns)
{
    /* who came back within the burst takes back that he was elsewhere */
    struct deferred_change *change = endpoint_equal(&peer->endpoint, endpoint)
                                         ? find(deferred, DEFERRED_ROAM, peer, 0)
                                         : note(deferred, DEFERRED_ROAM, peer, 0);

    if (change) {
        change->endpoint = *endpoint; /* the last packet wins */
        change->time_ns = now_ns;
    }
}

void defer_confirm(struct deferred *deferred, const struct keypair *keypair)
{
    note(deferred, DEFERRED_CONFIRM, keypair->peer, keypair->local_index);
}

void defer_clear_source(struct deferred *deferred, const struct peer *peer)
{
    struct deferred_change *change = note(deferred, DEFERRED_CLEAR_SOURCE, peer, 0);

    if (change)
        change->endpoint = peer->endpoint;
}

void defer_refresh(struct deferred *deferred, const struct peer *peer)
{
    note(deferred, DEFERRED_REFRESH, peer, 0);
}

static void confirm(struct dp *dp, struct peer *peer, uint32_t index)
{
    struct keypair *keypair = index_keypair(&dp->indices, index);

    if (keypair && keypair->peer == peer && !keypair->is_confirmed)
        peer_confirm_keypair(dp, peer, keypair);
}

/* Two inbound workers may see a peer at two places: the later burst wins, whoever comes here first. */
static void roam(struct dp *dp, struct peer *peer, const struct deferred_change *change)
{
    if (change->time_ns < peer->endpoint_ns)
        return;
    peer_set_endpoint(dp, peer, &change->endpoint);
    peer->endpoint_ns = change->time_ns;
}

static void clear_source(struct peer *peer, const struct dp_endpoint *refused)
{
    if (!endpoint_equal(&peer->endpoint, refused))
        return; /* roamed meanwhile */
    memset(&peer->endpoint.local, 0, sizeof(peer->endpoint.local));
    peer->endpoint.ifindex = 0;
}

static void apply(struct dp *dp, const struct deferred_change *change)
{
    struct peer *peer = peer_find(dp, change->peer);

    if (!peer || peer->generation != change->generation)
        return;
    switch (change->kind) {
    case DEFERRED_ROAM:
        roam(dp, peer, change);
        break;
    case DEFERRED_CONFIRM:
        confirm(dp, peer, change->index);
        break;
    case DEFERRED_CLEAR_SOURCE:
        clear_source(peer, &change->endpoint);
        break;
    case DEFERRED_REFRESH:
        peer_refresh_record(dp, peer);
        break;
    }
}

void deferred_apply(struct deferred *deferred, struct dp *dp)
{
    uint32_t flush;

    if (!deferred->count)
        return;
    pthread_rwlock_wrlock(&dp->lock);
    for (size_t i = 0; i < deferred->count; i++)
        apply(dp, &deferred->changes[i]);
    flush = flushes_wanted(dp);
    pthread_rwlock_unlock(&dp->lock);
    deferred->count = 0;
    wake_outbound(dp, flush);
}

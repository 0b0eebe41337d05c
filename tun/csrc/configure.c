/*
 * The control calls that name a peer: each takes the exclusive lock, finds the peer, does one thing.
 */
#include "dataplane.h"

#include <errno.h>
#include <string.h>

#include "deferred.h"
#include "internal.h"
#include "transmit.h"

static bool take_number(struct dp *dp, uint32_t *number)
{
    if (dp->free_count)
        *number = dp->free_numbers[--dp->free_count];
    else if (dp->unused_number < dp->config.max_peers)
        *number = dp->unused_number++;
    else
        return false;
    return true;
}

int dp_peer_add(struct dp *dp)
{
    uint32_t number;
    int result = -ENOSPC;

    pthread_rwlock_wrlock(&dp->lock);
    if (take_number(dp, &number)) {
        dp->peers[number] = peer_new(dp, number);
        result = dp->peers[number] ? (int)number : -ENOMEM;
        if (!dp->peers[number])
            dp->free_numbers[dp->free_count++] = number;
    }
    pthread_rwlock_unlock(&dp->lock);
    return result;
}

/* Takes the exclusive lock and finds the peer; NULL leaves the lock released. */
static struct peer *lock_peer(struct dp *dp, uint32_t number)
{
    struct peer *peer;

    pthread_rwlock_wrlock(&dp->lock);
    peer = peer_find(dp, number);
    if (!peer)
        pthread_rwlock_unlock(&dp->lock);
    return peer;
}

static int unlock_with(struct dp *dp, int result)
{
    pthread_rwlock_unlock(&dp->lock);
    return result;
}

/* After peer_request_flush. */
static int unlock_and_wake(struct dp *dp)
{
    uint32_t workers = flushes_wanted(dp);

    pthread_rwlock_unlock(&dp->lock);
    wake_outbound(dp, workers);
    return 0;
}

int dp_peer_remove(struct dp *dp, uint32_t number)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    dp->peers[number] = NULL;
    peer_destroy(dp, peer);
    dp->free_numbers[dp->free_count++] = number;
    return unlock_with(dp, 0);
}

int dp_peer_set_endpoint(struct dp *dp, uint32_t number, const struct dp_endpoint *endpoint)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    peer_set_endpoint(dp, peer, endpoint);
    return unlock_with(dp, 0);
}

int dp_peer_endpoint(struct dp *dp, uint32_t number, struct dp_endpoint *out)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    *out = peer->endpoint;
    return unlock_with(dp, out->remote.family ? 0 : -ENOENT);
}

int dp_peer_clear_source(struct dp *dp, uint32_t number)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    memset(&peer->endpoint.local, 0, sizeof(peer->endpoint.local));
    peer->endpoint.ifindex = 0;
    return unlock_with(dp, 0);
}

int dp_peer_set_gate(struct dp *dp, uint32_t number, const struct dp_gate *gate)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    peer->gate = *gate;
    peer->gate_is_open = gate_is_open(gate);
    peer_refresh_record(dp, peer);
    peer_request_flush(dp, peer, PEER_FLUSH_STAGED);
    return unlock_and_wake(dp);
}

int dp_allowed_ip_insert(struct dp *dp, uint32_t number, const struct dp_address *prefix, uint32_t bits)
{
    if (!lock_peer(dp, number))
        return -ENOENT;
    return unlock_with(dp, allowedips_insert(dp->allowed_ips, number, prefix, bits));
}

int dp_allowed_ip_remove(struct dp *dp, uint32_t number, const struct dp_address *prefix, uint32_t bits)
{
    if (!lock_peer(dp, number))
        return -ENOENT;
    return unlock_with(dp, allowedips_remove(dp->allowed_ips, number, prefix, bits));
}

int dp_allowed_ips_clear(struct dp *dp, uint32_t number)
{
    if (!lock_peer(dp, number))
        return -ENOENT;
    allowedips_remove_peer(dp->allowed_ips, number);
    return unlock_with(dp, 0);
}

int dp_allowed_ips(struct dp *dp, uint32_t number, struct dp_allowed_ip *out, size_t max)
{
    if (!lock_peer(dp, number))
        return -ENOENT;
    return unlock_with(dp, (int)allowedips_list(dp->allowed_ips, number, out, max));
}

int dp_allowed_ip_lookup(struct dp *dp, const struct dp_address *address, uint32_t *peer)
{
    unsigned version = address->family == AF_INET ? 4 : 6;

    if (address->family != AF_INET && address->family != AF_INET6)
        return -EINVAL;
    pthread_rwlock_rdlock(&dp->lock);
    *peer = allowedips_lookup(dp->allowed_ips, version, address->ip);
    return unlock_with(dp, *peer == DP_NO_PEER ? -ENOENT : 0);
}

int dp_index_reserve(struct dp *dp, uint32_t number, uint32_t *out)
{
    struct peer *peer = lock_peer(dp, number);
    int result;

    if (!peer)
        return -ENOENT;
    result = index_reserve(&dp->indices, number, out);
    peer->handshakes += result == 0;
    return unlock_with(dp, result);
}

/* A keypair's index goes with its keypair, never alone. */
int dp_index_release(struct dp *dp, uint32_t index)
{
    const struct index_entry *entry;
    int result = -ENOENT;

    pthread_rwlock_wrlock(&dp->lock);
    entry = index_find(&dp->indices, index);
    if (entry && entry->kind == INDEX_HANDSHAKE) {
        peer_find(dp, entry->peer)->handshakes--; /* a peer's indices go with it: it is there */
        result = index_release(&dp->indices, index);
    }
    return unlock_with(dp, result);
}

int dp_keypair_install(struct dp *dp, uint32_t number, const struct dp_keypair_config *keypair)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    return unlock_with(dp, peer_install_keypair(dp, peer, keypair));
}

int dp_keypairs_clear(struct dp *dp, uint32_t number)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    peer_clear_keypairs(dp, peer);
    return unlock_with(dp, 0);
}

int dp_keypairs_stop_sending(struct dp *dp, uint32_t number)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    peer_stop_sending(dp, peer);
    return unlock_with(dp, 0);
}

int dp_send_handshake(struct dp *dp, uint32_t number, const uint8_t *message, size_t length)
{
    struct peer *peer;

    if (length > DP_HANDSHAKE_MAX)
        return -EMSGSIZE;
    peer = lock_peer(dp, number);
    if (!peer)
        return -ENOENT;
    return unlock_with(dp, transmit_handshake(dp, peer, message, length, now_boottime_ns()));
}

int dp_peer_authenticated(struct dp *dp, uint32_t number, const struct dp_endpoint *source, uint32_t length)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    if (!endpoint_equal(&peer->endpoint, source))
        peer_set_endpoint(dp, peer, source);
    record_add(&peer->record->rx_bytes, length);
    record_set(&peer->record->last_rx_auth_ns, now_boottime_ns());
    record_clear(&peer->record->tx_unanswered_ns);
    return unlock_with(dp, 0);
}

int dp_peer_flush(struct dp *dp, uint32_t number, int keepalive)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    peer_request_flush(dp, peer, PEER_FLUSH_STAGED | (keepalive ? PEER_FLUSH_KEEPALIVE : 0));
    return unlock_and_wake(dp);
}

int dp_peer_drop_staged(struct dp *dp, uint32_t number)
{
    struct peer *peer = lock_peer(dp, number);

    if (!peer)
        return -ENOENT;
    peer_drop_staged(dp, peer);
    return unlock_with(dp, 0);
}

#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "loop.h"

struct peer *peer_new(struct dp *dp, uint32_t number)
{
    struct peer *peer = calloc(1, sizeof(*peer) + dp->config.workers * sizeof(peer->lanes[0]));

    if (!peer)
        return NULL;
    peer->number = number;
    peer->generation = ++dp->generation;
    peer->record = &dp->records[number];
    memset(peer->record, 0, sizeof(*peer->record));
    peer->record->in_use = 1;
    gate_init_open(&peer->gate);
    peer->gate_is_open = true;
    return peer;
}

static void flush_forget(struct dp *dp, struct peer *peer, uint32_t worker)
{
    struct peer **at = &dp->pairs[worker].flush_head;

    while (*at && *at != peer)
        at = &(*at)->lanes[worker].flush_next;
    if (*at)
        *at = peer->lanes[worker].flush_next;
}

void peer_destroy(struct dp *dp, struct peer *peer)
{
    allowedips_remove_peer(dp->allowed_ips, peer->number);
    peer_clear_keypairs(dp, peer);
    if (peer->handshakes)
        index_release_peer(&dp->indices, peer->number);
    peer_drop_staged(dp, peer);
    endpoint_unlink(dp, peer);
    for (uint32_t worker = 0; worker < dp->config.workers; worker++)
        if (peer->lanes[worker].flush)
            flush_forget(dp, peer, worker);
    events_forget(&dp->events, peer->number);
    peer->record->in_use = 0;
    explicit_bzero(peer, sizeof(*peer)); /* what was in the lanes is dropped */
    free(peer);
}

struct peer *peer_find(struct dp *dp, uint32_t number)
{
    return number < dp->config.max_peers ? dp->peers[number] : NULL;
}

/* Index entries go first: nobody may find a keypair that is being freed. */
static void dispose(struct dp *dp, const struct keypair_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        index_release(&dp->indices, list->at[i]->local_index);
        keypair_free(list->at[i]);
    }
}

int peer_install_keypair(struct dp *dp, struct peer *peer, const struct dp_keypair_config *config)
{
    const struct index_entry *entry = index_find(&dp->indices, config->local_index);
    struct keypair *keypair;
    struct keypair_list out;

    if (!entry || entry->kind != INDEX_HANDSHAKE || entry->peer != peer->number)
        return -ENOENT;
    keypair = keypair_new(dp->aead, dp->config.workers, peer, config);
    if (!keypair)
        return -ENOMEM;
    index_install(&dp->indices, config->local_index, peer->number, keypair);
    peer->handshakes--;
    keypair_slots_install(&peer->slots, keypair, &peer->gate, now_boottime_ns(), &out);
    dispose(dp, &out);
    atomic_store_explicit(&peer->segments_refused, false, memory_order_relaxed);
    peer_refresh_record(dp, peer);
    return 0;
}

void peer_confirm_keypair(struct dp *dp, struct peer *peer, struct keypair *keypair)
{
    struct keypair_list out;
    uint64_t now_ns = now_boottime_ns();

    keypair_slots_confirm(&peer->slots, keypair, &peer->gate, now_ns, &out);
    dispose(dp, &out);
    peer_refresh_record(dp, peer);
    raise_event(dp, &(struct dp_event){.kind = DP_EVENT_CONFIRMED,
                                       .peer = peer->number,
                                       .index = keypair->local_index,
                                       .time_ns = now_ns});
    peer_request_flush(dp, peer, PEER_FLUSH_STAGED);
}

void peer_clear_keypairs(struct dp *dp, struct peer *peer)
{
    struct keypair_list out;

    keypair_slots_clear(&peer->slots, &out);
    dispose(dp, &out);
    peer_refresh_record(dp, peer);
}

void peer_stop_sending(struct dp *dp, struct peer *peer)
{
    keypair_slots_stop_sending(&peer->slots);
    peer_refresh_record(dp, peer);
}

void peer_set_endpoint(struct dp *dp, struct peer *peer, const struct dp_endpoint *endpoint)
{
    endpoint_unlink(dp, peer);
    peer->endpoint = *endpoint;
    endpoint_link(dp, peer);
    peer->endpoint_ns = 0;
    atomic_store_explicit(&peer->segments_refused, false, memory_order_relaxed);
}

void peer_drop_staged(struct dp *dp, struct peer *peer)
{
    uint32_t dropped = 0;

    for (uint32_t worker = 0; worker < dp->config.workers; worker++)
        dropped += staged_drop(&peer->lanes[worker].staged, &dp->staged_bytes);
    record_add(&peer->record->tx_dropped, dropped);
    count_drops(dp, DROP_STAGED, dropped);
    record_staged(peer->record, 0u - dropped);
    atomic_store_explicit(&peer->wanted_ns, 0, memory_order_relaxed);
}

uint32_t peer_staged(const struct dp *dp, const struct peer *peer)
{
    uint32_t count = 0;

    for (uint32_t worker = 0; worker < dp->config.workers; worker++)
        count += staged_count(&peer->lanes[worker].staged);
    return count;
}

static void request_flush(struct dp *dp, struct peer *peer, uint32_t worker, uint32_t flush)
{
    struct peer_lane *lane = &peer->lanes[worker];

    if (!lane->flush) {
        lane->flush_next = dp->pairs[worker].flush_head;
        dp->pairs[worker].flush_head = peer;
    }
    lane->flush |= flush;
}

/* A keepalive goes where a waiting packet may take its place; the other lanes only send what they have. */
void peer_request_flush(struct dp *dp, struct peer *peer, uint32_t flush)
{
    for (uint32_t worker = 0; worker < dp->config.workers; worker++) {
        if (!staged_count(&peer->lanes[worker].staged))
            continue;
        request_flush(dp, peer, worker, flush);
        flush = PEER_FLUSH_STAGED;
    }
    if (flush & PEER_FLUSH_KEEPALIVE)
        request_flush(dp, peer, 0, flush);
}

static uint32_t keypair_flags(const struct dp *dp, const struct keypair *keypair)
{
    uint32_t flags = keypair->is_initiator ? DP_KEYPAIR_INITIATOR : 0;

    if (atomic_load_explicit(&keypair->is_sendable, memory_order_relaxed))
        flags |= DP_KEYPAIR_SENDABLE;
    if (keypair_wants_rekey(keypair, &dp->limits))
        flags |= DP_KEYPAIR_REKEY_MESSAGES;
    return flags;
}

void peer_refresh_record(struct dp *dp, struct peer *peer)
{
    struct dp_record *record = peer->record;
    const struct keypair *current = peer->slots.current;
    const struct keypair *user = gate_user_keypair(&peer->gate, &peer->slots, &dp->limits, now_boottime_ns());

    record_set(&record->current_birthdate_ns, current ? current->birthdate_ns : 0);
    record->current_index = current ? current->local_index : 0;
    record->current_flags = current ? keypair_flags(dp, current) : 0;
    record->current_psk_kind = current ? current->psk_kind : 0;
    record_set(&record->user_birthdate_ns, user ? user->birthdate_ns : 0);
    record_set(&record->user_psk_birthdate_ns, user ? user->psk_birthdate_ns : 0);
    record->user_psk_kind = user ? user->psk_kind : 0;
}

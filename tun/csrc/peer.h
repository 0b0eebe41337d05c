/*
 * One peer: its slots, endpoint, gate and staged packets, and the record Python reads. Who may touch what is
 * said in internal.h.
 */
#ifndef WGPY_PEER_H
#define WGPY_PEER_H

#include "gate.h"
#include "keypair.h"
#include "staged.h"

struct dp;

#define PEER_FLUSH_STAGED 1
#define PEER_FLUSH_KEEPALIVE 2

/* What a peer has with one outbound worker. */
struct peer_lane {
    struct staged staged;    /* [tx] */
    uint32_t flush;          /* [cfg] PEER_FLUSH_*; [tx] cleared */
    struct peer *flush_next; /* [cfg] as above */
};

struct peer {
    uint32_t number;              /* [cfg] */
    uint64_t generation;          /* [cfg] unlike the number never given out again */
    struct dp_record *record;     /* accessed with record_* below */
    struct dp_endpoint endpoint;  /* [cfg] */
    uint64_t endpoint_ns;         /* [cfg] the burst that found it; 0 = it was set */
    struct peer *endpoint_next;   /* [cfg] another of its bucket: see loop.h */
    struct dp_gate gate;          /* [cfg] */
    bool gate_is_open;            /* [cfg] the common case in one look */
    struct keypair_slots slots;   /* [cfg] */
    uint32_t handshakes;          /* [cfg] indices reserved and not yet a keypair's */
    _Atomic uint64_t wanted_ns;   /* [atomic] when WANT_SESSION was raised last */
    atomic_bool segments_refused; /* [atomic] relaxed: this path takes no UDP_SEGMENT; forgotten with endpoint
                                     or keypair */
    struct peer_lane lanes[];     /* config.workers of them */
};

/* NULL: no memory. */
struct peer *peer_new(struct dp *dp, uint32_t number);
/* Takes it out of every table, wipes and frees it. Exclusive lock. */
void peer_destroy(struct dp *dp, struct peer *peer);

/* The peer with this number, NULL if there is none (any more). */
struct peer *peer_find(struct dp *dp, uint32_t number);

/* Exclusive lock, all of them. Keypairs that leave a slot are wiped and lose their index. */
int peer_install_keypair(struct dp *dp, struct peer *peer, const struct dp_keypair_config *config);
void peer_confirm_keypair(struct dp *dp, struct peer *peer, struct keypair *keypair);
void peer_clear_keypairs(struct dp *dp, struct peer *peer);
void peer_stop_sending(struct dp *dp, struct peer *peer);
void peer_set_endpoint(struct dp *dp, struct peer *peer, const struct dp_endpoint *endpoint);
void peer_drop_staged(struct dp *dp, struct peer *peer);
/* Puts it on the lists of the outbound workers that have something to do; the caller wakes them. */
void peer_request_flush(struct dp *dp, struct peer *peer, uint32_t flush);
/* Packets waiting in all lanes. */
uint32_t peer_staged(const struct dp *dp, const struct peer *peer);
/* Brings the record's view of the keypairs up to date. */
void peer_refresh_record(struct dp *dp, struct peer *peer);

static inline uint64_t record_get(const uint64_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

static inline void record_set(uint64_t *field, uint64_t value)
{
    __atomic_store_n(field, value, __ATOMIC_RELAXED);
}

/* All workers of a direction count in one record: per burst and peer rather than per packet. */
static inline void record_add(uint64_t *field, uint64_t value)
{
    __atomic_fetch_add(field, value, __ATOMIC_RELAXED);
}

/* Packets that began (or, with a difference below zero, ceased) to wait. */
static inline void record_staged(struct dp_record *record, uint32_t difference)
{
    __atomic_fetch_add(&record->staged, difference, __ATOMIC_RELAXED);
}

/* For the stamps that the other direction clears: writes only where something changes. */
static inline void record_stamp_first(uint64_t *field, uint64_t now_ns)
{
    if (!record_get(field))
        record_set(field, now_ns);
}

static inline void record_clear(uint64_t *field)
{
    if (record_get(field))
        record_set(field, 0);
}

#endif

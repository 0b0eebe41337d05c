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

struct peer {
    uint32_t number;             /* [cfg] */
    uint64_t generation;         /* [cfg] unlike the number never given out again */
    struct dp_record *record;    /* each field has one writer; accessed with record_* below */
    struct dp_endpoint endpoint; /* [cfg] */
    struct dp_gate gate;         /* [cfg] */
    bool gate_is_open;           /* [cfg] the common case in one look */
    struct keypair_slots slots;  /* [cfg] */
    uint32_t handshakes;         /* [cfg] indices reserved and not yet a keypair's */
    struct staged staged;        /* [tx] */
    uint64_t wanted_ns;          /* [tx] when WANT_SESSION was raised last */
    bool segments_refused;       /* [tx] this path takes no UDP_SEGMENT; forgotten with endpoint or keypair */
    uint32_t flush;              /* [cfg] PEER_FLUSH_*; the outbound worker clears it */
    struct peer *flush_next;     /* [cfg] as above */
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
/* Puts it on the outbound worker's list; the caller wakes the worker. */
void peer_request_flush(struct dp *dp, struct peer *peer, uint32_t flush);
/* Brings the record's view of the keypairs up to date. */
void peer_refresh_record(struct dp *dp, struct peer *peer);

/* One writer per field, any number of readers: no read-modify-write cycle on the bus is needed. */
static inline uint64_t record_get(const uint64_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

static inline void record_set(uint64_t *field, uint64_t value)
{
    __atomic_store_n(field, value, __ATOMIC_RELAXED);
}

static inline void record_add(uint64_t *field, uint64_t value)
{
    record_set(field, record_get(field) + value);
}

/* For the stamps that the other worker clears: writes only where something changes. */
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

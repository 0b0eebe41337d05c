/*
 * Transport keypairs and a peer's slots for them (the kernel module's previous, current, next and one more).
 *
 * "kept" holds the keypair that user packets still need when a newer one of a kind the gate refuses takes its
 * slot: nobody may push a peer off its post-quantum session by completing a weaker handshake.
 *
 * "draining" holds the keypair that left the other slots last. The kernel module wipes it at once; but after
 * handshakes that crossed each end sends on the session it initiated, which is the other's previous one, and
 * what was on the wire when the next handshake took that slot would be lost. It only receives.
 *
 * Every function that changes slots is called with dp->lock held exclusively. The index table is not touched
 * here: the caller gets what left the slots and disposes of it.
 */
#ifndef WGPY_KEYPAIR_H
#define WGPY_KEYPAIR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "aead.h"
#include "counter.h"
#include "dataplane.h"

struct peer;

struct keypair {
    const struct aead *aead;       /* [cfg] */
    struct aead_key *send;         /* [cfg] */
    struct aead_key *receive;      /* [cfg] */
    struct peer *peer;             /* [cfg] */
    uint64_t birthdate_ns;         /* [cfg] */
    uint64_t psk_birthdate_ns;     /* [cfg] 0 = no age */
    uint32_t local_index;          /* [cfg] */
    uint32_t remote_index;         /* [cfg] */
    uint32_t psk_kind;             /* [cfg] DP_PSK_* */
    bool is_initiator;             /* [cfg] */
    bool is_confirmed;             /* [cfg] the other end holds it: we initiated, or it was used */
    atomic_bool is_sendable;       /* [atomic] relaxed; only ever cleared */
    _Atomic uint64_t send_counter; /* [atomic] next nonce; fetch_add, relaxed */
    pthread_mutex_t window_lock;   /* taken where there are several inbound workers; a leaf */
    struct counter window;         /* [rx], or under window_lock */
};

struct keypair_limits {
    uint64_t reject_after_time_ns;
    uint64_t reject_after_messages;
    uint64_t rekey_after_messages;
};

struct keypair_slots {
    struct keypair *current;  /* [cfg] */
    struct keypair *previous; /* [cfg] */
    struct keypair *next;     /* [cfg] a responder's, until its first packet; never sends */
    struct keypair *kept;     /* [cfg] */
    struct keypair *draining; /* [cfg] never sends */
};

#define KEYPAIR_SLOTS 5

/* Up to KEYPAIR_SLOTS keypairs that left the slots. */
struct keypair_list {
    struct keypair *at[KEYPAIR_SLOTS];
    size_t count;
};

/* For this many workers. NULL when memory is out. */
struct keypair *keypair_new(const struct aead *aead, uint32_t workers, struct peer *peer,
                            const struct dp_keypair_config *config);
/* Wipes the keys. NULL is fine. */
void keypair_free(struct keypair *keypair);

bool keypair_may_send(const struct keypair *keypair, const struct keypair_limits *limits, uint64_t now_ns);
bool keypair_may_receive(const struct keypair *keypair, const struct keypair_limits *limits, uint64_t now_ns);
bool keypair_wants_rekey(const struct keypair *keypair, const struct keypair_limits *limits);

/*
 * Takes n consecutive counters. Returns how many of them are below REJECT_AFTER_MESSAGES, the first in
 * *first; a return below n means that the keypair has sent its last packet.
 */
size_t keypair_take_counters(struct keypair *keypair, const struct keypair_limits *limits, size_t n,
                             uint64_t *first);

/* Puts a new keypair where its role says. */
void keypair_slots_install(struct keypair_slots *slots, struct keypair *keypair, const struct dp_gate *gate,
                           uint64_t now_ns, struct keypair_list *out);
/*
 * The first packet arrived on `keypair`, which promotes next to current. In another slot (a session of our
 * own overtook it) it is only marked: it may carry user packets from now on, if the gate has nothing newer.
 */
void keypair_slots_confirm(struct keypair_slots *slots, struct keypair *keypair, const struct dp_gate *gate,
                           uint64_t now_ns, struct keypair_list *out);
/* Empties all slots. */
void keypair_slots_clear(struct keypair_slots *slots, struct keypair_list *out);
void keypair_slots_stop_sending(struct keypair_slots *slots);

#endif

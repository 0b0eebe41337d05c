/*
 * The device behind dataplane.h, and the rules of its locks.
 *
 * dp->lock is a writer-preferring rwlock, never held across a blocking call. Every field of dp, peer, keypair
 * and worker carries one tag:
 *
 *   [cfg]     written under the exclusive lock; read under either
 *   [tx]      of one outbound worker (under the shared lock), or of who holds the exclusive lock
 *   [rx]      of one inbound worker (likewise)
 *   [atomic]  anyone, any time
 *   [const]   written by dp_new alone
 *
 * There may be several pairs of workers, numbered from 0; each has a queue of the TUN and a UDP socket of its
 * own. [tx] and [rx] data that is one worker's stands in dp->pairs[its number], a peer's in
 * peer->lanes[its number], so that each still has one owner. What all workers of a direction write (counters
 * and stamps of dp_record, a few hints) is [atomic] or said to be.
 *
 * The workers hold it shared for one burst. What a burst finds out that changes [cfg] (a peer roamed, a
 * keypair was confirmed) is noted and applied after the burst under the exclusive lock, where the peer is
 * looked up anew.
 *
 * The other locks are leaves: nothing else is taken while one of them is held. They are taken with or without
 * dp->lock.
 *
 *   events->lock           all workers and Python append to and take from one ring; held for a copy
 *   ratelimiter->lock      all inbound workers count a source together; held for one look-up
 *   keypair->window_lock   with several inbound workers, for the packets of one burst: one session's packets
 *                          come to one worker, but replays of them may come from anywhere
 */
#ifndef WGPY_INTERNAL_H
#define WGPY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "aead.h"
#include "allowedips.h"
#include "cookie.h"
#include "dataplane.h"
#include "events.h"
#include "icmp.h"
#include "index.h"
#include "keypair.h"
#include "peer.h"
#include "ratelimiter.h"
#include "socket.h"

/* Why a datagram or a frame went no further: indices of dp_drops, names in drops.c. */
enum drop {
    DROP_TUN_MALFORMED,      /* not IP, or a vnet header that does not fit */
    DROP_TUN_NO_PEER,        /* no allowed IP matches the destination */
    DROP_TUN_NO_ENDPOINT,    /* the peer's address is not known */
    DROP_TUN_LOOP,           /* our own outer packet came back into the tunnel */
    DROP_TUN_READ,           /* read errors */
    DROP_TUN_WRITE,          /* packets the TUN did not take */
    DROP_TUN_MERGE_REFUSED,  /* super-packets the TUN refused; their packets were written singly */
    DROP_STAGED,             /* staged packets dropped */
    DROP_SEND,               /* datagrams the kernel refused */
    DROP_SEGMENTS_REFUSED,   /* UDP_SEGMENT sends the kernel refused; sent again singly */
    DROP_SOURCE_REFUSED,     /* cached sources the kernel refused; sent again without */
    DROP_UDP_EMPTY,          /* zero-length datagrams */
    DROP_UDP_TRUNCATED,      /* MSG_TRUNC */
    DROP_UDP_MALFORMED,      /* no message: type, reserved bytes or length */
    DROP_UDP_ERROR,          /* receive errors */
    DROP_UDP_OVERFLOW,       /* datagrams the kernel had no room for in the socket's buffer */
    DROP_HANDSHAKE_IDENTITY, /* handshake message while we have no static key */
    DROP_HANDSHAKE_MAC1,
    DROP_HANDSHAKE_INDEX,  /* response or cookie reply for an index that is not ours */
    DROP_HANDSHAKE_COOKIE, /* answered with a cookie reply */
    DROP_HANDSHAKE_RATE,
    DROP_EVENT_FULL, /* events of any kind that found no room */
    DROP_DATA_INDEX, /* transport data for an unknown receiver index */
    DROP_DATA_EXPIRED,
    DROP_DATA_AUTHENTICATION,
    DROP_DATA_REPLAYED,
    DROP_DATA_MALFORMED, /* authenticated, no IP packet inside */
    DROP_DATA_SOURCE,    /* authenticated, inner source not allowed for this peer */
    DROP_DATA_GATED,
    DROP_END
};

/* The system calls of the packet path, so that tests can make the kernel refuse things. [const] */
struct system_calls {
    ssize_t (*read)(int fd, void *buffer, size_t length);
    ssize_t (*writev)(int fd, const struct iovec *iov, int count);
    int (*sendmmsg)(int fd, struct mmsghdr *messages, unsigned int count, int flags);
    int (*recvmmsg)(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                    struct timespec *timeout);
};

struct outbound;
struct inbound;
struct cookie_replies;

/* What one outbound and one inbound worker have for themselves. */
struct worker_pair {
    _Alignas(64) struct outbound *outbound; /* [tx] */
    struct inbound *inbound;                /* [rx] */
    struct peer *flush_head;                /* [cfg] appended to; [tx] taken from */
    struct cookie_checker *cookies;         /* [rx] a source's retry comes to the same worker */
    struct cookie_replies *replies;         /* [rx] */
    int wake_outbound;                      /* [const] eventfds */
    int wake_inbound;                       /* [const] */
    _Atomic uint64_t sockets_seen;          /* [atomic] the generation of sockets the inbound worker polls */
    atomic_bool inbound_runs;               /* [atomic] */
    atomic_bool outbound_runs;              /* [atomic] */
};

struct dp {
    struct dp_config config;       /* [const] but config.mtu, config.features: see below */
    struct keypair_limits limits;  /* [const] */
    struct system_calls system;    /* [const] after the first run began */
    const struct aead *aead;       /* [const] */
    _Atomic uint32_t mtu;          /* [atomic] relaxed */
    _Atomic uint32_t features;     /* [atomic] relaxed; bits are only ever cleared */
    atomic_bool is_stopped;        /* [atomic] */
    uint64_t drops[DP_DROP_COUNT]; /* [atomic] relaxed add */
    struct dp_record *records;     /* [const] pointer; the mapping costs nothing until touched */
    uint64_t endpoint_hash_key[6]; /* [const] of endpoints: for a port and four words */
    struct events events;          /* its own lock */

    pthread_rwlock_t lock;
    struct peer **peers;             /* [cfg] by number */
    uint32_t *free_numbers;          /* [cfg] a stack */
    uint32_t free_count;             /* [cfg] */
    uint32_t unused_number;          /* [cfg] the first never given out */
    uint64_t generation;             /* [cfg] of the peer added last */
    struct allowedips *allowed_ips;  /* [cfg] */
    struct index_table indices;      /* [cfg] */
    struct udp_sockets sockets;      /* [cfg] */
    struct peer **endpoints;         /* [cfg] by hash: see loop.h */
    bool has_identity;               /* [cfg] */
    _Atomic size_t staged_bytes;     /* [atomic] relaxed */
    struct ratelimiter *ratelimiter; /* its own lock; of sources that proved themselves by a cookie */
    struct ratelimiter *reply_rate;  /* its own lock; of cookie replies: anybody may claim their source */
    struct icmp_limit icmp_limit;    /* [atomic] */

    struct worker_pair pairs[DP_MAX_WORKERS]; /* config.workers of them */
};

uint64_t now_boottime_ns(void);
void wake(int eventfd);
void drain(int eventfd);
/* The outbound workers that have peers to flush, as a bit mask: for wake_outbound. Either lock. */
uint32_t flushes_wanted(const struct dp *dp);
/* Without the lock. */
void wake_outbound(struct dp *dp, uint32_t workers);

static inline void count_drops(struct dp *dp, enum drop why, uint64_t n)
{
    __atomic_fetch_add(&dp->drops[why], n, __ATOMIC_RELAXED);
}

static inline void count_drop(struct dp *dp, enum drop why)
{
    count_drops(dp, why, 1);
}

static inline bool has_feature(struct dp *dp, uint32_t feature)
{
    return (atomic_load_explicit(&dp->features, memory_order_relaxed) & feature) != 0;
}

void feature_lost(struct dp *dp, uint32_t feature);

/* Pushes an event and counts it if there was no room. */
bool raise_event(struct dp *dp, const struct dp_event *event);
/* WANT_SESSION, at most four a second per peer. Any outbound worker, or exclusive lock. */
void want_session(struct dp *dp, struct peer *peer, uint64_t now_ns);
/* The TUN or a socket is dead. */
void device_gone(struct dp *dp, int error, uint64_t now_ns);

struct outbound *outbound_new(struct dp *dp, uint32_t worker);
void outbound_free(struct outbound *outbound);
struct inbound *inbound_new(struct dp *dp, uint32_t worker);
void inbound_free(struct inbound *inbound);

#endif

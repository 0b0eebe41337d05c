/*
 * From finished datagrams to the UDP sockets: one sendmmsg for a batch, and what to do when the kernel
 * refuses (sections 11 and 21): a stale cached source is left out and the datagram sent once more, a refused
 * UDP_SEGMENT is sent as single datagrams, a full queue costs the batch. Knows no keys.
 */
#ifndef WGPY_TRANSMIT_H
#define WGPY_TRANSMIT_H

#include "deferred.h"
#include "internal.h"
#include "packet.h"

#define TRANSMIT_MAX 128

/* One datagram, or a run of them for UDP_SEGMENT, all to one peer with one DS byte. */
struct outgoing {
    struct peer *peer;
    uint8_t *data;
    uint32_t length;
    uint32_t segment;   /* bytes of each datagram but perhaps the last */
    uint32_t count;     /* datagrams */
    uint32_t with_data; /* those that are no keepalives */
    uint8_t ds;
    uint64_t owed_ns;    /* the worker's: rx_unanswered_ns before the send */
    uint32_t sent;       /* out: datagrams */
    uint32_t sent_bytes; /* out */
};

struct reply {
    struct dp_endpoint to;
    uint8_t bytes[MESSAGE_COOKIE_REPLY_LEN];
};

struct transmit_slot {
    struct iovec iov;
    union socket_name name;
    _Alignas(struct cmsghdr) uint8_t control[SOCKET_CONTROL_LEN];
};

struct transmit {
    uint32_t worker; /* through whose sockets */
    struct mmsghdr messages[TRANSMIT_MAX];
    struct transmit_slot slots[TRANSMIT_MAX];
};

/* The worker's. NULL: there is no socket for this address family. */
struct udp_socket *socket_for(struct dp *dp, uint32_t worker, const struct dp_address *remote);
/* May datagrams to this peer share one send? */
bool may_segment(struct dp *dp, uint32_t worker, const struct peer *peer);

/* Sends all (at most any number; TRANSMIT_MAX at a time) and fills sent and sent_bytes. Outbound worker. */
void transmit_batch(struct dp *dp, struct transmit *transmit, struct outgoing *batch, size_t count,
                    struct deferred *deferred);

/* A handshake message to the peer, counted and stamped. Exclusive lock. */
int transmit_handshake(struct dp *dp, struct peer *peer, const uint8_t *message, size_t length,
                       uint64_t now_ns);
/* Answers to where datagrams came from; what the kernel refuses is nobody's business. Inbound worker. */
void transmit_replies(struct dp *dp, struct transmit *transmit, const struct reply *batch, size_t count);

#endif

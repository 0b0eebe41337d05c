/*
 * What the UDP sockets need besides being bound: their options, addresses in the kernel's form, and control
 * messages (PKTINFO, TOS, UDP_SEGMENT, UDP_GRO) in both directions. Opening and binding is Python's.
 */
#ifndef WGPY_SOCKET_H
#define WGPY_SOCKET_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "dataplane.h"

struct udp_socket {
    int fd;          /* -1 = absent */
    uint16_t port;   /* local, host byte order */
    atomic_bool gso; /* the kernel knows UDP_SEGMENT; cleared by the outbound worker when a path refuses it */
    bool gro;        /* UDP_GRO is on */
    uint32_t overflows; /* when it was taken over: datagrams that had found no room so far */
};

struct udp_socket_pair {
    struct udp_socket v4;
    struct udp_socket v6;
};

struct udp_sockets {
    struct udp_socket_pair pairs[DP_MAX_WORKERS]; /* for sending: every worker has one */
    uint32_t readers;                             /* the first so many workers also read theirs */
    uint64_t generation;                          /* grows with every replacement */
};

union socket_name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Room for PKTINFO, TOS, UDP_SEGMENT or UDP_GRO, and the count of overflows. */
#define SOCKET_CONTROL_LEN 128

/* Turns on PKTINFO, received TOS, the count of overflows and, if wanted, UDP_GRO. 0, or -errno: this is no
 * UDP socket. */
int udp_socket_prepare(struct udp_socket *socket, int fd, int family, bool want_gso, bool want_gro);

/* Returns the length of the name, 0 for a family we do not know. */
socklen_t socket_name_of(const struct dp_address *address, union socket_name *name);
void socket_address_of(const union socket_name *name, struct dp_address *address);

/*
 * Fills message->msg_control (SOCKET_CONTROL_LEN bytes are there) for a datagram to this endpoint: the cached
 * source unless without_source, the DS byte unless 0, the segment size unless 0.
 */
void control_for_send(struct msghdr *message, const struct dp_endpoint *endpoint, bool without_source,
                      uint8_t ds, uint16_t segment);

struct received_control {
    uint32_t segment;   /* 0: one datagram */
    uint32_t overflows; /* of this socket so far, when it was queued */
    bool has_overflows;
    uint8_t ds;
};
/* Reads what came with a datagram: the local address and interface into the endpoint, the rest. */
void control_of_received(const struct msghdr *message, struct dp_endpoint *endpoint,
                         struct received_control *control);

/* Does this errno of a send mean that a cached source may be stale? */
bool is_source_error(int error);

#endif

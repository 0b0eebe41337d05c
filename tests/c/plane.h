/*
 * A data plane with a socket pair as its TUN, loopback sockets, and a kernel that can be told to refuse. The
 * workers run in the test's own thread: a run ends by itself when there is nothing left to read.
 */
#ifndef WGPY_TEST_PLANE_H
#define WGPY_TEST_PLANE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <unistd.h>

#include "deferred.h"
#include "harness.h"
#include "internal.h"
#include "packet.h"
#include "transmit.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

/* What the kernel shall refuse; 0 = nothing. Reset by plane_begin. */
static struct {
    struct dp *dp;
    int segments; /* errno for sends with UDP_SEGMENT */
    int source;   /* errno for sends with PKTINFO */
    int any;      /* errno for every send, `any_times` times */
    int any_times;
    int at_most;   /* messages a sendmmsg takes; 0 = all */
    int merged;    /* errno for writes of super-packets */
    int read;      /* errno instead of an empty TUN */
    int truncated; /* the n-th message received (1 = first) is marked MSG_TRUNC */
    int sends, segmented_sends, sent_without_source;
} kernel;

static inline int has_control(const struct msghdr *message, int level, int type)
{
    struct msghdr *m = (struct msghdr *)(uintptr_t)message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == level && c->cmsg_type == type)
            return 1;
    return 0;
}

static inline int refusal(const struct msghdr *message)
{
    if (kernel.any && kernel.any_times-- > 0)
        return kernel.any;
    if (kernel.segments && has_control(message, SOL_UDP, UDP_SEGMENT))
        return kernel.segments;
    if (kernel.source &&
        (has_control(message, IPPROTO_IP, IP_PKTINFO) || has_control(message, IPPROTO_IPV6, IPV6_PKTINFO)))
        return kernel.source;
    return 0;
}

/* As the kernel: the first refused message is an error only if none was sent before it. */
static inline int fake_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    unsigned int taken = 0;
    int error = 0;

    while (taken < count && !(kernel.at_most && taken == (unsigned int)kernel.at_most)) {
        error = refusal(&messages[taken].msg_hdr);
        if (error)
            break;
        kernel.sends++;
        kernel.segmented_sends += has_control(&messages[taken].msg_hdr, SOL_UDP, UDP_SEGMENT);
        kernel.sent_without_source += !has_control(&messages[taken].msg_hdr, IPPROTO_IP, IP_PKTINFO);
        taken++;
    }
    if (!taken && error) {
        errno = error;
        return -1;
    }
    return sendmmsg(fd, messages, taken, flags);
}

static inline int fake_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                                struct timespec *timeout)
{
    int n = recvmmsg(fd, messages, count, flags, timeout);
    if (n < (int)count)
        dp_stop(kernel.dp);
    if (kernel.truncated > 0 && kernel.truncated <= n)
        messages[kernel.truncated - 1].msg_hdr.msg_flags |= MSG_TRUNC;
    return n;
}

static inline ssize_t fake_read(int fd, void *buffer, size_t length)
{
    ssize_t n = read(fd, buffer, length);
    if (n < 0 && errno == EAGAIN) {
        dp_stop(kernel.dp);
        errno = kernel.read ? kernel.read : EAGAIN;
    }
    return n;
}

static inline ssize_t fake_writev(int fd, const struct iovec *iov, int count)
{
    const struct vnet_header *vnet = iov[0].iov_base;
    if (kernel.merged && iov[0].iov_len == VNET_HEADER_LEN && vnet->gso_type != VNET_GSO_NONE) {
        errno = kernel.merged;
        return -1;
    }
    return writev(fd, iov, count);
}

struct plane {
    struct dp *dp;
    int tun;    /* the kernel's end */
    int tun_fd; /* the plane's end */
    int udp4;   /* the plane's socket */
    int remote; /* the peer's socket */
    uint32_t workers;
    int tuns[DP_MAX_WORKERS][2]; /* the queues of further workers: the plane's end, the kernel's */
    uint32_t peer;               /* 10.0.0.0/24 and fd00::/64 behind `remote` */
    uint32_t index;
    struct dp_keypair_config keys;
};

static inline struct dp_address loopback(uint16_t port)
{
    struct dp_address address = {.family = AF_INET, .port = port, .ip = {127, 0, 0, 1}};
    return address;
}

static inline int bound_udp4(uint16_t *port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&name, &length) == 0);
    *port = ntohs(name.sin_port);
    return fd;
}

/* One IPv4 socket; -1: none. */
static inline int use_socket(struct dp *dp, int udp4)
{
    return dp_set_sockets(dp, &(struct dp_socket_pair){udp4, -1}, udp4 >= 0);
}

static inline uint32_t plane_session(struct plane *plane, int is_initiator, uint32_t psk_kind)
{
    struct dp_keypair_config keys = {.remote_index = 0x01020304,
                                     .birthdate_ns = now_boottime_ns(),
                                     .is_initiator = (uint32_t)is_initiator,
                                     .psk_kind = psk_kind};
    memset(keys.send_key, 1, sizeof keys.send_key);
    memset(keys.receive_key, 2, sizeof keys.receive_key);
    CHECK_EQUAL(dp_index_reserve(plane->dp, plane->peer, &keys.local_index), 0);
    CHECK_EQUAL(dp_keypair_install(plane->dp, plane->peer, &keys), 0);
    plane->keys = keys;
    return keys.local_index;
}

/* With several pairs of workers: each has a queue, the first has the socket. */
static inline void plane_begin_wide(struct plane *plane, int vnet, uint32_t workers)
{
    int ends[2], error = 0;
    uint16_t port;
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) == 0);
    struct dp_config config = {.queues = {{ends[0], ends[0]}},
                               .workers = workers,
                               .tun_has_vnet_header = vnet,
                               .mtu = 1420,
                               .features = DP_FEATURE_ALL,
                               .aead = DP_AEAD_OPENSSL,
                               .max_peers = 16,
                               .reject_after_time_ns = 180000000000ull,
                               .reject_after_messages = REJECT_AFTER_MESSAGES,
                               .rekey_after_messages = 1ull << 60};
    plane->workers = workers;
    for (uint32_t i = 1; i < workers; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, plane->tuns[i]) == 0);
        config.queues[i] = (struct dp_tun_queue){plane->tuns[i][0], plane->tuns[i][0]};
    }
    plane->tuns[0][0] = ends[0];
    plane->tuns[0][1] = ends[1];
    memset(&kernel, 0, sizeof kernel);
    plane->tun_fd = ends[0];
    plane->tun = ends[1];
    plane->dp = dp_new(&config, &error);
    CHECK(plane->dp && !error);
    kernel.dp = plane->dp;
    plane->dp->system = (struct system_calls){fake_read, fake_writev, fake_sendmmsg, fake_recvmmsg};
    plane->udp4 = bound_udp4(&port);
    CHECK_EQUAL(use_socket(plane->dp, plane->udp4), 0);
    plane->peer = (uint32_t)dp_peer_add(plane->dp);
    struct dp_endpoint endpoint = {0};
    plane->remote = bound_udp4(&port);
    endpoint.remote = loopback(port);
    CHECK_EQUAL(dp_peer_set_endpoint(plane->dp, plane->peer, &endpoint), 0);
    struct dp_address net4 = {.family = AF_INET, .ip = {10}}, net6 = {.family = AF_INET6, .ip = {0xfd}};
    CHECK_EQUAL(dp_allowed_ip_insert(plane->dp, plane->peer, &net4, 24), 0);
    CHECK_EQUAL(dp_allowed_ip_insert(plane->dp, plane->peer, &net6, 64), 0);
}

static inline void plane_begin(struct plane *plane, int vnet)
{
    plane_begin_wide(plane, vnet, 1);
}

static inline void plane_end(struct plane *plane)
{
    dp_free(plane->dp);
    for (uint32_t i = 0; i < plane->workers; i++) {
        close(plane->tuns[i][0]);
        close(plane->tuns[i][1]);
    }
    close(plane->udp4);
    close(plane->remote);
}

/* Runs the outbound worker until the TUN is empty. */
static inline int outbound(struct plane *plane)
{
    atomic_store(&plane->dp->is_stopped, false);
    return dp_run_outbound(plane->dp, 0);
}

/* Runs the inbound worker until the socket is empty: something must be there, or be on its way. */
static inline int inbound(struct plane *plane)
{
    atomic_store(&plane->dp->is_stopped, false);
    return dp_run_inbound(plane->dp, 0);
}

/* The kernel hands the plane a UDP packet with this much payload, behind a vnet header if it has one. */
static inline void tun_gives(struct plane *plane, uint32_t payload, uint8_t ds)
{
    uint8_t frame[VNET_HEADER_LEN + 2000] = {0}, *packet = frame;
    uint32_t length = 28 + payload;
    if (plane->dp->config.tun_has_vnet_header)
        packet += VNET_HEADER_LEN;
    packet[0] = 0x45;
    packet[1] = ds;
    put_be16(packet + 2, (uint16_t)length);
    packet[8] = 64;
    packet[9] = PROTO_UDP;
    memcpy(packet + 12, "\x0a\x00\x01\x01\x0a\x00\x00\x02", 8);
    put_be16(packet + 20, 1000);
    put_be16(packet + 22, 2000);
    put_be16(packet + 24, (uint16_t)(8 + payload));
    ssize_t size = (packet - frame) + (ssize_t)length;
    CHECK(send(plane->tun, frame, (size_t)size, 0) == size);
}

/* Length of the next datagram at the peer's socket; -1: none. */
static inline ssize_t peer_gets(struct plane *plane, uint8_t *out)
{
    uint8_t ignored[2000];
    return recv(plane->remote, out ? out : ignored, sizeof ignored, MSG_DONTWAIT);
}

static inline int peer_gets_all(struct plane *plane)
{
    int n = 0;
    while (peer_gets(plane, NULL) >= 0)
        n++;
    return n;
}

/* The peer sends transport data: this plaintext under the session's receive key. */
static inline size_t make_data(struct plane *plane, uint64_t counter, const uint8_t *plain, uint32_t length,
                               uint8_t *out)
{
    const struct aead *aead = aead_openssl();
    struct aead_state *state = aead->state_new(0);
    struct aead_key *key = aead->key_new(plane->keys.receive_key, AEAD_SEAL, 1);
    struct aead_op op = {
        .key = key, .data = out + MESSAGE_DATA_HEADER_LEN, .counter = counter, .length = length};
    put_data_header(out, plane->keys.local_index, counter);
    if (length)
        memcpy(op.data, plain, length);
    aead->seal_batch(state, &op, 1);
    CHECK(op.ok);
    aead->key_free(key);
    aead->state_free(state);
    return MESSAGE_DATA_HEADER_LEN + length + TAG_LEN;
}

static inline void peer_sends_raw(struct plane *plane, const void *data, size_t length)
{
    struct sockaddr_in to;
    socklen_t size = sizeof to;
    CHECK(getsockname(plane->udp4, (struct sockaddr *)&to, &size) == 0);
    CHECK(sendto(plane->remote, data, length, 0, (struct sockaddr *)&to, size) == (ssize_t)length);
}

static inline void peer_sends(struct plane *plane, uint64_t counter, const uint8_t *plain, uint32_t length)
{
    uint8_t message[2000];
    peer_sends_raw(plane, message, make_data(plane, counter, plain, length, message));
}

static inline uint64_t dropped(struct plane *plane, enum drop why)
{
    return __atomic_load_n(&plane->dp->drops[why], __ATOMIC_RELAXED); /* workers may be counting */
}

static inline const struct dp_record *record_of(struct plane *plane)
{
    return &plane->dp->records[plane->peer];
}

/* Takes events until one of this kind; 0: there is none. */
static inline int take_event(struct plane *plane, uint32_t kind, struct dp_event *event)
{
    while (dp_events(plane->dp, event, 1))
        if (event->kind == kind)
            return 1;
    return 0;
}

#endif

#include "transmit.h"

#include <errno.h>
#include <string.h>

#include "ecn.h"

#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

struct udp_socket *socket_for(struct dp *dp, uint32_t worker, const struct dp_address *remote)
{
    struct udp_socket_pair *pair = &dp->sockets.pairs[worker];
    struct udp_socket *sock = remote->family == AF_INET    ? &pair->v4
                              : remote->family == AF_INET6 ? &pair->v6
                                                           : NULL;
    return sock && sock->fd >= 0 ? sock : NULL;
}

bool may_segment(struct dp *dp, uint32_t worker, const struct peer *peer)
{
    struct udp_socket *sock = socket_for(dp, worker, &peer->endpoint.remote);

    return sock && atomic_load_explicit(&sock->gso, memory_order_relaxed) &&
           !atomic_load_explicit(&peer->segments_refused, memory_order_relaxed) &&
           has_feature(dp, DP_FEATURE_UDP_GSO);
}

/* Control bytes that are not written are not sent: no clearing needed but for the header. */
static void prepare(struct mmsghdr *message, struct transmit_slot *slot, const struct dp_endpoint *to,
                    bool without_source, const uint8_t *data, size_t length, uint8_t ds, uint32_t segment)
{
    memset(message, 0, sizeof(*message));
    slot->iov.iov_base = (void *)(uintptr_t)data;
    slot->iov.iov_len = length;
    message->msg_hdr.msg_name = &slot->name;
    message->msg_hdr.msg_namelen = socket_name_of(&to->remote, &slot->name);
    message->msg_hdr.msg_iov = &slot->iov;
    message->msg_hdr.msg_iovlen = 1;
    message->msg_hdr.msg_control = slot->control;
    control_for_send(&message->msg_hdr, to, without_source, ds, (uint16_t)segment);
    if (!message->msg_hdr.msg_controllen)
        message->msg_hdr.msg_control = NULL;
}

static int send_one(struct dp *dp, int fd, const struct dp_endpoint *to, bool without_source,
                    const uint8_t *data, size_t length, uint8_t ds, uint32_t segment)
{
    struct transmit_slot slot;
    struct mmsghdr message;
    int sent;

    prepare(&message, &slot, to, without_source, data, length, ds, segment);
    do {
        sent = dp->system.sendmmsg(fd, &message, 1, SEND_FLAGS);
    } while (sent < 0 && errno == EINTR);
    return sent == 1 ? 0 : sent < 0 ? -errno : -EIO;
}

/* UDP_SEGMENT only where there is more than one. */
static uint32_t segment_of(const struct outgoing *out)
{
    return out->count > 1 ? out->segment : 0;
}

static void mark_sent(struct outgoing *out)
{
    out->sent = out->count;
    out->sent_bytes = out->length;
}

static bool has_source(const struct dp_endpoint *endpoint)
{
    return endpoint->local.family != 0;
}

static bool can_segment(const struct udp_socket *sock)
{
    return sock->fd >= 0 && atomic_load_explicit(&sock->gso, memory_order_relaxed);
}

static void segments_lost(struct dp *dp, uint32_t worker, struct udp_socket *sock, struct peer *peer,
                          int error)
{
    const struct udp_socket_pair *pair = &dp->sockets.pairs[worker];

    count_drop(dp, DROP_SEGMENTS_REFUSED);
    if (error != EIO) {
        atomic_store_explicit(&peer->segments_refused, true,
                              memory_order_relaxed); /* this path's MTU is too small for them */
        return;
    }
    atomic_store_explicit(&sock->gso, false, memory_order_relaxed); /* the device computes no checksums */
    if (!can_segment(&pair->v4) && !can_segment(&pair->v6))
        feature_lost(dp, DP_FEATURE_UDP_GSO);
}

static void send_singly(struct dp *dp, int fd, struct outgoing *out, bool without_source)
{
    for (uint32_t offset = 0; offset < out->length; offset += out->segment) {
        uint32_t rest = out->length - offset;
        uint32_t length = rest < out->segment ? rest : out->segment;

        if (send_one(dp, fd, &out->peer->endpoint, without_source, out->data + offset, length, out->ds, 0))
            continue;
        out->sent++;
        out->sent_bytes += length;
    }
}

/* The kernel refused this one: remove what it may have disliked, and try once more. */
static void send_again(struct dp *dp, uint32_t worker, struct udp_socket *sock, struct outgoing *out,
                       int error, struct deferred *deferred)
{
    const struct dp_endpoint *to = &out->peer->endpoint;
    bool without_source = false;

    if (has_source(to) && is_source_error(error)) {
        without_source = true;
        error = -send_one(dp, sock->fd, to, true, out->data, out->length, out->ds, segment_of(out));
        /* if it was the segments, the source is innocent as far as we know */
        if (!error || !(segment_of(out) && (error == EINVAL || error == EIO || error == EMSGSIZE))) {
            count_drop(dp, DROP_SOURCE_REFUSED);
            defer_clear_source(deferred, out->peer);
        }
        if (!error)
            mark_sent(out);
    }
    if (segment_of(out) && (error == EINVAL || error == EIO || error == EMSGSIZE)) {
        segments_lost(dp, worker, sock, out->peer, error);
        send_singly(dp, sock->fd, out, without_source);
    }
}

static bool is_congestion(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM;
}

/* Datagrams of one socket. Messages [0, count) are prepared for batch[0, count). */
static void send_prepared(struct dp *dp, struct udp_socket *sock, struct transmit *transmit,
                          struct outgoing *batch, size_t count, struct deferred *deferred)
{
    size_t done = 0;

    while (done < count) {
        int sent = dp->system.sendmmsg(sock->fd, transmit->messages + done, (unsigned int)(count - done),
                                       SEND_FLAGS);

        if (sent > 0) {
            for (int i = 0; i < sent; i++)
                mark_sent(&batch[done + (size_t)i]);
            done += (size_t)sent;
        } else if (sent < 0 && errno == EINTR) {
            continue;
        } else if (sent < 0 && is_congestion(errno)) {
            return; /* the batch is lost, the reader goes on */
        } else {
            send_again(dp, transmit->worker, sock, &batch[done], sent < 0 ? errno : EIO, deferred);
            done++;
        }
    }
}

void transmit_batch(struct dp *dp, struct transmit *transmit, struct outgoing *batch, size_t count,
                    struct deferred *deferred)
{
    size_t first = 0;

    while (first < count) {
        struct udp_socket *sock = socket_for(dp, transmit->worker, &batch[first].peer->endpoint.remote);
        size_t n = 0;

        while (n < TRANSMIT_MAX && first + n < count &&
               socket_for(dp, transmit->worker, &batch[first + n].peer->endpoint.remote) == sock) {
            struct outgoing *out = &batch[first + n];

            out->sent = out->sent_bytes = 0;
            prepare(&transmit->messages[n], &transmit->slots[n], &out->peer->endpoint, false, out->data,
                    out->length, out->ds, segment_of(out));
            n++;
        }
        if (sock)
            send_prepared(dp, sock, transmit, batch + first, n, deferred);
        first += n;
    }
}

int transmit_handshake(struct dp *dp, struct peer *peer, const uint8_t *message, size_t length,
                       uint64_t now_ns)
{
    struct dp_endpoint *to = &peer->endpoint;
    struct udp_socket *sock = socket_for(dp, 0, &to->remote);
    int result;

    if (!to->remote.family)
        return -EDESTADDRREQ;
    if (!sock)
        return -ENETDOWN;
    result = send_one(dp, sock->fd, to, false, message, length, DS_HANDSHAKE, 0);
    if (result && has_source(to) && is_source_error(-result)) {
        count_drop(dp, DROP_SOURCE_REFUSED);
        memset(&to->local, 0, sizeof(to->local));
        to->ifindex = 0;
        result = send_one(dp, sock->fd, to, true, message, length, DS_HANDSHAKE, 0);
    }
    if (result) {
        record_add(&peer->record->tx_errors, 1);
        count_drop(dp, DROP_SEND);
        return result;
    }
    record_add(&peer->record->tx_bytes, length);
    record_set(&peer->record->last_tx_auth_ns, now_ns);
    record_clear(&peer->record->rx_unanswered_ns);
    return 0;
}

/* Whoever is refused, a source that does not exist perhaps, is left out. */
static void send_replies(struct dp *dp, const struct udp_socket *sock, struct transmit *transmit,
                         size_t count)
{
    for (size_t done = 0; done < count;) {
        int sent = dp->system.sendmmsg(sock->fd, transmit->messages + done, (unsigned int)(count - done),
                                       SEND_FLAGS);

        if (sent < 0 && is_congestion(errno))
            return;
        done += sent > 0 ? (size_t)sent : 1;
    }
}

void transmit_replies(struct dp *dp, struct transmit *transmit, const struct reply *batch, size_t count)
{
    for (size_t first = 0, n; first < count; first += n) {
        struct udp_socket *sock = socket_for(dp, transmit->worker, &batch[first].to.remote);

        for (n = 0; n < TRANSMIT_MAX && first + n < count; n++) {
            const struct reply *reply = &batch[first + n];

            if (socket_for(dp, transmit->worker, &reply->to.remote) != sock)
                break;
            prepare(&transmit->messages[n], &transmit->slots[n], &reply->to, false, reply->bytes,
                    sizeof(reply->bytes), 0, 0);
        }
        if (sock)
            send_replies(dp, sock, transmit, n);
    }
}

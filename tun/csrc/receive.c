/*
 * The inbound worker: from the UDP sockets to the TUN. One burst takes what the socket has, opens it as one
 * batch, passes each packet through the checks of the paper's section 5.4.6 in their order, and writes what
 * is left, merged, before it looks at the socket again.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cookie_replies.h"
#include "deferred.h"
#include "ecn.h"
#include "internal.h"
#include "police.h"
#include "receive_handshake.h"
#include "segment.h"
#include "tun_write.h"

#define MESSAGES 32         /* datagrams, or runs of them, taken at once */
#define MESSAGES_MERGED 4   /* the same while the kernel merges: each may be 64 KB */
#define MESSAGE_SPACE 65536 /* a datagram has at most 65535 bytes */
#define PACKETS COALESCE_MAX

struct arrived {
    struct keypair *keypair;
    uint32_t message; /* it came with */
    bool is_new;      /* its counter was not seen before */
};

/* What a run of one peer's packets adds to its record. */
struct tally {
    struct peer *peer;
    uint64_t packets;
    uint64_t bytes;
};

struct message_slot {
    struct iovec iov;
    union socket_name name;
    _Alignas(struct cmsghdr) uint8_t control[SOCKET_CONTROL_LEN];
    struct dp_endpoint source;
    uint8_t ds; /* outer */
};

/* One per inbound thread; everything in it is [rx]. */
struct inbound {
    struct dp *dp;
    uint32_t worker;
    struct aead_state *aead;
    uint64_t now_ns;         /* of this burst */
    uint32_t width;          /* messages asked for */
    int sockets[2];          /* IPv4, IPv6: what is polled now; -1 = absent */
    uint32_t overflows[2];   /* of these, as last heard */
    struct police police[2]; /* likewise */
    uint64_t generation;     /* of these sockets */
    uint8_t *space;          /* MESSAGES * MESSAGE_SPACE */
    size_t count;            /* of ops and arrived */
    struct aead_op ops[PACKETS];
    struct arrived arrived[PACKETS];
    struct tally tally;
    struct mmsghdr messages[MESSAGES];
    struct message_slot slots[MESSAGES];
    struct tun_writer writer;
    struct deferred deferred;
};

struct inbound *inbound_new(struct dp *dp, uint32_t worker)
{
    struct inbound *in = calloc(1, sizeof(*in));

    if (!in)
        return NULL;
    in->dp = dp;
    in->worker = worker;
    in->writer.dp = dp;
    in->writer.fd = dp->config.queues[worker].write_fd;
    in->width = MESSAGES;
    in->sockets[0] = in->sockets[1] = -1;
    in->aead = dp->aead->state_new(worker);
    in->space = aligned_alloc(64, (size_t)MESSAGES * MESSAGE_SPACE);
    if (!in->aead || !in->space) {
        inbound_free(in);
        return NULL;
    }
    return in;
}

void inbound_free(struct inbound *in)
{
    if (!in)
        return;
    in->dp->aead->state_free(in->aead);
    free(in->space);
    free(in);
}

/* Section 7.2 steps 4 to 8: what an authenticated packet means, whatever is inside. */
static void authenticated(struct inbound *in, const struct arrived *arrived, uint32_t length)
{
    struct keypair *keypair = arrived->keypair;
    struct peer *peer = keypair->peer;
    const struct dp_endpoint *source = &in->slots[arrived->message].source;

    if (!endpoint_equal(&peer->endpoint, source) || in->deferred.count)
        defer_roam(&in->deferred, peer, source, in->now_ns);
    if (!keypair->is_confirmed)
        defer_confirm(&in->deferred, keypair);
    record_set(&peer->record->last_rx_auth_ns, in->now_ns);
    record_clear(&peer->record->tx_unanswered_ns);
    if (length) {
        record_set(&peer->record->last_rx_data_ns, in->now_ns);
        record_stamp_first(&peer->record->rx_unanswered_ns, in->now_ns);
    }
}

/* May these bytes go to the TUN? Says why not. */
static enum drop inner_verdict(struct inbound *in, const struct keypair *keypair, const struct inner *inner)
{
    struct peer *peer = keypair->peer;

    if (allowedips_lookup(in->dp->allowed_ips, inner->version, inner->source) != peer->number)
        return DROP_DATA_SOURCE;
    if (!peer->gate_is_open && !gate_admits(&peer->gate, keypair, in->now_ns) &&
        !gate_is_control_in(&peer->gate, inner))
        return DROP_DATA_GATED;
    return DROP_END;
}

static void inner_dropped(struct inbound *in, struct peer *peer, enum drop why)
{
    count_drop(in->dp, why);
    record_add(why == DROP_DATA_GATED ? &peer->record->rx_gated : &peer->record->rx_dropped, 1);
}

static void settle(struct inbound *in)
{
    struct tally *tally = &in->tally;

    if (tally->packets) {
        record_add(&tally->peer->record->rx_packets, tally->packets);
        record_add(&tally->peer->record->rx_bytes, tally->bytes);
    }
    memset(tally, 0, sizeof(*tally));
}

static void count(struct inbound *in, struct peer *peer, uint32_t bytes)
{
    if (in->tally.peer != peer)
        settle(in);
    in->tally.peer = peer;
    in->tally.packets++;
    in->tally.bytes += bytes;
}

static void deliver(struct inbound *in, const struct arrived *arrived, const struct aead_op *op)
{
    struct peer *peer = arrived->keypair->peer;
    struct inner inner;
    enum drop why;

    if (op->length) {
        if (inner_parse(op->data, op->length, &inner)) {
            inner_dropped(in, peer, DROP_DATA_MALFORMED);
            return;
        }
        why = inner_verdict(in, arrived->keypair, &inner);
        if (why != DROP_END) {
            inner_dropped(in, peer, why);
            return;
        }
        if (has_feature(in->dp, DP_FEATURE_ECN))
            ecn_decapsulate(in->slots[arrived->message].ds, op->data);
        coalesce_add(&in->writer.coalesce, op->data, inner.length);
    }
    count(in, peer, MESSAGE_DATA_HEADER_LEN + op->length + TAG_LEN);
}

static void opened(struct inbound *in, const struct arrived *arrived, const struct aead_op *op)
{
    struct keypair *keypair = arrived->keypair;

    if (!op->ok) {
        count_drop(in->dp, DROP_DATA_AUTHENTICATION);
        return;
    }
    if (!arrived->is_new) {
        count_drop(in->dp, DROP_DATA_REPLAYED);
        record_add(&keypair->peer->record->rx_replayed, 1);
        return;
    }
    authenticated(in, arrived, op->length);
    deliver(in, arrived, op);
}

/*
 * Fills is_new. A run of one session's packets takes the lock of its window once, and only where another
 * inbound worker might be at the same window.
 */
static void check_counters(struct inbound *in)
{
    bool locks = in->dp->config.workers > 1;
    struct keypair *at = NULL;

    for (size_t i = 0; i < in->count; i++) {
        struct arrived *arrived = &in->arrived[i];

        if (!in->ops[i].ok)
            continue;
        if (locks && arrived->keypair != at) {
            if (at)
                pthread_mutex_unlock(&at->window_lock);
            pthread_mutex_lock(&arrived->keypair->window_lock);
        }
        at = arrived->keypair;
        arrived->is_new =
            counter_accept(&at->window, in->ops[i].counter, in->dp->limits.reject_after_messages);
    }
    if (locks && at)
        pthread_mutex_unlock(&at->window_lock);
}

/* Opens, checks and writes what was gathered. */
static int receive_batch(struct inbound *in)
{
    int result;

    if (!in->count)
        return 0;
    in->dp->aead->open_batch(in->aead, in->ops, in->count);
    check_counters(in);
    tun_writer_begin(&in->writer);
    for (size_t i = 0; i < in->count; i++)
        opened(in, &in->arrived[i], &in->ops[i]);
    settle(in);
    in->count = 0;
    result = tun_writer_finish(&in->writer);
    return result;
}

static void data_arrived(struct inbound *in, uint8_t *message, uint32_t length, uint32_t slot)
{
    struct dp *dp = in->dp;
    struct keypair *keypair = index_keypair(&dp->indices, get_le32(message + DATA_RECEIVER_AT));
    struct aead_op *op = &in->ops[in->count];

    if (!keypair) {
        count_drop(dp, DROP_DATA_INDEX);
        return;
    }
    op->counter = get_le64(message + DATA_COUNTER_AT);
    if (!keypair_may_receive(keypair, &dp->limits, in->now_ns) ||
        op->counter >= dp->limits.reject_after_messages) {
        count_drop(dp, DROP_DATA_EXPIRED);
        return;
    }
    op->key = keypair->receive;
    op->data = message + MESSAGE_DATA_HEADER_LEN;
    op->length = length - MESSAGE_DATA_MIN_LEN;
    in->arrived[in->count] = (struct arrived){.keypair = keypair, .message = slot};
    in->count++;
}

static int datagram_arrived(struct inbound *in, unsigned which, uint8_t *message, uint32_t length,
                            uint32_t slot)
{
    uint32_t type = message_type(message, length);

    if (type != MESSAGE_DATA)
        police_saw(&in->police[which], &in->slots[slot].source.remote);
    if (type == MESSAGE_DATA)
        data_arrived(in, message, length, slot);
    else if (type)
        handshake_arrived(in->dp, in->worker, message, length, type, &in->slots[slot].source, in->now_ns);
    else
        count_drop(in->dp, DROP_UDP_MALFORMED);
    return in->count == PACKETS ? receive_batch(in) : 0;
}

/* Each datagram brings how many before it found no room. */
static void count_overflows(struct inbound *in, unsigned which, uint32_t overflows)
{
    uint32_t *heard = &in->overflows[which];

    if (overflows == *heard)
        return;
    in->police[which].overflows = true;
    count_drops(in->dp, DROP_UDP_OVERFLOW, overflows - *heard);
    *heard = overflows;
}

/* One message of recvmmsg: a datagram, or several of one size that the kernel merged. */
static int message_arrived(struct inbound *in, unsigned which, uint32_t slot)
{
    struct message_slot *to = &in->slots[slot];
    const struct mmsghdr *message = &in->messages[slot];
    uint32_t length = message->msg_len;
    struct received_control control;
    int result = 0;

    socket_address_of(&to->name, &to->source.remote);
    control_of_received(&message->msg_hdr, &to->source, &control);
    to->ds = control.ds;
    if (control.has_overflows)
        count_overflows(in, which, control.overflows);
    if (length == 0 || (message->msg_hdr.msg_flags & MSG_TRUNC)) {
        count_drop(in->dp, length ? DROP_UDP_TRUNCATED : DROP_UDP_EMPTY);
        police_saw(&in->police[which], &to->source.remote);
        return 0;
    }
    for (uint32_t offset = 0; offset < length && !result;) {
        uint32_t part = segment_length(length, control.segment, offset);

        result = datagram_arrived(in, which, (uint8_t *)to->iov.iov_base + offset, part, slot);
        offset += part;
    }
    if (control.segment && control.segment < length)
        in->width = MESSAGES_MERGED;
    return result;
}

static void prepare(struct inbound *in, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct message_slot *slot = &in->slots[i];
        struct msghdr *header = &in->messages[i].msg_hdr;

        slot->iov.iov_base = in->space + (size_t)i * MESSAGE_SPACE;
        slot->iov.iov_len = MESSAGE_SPACE;
        header->msg_name = &slot->name;
        header->msg_namelen = sizeof(slot->name);
        header->msg_iov = &slot->iov;
        header->msg_iovlen = 1;
        header->msg_control = slot->control;
        header->msg_controllen = sizeof(slot->control);
        header->msg_flags = 0;
    }
}

/* How many messages came; 0 for none. ICMP errors of earlier sends show here too: they mean nothing. */
static int receive_messages(struct inbound *in, int fd, uint32_t width)
{
    int n;

    prepare(in, width);
    do {
        n = in->dp->system.recvmmsg(fd, in->messages, width, MSG_DONTWAIT, NULL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        count_drop(in->dp, DROP_UDP_ERROR);
    return 0;
}

/* 1: there may be more, 0: the socket is empty, -errno: the TUN is gone. */
static int inbound_burst(struct inbound *in, unsigned which)
{
    struct dp *dp = in->dp;
    uint32_t width = in->width;
    int n = 0, result = 0;

    pthread_rwlock_rdlock(&dp->lock);
    if (dp->sockets.generation == in->generation) {
        in->now_ns = now_boottime_ns();
        n = receive_messages(in, in->sockets[which], width);
        in->width = MESSAGES;
        for (int i = 0; i < n && !result; i++)
            result = message_arrived(in, which, (uint32_t)i);
        if (!result)
            result = receive_batch(in);
        in->count = 0;
        cookie_replies_send(dp, in->worker);
        police_look(&in->police[which], in->sockets[which], in->now_ns);
    }
    pthread_rwlock_unlock(&dp->lock);
    deferred_apply(&in->deferred, dp);
    return result ? result : n == (int)width;
}

static void take_sockets(struct inbound *in)
{
    struct dp *dp = in->dp;
    const struct udp_socket_pair *pair = &dp->sockets.pairs[in->worker];

    pthread_rwlock_rdlock(&dp->lock);
    if (in->generation != dp->sockets.generation) {
        bool reads = in->worker < dp->sockets.readers; /* else another worker does */

        in->sockets[0] = reads ? pair->v4.fd : -1;
        in->sockets[1] = reads ? pair->v6.fd : -1;
        in->overflows[0] = pair->v4.overflows;
        in->overflows[1] = pair->v6.overflows;
        (void)police_begin(&in->police[0], in->sockets[0]);
        (void)police_begin(&in->police[1], in->sockets[1]);
        in->generation = dp->sockets.generation;
    }
    pthread_rwlock_unlock(&dp->lock);
    atomic_store(&dp->pairs[in->worker].sockets_seen, in->generation);
}

/* An error waits on the socket and no datagram: fetch it, or poll will return for it for ever. */
static void clear_error(int fd)
{
    int error;
    socklen_t length = sizeof(error);

    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
}

static int serve(struct inbound *in, unsigned which, short events)
{
    if (events & POLLNVAL)
        return -EBADF;
    if ((events & POLLERR) && !(events & POLLIN))
        clear_error(in->sockets[which]);
    return events ? inbound_burst(in, which) : 0;
}

static bool is_thinning(const struct inbound *in)
{
    return police_is_thinning(&in->police[0]) || police_is_thinning(&in->police[1]);
}

/* Every round: a filter's own socket may bring nothing any more, whatever the other one does. */
static void look_on(struct inbound *in)
{
    uint64_t now_ns;

    if (!is_thinning(in))
        return;
    now_ns = now_boottime_ns();
    police_look(&in->police[0], in->sockets[0], now_ns);
    police_look(&in->police[1], in->sockets[1], now_ns);
}

static int sleep_ms(const struct inbound *in)
{
    return is_thinning(in) ? (int)(POLICE_LOOK_NS / 1000000) : -1;
}

/* One round: sleeps unless `busy`, serves both sockets once. 1, 0 or -errno as inbound_burst. */
static int inbound_round(struct inbound *in, bool busy)
{
    struct pollfd fds[3] = {{.fd = in->dp->pairs[in->worker].wake_inbound, .events = POLLIN}};
    int busy4, busy6;

    take_sockets(in);
    look_on(in);
    fds[1] = (struct pollfd){.fd = in->sockets[0], .events = POLLIN};
    fds[2] = (struct pollfd){.fd = in->sockets[1], .events = POLLIN};
    if (poll(fds, 3, busy ? 0 : sleep_ms(in)) <= 0)
        return 0;
    if (fds[0].revents)
        drain(fds[0].fd);
    busy4 = serve(in, 0, fds[1].revents);
    if (busy4 < 0)
        return busy4;
    busy6 = serve(in, 1, fds[2].revents);
    return busy6 < 0 ? busy6 : busy4 || busy6;
}

int dp_run_inbound(struct dp *dp, uint32_t worker)
{
    struct worker_pair *pair = &dp->pairs[worker < dp->config.workers ? worker : 0];
    struct inbound *in = pair->inbound;
    int result = 0;

    if (worker >= dp->config.workers)
        return -EINVAL;
    if (atomic_exchange(&pair->inbound_runs, true))
        return -EBUSY;
    while (!atomic_load(&dp->is_stopped) && result >= 0)
        result = inbound_round(in, result > 0);
    if (result < 0)
        device_gone(dp, -result, now_boottime_ns());
    atomic_store(&pair->inbound_runs, false);
    return result < 0 ? result : 0;
}

/*
 * The outbound worker: from the TUN to the UDP sockets, run to completion. One burst reads frames until the
 * TUN has no more or a batch is full, lays their messages out one behind the other, seals them in place and
 * hands the buffer to the kernel as it is. Nothing waits for company: a burst ends with everything sent.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ecn.h"
#include "internal.h"
#include "loop.h"
#include "segment.h"
#include "split.h"
#include "transmit.h"

#define FRAME_MAX (VNET_HEADER_LEN + 65535)
#define BATCH_PACKETS 128      /* messages gathered at most */
#define BATCH_FULL_PACKETS 64  /* this many are sent without looking for more */
#define BATCH_FULL_BYTES 61600 /* likewise */
#define BURST_FRAMES 64        /* frames looked at under one hold of the lock */
#define BUFFER_LEN (3 * 65536) /* a batch almost full, and one more frame grown by headers and tags */
#define LINK_DOWN_PAUSE_MS 100

struct packet {
    struct peer *peer;
    uint8_t ds; /* outer */
};

/* One per outbound thread; everything in it is [tx]. */
struct outbound {
    struct dp *dp;
    struct aead_state *aead;
    uint64_t now_ns; /* of this burst */
    uint8_t *frame;  /* FRAME_MAX, as read */
    uint8_t *buffer; /* BUFFER_LEN, messages one behind the other */
    size_t used;     /* of buffer */
    size_t count;    /* of ops and packets */
    bool is_link_down;
    struct aead_op ops[BATCH_PACKETS];
    struct packet packets[BATCH_PACKETS];
    struct outgoing outgoing[BATCH_PACKETS];
    struct transmit transmit;
    struct deferred deferred;
};

struct outbound *outbound_new(struct dp *dp)
{
    struct outbound *out = calloc(1, sizeof(*out));

    if (!out)
        return NULL;
    out->dp = dp;
    out->aead = dp->aead->state_new();
    out->frame = malloc(FRAME_MAX);
    out->buffer = aligned_alloc(64, BUFFER_LEN);
    if (!out->aead || !out->frame || !out->buffer) {
        outbound_free(out);
        return NULL;
    }
    return out;
}

void outbound_free(struct outbound *out)
{
    if (!out)
        return;
    out->dp->aead->state_free(out->aead);
    free(out->frame);
    free(out->buffer);
    free(out);
}

/* Sealing failed for a message: it holds cleartext and must not leave. */
static bool is_sealed(const struct aead_op *op)
{
    return op->ok != 0;
}

/* Can this message leave in one send with those before it? */
static bool continues(struct dp *dp, const struct outgoing *last, const struct segment_batch *batch,
                      const struct packet *packet, const uint8_t *data, uint32_t length)
{
    uint32_t max_bytes =
        packet->peer->endpoint.remote.family == AF_INET ? SEGMENT_MAX_BYTES4 : SEGMENT_MAX_BYTES6;

    return last->peer == packet->peer && last->ds == packet->ds && last->data + last->length == data &&
           segment_fits(batch, length, max_bytes) && may_segment(dp, packet->peer);
}

static size_t build_outgoing(struct outbound *out)
{
    struct segment_batch batch = {0};
    size_t n = 0;

    for (size_t i = 0; i < out->count; i++) {
        uint8_t *data = out->ops[i].data - MESSAGE_DATA_HEADER_LEN;
        uint32_t length = split_message_len(out->ops[i].length);
        struct outgoing *last = n ? &out->outgoing[n - 1] : NULL;

        if (!is_sealed(&out->ops[i]))
            continue;
        if (!last || !continues(out->dp, last, &batch, &out->packets[i], data, length)) {
            last = &out->outgoing[n++];
            memset(&batch, 0, sizeof(batch));
            memset(last, 0, sizeof(*last));
            last->peer = out->packets[i].peer;
            last->ds = out->packets[i].ds;
            last->data = data;
            last->segment = length;
        }
        segment_add(&batch, length);
        last->length += length;
        last->count++;
        last->with_data += out->ops[i].length > 0;
    }
    return n;
}

/*
 * Stamps before the send: on a short path the answer is here before the send returns, and clearing first what
 * is stamped afterwards would leave a question open that was answered.
 */
static void stamp(struct outbound *out, struct outgoing *sending)
{
    struct dp_record *record = sending->peer->record;

    sending->owed_ns = record_get(&record->rx_unanswered_ns);
    record_clear(&record->rx_unanswered_ns);
    if (sending->with_data)
        record_stamp_first(&record->tx_unanswered_ns, out->now_ns);
}

/* Nothing was sent after all: nobody was answered, no answer is to be expected. */
static void take_stamps_back(struct outbound *out, const struct outgoing *failed)
{
    struct dp_record *record = failed->peer->record;

    if (failed->owed_ns)
        record_stamp_first(&record->rx_unanswered_ns, failed->owed_ns);
    if (failed->with_data && record_get(&record->tx_unanswered_ns) == out->now_ns)
        record_set(&record->tx_unanswered_ns, 0);
}

static void account(struct outbound *out, const struct outgoing *sent)
{
    struct dp_record *record = sent->peer->record;
    uint32_t failed = sent->count - sent->sent;

    if (failed) {
        record_add(&record->tx_errors, failed);
        count_drops(out->dp, DROP_SEND, failed);
    }
    if (!sent->sent) {
        take_stamps_back(out, sent);
        return;
    }
    record_add(&record->tx_bytes, sent->sent_bytes);
    record_add(&record->tx_packets, sent->sent);
    record_set(&record->last_tx_auth_ns, out->now_ns);
    if (sent->with_data)
        record_set(&record->last_tx_data_ns, out->now_ns);
}

/* Seals and sends what was gathered. */
static void send_batch(struct outbound *out)
{
    size_t n;

    if (!out->count)
        return;
    out->dp->aead->seal_batch(out->aead, out->ops, out->count);
    n = build_outgoing(out);
    for (size_t i = 0; i < n; i++)
        stamp(out, &out->outgoing[i]);
    transmit_batch(out->dp, &out->transmit, out->outgoing, n, &out->deferred);
    for (size_t i = 0; i < n; i++)
        account(out, &out->outgoing[i]);
    out->count = 0;
    out->used = 0;
}

/* The op at ops[count] lies ready in the buffer: gives it a counter and a header. */
static void commit(struct outbound *out, struct peer *peer, struct keypair *keypair, uint64_t counter,
                   uint8_t ds)
{
    struct aead_op *op = &out->ops[out->count];
    struct packet *packet = &out->packets[out->count];

    op->key = keypair->send;
    op->counter = counter;
    put_data_header(op->data - MESSAGE_DATA_HEADER_LEN, keypair->remote_index, counter);
    packet->peer = peer;
    packet->ds = has_feature(out->dp, DP_FEATURE_ECN) ? ecn_encapsulate(ds) : 0;
    out->used = (size_t)(op->data - out->buffer) + op->length + TAG_LEN;
    out->count++;
}

/* The keypair's last message went, or REKEY_AFTER_MESSAGES was passed: Python shall see it. */
static void note_limits(struct outbound *out, struct peer *peer, const struct keypair *keypair)
{
    uint32_t flags = peer->record->current_flags;

    if (keypair != peer->slots.current)
        return;
    if ((keypair_wants_rekey(keypair, &out->dp->limits) && !(flags & DP_KEYPAIR_REKEY_MESSAGES)) ||
        (!atomic_load_explicit(&keypair->is_sendable, memory_order_relaxed) && (flags & DP_KEYPAIR_SENDABLE)))
        defer_refresh(&out->deferred, peer);
}

/* One message of our own making: staged before, or a keepalive. */
static void carry_plain(struct outbound *out, struct peer *peer, struct keypair *keypair,
                        const uint8_t *packet, uint32_t length, uint8_t ds, uint64_t counter)
{
    if (out->count == BATCH_PACKETS || out->used + split_message_len(length) > BUFFER_LEN)
        send_batch(out);
    out->ops[out->count].data = out->buffer + out->used + MESSAGE_DATA_HEADER_LEN;
    out->ops[out->count].length = length;
    if (length)
        memcpy(out->ops[out->count].data, packet, length);
    commit(out, peer, keypair, counter, ds);
}

/* Sends a queue in order. Returns how many packets went. */
static uint32_t carry_queue(struct outbound *out, struct peer *peer, struct staged_queue *queue,
                            struct keypair *keypair)
{
    uint32_t carried = 0;
    uint64_t counter;

    while (queue->head && keypair_take_counters(keypair, &out->dp->limits, 1, &counter)) {
        struct staged_packet *packet = staged_take(queue, &out->dp->staged_bytes);

        carry_plain(out, peer, keypair, packet->data, packet->length, packet->ds, counter);
        staged_free(packet);
        carried++;
    }
    if (carried)
        peer->record->staged = staged_count(&peer->staged);
    note_limits(out, peer, keypair);
    return carried;
}

static void stage_one(struct outbound *out, struct peer *peer, bool control, const struct aead_op *op,
                      uint8_t ds)
{
    struct dp *dp = out->dp;
    uint32_t dropped = staged_add(&peer->staged, control, op->data, op->length, ds, &dp->staged_bytes);

    if (dropped) {
        record_add(&peer->record->tx_dropped, dropped);
        count_drops(dp, DROP_STAGED, dropped);
    }
}

/* The keypair control packets and keepalives use: current, whatever the kind of its preshared key. */
static struct keypair *control_keypair(const struct outbound *out, const struct peer *peer)
{
    struct keypair *current = peer->slots.current;

    if (keypair_may_send(current, &out->dp->limits, out->now_ns))
        return current;
    return gate_user_keypair(&peer->gate, &peer->slots, &out->dp->limits, out->now_ns);
}

/*
 * What is left of the frame waits. A new session is wanted only where no keypair can send: one whose
 * preshared key the gate refuses would be followed by another such.
 */
static void stage_rest(struct outbound *out, struct peer *peer, bool control, struct split *split)
{
    uint32_t mtu = atomic_load_explicit(&out->dp->mtu, memory_order_relaxed);
    bool is_gated = control_keypair(out, peer) != NULL;
    size_t n;

    send_batch(out);
    while (split_left(split) &&
           (n = split_next(split, mtu, out->buffer, BUFFER_LEN, out->ops, BATCH_PACKETS)) > 0) {
        for (size_t i = 0; i < n; i++)
            stage_one(out, peer, control, &out->ops[i], split->inner.ds);
        if (is_gated)
            record_add(&peer->record->tx_gated, n);
    }
    peer->record->staged = staged_count(&peer->staged);
    if (!is_gated)
        want_session(out->dp, peer, out->now_ns);
}

/* Lays the frame's messages out behind those already gathered; sends whenever the batch is full. */
static void carry_frame(struct outbound *out, struct peer *peer, bool control, struct keypair *keypair,
                        struct split *split)
{
    uint32_t mtu = atomic_load_explicit(&out->dp->mtu, memory_order_relaxed);

    while (split_left(split)) {
        size_t n = split_next(split, mtu, out->buffer + out->used, BUFFER_LEN - out->used,
                              out->ops + out->count, BATCH_PACKETS - out->count);
        uint64_t counter;
        size_t granted;

        if (!n && !out->count) {
            count_drop(out->dp, DROP_TUN_MALFORMED); /* one message larger than the buffer cannot be */
            return;
        }
        if (!n) {
            send_batch(out);
            continue;
        }
        granted = keypair_take_counters(keypair, &out->dp->limits, n, &counter);
        for (size_t i = 0; i < granted; i++)
            commit(out, peer, keypair, counter + i, split->inner.ds);
        if (granted < n) {
            split->next -= (uint32_t)(n - granted);
            stage_rest(out, peer, control, split);
            break;
        }
    }
    note_limits(out, peer, keypair);
}

static void write_icmp(struct outbound *out, const struct split *split)
{
    uint8_t zeros[VNET_HEADER_LEN] = {0};
    uint8_t error[ICMP_MAX_LEN];
    struct iovec iov[2] = {{zeros, VNET_HEADER_LEN}, {error, 0}};
    bool vnet = out->dp->config.tun_has_vnet_header != 0;

    if (!has_feature(out->dp, DP_FEATURE_ICMP))
        return;
    iov[1].iov_len = icmp_unreachable(split->packet, split->length, error);
    if (!iov[1].iov_len || !icmp_allowed(&out->dp->icmp_limit, out->now_ns))
        return;
    if (out->dp->system.writev(out->dp->config.tun_fd, vnet ? iov : iov + 1, vnet ? 2 : 1) < 0)
        count_drop(out->dp, DROP_TUN_WRITE);
}

/* The peer whose allowed IPs match and that can be reached, or NULL: the frame is done with. */
static struct peer *route(struct outbound *out, const struct split *split)
{
    struct dp *dp = out->dp;
    uint32_t number = allowedips_lookup(dp->allowed_ips, split->inner.version, split->inner.destination);
    struct peer *peer = number == DP_NO_PEER ? NULL : peer_find(dp, number);

    if (!peer || !peer->endpoint.remote.family) {
        count_drop(dp, peer ? DROP_TUN_NO_ENDPOINT : DROP_TUN_NO_PEER);
        write_icmp(out, split);
        return NULL;
    }
    if (is_loop(dp, &split->inner)) {
        count_drop(dp, DROP_TUN_LOOP);
        return NULL;
    }
    return peer;
}

static void frame_arrived(struct outbound *out, size_t length)
{
    struct dp *dp = out->dp;
    struct split split;
    struct peer *peer;
    struct keypair *keypair;
    bool control;

    if (split_parse(&split, out->frame, length, dp->config.tun_has_vnet_header != 0)) {
        count_drop(dp, DROP_TUN_MALFORMED);
        return;
    }
    peer = route(out, &split);
    if (!peer)
        return;
    control = !peer->gate_is_open && gate_is_control_out(&peer->gate, &split.inner);
    keypair = control ? control_keypair(out, peer)
                      : gate_user_keypair(&peer->gate, &peer->slots, &dp->limits, out->now_ns);
    if (keypair) {
        struct staged_queue *queue = control ? &peer->staged.control : &peer->staged.user;

        if (queue->head)
            carry_queue(out, peer, queue, keypair);
        carry_frame(out, peer, control, keypair, &split);
    } else {
        stage_rest(out, peer, control, &split);
    }
}

static void send_keepalive(struct outbound *out, struct peer *peer, struct keypair *keypair)
{
    uint64_t counter;

    if (keypair_take_counters(keypair, &out->dp->limits, 1, &counter))
        carry_plain(out, peer, keypair, NULL, 0, 0, counter);
}

static void flush_peer(struct outbound *out, struct peer *peer, uint32_t flush)
{
    struct keypair *keypair = control_keypair(out, peer);
    struct keypair *user = gate_user_keypair(&peer->gate, &peer->slots, &out->dp->limits, out->now_ns);
    uint32_t carried = 0;

    if (!peer->endpoint.remote.family)
        return;
    if (keypair)
        carried += carry_queue(out, peer, &peer->staged.control, keypair);
    if (user)
        carried += carry_queue(out, peer, &peer->staged.user, user);
    if (carried)
        return;
    /* user packets that wait for the gate do not confirm a session: the keepalive must */
    if (keypair && (flush & PEER_FLUSH_KEEPALIVE))
        send_keepalive(out, peer, keypair);
    else if (!keypair && ((flush & PEER_FLUSH_KEEPALIVE) || staged_count(&peer->staged)))
        want_session(out->dp, peer, out->now_ns);
}

/* Peers that Python, or a confirmed keypair, wants flushed. */
static void serve_flushes(struct outbound *out)
{
    struct dp *dp = out->dp;

    for (int i = 0; dp->flush_head && i < BURST_FRAMES; i++) {
        struct peer *peer = dp->flush_head;
        uint32_t flush = peer->flush;

        dp->flush_head = peer->flush_next;
        peer->flush_next = NULL;
        peer->flush = 0;
        flush_peer(out, peer, flush);
    }
}

static bool is_full(const struct outbound *out)
{
    return out->count >= BATCH_FULL_PACKETS || out->used >= BATCH_FULL_BYTES;
}

/* One frame into out->frame: its length, 0 for nothing there, -errno when the TUN is gone. */
static ssize_t read_frame(struct outbound *out)
{
    ssize_t length;

    do {
        length = out->dp->system.read(out->dp->config.tun_fd, out->frame, FRAME_MAX);
    } while (length < 0 && errno == EINTR);
    if (length >= 0)
        return length;
    if (errno == EBADFD || errno == EBADF || errno == ENODEV)
        return -errno;
    if (errno == EIO)
        out->is_link_down = true;
    else if (errno != EAGAIN)
        count_drop(out->dp, DROP_TUN_READ);
    return 0;
}

/* 1: there may be more, 0: the TUN is empty, -errno: it is gone. */
static int outbound_burst(struct outbound *out)
{
    struct dp *dp = out->dp;
    ssize_t length = 1;
    int frames = 0;
    bool more;

    pthread_rwlock_rdlock(&dp->lock);
    out->now_ns = now_boottime_ns();
    serve_flushes(out);
    while (!is_full(out) && frames++ < BURST_FRAMES && (length = read_frame(out)) > 0)
        frame_arrived(out, (size_t)length);
    send_batch(out);
    more = length > 0 || dp->flush_head;
    pthread_rwlock_unlock(&dp->lock);
    deferred_apply(&out->deferred, dp);
    return length < 0 ? (int)length : more;
}

/* Sleeps until there is something to do. -errno: the descriptor is closed or its other end is. */
static int outbound_wait(struct outbound *out)
{
    struct pollfd fds[2] = {{.fd = out->dp->wake_outbound, .events = POLLIN},
                            {.fd = out->dp->config.tun_fd, .events = POLLIN}};
    /* a TUN that is down is readable and says EIO: look again later instead of spinning */
    int ready = poll(fds, out->is_link_down ? 1 : 2, out->is_link_down ? LINK_DOWN_PAUSE_MS : -1);

    out->is_link_down = false;
    if (ready > 0 && fds[0].revents)
        drain(out->dp->wake_outbound);
    if (ready > 0 && (fds[1].revents & POLLNVAL))
        return -EBADF;
    if (ready > 0 && (fds[1].revents & POLLHUP) && !(fds[1].revents & POLLIN))
        return -EBADFD;
    if (ready > 0 && fds[1].revents == POLLERR)
        out->is_link_down = true; /* deleted, which the read will say */
    return 0;
}

int dp_run_outbound(struct dp *dp)
{
    struct outbound *out = dp->outbound;
    int result = 0;

    if (atomic_exchange(&dp->outbound_runs, true))
        return -EBUSY;
    while (!atomic_load(&dp->is_stopped)) {
        result = outbound_burst(out);
        if (result > 0)
            continue;
        if (result == 0)
            result = outbound_wait(out);
        if (result < 0)
            break;
    }
    if (result < 0)
        device_gone(dp, -result, now_boottime_ns());
    atomic_store(&dp->outbound_runs, false);
    return result < 0 ? result : 0;
}

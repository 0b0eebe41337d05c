/*
 * The outbound worker: from the TUN to the UDP sockets, run to completion. One burst reads frames until the
 * TUN has no more or the buffer is full, lays their messages out one behind the other, and each time there
 * are enough for a send, seals them in place and hands them to the kernel as they lie. Nothing waits for
 * company: a burst ends with everything sent.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "loop.h"
#include "split.h"

#define FRAME_MAX (VNET_HEADER_LEN + 65535)
#define BURST_FRAMES 64 /* frames looked at under one hold of the lock */
#define LINK_DOWN_PAUSE_MS 100

/* One per outbound thread; everything in it is [tx]. */
struct outbound {
    struct dp *dp;
    uint32_t worker;
    int read_fd, write_fd; /* of the TUN */
    uint8_t *frame;        /* FRAME_MAX, as read */
    bool is_link_down;
    struct batch batch;
};

struct outbound *outbound_new(struct dp *dp, uint32_t worker)
{
    struct outbound *out = calloc(1, sizeof(*out));

    if (!out)
        return NULL;
    out->dp = dp;
    out->worker = worker;
    out->read_fd = dp->config.queues[worker].read_fd;
    out->write_fd = dp->config.queues[worker].write_fd;
    out->frame = malloc(FRAME_MAX);
    if (!batch_init(&out->batch, dp, worker) || !out->frame) {
        outbound_free(out);
        return NULL;
    }
    return out;
}

void outbound_free(struct outbound *out)
{
    if (!out)
        return;
    batch_destroy(&out->batch);
    free(out->frame);
    free(out);
}

/* The keypair's last message went, or REKEY_AFTER_MESSAGES was passed: Python shall see it. */
static void note_limits(struct outbound *out, struct peer *peer, const struct keypair *keypair)
{
    uint32_t flags = peer->record->current_flags;

    if (keypair != peer->slots.current)
        return;
    if ((keypair_wants_rekey(keypair, &out->dp->limits) && !(flags & DP_KEYPAIR_REKEY_MESSAGES)) ||
        (!atomic_load_explicit(&keypair->is_sendable, memory_order_relaxed) && (flags & DP_KEYPAIR_SENDABLE)))
        defer_refresh(&out->batch.deferred, peer);
}

static void count_staged_drops(struct outbound *out, struct peer *peer, uint32_t dropped)
{
    if (!dropped)
        return;
    record_add(&peer->record->tx_dropped, dropped);
    count_drops(out->dp, DROP_STAGED, dropped);
}

static void stage_one(struct outbound *out, struct peer *peer, bool control, const struct aead_op *op,
                      uint8_t ds)
{
    struct staged *staged = &peer->lanes[out->worker].staged;
    uint32_t before = staged_count(staged);
    uint32_t dropped =
        staged_add(staged, control, op->data, op->length, ds, out->batch.now_ns, &out->dp->staged_bytes);

    record_staged(peer->record, staged_count(staged) - before);
    count_staged_drops(out, peer, dropped);
}

/* What has waited too long is no news to anybody: it is not sent late. */
static void expire_staged(struct outbound *out, struct peer *peer)
{
    struct staged *staged = &peer->lanes[out->worker].staged;
    uint32_t dropped = staged_expire(staged, out->batch.now_ns, &out->dp->staged_bytes);

    record_staged(peer->record, 0u - dropped);
    count_staged_drops(out, peer, dropped);
}

/* Sends a queue in order. Returns how many packets went. */
static uint32_t carry_queue(struct outbound *out, struct peer *peer, struct staged_queue *queue,
                            struct keypair *keypair)
{
    uint32_t carried = 0;
    uint64_t counter;

    expire_staged(out, peer);
    while (queue->head && keypair_take_counters(keypair, &out->dp->limits, 1, &counter)) {
        struct staged_packet *packet = staged_take(queue, &out->dp->staged_bytes);

        batch_carry(&out->batch, peer, keypair, packet->data, packet->length, packet->ds, counter);
        staged_free(packet);
        carried++;
    }
    if (carried)
        record_staged(peer->record, 0u - carried);
    note_limits(out, peer, keypair);
    return carried;
}

/* The keypair control packets and keepalives use: current, whatever the kind of its preshared key. */
static struct keypair *control_keypair(const struct outbound *out, const struct peer *peer)
{
    struct keypair *current = peer->slots.current;

    if (keypair_may_send(current, &out->dp->limits, out->batch.now_ns))
        return current;
    return gate_user_keypair(&peer->gate, &peer->slots, &out->dp->limits, out->batch.now_ns);
}

/*
 * What is left of the frame waits. A new session is wanted only where no keypair can send: one whose
 * preshared key the gate refuses would be followed by another such.
 */
static void stage_rest(struct outbound *out, struct peer *peer, bool control, struct split *split)
{
    uint32_t mtu = atomic_load_explicit(&out->dp->mtu, memory_order_relaxed);
    bool is_gated = control_keypair(out, peer) != NULL;
    struct batch *batch = &out->batch;
    size_t n;

    expire_staged(out, peer);
    batch_send(batch);
    while (split_left(split) &&
           (n = split_next(split, mtu, batch->buffer, BATCH_BUFFER_LEN, batch->ops, BATCH_PACKETS)) > 0) {
        for (size_t i = 0; i < n; i++)
            stage_one(out, peer, control, &batch->ops[i], split->inner.ds);
        if (is_gated)
            record_add(&peer->record->tx_gated, n);
    }
    if (!control && record_get(&peer->record->user_birthdate_ns))
        defer_refresh(&out->batch.deferred,
                      peer); /* the record still says that user packets have a keypair */
    if (!is_gated)
        want_session(out->dp, peer, out->batch.now_ns);
}

/* Lays the frame's messages out behind those already gathered; sends whenever the batch is full. */
static void carry_frame(struct outbound *out, struct peer *peer, bool control, struct keypair *keypair,
                        struct split *split)
{
    uint32_t mtu = atomic_load_explicit(&out->dp->mtu, memory_order_relaxed);
    struct batch *batch = &out->batch;

    while (split_left(split)) {
        size_t n = split_next(split, mtu, batch->buffer + batch->used, BATCH_BUFFER_LEN - batch->used,
                              batch->ops + batch->count, BATCH_PACKETS - batch->count);
        uint64_t counter;
        size_t granted;

        if (!n && !batch->count) {
            count_drop(out->dp, DROP_TUN_MALFORMED); /* one message larger than the buffer cannot be */
            return;
        }
        if (!n) {
            batch_send(batch);
            continue;
        }
        granted = keypair_take_counters(keypair, &out->dp->limits, n, &counter);
        for (size_t i = 0; i < granted; i++)
            batch_commit(batch, peer, keypair, counter + i, split->inner.ds);
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
    if (!iov[1].iov_len || !icmp_allowed(&out->dp->icmp_limit, out->batch.now_ns))
        return;
    if (out->dp->system.writev(out->write_fd, vnet ? iov : iov + 1, vnet ? 2 : 1) < 0)
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
                      : gate_user_keypair(&peer->gate, &peer->slots, &dp->limits, out->batch.now_ns);
    if (keypair) {
        struct staged *staged = &peer->lanes[out->worker].staged;
        struct staged_queue *queue = control ? &staged->control : &staged->user;

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
        batch_carry(&out->batch, peer, keypair, NULL, 0, 0, counter);
}

static void flush_peer(struct outbound *out, struct peer *peer, uint32_t flush)
{
    struct keypair *keypair = control_keypair(out, peer);
    struct keypair *user = gate_user_keypair(&peer->gate, &peer->slots, &out->dp->limits, out->batch.now_ns);
    struct staged *staged = &peer->lanes[out->worker].staged;
    uint32_t carried = 0; /* on `keypair` */

    if (!peer->endpoint.remote.family)
        return;
    if (keypair)
        carried += carry_queue(out, peer, &staged->control, keypair);
    if (user && carry_queue(out, peer, &staged->user, user) && user == keypair)
        carried++;
    if (carried)
        return;
    /* user packets that wait, or leave on an older keypair, do not confirm a session: the keepalive must */
    if (keypair && (flush & PEER_FLUSH_KEEPALIVE))
        send_keepalive(out, peer, keypair);
    else if (!keypair && ((flush & PEER_FLUSH_KEEPALIVE) || staged_count(staged)))
        want_session(out->dp, peer, out->batch.now_ns);
}

/* Peers that Python, or a confirmed keypair, wants flushed. */
static void serve_flushes(struct outbound *out)
{
    struct peer **head = &out->dp->pairs[out->worker].flush_head;

    for (int i = 0; *head && i < BURST_FRAMES; i++) {
        struct peer *peer = *head;
        struct peer_lane *lane = &peer->lanes[out->worker];
        uint32_t flush = lane->flush;

        *head = lane->flush_next;
        lane->flush_next = NULL;
        lane->flush = 0;
        flush_peer(out, peer, flush);
    }
}

/* One frame into out->frame: its length, 0 for nothing there, -errno when the TUN is gone. */
static ssize_t read_frame(struct outbound *out)
{
    ssize_t length;

    do {
        length = out->dp->system.read(out->read_fd, out->frame, FRAME_MAX);
    } while (length < 0 && errno == EINTR);
    if (length >= 0)
        return length;
    if (errno == EBADFD || errno == EBADF || errno == ENODEV)
        return -errno;
    if (errno == EAGAIN)
        return 0;
    if (errno != EIO)
        count_drop(out->dp, DROP_TUN_READ);
    out->is_link_down = true; /* or as good as: what fails now would fail at once again */
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
    out->batch.now_ns = now_boottime_ns();
    serve_flushes(out);
    while (batch_has_room(&out->batch) && frames++ < BURST_FRAMES && (length = read_frame(out)) > 0) {
        frame_arrived(out, (size_t)length);
        batch_send_full(&out->batch);
    }
    batch_send(&out->batch);
    more = length > 0 || dp->pairs[out->worker].flush_head;
    pthread_rwlock_unlock(&dp->lock);
    deferred_apply(&out->batch.deferred, dp);
    return length < 0 ? (int)length : more;
}

/* Sleeps until there is something to do. -errno: the descriptor is closed or its other end is. */
static int outbound_wait(struct outbound *out)
{
    struct pollfd fds[2] = {{.fd = out->dp->pairs[out->worker].wake_outbound, .events = POLLIN},
                            {.fd = out->read_fd, .events = POLLIN}};
    /* a TUN that is down is readable and says EIO: look again later instead of spinning */
    int ready = poll(fds, out->is_link_down ? 1 : 2, out->is_link_down ? LINK_DOWN_PAUSE_MS : -1);

    out->is_link_down = false;
    if (ready > 0 && fds[0].revents)
        drain(fds[0].fd);
    if (ready > 0 && (fds[1].revents & POLLNVAL))
        return -EBADF;
    if (ready > 0 && (fds[1].revents & POLLHUP) && !(fds[1].revents & POLLIN))
        return -EBADFD;
    if (ready > 0 && fds[1].revents == POLLERR)
        out->is_link_down = true; /* deleted, which the read will say */
    return 0;
}

int dp_run_outbound(struct dp *dp, uint32_t worker)
{
    struct worker_pair *pair = &dp->pairs[worker < dp->config.workers ? worker : 0];
    struct outbound *out = pair->outbound;
    int result = 0;

    if (worker >= dp->config.workers)
        return -EINVAL;
    if (atomic_exchange(&pair->outbound_runs, true))
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
    atomic_store(&pair->outbound_runs, false);
    return result < 0 ? result : 0;
}

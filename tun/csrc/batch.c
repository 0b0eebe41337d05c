#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "ecn.h"
#include "split.h"

#define BATCH_FULL_PACKETS 64         /* this many are sent without looking for more */
#define BATCH_FULL_BYTES 61600        /* likewise */
#define BATCH_FRAME_BYTES (2 * 65536) /* a frame at most, cut small and grown */

bool batch_init(struct batch *batch, struct dp *dp, uint32_t worker)
{
    batch->dp = dp;
    batch->worker = batch->transmit.worker = worker;
    batch->aead = dp->aead->state_new(worker);
    batch->buffer = aligned_alloc(64, BATCH_BUFFER_LEN);
    return batch->aead && batch->buffer;
}

void batch_destroy(struct batch *batch)
{
    batch->dp->aead->state_free(batch->aead);
    free(batch->buffer);
}

bool batch_has_room(const struct batch *batch)
{
    return BATCH_BUFFER_LEN - batch->used >= BATCH_FRAME_BYTES;
}

/* Sealing failed for a message: it holds cleartext and must not leave. */
static bool is_sealed(const struct aead_op *op)
{
    return op->ok != 0;
}

static uint32_t max_bytes(const struct peer *peer)
{
    return peer->endpoint.remote.family == AF_INET ? SEGMENT_MAX_BYTES4 : SEGMENT_MAX_BYTES6;
}

/* Can this message leave in one send with those before it? */
static bool continues(const struct batch *batch, const struct outgoing *last, const struct segment_batch *run,
                      const struct batch_packet *packet, const uint8_t *data, uint32_t length)
{
    return last->peer == packet->peer && last->ds == packet->ds && last->data + last->length == data &&
           segment_fits(run, length, max_bytes(packet->peer)) &&
           may_segment(batch->dp, batch->worker, packet->peer);
}

/* The run that the message at `count` continues or begins. */
static void note_run(struct batch *batch, const struct batch_packet *packet, uint32_t length)
{
    const struct batch_packet *first = &batch->packets[batch->run_first];

    if (batch->run.count && (first->peer != packet->peer || first->ds != packet->ds ||
                             !segment_fits(&batch->run, length, max_bytes(packet->peer)))) {
        memset(&batch->run, 0, sizeof(batch->run));
        batch->run_first = batch->count;
    }
    segment_add(&batch->run, length);
}

static size_t build_outgoing(struct batch *batch, size_t count)
{
    struct segment_batch run = {0};
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        uint8_t *data = batch->ops[i].data - MESSAGE_DATA_HEADER_LEN;
        uint32_t length = split_message_len(batch->ops[i].length);
        struct outgoing *last = n ? &batch->outgoing[n - 1] : NULL;

        if (!is_sealed(&batch->ops[i]))
            continue;
        if (!last || !continues(batch, last, &run, &batch->packets[i], data, length)) {
            last = &batch->outgoing[n++];
            memset(&run, 0, sizeof(run));
            memset(last, 0, sizeof(*last));
            last->peer = batch->packets[i].peer;
            last->ds = batch->packets[i].ds;
            last->data = data;
            last->segment = length;
        }
        segment_add(&run, length);
        last->length += length;
        last->count++;
        last->with_data += batch->ops[i].length > 0;
    }
    return n;
}

/*
 * Stamps before the send: on a short path the answer is here before the send returns, and clearing first what
 * is stamped afterwards would leave a question open that was answered.
 */
static void stamp(struct batch *batch, struct outgoing *sending)
{
    struct dp_record *record = sending->peer->record;

    sending->owed_ns = record_get(&record->rx_unanswered_ns);
    record_clear(&record->rx_unanswered_ns);
    if (sending->with_data)
        record_stamp_first(&record->tx_unanswered_ns, batch->now_ns);
}

/* Nothing was sent after all: nobody was answered, no answer is to be expected. */
static void take_stamps_back(struct batch *batch, const struct outgoing *failed)
{
    struct dp_record *record = failed->peer->record;

    if (failed->owed_ns)
        record_stamp_first(&record->rx_unanswered_ns, failed->owed_ns);
    if (failed->with_data && record_get(&record->tx_unanswered_ns) == batch->now_ns)
        record_set(&record->tx_unanswered_ns, 0);
}

static void account(struct batch *batch, const struct outgoing *sent)
{
    struct dp_record *record = sent->peer->record;
    uint32_t failed = sent->count - sent->sent;

    if (failed) {
        record_add(&record->tx_errors, failed);
        count_drops(batch->dp, DROP_SEND, failed);
    }
    if (!sent->sent) {
        take_stamps_back(batch, sent);
        return;
    }
    record_add(&record->tx_bytes, sent->sent_bytes);
    record_add(&record->tx_packets, sent->sent);
    record_set(&record->last_tx_auth_ns, batch->now_ns);
    if (sent->with_data)
        record_set(&record->last_tx_data_ns, batch->now_ns);
}

/* Seals and sends the first `count` messages; the others move up in the list and stay where they lie. */
static void send_first(struct batch *batch, size_t count)
{
    size_t n;

    batch->dp->aead->seal_batch(batch->aead, batch->ops, count);
    n = build_outgoing(batch, count);
    for (size_t i = 0; i < n; i++)
        stamp(batch, &batch->outgoing[i]);
    transmit_batch(batch->dp, &batch->transmit, batch->outgoing, n, &batch->deferred);
    for (size_t i = 0; i < n; i++)
        account(batch, &batch->outgoing[i]);
    batch->count -= count;
    memmove(batch->ops, batch->ops + count, batch->count * sizeof(batch->ops[0]));
    memmove(batch->packets, batch->packets + count, batch->count * sizeof(batch->packets[0]));
}

void batch_send(struct batch *batch)
{
    if (batch->count)
        send_first(batch, batch->count);
    batch->used = 0;
    batch->run_first = 0;
    memset(&batch->run, 0, sizeof(batch->run));
}

static bool is_worth_a_send(const struct batch *batch)
{
    if (!batch->count)
        return false;
    size_t first = (size_t)(batch->ops[0].data - batch->buffer) - MESSAGE_DATA_HEADER_LEN;

    return batch->count >= BATCH_FULL_PACKETS || batch->used - first >= BATCH_FULL_BYTES;
}

void batch_send_full(struct batch *batch)
{
    const struct batch_packet *last = &batch->packets[batch->run_first];

    if (!is_worth_a_send(batch))
        return;
    if (!segment_fits(&batch->run, batch->run.size, max_bytes(last->peer))) {
        send_first(batch, batch->count);
        memset(&batch->run, 0, sizeof(batch->run));
        batch->run_first = 0;
    } else if (batch->run_first) {
        send_first(batch, batch->run_first);
        batch->run_first = 0;
    }
}

void batch_commit(struct batch *batch, struct peer *peer, struct keypair *keypair, uint64_t counter,
                  uint8_t ds)
{
    struct aead_op *op = &batch->ops[batch->count];
    struct batch_packet *packet = &batch->packets[batch->count];

    op->key = keypair->send;
    op->counter = counter;
    put_data_header(op->data - MESSAGE_DATA_HEADER_LEN, keypair->remote_index, counter);
    packet->peer = peer;
    packet->ds = has_feature(batch->dp, DP_FEATURE_ECN) ? ecn_encapsulate(ds) : 0;
    batch->used = (size_t)(op->data - batch->buffer) + op->length + TAG_LEN;
    note_run(batch, packet, split_message_len(op->length));
    batch->count++;
}

void batch_carry(struct batch *batch, struct peer *peer, struct keypair *keypair, const uint8_t *packet,
                 uint32_t length, uint8_t ds, uint64_t counter)
{
    if (batch->count == BATCH_PACKETS || batch->used + split_message_len(length) > BATCH_BUFFER_LEN)
        batch_send(batch);
    batch->ops[batch->count].data = batch->buffer + batch->used + MESSAGE_DATA_HEADER_LEN;
    batch->ops[batch->count].length = length;
    if (length)
        memcpy(batch->ops[batch->count].data, packet, length);
    batch_commit(batch, peer, keypair, counter, ds);
}

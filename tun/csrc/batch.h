/*
 * Messages on their way out: laid out one behind the other in one buffer, sealed in place, handed to the
 * kernel as runs for UDP_SEGMENT, and accounted for. A batch may hold messages of several peers. Knows
 * nothing of the TUN. The pointers in it are good while the lock is held shared: it is sent before the lock
 * is released.
 */
#ifndef WGPY_BATCH_H
#define WGPY_BATCH_H

#include "segment.h"
#include "transmit.h"

#define BATCH_PACKETS 192 /* messages gathered at most */
#define BATCH_BUFFER_LEN                                                                                     \
    (6 * 65536) /* what a burst carries, and one more frame grown by headers and tags                        \
                 */

struct batch_packet {
    struct peer *peer;
    uint8_t ds; /* outer */
};

/* One per outbound worker; everything in it is [tx]. */
struct batch {
    struct dp *dp;
    uint32_t worker;
    struct aead_state *aead;
    uint64_t now_ns;  /* of this burst */
    uint8_t *buffer;  /* BATCH_BUFFER_LEN */
    size_t used;      /* of buffer */
    size_t count;     /* of ops and packets: those not yet sent */
    size_t run_first; /* of them, where the last run begins */
    struct segment_batch run;
    struct aead_op ops[BATCH_PACKETS];
    struct batch_packet packets[BATCH_PACKETS];
    struct outgoing outgoing[BATCH_PACKETS];
    struct transmit transmit;
    struct deferred deferred;
};

bool batch_init(struct batch *batch, struct dp *dp,
                uint32_t worker); /* false: no memory; destroy it anyway */
void batch_destroy(struct batch *batch);

/* Is there room for one more frame, however it grows? If not, the burst ends. */
bool batch_has_room(const struct batch *batch);

/* The op at ops[count] lies ready behind what is used: takes it in with a counter and a header. `ds` is
 * inner. */
void batch_commit(struct batch *batch, struct peer *peer, struct keypair *keypair, uint64_t counter,
                  uint8_t ds);
/* A copy of a packet (staged before), or with length 0 a keepalive; sends the batch first if there is no
 * room. */
void batch_carry(struct batch *batch, struct peer *peer, struct keypair *keypair, const uint8_t *packet,
                 uint32_t length, uint8_t ds, uint64_t counter);
/* Seals and sends everything. */
void batch_send(struct batch *batch);
/*
 * If there is enough to be worth a send: seals and sends it, but for the last run if more messages fit into
 * it. A super-packet is seldom a whole number of full sends; what is left over waits for the next frame of
 * the burst, not longer.
 */
void batch_send_full(struct batch *batch);

#endif

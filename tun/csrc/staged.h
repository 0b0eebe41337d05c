/*
 * Packets of one peer that wait for a keypair: two queues in order of arrival, so that control packets do not
 * queue behind user packets that the gate holds. Bounded in packets and in bytes, here and per device;
 * the oldest goes first. Staging allocates: it is the one path of packets that may, since it sends nothing.
 *
 * A peer has one for each outbound worker: a flow is read by one of them, so its packets keep their order.
 * Used by that worker, or under the exclusive lock; only the device's bytes are counted by all of them.
 */
#ifndef WGPY_STAGED_H
#define WGPY_STAGED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAGED_MAX_PACKETS 128
#define STAGED_MAX_BYTES (1u << 20)         /* of both queues */
#define STAGED_MAX_AGE_NS 90000000000ull    /* REKEY_ATTEMPT_TIME: who sent it has given up */
#define STAGED_MAX_DEVICE_BYTES (64u << 20) /* all peers together */

struct staged_packet {
    struct staged_packet *next;
    uint64_t since_ns;
    uint32_t length; /* of the plaintext, padding included */
    uint8_t ds;      /* of the inner header */
    uint8_t data[];
};

struct staged_queue {
    struct staged_packet *head;
    struct staged_packet *tail;
    uint32_t count;
    uint32_t bytes;
};

struct staged {
    struct staged_queue user;
    struct staged_queue control;
};

static inline uint32_t staged_count(const struct staged *staged)
{
    return staged->user.count + staged->control.count;
}

/*
 * Copies a packet to the end of its queue. Returns how many packets were dropped for it: old ones of the same
 * peer beyond the bounds, or the packet itself if memory or the device's bytes are used up.
 */
uint32_t staged_add(struct staged *staged, bool control, const uint8_t *packet, uint32_t length, uint8_t ds,
                    uint64_t now_ns, _Atomic size_t *device_bytes);
/* Drops what waits too long; returns how many packets that were. */
uint32_t staged_expire(struct staged *staged, uint64_t now_ns, _Atomic size_t *device_bytes);
/* Takes the oldest; NULL if there is none. The caller frees it with staged_free. */
struct staged_packet *staged_take(struct staged_queue *queue, _Atomic size_t *device_bytes);
void staged_free(struct staged_packet *packet);
/* Drops all; returns how many there were. */
uint32_t staged_drop(struct staged *staged, _Atomic size_t *device_bytes);

#endif

#include "staged.h"

#include <stdlib.h>
#include <string.h>

struct staged_packet *staged_take(struct staged_queue *queue, _Atomic size_t *device_bytes)
{
    struct staged_packet *packet = queue->head;

    if (!packet)
        return NULL;
    queue->head = packet->next;
    if (!queue->head)
        queue->tail = NULL;
    queue->count--;
    queue->bytes -= packet->length;
    atomic_fetch_sub_explicit(device_bytes, packet->length, memory_order_relaxed);
    return packet;
}

void staged_free(struct staged_packet *packet)
{
    if (packet)
        explicit_bzero(packet->data, packet->length); /* cleartext of the user */
    free(packet);
}

static uint32_t queue_drop(struct staged_queue *queue, _Atomic size_t *device_bytes)
{
    uint32_t count = queue->count;

    while (queue->head)
        staged_free(staged_take(queue, device_bytes));
    return count;
}

uint32_t staged_drop(struct staged *staged, _Atomic size_t *device_bytes)
{
    return queue_drop(&staged->user, device_bytes) + queue_drop(&staged->control, device_bytes);
}

static uint32_t queue_expire(struct staged_queue *queue, uint64_t now_ns, _Atomic size_t *device_bytes)
{
    uint32_t dropped = 0;

    for (; queue->head && now_ns > queue->head->since_ns + STAGED_MAX_AGE_NS; dropped++)
        staged_free(staged_take(queue, device_bytes));
    return dropped;
}

uint32_t staged_expire(struct staged *staged, uint64_t now_ns, _Atomic size_t *device_bytes)
{
    return queue_expire(&staged->user, now_ns, device_bytes) +
           queue_expire(&staged->control, now_ns, device_bytes);
}

static void append(struct staged_queue *queue, struct staged_packet *packet)
{
    if (queue->tail)
        queue->tail->next = packet;
    else
        queue->head = packet;
    queue->tail = packet;
    queue->count++;
    queue->bytes += packet->length;
}

/* Is one more packet of this length too much for the peer? */
static bool is_full(const struct staged *staged, uint32_t length)
{
    return staged_count(staged) >= STAGED_MAX_PACKETS ||
           staged->user.bytes + staged->control.bytes + length > STAGED_MAX_BYTES;
}

uint32_t staged_add(struct staged *staged, bool control, const uint8_t *packet, uint32_t length, uint8_t ds,
                    uint64_t now_ns, _Atomic size_t *device_bytes)
{
    struct staged_queue *queue = control ? &staged->control : &staged->user;
    struct staged_packet *entry;
    uint32_t dropped = 0;

    /* user packets make room for control packets, never the other way round */
    while (is_full(staged, length)) {
        struct staged_queue *from = control && staged->user.head ? &staged->user : queue;

        if (!from->head)
            return dropped + 1;
        staged_free(staged_take(from, device_bytes));
        dropped++;
    }
    if (atomic_load_explicit(device_bytes, memory_order_relaxed) + length > STAGED_MAX_DEVICE_BYTES)
        return dropped + 1;
    entry = malloc(sizeof(*entry) + length);
    if (!entry)
        return dropped + 1;
    entry->next = NULL;
    entry->since_ns = now_ns;
    entry->length = length;
    entry->ds = ds;
    memcpy(entry->data, packet, length);
    atomic_fetch_add_explicit(device_bytes, length, memory_order_relaxed);
    append(queue, entry);
    return dropped;
}

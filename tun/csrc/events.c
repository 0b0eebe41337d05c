#include "events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int events_init(struct events *events)
{
    memset(events, 0, sizeof(*events));
    events->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (events->fd < 0)
        return -errno;
    events->ring = calloc(EVENTS_CAPACITY, sizeof(*events->ring));
    if (!events->ring) {
        close(events->fd);
        return -ENOMEM;
    }
    pthread_mutex_init(&events->lock, NULL);
    return 0;
}

void events_destroy(struct events *events)
{
    if (!events->ring)
        return;
    pthread_mutex_destroy(&events->lock);
    free(events->ring);
    events->ring = NULL;
    close(events->fd);
}

static void signal_readable(struct events *events)
{
    uint64_t one = 1;
    ssize_t written = write(events->fd, &one, sizeof(one)); /* EAGAIN: it is readable already */

    (void)written;
}

/* So many handshake messages wait, or were held back: is that load? */
static void judge_load(struct events *events, uint32_t messages, uint64_t now_ns)
{
    if (messages < EVENTS_UNDER_LOAD)
        return;
    events->loaded_until_ns = now_ns + EVENTS_LOAD_STICKY_NS;
    events->held_back = 0;
}

bool events_push(struct events *events, const struct dp_event *event)
{
    bool pushed = false;

    pthread_mutex_lock(&events->lock);
    if (events->depth[event->kind] < EVENTS_QUOTA && events->count < EVENTS_CAPACITY) {
        events->ring[(events->head + events->count) % EVENTS_CAPACITY] = *event;
        events->depth[event->kind]++;
        pushed = true;
        if (events->count++ == 0)
            signal_readable(events);
        judge_load(events, events->depth[DP_EVENT_HANDSHAKE], event->time_ns);
    }
    pthread_mutex_unlock(&events->lock);
    return pushed;
}

size_t events_take(struct events *events, struct dp_event *out, size_t max)
{
    uint64_t ignored;
    size_t taken = 0;

    pthread_mutex_lock(&events->lock);
    while (events->count && taken < max) {
        struct dp_event *event = &events->ring[events->head];

        events->depth[event->kind]--;
        if (event->kind)
            out[taken++] = *event;
        explicit_bzero(event, sizeof(*event));
        events->head = (events->head + 1) % EVENTS_CAPACITY;
        events->count--;
    }
    if (!events->count) {
        events->head = 0; /* the same few pages again, not the whole ring in the course of time */
        if (read(events->fd, &ignored, sizeof(ignored)) < 0)
            ignored = 0; /* nothing was signalled */
    }
    pthread_mutex_unlock(&events->lock);
    return taken;
}

void events_forget(struct events *events, uint32_t peer)
{
    pthread_mutex_lock(&events->lock);
    for (uint32_t i = 0; i < events->count; i++) {
        struct dp_event *event = &events->ring[(events->head + i) % EVENTS_CAPACITY];

        if (event->kind && event->peer == peer) {
            events->depth[event->kind]--;
            events->depth[0]++;
            event->kind = 0;
        }
    }
    pthread_mutex_unlock(&events->lock);
}

bool events_under_load(struct events *events, uint64_t now_ns)
{
    bool loaded;

    pthread_mutex_lock(&events->lock);
    judge_load(events, events->depth[DP_EVENT_HANDSHAKE], now_ns);
    loaded = now_ns < events->loaded_until_ns;
    pthread_mutex_unlock(&events->lock);
    return loaded;
}

void events_held_back(struct events *events, uint64_t now_ns)
{
    pthread_mutex_lock(&events->lock);
    judge_load(events, ++events->held_back, now_ns);
    pthread_mutex_unlock(&events->lock);
}

bool events_are_few(struct events *events)
{
    bool few;

    pthread_mutex_lock(&events->lock);
    few = events->depth[DP_EVENT_HANDSHAKE] < EVENTS_UNDER_LOAD;
    pthread_mutex_unlock(&events->lock);
    return few;
}

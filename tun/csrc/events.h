/*
 * What the data plane tells Python: a bounded ring behind an eventfd. Each kind has a quota of its own, so
 * that a flood of handshake messages cannot crowd out the news of a confirmed keypair.
 */
#ifndef WGPY_EVENTS_H
#define WGPY_EVENTS_H

#include <pthread.h>
#include <stdbool.h>

#include "dataplane.h"

#define EVENTS_QUOTA 4096 /* the kernel module's queue; memory that was never used costs nothing */
#define EVENTS_KINDS 5 /* DP_EVENT_*, counted from 1 */
#define EVENTS_CAPACITY ((EVENTS_KINDS - 1) * EVENTS_QUOTA)
#define EVENTS_UNDER_LOAD (EVENTS_QUOTA / 8) /* unprocessed handshake messages: a quarter second's work */
#define EVENTS_LOAD_STICKY_NS 1000000000ull

struct events {
    pthread_mutex_t lock; /* guards everything below; a leaf: nothing else is taken while it is held */
    struct dp_event *ring;
    uint32_t head; /* the oldest */
    uint32_t count;
    uint32_t depth[EVENTS_KINDS]; /* waiting, per kind; 0 = forgotten ones */
    uint64_t loaded_until_ns;
    uint32_t held_back; /* handshake messages, since load was last found */
    int fd;
};

int events_init(struct events *events); /* -errno */
void events_destroy(struct events *events);
/* False: this kind's quota is used up. */
bool events_push(struct events *events, const struct dp_event *event);
size_t events_take(struct events *events, struct dp_event *out, size_t max);
/* A peer's number is about to be given away: what waits for it is not for its heir. */
void events_forget(struct events *events, uint32_t peer);
/* Are handshake messages coming faster than Python takes them? Sticky for a second. */
bool events_under_load(struct events *events, uint64_t now_ns);
/*
 * Load kept a handshake message out. As many as would have been load keep it up: the queue is short because of
 * them, and without this a flood would be let in again, that many at once, every second.
 */
void events_held_back(struct events *events, uint64_t now_ns);
/* Do fewer handshake messages wait at this moment than would be load? */
bool events_are_few(struct events *events);

#endif

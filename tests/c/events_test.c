#include "events.h"

#include <poll.h>

#include "harness.h"

static struct events events;
static struct dp_event taken[64];

static int readable(void)
{
    struct pollfd fd = {.fd = events.fd, .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static int push(uint32_t kind, uint32_t peer)
{
    struct dp_event event = {.kind = kind, .peer = peer, .time_ns = 1};
    return events_push(&events, &event);
}

static size_t take_all(void)
{
    size_t n, all = 0;
    while ((n = events_take(&events, taken, 64)) > 0)
        all += n;
    return all;
}

static void the_descriptor_is_readable_exactly_while_events_wait(void)
{
    CHECK(!readable());
    CHECK(push(DP_EVENT_CONFIRMED, 1) && push(DP_EVENT_CONFIRMED, 2));
    CHECK(readable());
    CHECK_EQUAL(events_take(&events, taken, 1), 1);
    CHECK_EQUAL(taken[0].peer, 1);
    CHECK(readable());
    CHECK_EQUAL(events_take(&events, taken, 64), 1);
    CHECK_EQUAL(taken[0].peer, 2);
    CHECK(!readable());
}

static void a_flood_of_one_kind_leaves_room_for_the_others(void)
{
    int pushed = 0;
    for (int i = 0; i < 5000; i++)
        pushed += push(DP_EVENT_HANDSHAKE, DP_NO_PEER);
    CHECK_EQUAL(pushed, EVENTS_QUOTA);
    CHECK(push(DP_EVENT_CONFIRMED, 1));
    CHECK_EQUAL(take_all(), EVENTS_QUOTA + 1);
    CHECK(!readable());
}

static void an_eighth_of_the_queue_is_load_for_a_second_more(void)
{
    events.loaded_until_ns = 0;
    for (int i = 0; i < EVENTS_UNDER_LOAD - 1; i++)
        push(DP_EVENT_HANDSHAKE, DP_NO_PEER);
    for (int i = 0; i < EVENTS_UNDER_LOAD; i++)
        push(DP_EVENT_WANT_SESSION, 1);
    CHECK(!events_under_load(&events, 100));
    push(DP_EVENT_HANDSHAKE, DP_NO_PEER);
    CHECK(events_under_load(&events, 100));
    take_all();
    CHECK(events_under_load(&events, 100 + EVENTS_LOAD_STICKY_NS - 1));
    CHECK(!events_under_load(&events, 100 + EVENTS_LOAD_STICKY_NS));
}

static void what_load_holds_back_keeps_it_up(void)
{
    uint64_t ended = 100 + 2 * EVENTS_LOAD_STICKY_NS - 1;

    events.loaded_until_ns = 0;
    for (int i = 0; i < EVENTS_UNDER_LOAD; i++)
        push(DP_EVENT_HANDSHAKE, DP_NO_PEER);
    CHECK(events_under_load(&events, 100));
    take_all();
    for (int i = 0; i < EVENTS_UNDER_LOAD; i++)
        events_held_back(&events, 100 + EVENTS_LOAD_STICKY_NS - 1);
    CHECK(events_under_load(&events, ended - 1));
    for (int i = 0; i < EVENTS_UNDER_LOAD - 1; i++)
        events_held_back(&events, ended - 1);
    CHECK(!events_under_load(&events, ended));
}

static void events_of_a_removed_peer_are_forgotten(void)
{
    push(DP_EVENT_CONFIRMED, 1);
    push(DP_EVENT_CONFIRMED, 2);
    push(DP_EVENT_WANT_SESSION, 1);
    events_forget(&events, 1);
    CHECK_EQUAL(events_take(&events, taken, 64), 1);
    CHECK_EQUAL(taken[0].peer, 2);
    CHECK(!readable());
    push(DP_EVENT_CONFIRMED, 1);
    events_forget(&events, 1);
    CHECK_EQUAL(events_take(&events, taken, 64), 0);
    CHECK(!readable());
}

static void order_holds_around_the_end_of_the_ring(void)
{
    CHECK(push(DP_EVENT_CONFIRMED, 0));
    for (uint32_t i = 1; i <= EVENTS_CAPACITY + 10; i++) {
        CHECK(push(DP_EVENT_CONFIRMED, i));
        CHECK_EQUAL(events_take(&events, taken, 1), 1);
        CHECK_EQUAL(taken[0].peer, i - 1);
    }
    CHECK_EQUAL(take_all(), 1);
}

static void an_empty_ring_begins_at_its_start_again(void)
{
    for (int i = 0; i < 3; i++) {
        CHECK(push(DP_EVENT_CONFIRMED, 1));
        CHECK_EQUAL(take_all(), 1);
        CHECK_EQUAL(events.head, 0);
    }
}

int main(void)
{
    CHECK_EQUAL(events_init(&events), 0);
    RUN(the_descriptor_is_readable_exactly_while_events_wait);
    RUN(a_flood_of_one_kind_leaves_room_for_the_others);
    RUN(an_eighth_of_the_queue_is_load_for_a_second_more);
    RUN(what_load_holds_back_keeps_it_up);
    RUN(events_of_a_removed_peer_are_forgotten);
    RUN(order_holds_around_the_end_of_the_ring);
    RUN(an_empty_ring_begins_at_its_start_again);
    events_destroy(&events);
    return 0;
}

#include "receive_handshake.h"

#include <string.h>

#include "cookie_replies.h"
#include "packet.h"

/* The owner of the receiver index, if its entry is one this message may address. */
static bool find_owner(struct dp *dp, const uint8_t *message, uint32_t type, uint32_t *peer)
{
    const struct index_entry *entry;

    *peer = DP_NO_PEER;
    if (type == MESSAGE_INITIATION)
        return true;
    entry = index_find(&dp->indices, message_receiver(message, type));
    if (!entry || (type == MESSAGE_RESPONSE && entry->kind != INDEX_HANDSHAKE))
        return false;
    *peer = entry->peer;
    return true;
}

/* Under load only those who receive at their source address, and not too often (section 5.4). */
static bool passes_load(struct dp *dp, uint32_t worker, const uint8_t *message, uint32_t length,
                        const struct dp_endpoint *source, uint64_t now_ns)
{
    struct cookie_checker *cookies = dp->pairs[worker].cookies;

    if (!events_under_load(&dp->events, now_ns))
        return true;
    if (!cookie_mac2_valid(cookies, message, length, &source->remote, now_ns)) {
        count_drop(dp, DROP_HANDSHAKE_COOKIE);
        events_held_back(&dp->events, now_ns);
        cookie_replies_add(dp, worker, message, length, source, now_ns);
        return false;
    }
    if (!ratelimiter_allow(dp->ratelimiter, &source->remote, now_ns)) {
        count_drop(dp, DROP_HANDSHAKE_RATE);
        return false;
    }
    return true;
}

static bool passes_macs(struct dp *dp, uint32_t worker, const uint8_t *message, uint32_t length,
                        const struct dp_endpoint *source, uint64_t now_ns)
{
    if (!cookie_mac1_valid(dp->pairs[worker].cookies, message, length)) {
        count_drop(dp, DROP_HANDSHAKE_MAC1);
        return false;
    }
    return passes_load(dp, worker, message, length, source, now_ns);
}

/*
 * A cookie reply carries no mac: whoever saw an index of ours on the wire can make them. So only a few of one
 * source, and none that would take the place of messages whose macs were right.
 */
static bool passes_cookie_reply(struct dp *dp, const struct dp_endpoint *source, uint64_t now_ns)
{
    if (events_are_few(&dp->events) && ratelimiter_allow(dp->reply_rate, &source->remote, now_ns))
        return true;
    count_drop(dp, DROP_HANDSHAKE_RATE);
    return false;
}

void handshake_arrived(struct dp *dp, uint32_t worker, const uint8_t *message, uint32_t length, uint32_t type,
                       const struct dp_endpoint *source, uint64_t now_ns)
{
    struct dp_event event = {
        .kind = DP_EVENT_HANDSHAKE, .length = length, .time_ns = now_ns, .source = *source};

    if (!dp->has_identity) {
        count_drop(dp, DROP_HANDSHAKE_IDENTITY);
        return;
    }
    if (!find_owner(dp, message, type, &event.peer)) {
        count_drop(dp, DROP_HANDSHAKE_INDEX);
        return;
    }
    if (type == MESSAGE_COOKIE_REPLY ? !passes_cookie_reply(dp, source, now_ns)
                                     : !passes_macs(dp, worker, message, length, source, now_ns))
        return;
    memcpy(event.message, message, length);
    raise_event(dp, &event);
}

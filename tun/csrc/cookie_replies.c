#include "cookie_replies.h"

#include <stdlib.h>
#include <sys/random.h>

#include "loop.h"
#include "packet.h"
#include "transmit.h"

#define BUCKET_BITS 12
#define BUCKETS (1u << BUCKET_BITS)

/* Each number is when a bucket of tokens will be full again. Sources share a bucket by chance, 1 in 4096. */
struct budget {
    uint64_t all_full_ns;
    uint64_t source_full_ns[BUCKETS];
};

struct cookie_replies {
    uint64_t hash_key[3];
    uint64_t interval_ns; /* between replies to all strangers, or to all peers */
    struct budget peers;
    struct budget strangers;
    size_t count; /* of waiting */
    struct reply waiting[REPLIES_AT_ONCE];
    struct transmit transmit;
};

struct cookie_replies *cookie_replies_new(uint32_t worker, uint32_t workers)
{
    struct cookie_replies *replies = calloc(1, sizeof(*replies));

    if (replies &&
        getrandom(replies->hash_key, sizeof(replies->hash_key), 0) != (ssize_t)sizeof(replies->hash_key)) {
        free(replies);
        return NULL;
    }
    if (replies) {
        replies->interval_ns = REPLIES_INTERVAL_NS * workers;
        replies->transmit.worker = worker;
    }
    return replies;
}

void cookie_replies_free(struct cookie_replies *replies)
{
    free(replies);
}

/* By IPv4 address or IPv6 /64; keyed, so that nobody can aim at another's bucket from outside. */
static uint64_t *bucket_of(const struct cookie_replies *replies, struct budget *budget,
                           const struct dp_address *source)
{
    const uint64_t *key = replies->hash_key;
    uint32_t word[2] = {0};
    uint64_t hash;

    memcpy(word, source->ip, source->family == AF_INET6 ? 8 : 4);
    hash = key[0] * word[0] + key[1] * word[1] + key[2];
    return &budget->source_full_ns[hash >> (64 - BUCKET_BITS)];
}

static bool has_token(uint64_t full_ns, uint64_t now_ns, uint64_t interval_ns, uint64_t burst)
{
    return full_ns <= now_ns || full_ns - now_ns <= (burst - 1) * interval_ns;
}

static void take_token(uint64_t *full_ns, uint64_t now_ns, uint64_t interval_ns)
{
    *full_ns = (*full_ns > now_ns ? *full_ns : now_ns) + interval_ns;
}

static bool spend(struct cookie_replies *replies, struct budget *budget, const struct dp_address *source,
                  uint64_t now_ns)
{
    uint64_t *bucket = bucket_of(replies, budget, source);

    if (!has_token(*bucket, now_ns, REPLIES_SOURCE_INTERVAL_NS, REPLIES_SOURCE_BURST) ||
        !has_token(budget->all_full_ns, now_ns, replies->interval_ns, REPLIES_BURST))
        return false;
    take_token(bucket, now_ns, REPLIES_SOURCE_INTERVAL_NS);
    take_token(&budget->all_full_ns, now_ns, replies->interval_ns);
    return true;
}

void cookie_replies_add(struct dp *dp, uint32_t worker, const uint8_t *message, size_t length,
                        const struct dp_endpoint *source, uint64_t now_ns)
{
    struct cookie_replies *replies = dp->pairs[worker].replies;
    bool is_peer = is_endpoint(dp, &source->remote);

    struct reply *reply = &replies->waiting[replies->count];

    if (!spend(replies, is_peer ? &replies->peers : &replies->strangers, &source->remote, now_ns) ||
        cookie_reply(dp->pairs[worker].cookies, message, length, &source->remote, now_ns, reply->bytes))
        return;
    reply->to = *source;
    if (++replies->count == REPLIES_AT_ONCE)
        cookie_replies_send(dp, worker);
}

void cookie_replies_send(struct dp *dp, uint32_t worker)
{
    struct cookie_replies *replies = dp->pairs[worker].replies;

    transmit_replies(dp, &replies->transmit, replies->waiting, replies->count);
    replies->count = 0;
}

#include "ratelimiter.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "packet.h"

#define BUCKET_BITS 12
#define BUCKETS (1u << BUCKET_BITS)
#define NONE 0xffff

struct source {
    uint64_t network; /* IPv4 address, or upper half of an IPv6 address */
    uint64_t last_ns;
    uint64_t budget_ns;
    uint16_t family;
    uint16_t next; /* in its bucket, or in the free list */
};

struct ratelimiter {
    pthread_mutex_t lock; /* guards everything below but hash_key; a leaf */
    uint64_t collected_ns;
    uint64_t hash_key[4];
    uint32_t count;
    uint16_t unused;
    uint16_t buckets[BUCKETS];
    struct source sources[RATELIMITER_MAX];
};

struct ratelimiter *ratelimiter_new(void)
{
    struct ratelimiter *limiter = calloc(1, sizeof *limiter);
    if (!limiter)
        return NULL;
    if (getrandom(limiter->hash_key, sizeof limiter->hash_key, 0) != (ssize_t)sizeof limiter->hash_key) {
        free(limiter);
        return NULL;
    }
    pthread_mutex_init(&limiter->lock, NULL);
    memset(limiter->buckets, 0xff, sizeof limiter->buckets);
    for (uint32_t i = 0; i < RATELIMITER_MAX; i++)
        limiter->sources[i].next = i + 1 < RATELIMITER_MAX ? (uint16_t)(i + 1) : NONE;
    return limiter;
}

void ratelimiter_free(struct ratelimiter *limiter)
{
    if (limiter)
        pthread_mutex_destroy(&limiter->lock);
    free(limiter);
}

uint32_t ratelimiter_count(const struct ratelimiter *limiter)
{
    return limiter->count;
}

/* Multiply-add-shift with random keys: universal, so that nobody can aim at one bucket from outside. */
static uint16_t *bucket_of(struct ratelimiter *limiter, uint64_t network, uint16_t family)
{
    const uint64_t *key = limiter->hash_key;
    uint64_t hash = key[0] * (network >> 32) + key[1] * (network & 0xffffffff) + key[2] * family + key[3];
    return &limiter->buckets[hash >> (64 - BUCKET_BITS)];
}

static uint64_t elapsed(uint64_t since_ns, uint64_t now_ns)
{
    return now_ns > since_ns ? now_ns - since_ns : 0;
}

static void collect_bucket(struct ratelimiter *limiter, uint16_t *link, uint64_t now_ns)
{
    while (*link != NONE) {
        uint16_t at = *link;
        struct source *source = &limiter->sources[at];
        if (elapsed(source->last_ns, now_ns) <= RATELIMITER_IDLE_NS) {
            link = &source->next;
            continue;
        }
        *link = source->next;
        source->next = limiter->unused;
        limiter->unused = at;
        limiter->count--;
    }
}

static void collect(struct ratelimiter *limiter, uint64_t now_ns)
{
    if (limiter->count == 0 || elapsed(limiter->collected_ns, now_ns) < RATELIMITER_IDLE_NS)
        return;
    limiter->collected_ns = now_ns;
    for (uint32_t i = 0; i < BUCKETS; i++)
        collect_bucket(limiter, &limiter->buckets[i], now_ns);
}

static bool spend(struct source *source, uint64_t now_ns)
{
    uint64_t gained = elapsed(source->last_ns, now_ns);
    uint64_t missing = RATELIMITER_BUDGET_NS - source->budget_ns;

    source->budget_ns = gained < missing ? source->budget_ns + gained : RATELIMITER_BUDGET_NS;
    source->last_ns = now_ns;
    if (source->budget_ns < RATELIMITER_COST_NS)
        return false;
    source->budget_ns -= RATELIMITER_COST_NS;
    return true;
}

static bool admit(struct ratelimiter *limiter, uint16_t *bucket, uint64_t network, uint16_t family,
                  uint64_t now_ns)
{
    uint16_t at = limiter->unused;
    if (at == NONE)
        return false;
    struct source *source = &limiter->sources[at];
    limiter->unused = source->next;
    limiter->count++;
    *source = (struct source){.network = network,
                              .last_ns = now_ns,
                              .budget_ns = RATELIMITER_BUDGET_NS - RATELIMITER_COST_NS,
                              .family = family,
                              .next = *bucket};
    *bucket = at;
    return true;
}

static bool allow(struct ratelimiter *limiter, uint64_t network, uint16_t family, uint64_t now_ns)
{
    uint16_t *bucket = bucket_of(limiter, network, family);

    collect(limiter, now_ns);
    for (uint16_t at = *bucket; at != NONE; at = limiter->sources[at].next) {
        struct source *source = &limiter->sources[at];
        if (source->network == network && source->family == family)
            return spend(source, now_ns);
    }
    return admit(limiter, bucket, network, family, now_ns);
}

bool ratelimiter_allow(struct ratelimiter *limiter, const struct dp_address *address, uint64_t now_ns)
{
    uint64_t network = 0;
    bool allowed;

    memcpy(&network, address->ip, address->family == AF_INET6 ? 8 : 4);
    pthread_mutex_lock(&limiter->lock);
    allowed = allow(limiter, network, address->family, now_ns);
    pthread_mutex_unlock(&limiter->lock);
    return allowed;
}

/*
 * The device: create, identity and sockets, observe, free. Calls that name a peer are in configure.c, the
 * packets in send.c and receive.c.
 */
#include "dataplane.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/if_tun.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cookie_replies.h"
#include "internal.h"
#include "loop.h"

#define OFFLOAD_USO 0x60u /* TUN_F_USO4 | TUN_F_USO6, newer than some headers */

uint64_t now_boottime_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void wake(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof(one)); /* EAGAIN: it is awake already */

    (void)written;
}

void drain(int fd)
{
    uint64_t ignored;
    ssize_t taken = read(fd, &ignored, sizeof(ignored)); /* EAGAIN: nothing to drain */

    (void)taken;
}

uint32_t flushes_wanted(const struct dp *dp)
{
    uint32_t workers = 0;

    for (uint32_t worker = 0; worker < dp->config.workers; worker++)
        if (dp->pairs[worker].flush_head)
            workers |= 1u << worker;
    return workers;
}

void wake_outbound(struct dp *dp, uint32_t workers)
{
    for (uint32_t worker = 0; workers >> worker; worker++)
        if (workers >> worker & 1)
            wake(dp->pairs[worker].wake_outbound);
}

void feature_lost(struct dp *dp, uint32_t feature)
{
    atomic_fetch_and_explicit(&dp->features, ~feature, memory_order_relaxed);
}

bool raise_event(struct dp *dp, const struct dp_event *event)
{
    bool pushed = events_push(&dp->events, event);

    if (!pushed)
        count_drop(dp, DROP_EVENT_FULL);
    return pushed;
}

#define WANT_SESSION_INTERVAL_NS 250000000u

void want_session(struct dp *dp, struct peer *peer, uint64_t now_ns)
{
    uint64_t wanted_ns = atomic_load_explicit(&peer->wanted_ns, memory_order_relaxed);

    if (wanted_ns && (now_ns <= wanted_ns || now_ns - wanted_ns < WANT_SESSION_INTERVAL_NS))
        return;
    if (!atomic_compare_exchange_strong(&peer->wanted_ns, &wanted_ns, now_ns))
        return; /* another worker says it */
    if (!raise_event(
            dp, &(struct dp_event){.kind = DP_EVENT_WANT_SESSION, .peer = peer->number, .time_ns = now_ns}))
        atomic_store_explicit(&peer->wanted_ns, wanted_ns, memory_order_relaxed);
}

void device_gone(struct dp *dp, int error, uint64_t now_ns)
{
    raise_event(dp, &(struct dp_event){.kind = DP_EVENT_DEVICE_GONE,
                                       .peer = DP_NO_PEER,
                                       .length = (uint32_t)error,
                                       .time_ns = now_ns});
}

/* glibc's default lets readers starve a writer for ever: with two busy workers a control call would not
 * return. */
static void lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;

    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

/* A read that blocks would block under the lock. */
static bool make_nonblocking(int fd)
{
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static int check_config(const struct dp_config *config)
{
    if (!config->workers || config->workers > DP_MAX_WORKERS)
        return -EINVAL;
    for (uint32_t worker = 0; worker < config->workers; worker++)
        if (!make_nonblocking(config->queues[worker].read_fd) ||
            !make_nonblocking(config->queues[worker].write_fd))
            return -EBADF;
    if (!config->max_peers || config->max_peers > DP_MAX_PEERS || !config->reject_after_time_ns ||
        !config->reject_after_messages || config->reject_after_messages > REJECT_AFTER_MESSAGES)
        return -EINVAL;
    return 0;
}

static uint32_t possible_features(const struct dp_config *config)
{
    uint32_t features = config->features & DP_FEATURE_ALL;

    if (!config->tun_has_vnet_header)
        features &= ~(uint32_t)(DP_FEATURE_TSO | DP_FEATURE_USO | DP_FEATURE_TUN_COALESCE);
    return features;
}

/*
 * Tells the TUN what super-packets we take. Refusing USO is normal before Linux 6.2; a descriptor that knows
 * no offloads at all (a test's socket) gives none, so nothing has to be taken out.
 */
static uint32_t negotiate_offloads(const struct dp_config *config, uint32_t features)
{
    unsigned int tso = features & DP_FEATURE_TSO ? TUN_F_TSO4 | TUN_F_TSO6 : 0;
    unsigned int uso = tso && features & DP_FEATURE_USO ? OFFLOAD_USO : 0;
    int tun_fd = config->queues[0].read_fd; /* what it takes is the interface's, not the queue's */

    if (!config->tun_has_vnet_header)
        return features;
    if (ioctl(tun_fd, TUNSETOFFLOAD, TUN_F_CSUM | tso | uso) == 0)
        return uso ? features : features & ~(uint32_t)DP_FEATURE_USO;
    if (errno != EINVAL)
        return features;
    if (uso && ioctl(tun_fd, TUNSETOFFLOAD, TUN_F_CSUM | tso) == 0)
        return features & ~(uint32_t)DP_FEATURE_USO;
    if (ioctl(tun_fd, TUNSETOFFLOAD, TUN_F_CSUM) == 0)
        return features & ~(uint32_t)(DP_FEATURE_TSO | DP_FEATURE_USO);
    return features & ~(uint32_t)(DP_FEATURE_TSO | DP_FEATURE_USO | DP_FEATURE_TUN_COALESCE);
}

static struct dp_record *map_records(uint32_t max_peers)
{
    void *at = mmap(NULL, max_peers * sizeof(struct dp_record), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

static int allocate_pair(struct dp *dp, uint32_t worker)
{
    struct worker_pair *pair = &dp->pairs[worker];

    pair->wake_outbound = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pair->wake_inbound = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (pair->wake_outbound < 0 || pair->wake_inbound < 0)
        return -errno;
    pair->cookies = cookie_new();
    pair->replies = cookie_replies_new(worker, dp->config.workers);
    pair->outbound = outbound_new(dp, worker);
    pair->inbound = inbound_new(dp, worker);
    return pair->cookies && pair->replies && pair->outbound && pair->inbound ? 0 : -ENOMEM;
}

static int allocate(struct dp *dp)
{
    uint32_t max_peers = dp->config.max_peers;
    int result = events_init(&dp->events);

    if (result)
        return result;
    dp->aead = aead_choose(dp->config.aead);
    if (!dp->aead)
        return -ENOTSUP;
    if (getrandom(dp->endpoint_hash_key, sizeof(dp->endpoint_hash_key), 0) !=
        (ssize_t)sizeof(dp->endpoint_hash_key))
        return -EIO;
    dp->records = map_records(max_peers);
    dp->peers = calloc(max_peers, sizeof(*dp->peers));
    dp->free_numbers = calloc(max_peers, sizeof(*dp->free_numbers));
    dp->allowed_ips = allowedips_new(max_peers);
    dp->endpoints = calloc(ENDPOINT_BUCKETS, sizeof(struct peer *));
    dp->ratelimiter = ratelimiter_new();
    dp->reply_rate = ratelimiter_new();
    if (!dp->records || !dp->peers || !dp->free_numbers || !dp->allowed_ips || !dp->endpoints ||
        !dp->ratelimiter || !dp->reply_rate)
        return -ENOMEM;
    for (uint32_t worker = 0; worker < dp->config.workers && !result; worker++)
        result = allocate_pair(dp, worker);
    return result ? result : index_init(&dp->indices);
}

static int prepare_pair(struct dp *dp, struct udp_socket_pair *pair, const struct dp_socket_pair *from)
{
    bool gso = has_feature(dp, DP_FEATURE_UDP_GSO);
    bool gro = has_feature(dp, DP_FEATURE_UDP_GRO);
    int result = 0;

    if (from->fd4 >= 0)
        result = udp_socket_prepare(&pair->v4, from->fd4, AF_INET, gso, gro);
    if (!result && from->fd6 >= 0)
        result = udp_socket_prepare(&pair->v6, from->fd6, AF_INET6, gso, gro);
    return result;
}

static int prepare_sockets(struct dp *dp, struct udp_sockets *sockets, const struct dp_socket_pair *from,
                           size_t count)
{
    int result = 0;

    memset(sockets, 0, sizeof(*sockets));
    if (count > dp->config.workers)
        return -EINVAL;
    sockets->readers = (uint32_t)count;
    for (size_t i = 0; i < DP_MAX_WORKERS && !result; i++) {
        struct udp_socket_pair *pair = &sockets->pairs[i];

        pair->v4.fd = pair->v6.fd = -1;
        if (i < count)
            result = prepare_pair(dp, pair, &from[i]);
        else if (count)
            *pair = sockets->pairs[i % count];
    }
    return result;
}

struct dp *dp_new(const struct dp_config *config, int *error)
{
    struct dp *dp;

    *error = check_config(config);
    if (*error)
        return NULL;
    dp = aligned_alloc(_Alignof(struct dp), sizeof(*dp));
    if (!dp) {
        *error = -ENOMEM;
        return NULL;
    }
    memset(dp, 0, sizeof(*dp));
    dp->config = *config;
    dp->limits = (struct keypair_limits){.reject_after_time_ns = config->reject_after_time_ns,
                                         .reject_after_messages = config->reject_after_messages,
                                         .rekey_after_messages = config->rekey_after_messages};
    dp->system = (struct system_calls){read, writev, sendmmsg, recvmmsg};
    atomic_init(&dp->mtu, config->mtu);
    atomic_init(&dp->features, negotiate_offloads(config, possible_features(config)));
    prepare_sockets(dp, &dp->sockets, NULL, 0);
    for (uint32_t worker = 0; worker < DP_MAX_WORKERS; worker++)
        dp->pairs[worker].wake_outbound = dp->pairs[worker].wake_inbound = -1;
    lock_init(&dp->lock);
    *error = allocate(dp);
    if (*error) {
        dp_free(dp);
        return NULL;
    }
    return dp;
}

static void free_peers(struct dp *dp)
{
    for (uint32_t number = 0; dp->peers && number < dp->unused_number; number++)
        if (dp->peers[number])
            peer_destroy(dp, dp->peers[number]);
}

/* The caller should have waited; freeing under a worker's feet would be worse than waiting here. */
static void await_runs(struct dp *dp)
{
    struct timespec pause = {.tv_nsec = 100000};

    dp_stop(dp);
    for (uint32_t worker = 0; worker < dp->config.workers; worker++)
        while (atomic_load(&dp->pairs[worker].outbound_runs) || atomic_load(&dp->pairs[worker].inbound_runs))
            nanosleep(&pause, NULL);
}

static void free_pair(struct worker_pair *pair)
{
    outbound_free(pair->outbound);
    inbound_free(pair->inbound);
    cookie_free(pair->cookies);
    cookie_replies_free(pair->replies);
    if (pair->wake_outbound >= 0)
        close(pair->wake_outbound);
    if (pair->wake_inbound >= 0)
        close(pair->wake_inbound);
}

void dp_free(struct dp *dp)
{
    if (!dp)
        return;
    await_runs(dp);
    free_peers(dp);
    for (uint32_t worker = 0; worker < DP_MAX_WORKERS; worker++)
        free_pair(&dp->pairs[worker]);
    index_clear(&dp->indices);
    allowedips_free(dp->allowed_ips);
    ratelimiter_free(dp->ratelimiter);
    ratelimiter_free(dp->reply_rate);
    events_destroy(&dp->events);
    if (dp->records)
        munmap(dp->records, dp->config.max_peers * sizeof(struct dp_record));
    free(dp->peers);
    free(dp->free_numbers);
    free(dp->endpoints);
    pthread_rwlock_destroy(&dp->lock);
    free(dp);
}

uint32_t dp_features(struct dp *dp)
{
    return atomic_load_explicit(&dp->features, memory_order_relaxed);
}

const char *dp_aead_name(struct dp *dp)
{
    return dp->aead->name;
}

void dp_set_mtu(struct dp *dp, uint32_t mtu)
{
    atomic_store_explicit(&dp->mtu, mtu, memory_order_relaxed);
}

int dp_set_identity(struct dp *dp, const uint8_t *public_key)
{
    int result = 0;

    pthread_rwlock_wrlock(&dp->lock);
    for (uint32_t worker = 0; worker < dp->config.workers && !result; worker++)
        result = cookie_set_identity(dp->pairs[worker].cookies, public_key);
    dp->has_identity = public_key != NULL && result == 0;
    pthread_rwlock_unlock(&dp->lock);
    return result;
}

/* The inbound workers may still sleep in poll on the old sockets: closing them is safe once they moved on. */
static void await_sockets_seen(struct dp *dp, uint64_t generation)
{
    struct timespec pause = {.tv_nsec = 50000};

    for (uint32_t worker = 0; worker < dp->config.workers; worker++)
        wake(dp->pairs[worker].wake_inbound);
    for (uint32_t worker = 0; worker < dp->config.workers; worker++) {
        struct worker_pair *pair = &dp->pairs[worker];

        while (atomic_load(&pair->inbound_runs) && atomic_load(&pair->sockets_seen) < generation)
            nanosleep(&pause, NULL);
    }
}

int dp_set_sockets(struct dp *dp, const struct dp_socket_pair *pairs, size_t count)
{
    struct udp_sockets sockets;
    int result = prepare_sockets(dp, &sockets, pairs, count);
    const struct udp_socket_pair *first = &sockets.pairs[0];
    bool any = first->v4.fd >= 0 || first->v6.fd >= 0;

    if (result)
        return result;
    if (any && !(first->v4.gso || first->v6.gso))
        feature_lost(dp, DP_FEATURE_UDP_GSO);
    if (any && !(first->v4.gro || first->v6.gro))
        feature_lost(dp, DP_FEATURE_UDP_GRO);
    pthread_rwlock_wrlock(&dp->lock);
    sockets.generation = dp->sockets.generation + 1;
    dp->sockets = sockets;
    pthread_rwlock_unlock(&dp->lock);
    await_sockets_seen(dp, sockets.generation);
    return 0;
}

void dp_stop(struct dp *dp)
{
    atomic_store(&dp->is_stopped, true);
    for (uint32_t worker = 0; worker < dp->config.workers; worker++) {
        wake(dp->pairs[worker].wake_outbound);
        wake(dp->pairs[worker].wake_inbound);
    }
}

const struct dp_record *dp_records(struct dp *dp)
{
    return dp->records;
}

const uint64_t *dp_drops(struct dp *dp)
{
    return dp->drops;
}

int dp_event_fd(struct dp *dp)
{
    return dp->events.fd;
}

int dp_events(struct dp *dp, struct dp_event *out, size_t max)
{
    return (int)events_take(&dp->events, out, max < EVENTS_CAPACITY ? max : EVENTS_CAPACITY);
}

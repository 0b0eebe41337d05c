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
    if (peer->wanted_ns && now_ns - peer->wanted_ns < WANT_SESSION_INTERVAL_NS)
        return;
    if (raise_event(
            dp, &(struct dp_event){.kind = DP_EVENT_WANT_SESSION, .peer = peer->number, .time_ns = now_ns}))
        peer->wanted_ns = now_ns;
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

static int check_config(const struct dp_config *config)
{
    int flags = config->tun_fd < 0 ? -1 : fcntl(config->tun_fd, F_GETFL);

    /* a read that blocks would block under the lock */
    if (flags < 0 || fcntl(config->tun_fd, F_SETFL, flags | O_NONBLOCK) < 0)
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

    if (!config->tun_has_vnet_header)
        return features;
    if (ioctl(config->tun_fd, TUNSETOFFLOAD, TUN_F_CSUM | tso | uso) == 0)
        return uso ? features : features & ~(uint32_t)DP_FEATURE_USO;
    if (errno != EINVAL)
        return features;
    if (uso && ioctl(config->tun_fd, TUNSETOFFLOAD, TUN_F_CSUM | tso) == 0)
        return features & ~(uint32_t)DP_FEATURE_USO;
    if (ioctl(config->tun_fd, TUNSETOFFLOAD, TUN_F_CSUM) == 0)
        return features & ~(uint32_t)(DP_FEATURE_TSO | DP_FEATURE_USO);
    return features & ~(uint32_t)(DP_FEATURE_TSO | DP_FEATURE_USO | DP_FEATURE_TUN_COALESCE);
}

static struct dp_record *map_records(uint32_t max_peers)
{
    void *at = mmap(NULL, max_peers * sizeof(struct dp_record), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

static int allocate(struct dp *dp)
{
    uint32_t max_peers = dp->config.max_peers;
    int result = events_init(&dp->events);

    if (result)
        return result;
    dp->wake_outbound = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    dp->wake_inbound = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (dp->wake_outbound < 0 || dp->wake_inbound < 0)
        return -errno;
    dp->aead = aead_choose(dp->config.aead);
    if (!dp->aead)
        return -ENOTSUP;
    dp->records = map_records(max_peers);
    dp->peers = calloc(max_peers, sizeof(*dp->peers));
    dp->free_numbers = calloc(max_peers, sizeof(*dp->free_numbers));
    dp->allowed_ips = allowedips_new(max_peers);
    dp->endpoint_filter = calloc(LOOP_FILTER_SIZE, sizeof(*dp->endpoint_filter));
    dp->cookies = cookie_new();
    dp->ratelimiter = ratelimiter_new();
    dp->reply_rate = ratelimiter_new();
    dp->replies = cookie_replies_new();
    dp->outbound = outbound_new(dp);
    dp->inbound = inbound_new(dp);
    if (!dp->records || !dp->peers || !dp->free_numbers || !dp->allowed_ips || !dp->endpoint_filter ||
        !dp->cookies || !dp->ratelimiter || !dp->reply_rate || !dp->replies || !dp->outbound || !dp->inbound)
        return -ENOMEM;
    return index_init(&dp->indices);
}

struct dp *dp_new(const struct dp_config *config, int *error)
{
    struct dp *dp;

    *error = check_config(config);
    if (*error)
        return NULL;
    dp = calloc(1, sizeof(*dp));
    if (!dp) {
        *error = -ENOMEM;
        return NULL;
    }
    dp->config = *config;
    dp->limits = (struct keypair_limits){.reject_after_time_ns = config->reject_after_time_ns,
                                         .reject_after_messages = config->reject_after_messages,
                                         .rekey_after_messages = config->rekey_after_messages};
    dp->system = (struct system_calls){read, writev, sendmmsg, recvmmsg};
    atomic_init(&dp->mtu, config->mtu);
    atomic_init(&dp->features, negotiate_offloads(config, possible_features(config)));
    dp->sockets.v4.fd = dp->sockets.v6.fd = -1;
    dp->wake_outbound = dp->wake_inbound = -1;
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
    while (atomic_load(&dp->outbound_runs) || atomic_load(&dp->inbound_runs))
        nanosleep(&pause, NULL);
}

void dp_free(struct dp *dp)
{
    if (!dp)
        return;
    await_runs(dp);
    free_peers(dp);
    outbound_free(dp->outbound);
    inbound_free(dp->inbound);
    index_clear(&dp->indices);
    allowedips_free(dp->allowed_ips);
    cookie_free(dp->cookies);
    ratelimiter_free(dp->ratelimiter);
    ratelimiter_free(dp->reply_rate);
    cookie_replies_free(dp->replies);
    events_destroy(&dp->events);
    if (dp->wake_outbound >= 0)
        close(dp->wake_outbound);
    if (dp->wake_inbound >= 0)
        close(dp->wake_inbound);
    if (dp->records)
        munmap(dp->records, dp->config.max_peers * sizeof(struct dp_record));
    free(dp->peers);
    free(dp->free_numbers);
    free(dp->endpoint_filter);
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
    int result;

    pthread_rwlock_wrlock(&dp->lock);
    result = cookie_set_identity(dp->cookies, public_key);
    dp->has_identity = public_key != NULL && result == 0;
    pthread_rwlock_unlock(&dp->lock);
    return result;
}

static int prepare_sockets(struct dp *dp, struct udp_sockets *sockets, int fd4, int fd6)
{
    bool gso = has_feature(dp, DP_FEATURE_UDP_GSO);
    bool gro = has_feature(dp, DP_FEATURE_UDP_GRO);
    int result = 0;

    sockets->v4.fd = sockets->v6.fd = -1;
    if (fd4 >= 0)
        result = udp_socket_prepare(&sockets->v4, fd4, AF_INET, gso, gro);
    if (!result && fd6 >= 0)
        result = udp_socket_prepare(&sockets->v6, fd6, AF_INET6, gso, gro);
    return result;
}

/* The inbound worker may still sleep in poll on the old sockets: closing them is safe once it has moved on.
 */
static void await_sockets_seen(struct dp *dp, uint64_t generation)
{
    struct timespec pause = {.tv_nsec = 50000};

    wake(dp->wake_inbound);
    while (atomic_load(&dp->inbound_runs) && atomic_load(&dp->sockets_seen) < generation)
        nanosleep(&pause, NULL);
}

int dp_set_sockets(struct dp *dp, int fd4, int fd6)
{
    struct udp_sockets sockets = {0};
    int result = prepare_sockets(dp, &sockets, fd4, fd6);
    bool any = fd4 >= 0 || fd6 >= 0;

    if (result)
        return result;
    if (any && !(sockets.v4.gso || sockets.v6.gso))
        feature_lost(dp, DP_FEATURE_UDP_GSO);
    if (any && !(sockets.v4.gro || sockets.v6.gro))
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
    wake(dp->wake_outbound);
    wake(dp->wake_inbound);
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

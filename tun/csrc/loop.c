#include "loop.h"

#include <string.h>

/* Multiply-add-shift with random keys: who knows an endpoint cannot find others with its hash. */
static struct peer **bucket_of(const struct dp *dp, const struct dp_address *remote)
{
    const uint64_t *key = dp->endpoint_hash_key;
    uint64_t hash = key[0] + key[1] * remote->port;
    size_t words = remote->family == AF_INET ? 1 : 4;
    uint32_t word;

    for (size_t i = 0; i < words; i++) {
        memcpy(&word, remote->ip + 4 * i, 4);
        hash += key[2 + i] * word;
    }
    return &dp->endpoints[hash >> (64 - ENDPOINT_BUCKET_BITS)];
}

void endpoint_link(struct dp *dp, struct peer *peer)
{
    struct peer **bucket = bucket_of(dp, &peer->endpoint.remote);

    if (!peer->endpoint.remote.family)
        return;
    peer->endpoint_next = *bucket;
    *bucket = peer;
}

void endpoint_unlink(struct dp *dp, struct peer *peer)
{
    struct peer **at = bucket_of(dp, &peer->endpoint.remote);

    while (*at && *at != peer)
        at = &(*at)->endpoint_next;
    if (*at)
        *at = peer->endpoint_next;
}

bool is_endpoint(const struct dp *dp, const struct dp_address *address)
{
    size_t length = address->family == AF_INET ? 4 : 16;

    for (const struct peer *peer = *bucket_of(dp, address); peer; peer = peer->endpoint_next) {
        const struct dp_address *remote = &peer->endpoint.remote;

        if (remote->family == address->family && remote->port == address->port &&
            !memcmp(remote->ip, address->ip, length))
            return true;
    }
    return false;
}

bool is_loop(const struct dp *dp, const struct inner *inner)
{
    bool v4 = inner->version == 4;
    const struct udp_socket *sock = v4 ? &dp->sockets.pairs[0].v4 : &dp->sockets.pairs[0].v6;
    const uint8_t *udp = inner->source - (v4 ? 12 : 8) + inner->header_len;
    struct dp_address to = {.family = v4 ? AF_INET : AF_INET6};

    if (inner->protocol != PROTO_UDP || sock->fd < 0 || inner->length < inner->header_len + UDP_HEADER_LEN ||
        get_be16(udp) != sock->port)
        return false;
    to.port = get_be16(udp + 2);
    memcpy(to.ip, inner->destination, v4 ? 4 : 16);
    return is_endpoint(dp, &to);
}

#include "loop.h"

#include <string.h>

/* Multiply-add-shift with random keys: who knows an endpoint cannot find others with its hash. */
static uint32_t hash_of(const struct dp *dp, const struct dp_address *remote)
{
    const uint64_t *key = dp->endpoint_hash_key;
    uint64_t hash = key[0] + key[1] * remote->port;
    size_t words = remote->family == AF_INET ? 1 : 4;
    uint32_t word;

    for (size_t i = 0; i < words; i++) {
        memcpy(&word, remote->ip + 4 * i, 4);
        hash += key[2 + i] * word;
    }
    return (uint32_t)(hash >> (64 - LOOP_FILTER_BITS));
}

/* A counter that reached its end stays there: then it only costs a walk. */
void loop_filter_add(struct dp *dp, const struct dp_address *remote)
{
    uint16_t *counter = &dp->endpoint_filter[hash_of(dp, remote)];

    if (remote->family && *counter < UINT16_MAX)
        ++*counter;
}

void loop_filter_remove(struct dp *dp, const struct dp_address *remote)
{
    uint16_t *counter = &dp->endpoint_filter[hash_of(dp, remote)];

    if (remote->family && *counter && *counter < UINT16_MAX)
        --*counter;
}

bool may_be_endpoint(const struct dp *dp, const struct dp_address *address)
{
    return dp->endpoint_filter[hash_of(dp, address)] != 0;
}

static bool is_endpoint(struct dp *dp, const struct dp_address *address)
{
    size_t length = address->family == AF_INET ? 4 : 16;

    if (!may_be_endpoint(dp, address))
        return false;
    for (uint32_t number = 0; number < dp->unused_number; number++) {
        const struct peer *peer = dp->peers[number];

        if (peer && peer->endpoint.remote.family == address->family &&
            peer->endpoint.remote.port == address->port &&
            !memcmp(peer->endpoint.remote.ip, address->ip, length))
            return true;
    }
    return false;
}

bool is_loop(struct dp *dp, const struct inner *inner)
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

/*
 * A peer's addresses as text, for who shows thousands of peers: one call and no objects.
 */
#include "dataplane.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define ADDRESS_TEXT_MAX 64 /* [address%scope]:port, address/bits, with its line end */
#define FEW 16

struct text {
    char *out;
    size_t size, length; /* length goes on where size ends */
};

static void append(struct text *text, const char *line)
{
    size_t length = strlen(line);

    if (text->length + length <= text->size)
        memcpy(text->out + text->length, line, length);
    text->length += length;
}

static void append_endpoint(struct text *text, const struct dp_address *address)
{
    char ip[INET6_ADDRSTRLEN], zone[16] = "", line[ADDRESS_TEXT_MAX];

    if (!address->family || !inet_ntop(address->family, address->ip, ip, sizeof(ip)))
        snprintf(line, sizeof(line), "\n");
    else if (address->family == AF_INET)
        snprintf(line, sizeof(line), "%s:%u\n", ip, address->port);
    else {
        if (address->scope_id)
            snprintf(zone, sizeof(zone), "%%%u", address->scope_id);
        snprintf(line, sizeof(line), "[%s%s]:%u\n", ip, zone, address->port);
    }
    append(text, line);
}

static void append_prefixes(struct text *text, const struct dp_allowed_ip *prefixes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char ip[INET6_ADDRSTRLEN], line[ADDRESS_TEXT_MAX];

        if (!inet_ntop(prefixes[i].prefix.family, prefixes[i].prefix.ip, ip, sizeof(ip)))
            continue;
        snprintf(line, sizeof(line), "%s/%u\n", ip, prefixes[i].bits);
        append(text, line);
    }
}

int dp_peer_text(struct dp *dp, uint32_t number, char *out, size_t size)
{
    struct text text = {.out = out, .size = size};
    struct dp_allowed_ip few[FEW], *prefixes = few;
    const struct peer *peer;
    size_t count;
    int result = -ENOENT;

    pthread_rwlock_rdlock(&dp->lock);
    peer = peer_find(dp, number);
    if (!peer)
        goto unlock;
    count = allowedips_list(dp->allowed_ips, number, few, FEW);
    result = -ENOMEM;
    if (count > FEW) {
        prefixes = calloc(count, sizeof(*prefixes));
        if (!prefixes)
            goto unlock;
        allowedips_list(dp->allowed_ips, number, prefixes, count);
    }
    append_endpoint(&text, &peer->endpoint.remote);
    append_prefixes(&text, prefixes, count);
    result = (int)text.length;
    if (prefixes != few)
        free(prefixes);
unlock:
    pthread_rwlock_unlock(&dp->lock);
    return result;
}

/* Any sequence of changes: the tries answer as a list that is searched from end to end. */
#include <sys/socket.h>

#include "allowedips.h"
#include "fuzz.h"

#define PEERS 4
#define MAX 128

static struct {
    struct dp_address prefix;
    uint32_t bits, peer;
} list[MAX];
static size_t count;

static int covers(size_t at, const struct dp_address *address)
{
    if (list[at].prefix.family != address->family)
        return 0;
    for (uint32_t bit = 0; bit < list[at].bits; bit++) {
        if ((list[at].prefix.ip[bit / 8] ^ address->ip[bit / 8]) & 0x80 >> bit % 8)
            return 0;
    }
    return 1;
}

static size_t find_exact(const struct dp_address *prefix, uint32_t bits)
{
    size_t at = 0;
    while (at < count && (list[at].bits != bits || !covers(at, prefix)))
        at++;
    return at;
}

static void drop(size_t at)
{
    list[at] = list[--count];
}

static void change(struct allowedips *table, uint8_t what, uint32_t peer, const struct dp_address *prefix,
                   uint32_t bits)
{
    size_t at = find_exact(prefix, bits);
    if (what < 4 && (at < count || count < MAX)) {
        MUST(allowedips_insert(table, peer, prefix, bits) == 0);
        list[at].prefix = *prefix;
        list[at].bits = bits;
        list[at].peer = peer;
        count += at == count;
    } else if (what < 7) {
        MUST(allowedips_remove(table, peer, prefix, bits) == 0);
        if (at < count && list[at].peer == peer)
            drop(at);
    } else {
        allowedips_remove_peer(table, peer);
        for (at = count; at-- > 0;) {
            if (list[at].peer == peer)
                drop(at);
        }
    }
}

static void check(const struct allowedips *table, const struct dp_address *address)
{
    uint32_t expected = DP_NO_PEER, longest = 0;
    for (size_t at = 0; at < count; at++) {
        if (covers(at, address) && (expected == DP_NO_PEER || list[at].bits > longest)) {
            expected = list[at].peer;
            longest = list[at].bits;
        }
    }
    MUST(allowedips_lookup(table, address->family == AF_INET ? 4 : 6, address->ip) == expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct allowedips *table = allowedips_new(PEERS);
    MUST(table);
    count = 0;
    while (input.left > 0) {
        uint8_t what = take_byte(&input);
        struct dp_address address = {.family = what & 0x40 ? AF_INET6 : AF_INET};
        uint32_t width = what & 0x40 ? 128 : 32, bits = take_byte(&input) % (width + 1);
        take_bytes(&input, address.ip, what & 0x80 ? width / 8 : 2);
        change(table, what & 7, what >> 3 & 3, &address, bits);
        check(table, &address);
        address.ip[bits % width / 8] ^= (uint8_t)(0x80 >> bits % 8);
        check(table, &address);
    }
    size_t listed = 0;
    for (uint32_t peer = 0; peer < PEERS; peer++)
        listed += allowedips_list(table, peer, NULL, 0);
    MUST(listed == count);
    allowedips_free(table);
    return 0;
}

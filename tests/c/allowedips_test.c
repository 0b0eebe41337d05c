#include "allowedips.h"

#include <errno.h>
#include <sys/socket.h>

#include "harness.h"
#include "packet.h"

#define PEERS 64

static struct allowedips *table;

static struct dp_address address_of(const char *hex)
{
    struct dp_address address = {0};
    size_t length = unhex(hex, address.ip, sizeof address.ip);
    CHECK(length == 4 || length == 16);
    address.family = length == 4 ? AF_INET : AF_INET6;
    return address;
}

static uint32_t find(const struct dp_address *address)
{
    return allowedips_lookup(table, address->family == AF_INET ? 4 : 6, address->ip);
}

static void fresh(void)
{
    allowedips_free(table);
    table = allowedips_new(PEERS);
    CHECK(table);
}

static void check_listing(const struct words *words)
{
    struct dp_allowed_ip listed[32];
    size_t count = allowedips_list(table, (uint32_t)atoi(words->word[1]), listed, 32);
    CHECK_EQUAL(count, (words->count - 2) / 2);
    for (size_t i = 0; i < count; i++) {
        struct dp_address expected = address_of(words->word[2 + 2 * i]);
        CHECK_EQUAL(listed[i].prefix.family, expected.family);
        CHECK(memcmp(listed[i].prefix.ip, expected.ip, 16) == 0);
        CHECK_EQUAL(listed[i].bits, atoi(words->word[3 + 2 * i]));
    }
}

static void step(const struct words *words)
{
    const char *verb = words->word[0];
    if (strcmp(verb, "reset") == 0) {
        fresh();
    } else if (strcmp(verb, "remove_peer") == 0) {
        allowedips_remove_peer(table, (uint32_t)atoi(words->word[1]));
    } else if (strcmp(verb, "list") == 0) {
        check_listing(words);
    } else {
        uint32_t peer = (uint32_t)strtoul(words->word[1], NULL, 10);
        struct dp_address address = address_of(words->word[2]);
        if (strcmp(verb, "insert") == 0)
            CHECK_EQUAL(allowedips_insert(table, peer, &address, (uint32_t)atoi(words->word[3])), 0);
        else if (strcmp(verb, "remove") == 0)
            CHECK_EQUAL(allowedips_remove(table, peer, &address, (uint32_t)atoi(words->word[3])), 0);
        else if (strcmp(verb, "lookup") == 0)
            CHECK_EQUAL(find(&address), peer);
        else
            CHECK(strcmp(verb, "not") == 0 && find(&address) != peer);
    }
}

static void vectors_hold(void)
{
    fresh();
    each_vector("allowedips", step);
}

/* The deepest trie there is: every prefix length of one address, and the addresses beside it. */
static void depth_is_bounded_by_the_address(void)
{
    fresh();
    struct dp_address ones = {.family = AF_INET6};
    memset(ones.ip, 0xff, 16);
    for (uint32_t bits = 0; bits <= 128; bits++)
        CHECK_EQUAL(allowedips_insert(table, bits % PEERS, &ones, bits), 0);
    CHECK_EQUAL(find(&ones), 0);
    for (uint32_t bit = 0; bit < 128; bit++) {
        struct dp_address other = ones;
        other.ip[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
        CHECK_EQUAL(find(&other), bit % PEERS);
        CHECK_EQUAL(allowedips_insert(table, 9, &other, 128), 0);
        CHECK_EQUAL(find(&other), 9);
    }
}

/* A naive table: a list, searched from end to end. */
struct naive {
    struct dp_address prefix;
    uint32_t bits, peer;
} naive[4096];
static size_t naive_count;

static void mask(struct dp_address *prefix, uint32_t bits)
{
    for (uint32_t bit = bits; bit < 128; bit++)
        prefix->ip[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static int covers(const struct naive *entry, const struct dp_address *address)
{
    struct dp_address masked = *address;
    mask(&masked, entry->bits);
    return entry->prefix.family == address->family && memcmp(masked.ip, entry->prefix.ip, 16) == 0;
}

static struct naive *naive_exact(const struct dp_address *prefix, uint32_t bits)
{
    for (size_t i = 0; i < naive_count; i++) {
        if (naive[i].bits == bits && covers(&naive[i], prefix))
            return &naive[i];
    }
    return NULL;
}

static uint32_t naive_lookup(const struct dp_address *address)
{
    const struct naive *best = NULL;
    for (size_t i = 0; i < naive_count; i++) {
        if (covers(&naive[i], address) && (!best || naive[i].bits > best->bits))
            best = &naive[i];
    }
    return best ? best->peer : DP_NO_PEER;
}

static void naive_drop(size_t at)
{
    memmove(&naive[at], &naive[at + 1], (--naive_count - at) * sizeof naive[0]);
}

static void naive_insert(uint32_t peer, struct dp_address prefix, uint32_t bits)
{
    struct naive *entry = naive_exact(&prefix, bits);
    if (entry && entry->peer == peer)
        return;
    if (entry)
        naive_drop((size_t)(entry - naive));
    mask(&prefix, bits);
    naive[naive_count++] = (struct naive){prefix, bits, peer};
}

static void naive_remove(uint32_t peer, const struct dp_address *prefix, uint32_t bits)
{
    struct naive *entry = naive_exact(prefix, bits);
    if (entry && entry->peer == peer)
        naive_drop((size_t)(entry - naive));
}

/* Few distinct bytes, so that prefixes nest and collide. */
static struct dp_address draw_address(uint64_t *random)
{
    struct dp_address address = {.family = draw(random) >> 63 ? AF_INET : AF_INET6};
    size_t length = address.family == AF_INET ? 4 : 16;
    for (size_t i = 0; i < length; i++)
        address.ip[i] = draw_below(random, 3) ? 0 : (uint8_t)(0x80 >> draw_below(random, 8));
    return address;
}

static void listings_agree(void)
{
    for (uint32_t peer = 0; peer < PEERS; peer++) {
        struct dp_allowed_ip listed[256];
        size_t count = allowedips_list(table, peer, listed, 256), at = 0;
        for (size_t i = 0; i < naive_count; i++) {
            if (naive[i].peer != peer)
                continue;
            CHECK(at < count && listed[at].bits == naive[i].bits);
            CHECK(memcmp(listed[at].prefix.ip, naive[i].prefix.ip, 16) == 0);
            at++;
        }
        CHECK_EQUAL(at, count);
    }
}

/* `lengths` different ones in each family, 0 = all there are. */
static void agrees_with_a_naive_list(uint32_t lengths)
{
    uint64_t random = 99 + lengths;
    fresh();
    naive_count = 0;
    for (int i = 0; i < 12000; i++) {
        uint32_t peer = draw_below(&random, PEERS), what = draw_below(&random, 10);
        struct dp_address address = draw_address(&random);
        uint32_t width = address.family == AF_INET ? 32 : 128;
        uint32_t bits = lengths ? width - 3 * draw_below(&random, lengths) : draw_below(&random, width + 1);
        if (what < 4 && naive_count < 1500) {
            CHECK_EQUAL(allowedips_insert(table, peer, &address, bits), 0);
            naive_insert(peer, address, bits);
        } else if (what < 6) {
            CHECK_EQUAL(allowedips_remove(table, peer, &address, bits), 0);
            naive_remove(peer, &address, bits);
        } else if (what == 6 && draw_below(&random, 20) == 0) {
            allowedips_remove_peer(table, peer);
            for (size_t at = naive_count; at-- > 0;) {
                if (naive[at].peer == peer)
                    naive_drop(at);
            }
        }
        CHECK_EQUAL(find(&address), naive_lookup(&address));
        if (i % 500 == 0)
            listings_agree();
    }
    for (uint32_t peer = 0; peer < PEERS; peer++)
        allowedips_remove_peer(table, peer);
    struct dp_address any = draw_address(&random);
    CHECK_EQUAL(find(&any), DP_NO_PEER);
}

static void trie_agrees_with_a_naive_list(void)
{
    agrees_with_a_naive_list(0);
}

static void hash_table_agrees_with_a_naive_list(void)
{
    agrees_with_a_naive_list(1);
    agrees_with_a_naive_list(5);
}

static void only_the_owner_takes_a_prefix_back(void)
{
    struct dp_address net = {.family = AF_INET, .ip = {10, 0, 0, 0}};
    fresh();
    CHECK_EQUAL(allowedips_insert(table, 1, &net, 8), 0);
    CHECK_EQUAL(allowedips_remove(table, 2, &net, 8), 0);
    CHECK_EQUAL(allowedips_remove(table, 1, &net, 9), 0);
    CHECK_EQUAL(find(&net), 1);
    CHECK_EQUAL(allowedips_remove(table, 1, &net, 8), 0);
    CHECK_EQUAL(find(&net), DP_NO_PEER);
}

static void nonsense_is_refused(void)
{
    struct dp_address net = {.family = AF_INET}, none = {0};
    fresh();
    CHECK_EQUAL(allowedips_insert(table, 0, &net, 33), -EINVAL);
    CHECK_EQUAL(allowedips_insert(table, PEERS, &net, 8), -EINVAL);
    CHECK_EQUAL(allowedips_insert(table, 0, &none, 0), -EINVAL);
    CHECK_EQUAL(allowedips_remove(table, 0, &none, 0), -EINVAL);
    CHECK_EQUAL(allowedips_list(table, PEERS, NULL, 0), 0);
}

int main(void)
{
    RUN(vectors_hold);
    RUN(depth_is_bounded_by_the_address);
    RUN(trie_agrees_with_a_naive_list);
    RUN(hash_table_agrees_with_a_naive_list);
    RUN(only_the_owner_takes_a_prefix_back);
    RUN(nonsense_is_refused);
    allowedips_free(table);
    return 0;
}

#include "allowedips.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "packet.h"
#include "prefix_table.h"

/*
 * A path-compressed binary trie: a node stands for a prefix, its children are longer prefixes that continue
 * with a 0 or a 1. A node without a peer is there only because its two children part. Depth is bounded by the
 * address length. Beside it each family has its prefixes in a hash table, which answers for packets.
 */
struct node {
    struct key key;
    struct node *child[2];
    struct node *parent;
    struct node *later, *earlier; /* in the listing of its peer */
    uint32_t peer;
    uint16_t family;
    uint8_t bits;
};

struct owner {
    struct node *first, *last;
};

struct allowedips {
    struct node *root4, *root6;
    struct prefix_table of4, of6;
    uint32_t max_peers;
    struct owner owners[];
};

static unsigned common_bits(struct key a, struct key b)
{
    if (a.high != b.high)
        return (unsigned)__builtin_clzll(a.high ^ b.high);
    return a.low == b.low ? 128 : 64 + (unsigned)__builtin_clzll(a.low ^ b.low);
}

static unsigned bit_at(struct key key, unsigned position)
{
    return (position < 64 ? key.high >> (63 - position) : key.low >> (127 - position)) & 1;
}

static struct key key4(const uint8_t *ip)
{
    return (struct key){.high = (uint64_t)get_be32(ip) << 32};
}

static struct key key6(const uint8_t *ip)
{
    uint64_t halves[2];
    memcpy(halves, ip, sizeof halves);
    return (struct key){be64toh(halves[0]), be64toh(halves[1])};
}

struct allowedips *allowedips_new(uint32_t max_peers)
{
    struct allowedips *table = calloc(1, sizeof *table + max_peers * sizeof table->owners[0]);
    if (table)
        table->max_peers = max_peers;
    return table;
}

void allowedips_free(struct allowedips *table)
{
    if (!table)
        return;
    for (uint32_t peer = 0; peer < table->max_peers; peer++)
        allowedips_remove_peer(table, peer);
    prefix_table_clear(&table->of4);
    prefix_table_clear(&table->of6);
    free(table);
}

static uint32_t lookup(const struct node *node, struct key key)
{
    uint32_t peer = DP_NO_PEER;
    while (node) {
        unsigned common = common_bits(node->key, key);
        if (common < node->bits)
            break;
        if (node->peer != DP_NO_PEER)
            peer = node->peer;
        if (node->bits == 128)
            break;
        node = node->child[bit_at(key, node->bits)];
    }
    return peer;
}

uint32_t allowedips_lookup4(const struct allowedips *table, const uint8_t ip[4])
{
    struct key key = key4(ip);

    return prefix_table_answers(&table->of4) ? prefix_table_lookup(&table->of4, key)
                                             : lookup(table->root4, key);
}

uint32_t allowedips_lookup6(const struct allowedips *table, const uint8_t ip[16])
{
    struct key key = key6(ip);

    return prefix_table_answers(&table->of6) ? prefix_table_lookup(&table->of6, key)
                                             : lookup(table->root6, key);
}

static void owner_append(struct owner *owner, struct node *node)
{
    node->later = NULL;
    node->earlier = owner->last;
    if (owner->last)
        owner->last->later = node;
    else
        owner->first = node;
    owner->last = node;
}

static void owner_unlink(struct owner *owner, struct node *node)
{
    *(node->earlier ? &node->earlier->later : &owner->first) = node->later;
    *(node->later ? &node->later->earlier : &owner->last) = node->earlier;
    node->later = node->earlier = NULL;
}

static struct prefix_table *prefixes_of(struct allowedips *table, const struct node *node)
{
    return node->family == AF_INET ? &table->of4 : &table->of6;
}

/* The room for it in the hash table is there. */
static void give(struct allowedips *table, struct node *node, uint32_t peer)
{
    if (node->peer == peer)
        return;
    if (node->peer != DP_NO_PEER)
        owner_unlink(&table->owners[node->peer], node);
    node->peer = peer;
    owner_append(&table->owners[peer], node);
    prefix_table_set(prefixes_of(table, node), node->key, node->bits, peer);
}

static struct node *node_new(struct key key, unsigned bits, uint16_t family)
{
    struct node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    node->key = key_mask(key, bits);
    node->bits = (uint8_t)bits;
    node->family = family;
    node->peer = DP_NO_PEER;
    return node;
}

static void set_child(struct node *parent, struct node *child)
{
    parent->child[bit_at(child->key, parent->bits)] = child;
    child->parent = parent;
}

/* The longest prefix in the trie that contains key/bits; NULL: none. */
static struct node *find_above(struct node *node, struct key key, unsigned bits)
{
    struct node *above = NULL;
    while (node && node->bits <= bits && common_bits(node->key, key) >= node->bits) {
        above = node;
        if (node->bits == bits || node->bits == 128)
            break;
        node = node->child[bit_at(key, node->bits)];
    }
    return above;
}

/* Hangs a new leaf under `above` (NULL: at the root). -ENOMEM if the fork it needs cannot be made. */
static int attach(struct node **root, struct node *above, struct node *leaf)
{
    struct node **place = above ? &above->child[bit_at(leaf->key, above->bits)] : root;
    struct node *below = *place, *top = leaf;

    if (below) {
        unsigned common = common_bits(leaf->key, below->key);
        if (common < leaf->bits) {
            top = node_new(leaf->key, common, leaf->family);
            if (!top)
                return -ENOMEM;
            set_child(top, leaf);
        }
        set_child(top, below);
    }
    *place = top;
    top->parent = above;
    return 0;
}

static bool valid(const struct allowedips *table, uint32_t peer, const struct dp_address *prefix,
                  uint32_t bits)
{
    return peer < table->max_peers &&
           ((prefix->family == AF_INET && bits <= 32) || (prefix->family == AF_INET6 && bits <= 128));
}

int allowedips_insert(struct allowedips *table, uint32_t peer, const struct dp_address *prefix, uint32_t bits)
{
    if (!valid(table, peer, prefix, bits))
        return -EINVAL;
    bool v4 = prefix->family == AF_INET;
    struct node **root = v4 ? &table->root4 : &table->root6;
    struct key key = key_mask(v4 ? key4(prefix->ip) : key6(prefix->ip), bits);

    if (prefix_table_reserve(v4 ? &table->of4 : &table->of6) < 0)
        return -ENOMEM;
    struct node *above = find_above(*root, key, bits);
    if (above && above->bits == bits) {
        give(table, above, peer);
        return 0;
    }
    struct node *leaf = node_new(key, bits, prefix->family);
    if (!leaf)
        return -ENOMEM;
    if (attach(root, above, leaf) < 0) {
        free(leaf);
        return -ENOMEM;
    }
    give(table, leaf, peer);
    return 0;
}

/* Takes a node without a peer out of the trie unless its two children need it; NULL is fine. */
static void prune(struct allowedips *table, struct node *node)
{
    if (!node || node->peer != DP_NO_PEER || (node->child[0] && node->child[1]))
        return;
    struct node *parent = node->parent, *child = node->child[0] ? node->child[0] : node->child[1];
    struct node **root = node->family == AF_INET ? &table->root4 : &table->root6;
    struct node **place = parent ? &parent->child[bit_at(node->key, parent->bits)] : root;

    *place = child;
    if (child)
        child->parent = parent;
    free(node);
    if (!child)
        prune(table, parent); /* at most once: the parent's other child then takes its place */
}

static void take(struct allowedips *table, struct node *node)
{
    owner_unlink(&table->owners[node->peer], node);
    node->peer = DP_NO_PEER;
    prefix_table_remove(prefixes_of(table, node), node->key, node->bits);
    prune(table, node);
}

int allowedips_remove(struct allowedips *table, uint32_t peer, const struct dp_address *prefix, uint32_t bits)
{
    if (!valid(table, peer, prefix, bits))
        return -EINVAL;
    bool v4 = prefix->family == AF_INET;
    struct key key = key_mask(v4 ? key4(prefix->ip) : key6(prefix->ip), bits);

    struct node *node = find_above(v4 ? table->root4 : table->root6, key, bits);
    if (node && node->bits == bits && node->peer == peer)
        take(table, node);
    return 0;
}

void allowedips_remove_peer(struct allowedips *table, uint32_t peer)
{
    if (peer >= table->max_peers)
        return;
    while (table->owners[peer].first)
        take(table, table->owners[peer].first);
}

static void describe(const struct node *node, struct dp_allowed_ip *out)
{
    uint64_t halves[2] = {htobe64(node->key.high), htobe64(node->key.low)};
    memset(out, 0, sizeof *out);
    out->prefix.family = node->family;
    memcpy(out->prefix.ip, halves, sizeof halves);
    out->bits = node->bits;
}

size_t allowedips_list(const struct allowedips *table, uint32_t peer, struct dp_allowed_ip *out, size_t max)
{
    size_t count = 0;
    if (peer >= table->max_peers)
        return 0;
    for (const struct node *node = table->owners[peer].first; node; node = node->later, count++) {
        if (count < max)
            describe(node, &out[count]);
    }
    return count;
}

#include "prefix_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane.h"

#define FIRST_SIZE_LOG2 4

struct key key_mask(struct key key, unsigned bits)
{
    key.high &= bits == 0 ? 0 : bits >= 64 ? UINT64_MAX : UINT64_MAX << (64 - bits);
    key.low &= bits <= 64 ? 0 : bits >= 128 ? UINT64_MAX : UINT64_MAX << (128 - bits);
    return key;
}

/* Multiplication carries every bit of the key to the top. Only who configures us chooses the keys. */
static uint64_t home(const struct prefix_table *table, struct key key, uint32_t bits)
{
    uint64_t mixed = key.high ^ key.low * 0x9e3779b97f4a7c15ull ^ bits;

    return mixed * 0xff51afd7ed558ccdull >> (64 - table->size_log2);
}

/* The slot of the prefix, or the free one where it would go. */
static struct prefix_slot *probe(const struct prefix_table *table, struct key key, uint32_t bits)
{
    uint64_t mask = (1ull << table->size_log2) - 1;

    for (uint64_t at = home(table, key, bits);; at = (at + 1) & mask) {
        struct prefix_slot *slot = &table->slots[at];
        if (!slot->length ||
            (slot->key.high == key.high && slot->key.low == key.low && slot->length == bits + 1))
            return slot;
    }
}

void prefix_table_clear(struct prefix_table *table)
{
    free(table->slots);
    memset(table, 0, sizeof(*table));
}

static int resize(struct prefix_table *table, uint32_t size_log2)
{
    struct prefix_table bigger = *table;

    bigger.size_log2 = size_log2;
    bigger.slots = calloc(1ull << size_log2, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (uint64_t at = 0; table->slots && at < 1ull << table->size_log2; at++) {
        const struct prefix_slot *slot = &table->slots[at];
        if (slot->length)
            *probe(&bigger, slot->key, slot->length - 1) = *slot;
    }
    free(table->slots);
    *table = bigger;
    return 0;
}

int prefix_table_reserve(struct prefix_table *table)
{
    if (!table->slots)
        return resize(table, FIRST_SIZE_LOG2);
    return table->used + 1 > 1ull << (table->size_log2 - 2) ? resize(table, table->size_log2 + 1) : 0;
}

static void list_lengths(struct prefix_table *table)
{
    table->length_count = 0;
    for (unsigned bits = 129; bits-- > 0;) {
        if (!table->count_of[bits])
            continue;
        if (table->length_count < PREFIX_LENGTHS_MAX)
            table->lengths[table->length_count] =
                (struct prefix_length){key_mask((struct key){UINT64_MAX, UINT64_MAX}, bits), bits};
        table->length_count++;
    }
}

void prefix_table_set(struct prefix_table *table, struct key key, unsigned bits, uint32_t peer)
{
    struct prefix_slot *slot = probe(table, key, bits);

    if (!slot->length) {
        table->used++;
        if (!table->count_of[bits]++)
            list_lengths(table);
    }
    *slot = (struct prefix_slot){key, peer, bits + 1};
}

/* What stood behind the gap and would no longer be found moves into it. */
static void close_gap(struct prefix_table *table, uint64_t gap)
{
    uint64_t mask = (1ull << table->size_log2) - 1;

    for (uint64_t at = (gap + 1) & mask; table->slots[at].length; at = (at + 1) & mask) {
        uint64_t from = home(table, table->slots[at].key, table->slots[at].length - 1);
        if (((at - from) & mask) < ((at - gap) & mask))
            continue;
        table->slots[gap] = table->slots[at];
        gap = at;
    }
    table->slots[gap].length = 0;
}

void prefix_table_remove(struct prefix_table *table, struct key key, unsigned bits)
{
    close_gap(table, (uint64_t)(probe(table, key, bits) - table->slots));
    table->used--;
    if (!--table->count_of[bits])
        list_lengths(table);
}

uint32_t prefix_table_lookup(const struct prefix_table *table, struct key key)
{
    for (uint32_t i = 0; i < table->length_count; i++) {
        const struct prefix_length *length = &table->lengths[i];
        struct key prefix = {key.high & length->mask.high, key.low & length->mask.low};
        const struct prefix_slot *slot = probe(table, prefix, length->bits);
        if (slot->length)
            return slot->peer;
    }
    return DP_NO_PEER;
}

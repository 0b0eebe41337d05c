#include "index.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

#define FIRST_SLOTS 256

/* The index is random already, and nobody outside can choose one of ours: its low bits are the hash. */
static uint32_t home(const struct index_table *table, uint32_t index)
{
    return index & table->mask;
}

/* The slot of the index, or the free one where it would go. The table is never full. */
static struct index_entry *probe(const struct index_table *table, uint32_t index)
{
    uint32_t at = home(table, index);
    while (table->slots[at].kind && table->slots[at].index != index)
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

static int resize(struct index_table *table, uint32_t slots)
{
    struct index_table bigger = {calloc(slots, sizeof *bigger.slots), slots - 1, table->count};
    if (!bigger.slots)
        return -ENOMEM;
    for (uint32_t at = 0; table->slots && at <= table->mask; at++) {
        if (table->slots[at].kind)
            *probe(&bigger, table->slots[at].index) = table->slots[at];
    }
    free(table->slots);
    *table = bigger;
    return 0;
}

int index_init(struct index_table *table)
{
    *table = (struct index_table){0};
    return resize(table, FIRST_SLOTS);
}

void index_clear(struct index_table *table)
{
    free(table->slots);
    *table = (struct index_table){0};
}

int index_reserve(struct index_table *table, uint32_t peer, uint32_t *out)
{
    if (table->count >= table->mask / 2) {
        int error = resize(table, (table->mask + 1) * 2);
        if (error)
            return error;
    }
    struct index_entry *entry;
    uint32_t index;
    do {
        if (getrandom(&index, sizeof index, 0) != (ssize_t)sizeof index)
            return -EAGAIN;
        entry = probe(table, index);
    } while (entry->kind);
    *entry = (struct index_entry){.index = index, .kind = INDEX_HANDSHAKE, .peer = peer};
    table->count++;
    *out = index;
    return 0;
}

int index_install(struct index_table *table, uint32_t index, uint32_t peer, void *keypair)
{
    struct index_entry *entry = probe(table, index);
    if (entry->kind != INDEX_HANDSHAKE || entry->peer != peer)
        return -ENOENT;
    entry->kind = INDEX_KEYPAIR;
    entry->keypair = keypair;
    return 0;
}

/* Frees a slot and moves up what was pushed past it, so that no probe meets a hole before its entry. */
static void vacate(struct index_table *table, uint32_t hole)
{
    for (uint32_t at = (hole + 1) & table->mask; table->slots[at].kind; at = (at + 1) & table->mask) {
        uint32_t distance = (at - home(table, table->slots[at].index)) & table->mask;
        if (distance >= ((at - hole) & table->mask)) {
            table->slots[hole] = table->slots[at];
            hole = at;
        }
    }
    table->slots[hole] = (struct index_entry){0};
    table->count--;
}

int index_release(struct index_table *table, uint32_t index)
{
    struct index_entry *entry = probe(table, index);
    if (!entry->kind)
        return -ENOENT;
    vacate(table, (uint32_t)(entry - table->slots));
    return 0;
}

void index_release_peer(struct index_table *table, uint32_t peer)
{
    for (uint32_t at = 0; at <= table->mask;) {
        if (table->slots[at].kind && table->slots[at].peer == peer) {
            vacate(table, at); /* another entry may have moved here: look again */
            if (table->slots[at].kind)
                continue;
        }
        at++;
    }
}

const struct index_entry *index_find(const struct index_table *table, uint32_t index)
{
    const struct index_entry *entry = probe(table, index);
    return entry->kind ? entry : NULL;
}

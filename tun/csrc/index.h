/*
 * The index table: every handshake under way and every keypair has a random 32-bit number under which the
 * other side addresses us. Knows nothing of what a keypair is. Changes need the exclusive lock, look-ups the
 * shared one.
 */
#ifndef WGPY_INDEX_H
#define WGPY_INDEX_H

#include <stddef.h>
#include <stdint.h>

enum index_kind { INDEX_HANDSHAKE = 1, INDEX_KEYPAIR = 2 };

struct index_entry {
    uint32_t index;
    uint32_t kind; /* INDEX_*; 0 = an unused slot of the table */
    uint32_t peer;
    uint32_t reserved;
    void *keypair; /* of INDEX_KEYPAIR, else NULL; not owned */
};

struct index_table {
    struct index_entry *slots; /* open addressing, linear probing */
    uint32_t mask;             /* slots - 1, a power of two less one */
    uint32_t count;
};

int index_init(struct index_table *table); /* -ENOMEM */
void index_clear(struct index_table *table);

/* A new random index for a handshake of this peer. -ENOMEM, -EAGAIN (no randomness). */
int index_reserve(struct index_table *table, uint32_t peer, uint32_t *out);
/* The handshake's index becomes the keypair's. -ENOENT: it is not reserved for a handshake of this peer. */
int index_install(struct index_table *table, uint32_t index, uint32_t peer, void *keypair);
/* -ENOENT: there is no such index. */
int index_release(struct index_table *table, uint32_t index);
/* Releases the peer's handshakes and keypairs; walks the whole table. */
void index_release_peer(struct index_table *table, uint32_t peer);

/* NULL: unknown. The entry is good until the next change. */
const struct index_entry *index_find(const struct index_table *table, uint32_t index);

/* The keypair of a transport data message; NULL if the index is unknown or a handshake's. */
static inline void *index_keypair(const struct index_table *table, uint32_t index)
{
    const struct index_entry *entry = index_find(table, index);
    return entry && entry->kind == INDEX_KEYPAIR ? entry->keypair : NULL;
}

#endif

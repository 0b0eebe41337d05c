/*
 * The one door to ChaCha20-Poly1305 (RFC 8439) for transport data: nonce 0000 || le64(counter), no associated
 * data. Works on batches, because only a batch lets a library overlap packets. Knows no packets and no peers.
 *
 * The primitives are OpenSSL's (always there) and Intel's ipsec-mb (x86-64, if built in and supported by the
 * CPU); aead_choose measures them once and keeps the faster.
 */
#ifndef WGPY_AEAD_H
#define WGPY_AEAD_H

#include <stddef.h>
#include <stdint.h>

#include "dataplane.h"

/* Reserved to one thread at a time: scratch contexts of one implementation. */
struct aead_state;

/* One key for one direction. Made and freed by the implementation that uses it. Workers with states of
 * different numbers may use it at the same time. */
struct aead_key;

enum aead_direction { AEAD_SEAL, AEAD_OPEN };

/* One packet of a batch. Keys may differ within the batch. */
struct aead_op {
    struct aead_key *key;
    uint8_t *data; /* worked on in place; TAG_LEN bytes more behind data + length */
    uint64_t counter;
    uint32_t length; /* of the plaintext = of the ciphertext without its tag; 0 for a keepalive */
    uint32_t ok;     /* out: 1 = sealed, or opened and authentic; after 0 the bytes at data mean nothing */
};

struct aead {
    const char *name;
    /* Of the worker with this number, below the `workers` of every key it meets. NULL: no memory. */
    struct aead_state *(*state_new)(uint32_t worker);
    void (*state_free)(struct aead_state *state); /* wipes; NULL is fine */
    /* Copies. NULL: no memory. */
    struct aead_key *(*key_new)(const uint8_t key[DP_KEY_LEN], enum aead_direction direction,
                                uint32_t workers);
    void (*key_free)(struct aead_key *key); /* wipes; NULL is fine */
    /* The key has AEAD_SEAL. Writes the tag behind the data. */
    void (*seal_batch)(struct aead_state *state, struct aead_op *ops, size_t count);
    /* The key has AEAD_OPEN. Compares tags in constant time. */
    void (*open_batch)(struct aead_state *state, struct aead_op *ops, size_t count);
};

/* The implementations; aead_ipsec_mb is NULL when it was not built or does not run here. */
const struct aead *aead_openssl(void);
const struct aead *aead_ipsec_mb(void);

/*
 * What to use: DP_AEAD_OPENSSL or DP_AEAD_IPSEC_MB by force (NULL if absent), DP_AEAD_AUTO the fastest, found
 * by sealing packets of 1420 bytes for about two milliseconds on the first call, and remembered.
 */
const struct aead *aead_choose(uint32_t wanted);

#endif

/*
 * The arithmetic of a handshake, a message at a time: what wgpy/noise.py does in Python, over libcrypto. No
 * primitive is implemented here. Knows no peers, clocks, macs or message layouts.
 *
 * A call returns 0 or -errno and writes its results only when it returns 0 (noise_consume_response: 0 or
 * more): -EBADMSG where a tag does not verify or a public key is of small order, -EIO and -ENOMEM where the
 * library fails. Pointers are borrowed for the call; private keys and what is derived from them are wiped
 * from the stack. Time depends on lengths and on success, never on a secret.
 *
 * Paper: WireGuard section 5.4.
 */
#ifndef WGPY_NOISE_H
#define WGPY_NOISE_H

#include <stddef.h>
#include <stdint.h>

/* cdef-begin */
#define NOISE_KEY_LEN 32
#define NOISE_TIMESTAMP_LEN 12
#define NOISE_TAG_LEN 16

/* Contexts of the library; no keys. One caller at a time. */
struct noise;
struct noise *noise_new(void); /* NULL: no memory, or the library lacks an algorithm */
void noise_free(struct noise *noise);

/* C and H of the paper. C is secret: who holds one wipes it. */
struct noise_state {
    uint8_t chaining_key[32];
    uint8_t hash[32];
};

struct noise_key_pair {
    uint8_t private_key[32]; /* clamped */
    uint8_t public_key[32];
};

/* Message 1 as it is on the wire, from the ephemeral on. */
struct noise_initiation {
    uint8_t ephemeral[32];
    uint8_t encrypted_static[32 + 16];
    uint8_t encrypted_timestamp[12 + 16];
};

/* Message 2, likewise. */
struct noise_response {
    uint8_t ephemeral[32];
    uint8_t encrypted_empty[16];
};

struct noise_transport_keys {
    uint8_t initiator[32]; /* the initiator sends with it */
    uint8_t responder[32];
};

/* The public half of a private key. */
int noise_public_key(struct noise *noise, struct noise_key_pair *pair);

/* `shared` is ss; of `ephemeral` both halves. */
int noise_create_initiation(struct noise *noise, const uint8_t *static_public, const uint8_t *remote_static,
                            const uint8_t *shared, const struct noise_key_pair *ephemeral,
                            const uint8_t *timestamp, struct noise_state *state,
                            struct noise_initiation *message);

/* Who claims to be calling. */
int noise_open_initiation(struct noise *noise, const struct noise_key_pair *identity,
                          const struct noise_initiation *message, struct noise_state *state,
                          uint8_t *remote_static);

/* Proves the claim: `state` as noise_open_initiation left it, then ready for the response. */
int noise_consume_initiation(struct noise *noise, const uint8_t *shared,
                             const struct noise_initiation *message, struct noise_state *state,
                             uint8_t *timestamp);

/* `ephemeral` needs its private half only. */
int noise_create_response(struct noise *noise, const struct noise_state *state,
                          const uint8_t *remote_ephemeral, const uint8_t *remote_static,
                          struct noise_key_pair *ephemeral, const uint8_t *preshared_key,
                          struct noise_response *message, struct noise_transport_keys *keys);

/* Tries `count` preshared keys, one after the other in memory. Returns the position of the one that fits. */
int noise_consume_response(struct noise *noise, const struct noise_key_pair *identity,
                           const struct noise_state *state, const struct noise_key_pair *ephemeral,
                           const struct noise_response *message, const uint8_t *preshared_keys, size_t count,
                           struct noise_transport_keys *keys);
/* cdef-end */

#endif

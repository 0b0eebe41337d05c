/*
 * The responder's cheap checks of initiations and responses: mac1, mac2, and the cookie reply (paper section
 * 5.4.7). Opening a cookie reply and stamping our own messages is the control plane's business. One thread,
 * one checker: an inbound worker's. cookie_set_identity needs the exclusive lock.
 */
#ifndef WGPY_COOKIE_H
#define WGPY_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane.h"
#include "packet.h"

#define COOKIE_SECRET_MAX_AGE_NS 120000000000ull

struct cookie_checker;

struct cookie_checker *cookie_new(void); /* NULL: no memory, or libcrypto has no BLAKE2s */
void cookie_free(struct cookie_checker *checker);

/* Our static public key; NULL: none, no message is valid. 0 or -EIO. */
int cookie_set_identity(struct cookie_checker *checker, const uint8_t *public_key);

/* `message` is an initiation or a response of its full length (message_type). In constant time. */
bool cookie_mac1_valid(struct cookie_checker *checker, const uint8_t *message, size_t length);
/* Does mac2 prove that the sender receives at this source address and port? */
bool cookie_mac2_valid(struct cookie_checker *checker, const uint8_t *message, size_t length,
                       const struct dp_address *source, uint64_t now_ns);

/*
 * Writes the reply to an initiation or response with a valid mac1: to be sent to its source. Renews the
 * secret if it is older than 120 s. 0, or -EIO (libcrypto or the kernel's randomness failed), -ENOKEY (no
 * identity).
 */
int cookie_reply(struct cookie_checker *checker, const uint8_t *message, size_t length,
                 const struct dp_address *source, uint64_t now_ns, uint8_t out[MESSAGE_COOKIE_REPLY_LEN]);

/* For tests against vectors: sets the secret, and makes a reply with a given nonce. */
void cookie_set_secret(struct cookie_checker *checker, const uint8_t secret[32], uint64_t now_ns);
int cookie_reply_with_nonce(struct cookie_checker *checker, const uint8_t *message, size_t length,
                            const struct dp_address *source, uint64_t now_ns,
                            const uint8_t nonce[COOKIE_REPLY_NONCE_LEN],
                            uint8_t out[MESSAGE_COOKIE_REPLY_LEN]);

#endif

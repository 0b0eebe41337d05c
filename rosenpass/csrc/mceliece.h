/*
 * Classic McEliece 460896 (m = 13, n = 4608, t = 96): encapsulation and decapsulation, in constant time.
 *
 * Everything Python may call. Two ciphertext forms share one key:
 *
 *   156 bytes   C0               round 4 of the submission
 *   188 bytes   C0 || C1         rounds 1 to 3, "plaintext confirmation": C1 = SHAKE256(2 || e)
 *
 * The length of the ciphertext names the form. Key generation is not here: any library makes the same keys.
 *
 * Constant time means: no branch, no memory index and no early exit depends on a secret key, an error vector,
 * a shared secret or the randomness; tests/c/mceliece_ctgrind.c checks it. Nothing here draws randomness,
 * keeps global state or knows of Python. All functions may run in any number of threads at once; a key is
 * only read after mceliece_key_new.
 */
#ifndef MCELIECE_H
#define MCELIECE_H

#include <stddef.h>
#include <stdint.h>

/* cdef begin */
#define MCELIECE_PUBLIC_KEY_LEN 524160     /* 1248 rows of 420 bytes, bits LSB first */
#define MCELIECE_SECRET_KEY_RUST_LEN 13568 /* s 576, g 192, control bits 12800 */
#define MCELIECE_SECRET_KEY_GO_LEN 13608   /* delta 32, pivots 8, g 192, control bits 12800, s 576 */
#define MCELIECE_CIPHERTEXT_LEN 156
#define MCELIECE_CIPHERTEXT_PC_LEN 188
#define MCELIECE_SHARED_SECRET_LEN 32
#define MCELIECE_ERROR_LEN 576  /* 4608 bits, LSB first, exactly 96 of them set */
#define MCELIECE_RANDOM_LEN 768 /* what one error vector is made from */

struct mceliece_key;

/*
 * mceliece_key_new reads a secret key in either layout and computes what every decapsulation needs: the
 * support and 1/g^2 at each of its points (15 KiB, locked and kept out of core dumps where the system allows
 * it).
 *
 * The caller wipes secret_key. *key belongs to the caller: mceliece_key_free.
 * Returns 0; -EINVAL: secret_key_len is neither layout; -EBADMSG: no secret key, for g has a root in the
 * support or a coefficient above 13 bits; -ENOMEM.
 */
int mceliece_key_new(struct mceliece_key **key, const uint8_t *secret_key, size_t secret_key_len);

/* mceliece_key_free wipes the key and frees it; NULL is allowed. */
void mceliece_key_free(struct mceliece_key *key);

/*
 * mceliece_error_from_random makes a uniformly random error vector of weight 96 from MCELIECE_RANDOM_LEN
 * bytes of a cryptographic generator. Always succeeds, always takes the same time.
 */
void mceliece_error_from_random(uint8_t *error, const uint8_t *random);

/*
 * mceliece_encaps computes the ciphertext and the shared secret of one error vector.
 *
 * ciphertext_len chooses the form. error is a secret: the caller wipes it and shared_secret.
 * Returns 0; -EINVAL: ciphertext_len is neither form; -ENOMEM: libcrypto could not hash.
 */
int mceliece_encaps(uint8_t *ciphertext, size_t ciphertext_len, uint8_t *shared_secret,
                    const uint8_t *public_key, const uint8_t *error);

/*
 * mceliece_decaps opens a ciphertext. One that does not decode gives a secret that nobody can predict and no
 * sign of failure (implicit rejection), in the same time.
 *
 * Returns 0; -EINVAL: ciphertext_len is neither form; -ENOMEM: libcrypto could not hash.
 */
int mceliece_decaps(uint8_t *shared_secret, const struct mceliece_key *key, const uint8_t *ciphertext,
                    size_t ciphertext_len);

/* mceliece_lanes names the vector code this processor runs: "avx512", "avx2" or "generic". */
const char *mceliece_lanes(void);
/* cdef end */

#endif

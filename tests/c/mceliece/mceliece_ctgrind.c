/*
 * Does the time depend on a secret? Under valgrind's memcheck, with every secret marked undefined, each
 * branch and each memory address made of one is reported. Public are: lengths, public keys, ciphertexts, and
 * whether a file holds a key at all (declassified in key.c, the only place).
 *
 * Usage: mceliece_ctgrind VECTORS [leak]; "leak" branches on a secret, to show that the check would see it.
 */
#include <valgrind/memcheck.h>

#include "vectors.h"

static void secret(void *p, size_t len)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(p, len);
}

static void now_public(void *p, size_t len)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(p, len);
}

static void decapsulate(struct vectors *v, const uint8_t *bytes, size_t len)
{
    for (const struct mc_lanes *const *lanes = all_lanes(); *lanes; lanes++) {
        struct mceliece_key *key = NULL;
        CHECK_EQUAL(mceliece_key_new(&key, bytes, len), 0);
        key->lanes = *lanes;
        for (size_t i = 0; i < v->openings; i += 3) { /* of both forms one that opens and one that does not */
            uint8_t shared[MCELIECE_SHARED_SECRET_LEN];
            CHECK_EQUAL(mceliece_decaps(shared, key, v->opening[i].ciphertext, v->opening[i].ciphertext_len),
                        0);
            now_public(shared, sizeof shared);
            CHECK(memcmp(shared, v->opening[i].secret, sizeof shared) == 0);
        }
        mceliece_key_free(key);
        printf("decapsulation, %s\n", (*lanes)->name);
    }
}

static void encapsulate(void)
{
    static uint8_t public_key[MCELIECE_PUBLIC_KEY_LEN];
    uint8_t random[MCELIECE_RANDOM_LEN], error[MCELIECE_ERROR_LEN];
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_PC_LEN], shared[MCELIECE_SHARED_SECRET_LEN];
    uint64_t seed = 1;

    draw_bytes(&seed, public_key, sizeof public_key);
    draw_bytes(&seed, random, sizeof random);
    secret(random, sizeof random);
    mceliece_error_from_random(error, random);
    CHECK_EQUAL(mceliece_encaps(ciphertext, 188, shared, public_key, error), 0);
    CHECK_EQUAL(mceliece_encaps(ciphertext, 156, shared, public_key, error), 0);
    for (const struct mc_lanes *const *lanes = all_lanes(); *lanes; lanes++)
        (*lanes)->parities(ciphertext, public_key, error + MCELIECE_CIPHERTEXT_LEN);
    printf("encapsulation\n");
}

int main(int argc, char **argv)
{
    static struct vectors v;
    static uint8_t go[MCELIECE_SECRET_KEY_GO_LEN];

    read_vectors(&v, argc > 1 ? argv[1] : NULL);
    to_go_layout(go, v.rust_key);
    secret(v.rust_key, sizeof v.rust_key);
    secret(go, sizeof go);
    if (argc > 2 && v.rust_key[0] & 1)
        printf("leaked\n");
    decapsulate(&v, v.rust_key, sizeof v.rust_key);
    decapsulate(&v, go, sizeof go);
    encapsulate();
    return 0;
}

/* Encapsulation: the error vector, its syndrome under the public key, and the secret hashed from both. */
#include <errno.h>

#include "internal.h"

/* A uniform number below bound: the relative bias of each value is under bound / 2^64, about 2^-52. */
static uint64_t scale_below(uint64_t random, uint64_t bound)
{
    uint64_t low = (random & 0xffffffff) * bound, high = (random >> 32) * bound;
    return (high + (low >> 32)) >> 32;
}

/*
 * Distinct positions without rejection (Sendrier, "Secure sampling of constant-weight words", 2021): from the
 * last to the first, position i is drawn from i..n-1 and replaced by i itself if already taken. Every set of
 * 96 positions is equally likely.
 */
static void draw_positions(uint64_t position[MC_T], const uint8_t *random)
{
    for (unsigned i = MC_T; i-- > 0;) {
        uint64_t drawn = i + scale_below(mc_le64(random + 8 * i), MC_N - i), taken = 0;
        for (unsigned j = i + 1; j < MC_T; j++)
            taken |= mc_mask_zero(drawn ^ position[j]);
        position[i] = drawn ^ (taken & (drawn ^ i));
    }
}

/* 1 << n for a secret n < 64: not every processor shifts in constant time, so by halves. */
static uint64_t single_bit(uint64_t n)
{
    uint64_t bit = 1;
    for (unsigned i = 0; i < 6; i++) {
        uint64_t move = mc_opaque(0 - (n >> i & 1));
        bit = (bit & ~move) | (bit << (1u << i) & move);
    }
    return bit;
}

void mceliece_error_from_random(uint8_t *error, const uint8_t *random)
{
    uint64_t position[MC_T], bit[MC_T];

    draw_positions(position, random);
    for (unsigned i = 0; i < MC_T; i++)
        bit[i] = single_bit(position[i] % 64);
    for (unsigned word = 0; word < MC_ERROR_WORDS; word++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < MC_T; i++)
            sum |= bit[i] & mc_mask_zero(position[i] / 64 ^ word);
        mc_store_le64(error + 8 * word, sum);
    }
    explicit_bzero(position, sizeof(position));
    explicit_bzero(bit, sizeof(bit));
}

int mceliece_encaps(uint8_t *ciphertext, size_t ciphertext_len, uint8_t *shared_secret,
                    const uint8_t *public_key, const uint8_t *error)
{
    if (ciphertext_len != MCELIECE_CIPHERTEXT_LEN && ciphertext_len != MCELIECE_CIPHERTEXT_PC_LEN)
        return -EINVAL;
    /* The public key is [identity | rows]: the first 1248 error bits enter the syndrome as they are. */
    mc_lanes_here()->parities(ciphertext, public_key, error + MCELIECE_CIPHERTEXT_LEN);
    for (unsigned i = 0; i < MCELIECE_CIPHERTEXT_LEN; i++)
        ciphertext[i] ^= error[i];
    if (ciphertext_len == MCELIECE_CIPHERTEXT_PC_LEN) {
        int failed = mc_shake256(ciphertext + MCELIECE_CIPHERTEXT_LEN, 2, error, MCELIECE_ERROR_LEN, NULL, 0);
        if (failed)
            return failed;
    }
    return mc_shake256(shared_secret, 1, error, MCELIECE_ERROR_LEN, ciphertext, ciphertext_len);
}

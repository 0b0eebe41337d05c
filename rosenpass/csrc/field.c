/* Inverses and squares of whole blocks: key loading only, so plain words do. */
#include "internal.h"

#define MC_VEC uint64_t
#define MC_FN(x) x##_word
#define MC_TARGET
#include "field_template.h"

/* Squaring is linear: coefficient i moves to 2i, then z^13 = z^4 + z^3 + z + 1 from the top down. */
static void square_word(uint64_t a[MC_M])
{
    uint64_t p[2 * MC_M - 1] = {0};

    for (int i = 0; i < MC_M; i++)
        p[2 * i] = a[i];
    for (int i = 2 * MC_M - 2; i >= MC_M; i--) {
        p[i - 9] ^= p[i];
        p[i - 10] ^= p[i];
        p[i - 12] ^= p[i];
        p[i - 13] ^= p[i];
    }
    memcpy(a, p, MC_M * sizeof(a[0]));
}

/* a = a^(2^count) * b */
static void square_and_multiply(uint64_t a[MC_M], int count, const uint64_t b[MC_M])
{
    for (int i = 0; i < count; i++)
        square_word(a);
    multiply_word(a, a, b);
}

/* a^(2^13 - 2), by exponents 2^k - 1 for k = 1, 2, 3, 6, 12 */
static void invert_word(uint64_t a[MC_M])
{
    uint64_t ones[MC_M], held[MC_M];

    memcpy(ones, a, sizeof(ones));
    square_and_multiply(ones, 1, a);
    square_and_multiply(ones, 1, a);
    memcpy(held, ones, sizeof(held));
    square_and_multiply(ones, 3, held);
    memcpy(held, ones, sizeof(held));
    square_and_multiply(ones, 6, held);
    square_word(ones);
    memcpy(a, ones, sizeof(ones));
    explicit_bzero(ones, sizeof(ones));
    explicit_bzero(held, sizeof(held));
}

static void each_word(struct mc_block *block, void (*change)(uint64_t[MC_M]))
{
    uint64_t a[MC_M];

    for (unsigned word = 0; word < MC_BLOCK_WORDS; word++) {
        for (unsigned b = 0; b < MC_M; b++)
            a[b] = block->plane[b][word];
        change(a);
        for (unsigned b = 0; b < MC_M; b++)
            block->plane[b][word] = a[b];
    }
    explicit_bzero(a, sizeof(a));
}

void mc_invert(struct mc_block *block)
{
    each_word(block, invert_word);
}

void mc_square(struct mc_block *block)
{
    each_word(block, square_word);
}

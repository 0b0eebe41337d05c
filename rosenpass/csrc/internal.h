/*
 * What the units of this directory share, and nothing else sees.
 *
 * Field elements of GF(2^13) = GF(2)[z]/(z^13 + z^4 + z^3 + z + 1) are bitsliced: bit i of plane b is
 * coefficient z^b of element i. A block holds 512 elements; the support of 4608 points is nine blocks. Every
 * vector width from 64 to 512 bits walks the same memory.
 */
#ifndef MCELIECE_INTERNAL_H
#define MCELIECE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mceliece.h"

#define MC_M 13                           /* bits of a field element */
#define MC_N 4608                         /* length of the code */
#define MC_T 96                           /* errors, and the degree of g */
#define MC_ROWS (MC_M * MC_T)             /* 1248: bits of C0 */
#define MC_ROW_LEN ((MC_N - MC_ROWS) / 8) /* 420 bytes of a public key row */
#define MC_ERROR_WORDS (MC_N / 64)
#define MC_BLOCK_WORDS 8
#define MC_BLOCKS (MC_ERROR_WORDS / MC_BLOCK_WORDS)
#define MC_C0_BLOCKS 3       /* 1248 bits, rounded up to blocks */
#define MC_CONTROL_LEN 12800 /* 25 layers of 4096 bits */
#define MC_G_LEN (2 * MC_T)
#define MC_SYNDROMES (2 * MC_T)

struct mc_block {
    _Alignas(64) uint64_t plane[MC_M][MC_BLOCK_WORDS];
};

/* A polynomial of degree 96, highest coefficient first; each bit of a coefficient spread over a whole word.
 */
struct mc_poly {
    uint64_t mask[MC_T + 1][MC_M];
};

/* The three loops worth a vector unit, once per width (lanes_template.h). */
struct mc_lanes {
    const char *name;
    /* syndromes[k] = sum over all elements of weight_i * support_i^k */
    void (*syndromes)(uint16_t syndromes[MC_SYNDROMES], const struct mc_block *support,
                      const struct mc_block *weight, size_t blocks);
    /* value_i = poly(support_i) over MC_BLOCKS blocks */
    void (*evaluate)(struct mc_block *value, const struct mc_block *support, const struct mc_poly *poly);
    /* bit i of parity = parity of (row i of the public key AND bits) */
    void (*parities)(uint8_t parity[MCELIECE_CIPHERTEXT_LEN], const uint8_t *public_key,
                     const uint8_t bits[MC_ROW_LEN]);
};

extern const struct mc_lanes mc_lanes_generic;
#if defined(__x86_64__)
extern const struct mc_lanes mc_lanes_avx2;
extern const struct mc_lanes mc_lanes_avx512;
#endif

/* mc_lanes_here returns the fastest lanes this processor runs; never NULL. */
const struct mc_lanes *mc_lanes_here(void);

struct mceliece_key {
    struct mc_block support[MC_BLOCKS];
    struct mc_block weight[MC_BLOCKS]; /* 1 / g(support)^2 */
    uint8_t s[MCELIECE_ERROR_LEN];     /* what a rejected ciphertext is answered from */
    const struct mc_lanes *lanes;
};

/* mc_support_from_control runs the Benes network over all 8192 field elements and keeps the first 4608. */
void mc_support_from_control(struct mc_block support[MC_BLOCKS], const uint8_t control[MC_CONTROL_LEN]);

/* mc_locator runs Berlekamp-Massey: the polynomial whose roots are the support points in error. */
void mc_locator(struct mc_poly *locator, const uint16_t syndromes[MC_SYNDROMES]);

/* mc_invert replaces each element by its inverse, and zero by zero. */
void mc_invert(struct mc_block *block);

/* mc_square replaces each element by its square. */
void mc_square(struct mc_block *block);

/*
 * mc_shake256 writes the first 32 bytes of SHAKE256(first || data || tail).
 * Returns 0 or -ENOMEM.
 */
int mc_shake256(uint8_t out[MCELIECE_SHARED_SECRET_LEN], uint8_t first, const uint8_t *data, size_t data_len,
                const uint8_t *tail, size_t tail_len);

/* The compiler may not see through mc_opaque: a mask stays a mask and never becomes a branch. */
static inline uint64_t mc_opaque(uint64_t x)
{
    __asm__("" : "+r"(x));
    return x;
}

/* All ones where x is zero, else zero; x < 2^63. */
static inline uint64_t mc_mask_zero(uint64_t x)
{
    return mc_opaque(0 - ((x - 1) >> 63));
}

static inline uint64_t mc_le64(const uint8_t *p)
{
    uint64_t x = 0;
    for (unsigned i = 0; i < 8; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static inline void mc_store_le64(uint8_t *p, uint64_t x)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(x >> (8 * i));
}

/* Parity without popcount: its library fallback looks bytes up in a table. */
static inline uint64_t mc_parity(uint64_t x)
{
    x ^= x >> 32;
    x ^= x >> 16;
    x ^= x >> 8;
    x ^= x >> 4;
    x ^= x >> 2;
    x ^= x >> 1;
    return x & 1;
}

/* Under the constant-time check, says that a value is public; else nothing. */
#ifdef MC_CTGRIND
#include <valgrind/memcheck.h>
#define mc_declassify(p, len) VALGRIND_MAKE_MEM_DEFINED(p, len)
#else
#define mc_declassify(p, len) ((void)(p), (void)(len))
#endif

#endif

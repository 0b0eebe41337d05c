/*
 * The three loops of struct mc_lanes for one vector width: include after defining MC_VEC_BYTES, MC_FN,
 * MC_TARGET and MC_LANES_NAME.
 */

#include <string.h>

#include "internal.h"

typedef uint64_t MC_FN(vec) __attribute__((vector_size(MC_VEC_BYTES), may_alias));
#define MC_VEC MC_FN(vec)
#define MC_VEC_WORDS (MC_VEC_BYTES / 8)

#include "field_template.h"

MC_TARGET static inline void MC_FN(load)(MC_VEC v[MC_M], const struct mc_block *block, size_t word)
{
    MC_UNROLL
    for (int b = 0; b < MC_M; b++)
        v[b] = *(const MC_VEC *)&block->plane[b][word];
}

MC_TARGET static inline void MC_FN(store)(struct mc_block *block, size_t word, const MC_VEC v[MC_M])
{
    MC_UNROLL
    for (int b = 0; b < MC_M; b++)
        *(MC_VEC *)&block->plane[b][word] = v[b];
}

MC_TARGET static inline uint64_t MC_FN(parity)(MC_VEC v)
{
    uint64_t sum = 0;
    MC_UNROLL
    for (int i = 0; i < MC_VEC_WORDS; i++)
        sum ^= v[i];
    return mc_parity(sum);
}

MC_TARGET static void MC_FN(syndromes)(uint16_t syndromes[MC_SYNDROMES], const struct mc_block *support,
                                       const struct mc_block *weight, size_t blocks)
{
    struct mc_block term[MC_BLOCKS]; /* weight_i * support_i^k */

    memcpy(term, weight, blocks * sizeof(term[0]));
    for (size_t k = 0; k < MC_SYNDROMES; k++) {
        MC_VEC sum[MC_M] = {0};
        for (size_t block = 0; block < blocks; block++) {
            for (size_t word = 0; word < MC_BLOCK_WORDS; word += MC_VEC_WORDS) {
                MC_VEC x[MC_M], power[MC_M];
                MC_FN(load)(x, &support[block], word);
                MC_FN(load)(power, &term[block], word);
                MC_UNROLL
                for (int b = 0; b < MC_M; b++)
                    sum[b] ^= power[b];
                MC_FN(multiply)(power, power, x);
                MC_FN(store)(&term[block], word, power);
            }
        }
        uint64_t value = 0;
        for (int b = 0; b < MC_M; b++)
            value |= MC_FN(parity)(sum[b]) << b;
        syndromes[k] = (uint16_t)value;
    }
    explicit_bzero(term, sizeof(term));
}

MC_TARGET static void MC_FN(evaluate)(struct mc_block *value, const struct mc_block *support,
                                      const struct mc_poly *poly)
{
    for (size_t block = 0; block < MC_BLOCKS; block++) {
        for (size_t word = 0; word < MC_BLOCK_WORDS; word += MC_VEC_WORDS) {
            MC_VEC x[MC_M], sum[MC_M] = {0};
            MC_FN(load)(x, &support[block], word);
            for (size_t i = 0; i <= MC_T; i++) {
                MC_FN(multiply)(sum, sum, x);
                MC_UNROLL
                for (int b = 0; b < MC_M; b++)
                    sum[b] ^= poly->mask[i][b];
            }
            MC_FN(store)(&value[block], word, sum);
        }
    }
}

/* A row is no multiple of any vector: the last vector of a row overlaps the one before, where bits are zero.
 */
MC_TARGET static void MC_FN(parities)(uint8_t parity[MCELIECE_CIPHERTEXT_LEN], const uint8_t *public_key,
                                      const uint8_t bits[MC_ROW_LEN])
{
    enum { VECS = (MC_ROW_LEN + MC_VEC_BYTES - 1) / MC_VEC_BYTES, LAST = MC_ROW_LEN - MC_VEC_BYTES };
    MC_VEC want[VECS];

    memset(want, 0, sizeof(want));
    memcpy(want, bits, (VECS - 1) * MC_VEC_BYTES);
    memcpy((uint8_t *)&want[VECS - 1] + ((VECS - 1) * MC_VEC_BYTES - LAST), bits + (VECS - 1) * MC_VEC_BYTES,
           MC_ROW_LEN - (VECS - 1) * MC_VEC_BYTES);
    for (size_t byte = 0; byte < MCELIECE_CIPHERTEXT_LEN; byte++) {
        uint64_t parities = 0;
        for (size_t bit = 0; bit < 8; bit++) {
            MC_VEC key, sum = {0};
            for (size_t i = 0; i < VECS - 1; i++) {
                memcpy(&key, public_key + i * MC_VEC_BYTES, sizeof(key));
                sum ^= key & want[i];
            }
            memcpy(&key, public_key + LAST, sizeof(key));
            sum ^= key & want[VECS - 1];
            parities |= MC_FN(parity)(sum) << bit;
            public_key += MC_ROW_LEN;
        }
        parity[byte] = (uint8_t)parities;
    }
    explicit_bzero(want, sizeof(want));
}

const struct mc_lanes MC_FN(mc_lanes) = {
    .name = MC_LANES_NAME,
    .syndromes = MC_FN(syndromes),
    .evaluate = MC_FN(evaluate),
    .parities = MC_FN(parities),
};

/* Decapsulation: anyone may send a ciphertext, so nothing here shows whether or how it decoded. */
#include <errno.h>

#include "internal.h"

struct work {
    struct mc_block block[MC_BLOCKS];
    struct mc_poly locator;
    uint16_t received[MC_SYNDROMES], recomputed[MC_SYNDROMES];
    uint64_t word[MC_ERROR_WORDS];
    uint8_t error[MCELIECE_ERROR_LEN], chosen[MCELIECE_ERROR_LEN];
    uint8_t confirmation[MCELIECE_SHARED_SECRET_LEN];
};

/* Syndromes of a word of bits: the weights of its ones, zero elsewhere. */
static void syndromes_of(uint16_t out[MC_SYNDROMES], struct work *work, const struct mceliece_key *key,
                         size_t blocks)
{
    for (size_t block = 0; block < blocks; block++)
        for (unsigned b = 0; b < MC_M; b++)
            for (unsigned i = 0; i < MC_BLOCK_WORDS; i++)
                work->block[block].plane[b][i] =
                    key->weight[block].plane[b][i] & work->word[block * MC_BLOCK_WORDS + i];
    key->lanes->syndromes(out, key->support, work->block, blocks);
}

/* A bit is in error where the locator has a root. */
static void roots_to_error(struct work *work, const struct mceliece_key *key)
{
    key->lanes->evaluate(work->block, key->support, &work->locator);
    for (unsigned i = 0; i < MC_ERROR_WORDS; i++) {
        uint64_t nonzero = 0;
        for (unsigned b = 0; b < MC_M; b++)
            nonzero |= work->block[i / MC_BLOCK_WORDS].plane[b][i % MC_BLOCK_WORDS];
        work->word[i] = ~nonzero;
        mc_store_le64(work->error + 8 * i, ~nonzero);
    }
}

static uint64_t weight_of(const uint64_t word[MC_ERROR_WORDS])
{
    uint64_t weight = 0;

    for (unsigned i = 0; i < MC_ERROR_WORDS; i++) {
        uint64_t x = word[i];
        x -= x >> 1 & 0x5555555555555555;
        x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
        x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
        weight += x * 0x0101010101010101 >> 56;
    }
    return weight;
}

/* Finds the error vector of C0. Returns all ones where there is one, else zero and work->error is noise. */
static uint64_t decode(struct work *work, const struct mceliece_key *key, const uint8_t *c0)
{
    uint8_t padded[MC_C0_BLOCKS * MC_BLOCK_WORDS * 8] = {0};
    uint64_t different = 0;

    memcpy(padded, c0, MCELIECE_CIPHERTEXT_LEN);
    for (unsigned i = 0; i < MC_C0_BLOCKS * MC_BLOCK_WORDS; i++)
        work->word[i] = mc_le64(padded + 8 * i);
    syndromes_of(work->received, work, key, MC_C0_BLOCKS);
    mc_locator(&work->locator, work->received);
    roots_to_error(work, key);
    syndromes_of(work->recomputed, work, key, MC_BLOCKS);
    for (unsigned k = 0; k < MC_SYNDROMES; k++)
        different |= (uint64_t)(work->received[k] ^ work->recomputed[k]);
    return mc_mask_zero(different | (weight_of(work->word) ^ MC_T));
}

/* Both secrets need one hash over the same lengths, so only its input is chosen. */
static int decaps(uint8_t *shared_secret, struct work *work, const struct mceliece_key *key,
                  const uint8_t *ciphertext, size_t ciphertext_len)
{
    uint64_t accept = decode(work, key, ciphertext);

    if (ciphertext_len == MCELIECE_CIPHERTEXT_PC_LEN) {
        const uint8_t *c1 = ciphertext + MCELIECE_CIPHERTEXT_LEN;
        uint64_t different = 0;
        int failed = mc_shake256(work->confirmation, 2, work->error, MCELIECE_ERROR_LEN, NULL, 0);
        if (failed)
            return failed;
        for (unsigned i = 0; i < sizeof(work->confirmation); i++)
            different |= (uint64_t)(work->confirmation[i] ^ c1[i]);
        accept &= mc_mask_zero(different);
    }
    for (unsigned i = 0; i < MCELIECE_ERROR_LEN; i++)
        work->chosen[i] = (uint8_t)((accept & work->error[i]) | (~accept & key->s[i]));
    return mc_shake256(shared_secret, accept & 1, work->chosen, MCELIECE_ERROR_LEN, ciphertext,
                       ciphertext_len);
}

int mceliece_decaps(uint8_t *shared_secret, const struct mceliece_key *key, const uint8_t *ciphertext,
                    size_t ciphertext_len)
{
    struct work work;
    int result;

    if (ciphertext_len != MCELIECE_CIPHERTEXT_LEN && ciphertext_len != MCELIECE_CIPHERTEXT_PC_LEN)
        return -EINVAL;
    result = decaps(shared_secret, &work, key, ciphertext, ciphertext_len);
    explicit_bzero(&work, sizeof(work));
    return result;
}

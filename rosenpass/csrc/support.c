/*
 * The support: all field elements in bit-reversed order, permuted by the Benes network of the secret key.
 *
 * Layer l of 25 swaps or keeps 4096 pairs of positions (p, p + gap), gap = 2^min(l, 24 - l), one control bit
 * each.
 */
#include "internal.h"

#define LAYERS 25
#define FIELD_WORDS 128 /* 8192 positions */
#define CONTROL_WORDS 64

/* Plane b of "element i is i with its 13 bits reversed": bit 12 - b of the position. */
static uint64_t position_bit(unsigned bit, unsigned word)
{
    static const uint64_t within_word[6] = {
        0xaaaaaaaaaaaaaaaa, 0xcccccccccccccccc, 0xf0f0f0f0f0f0f0f0,
        0xff00ff00ff00ff00, 0xffff0000ffff0000, 0xffffffff00000000,
    };
    return bit < 6 ? within_word[bit] : 0 - (uint64_t)(word >> (bit - 6) & 1);
}

/* Puts 32 control bits where the lower position of each pair is: gap bits used, gap bits free, and so on. */
static uint64_t spread(uint64_t bits, unsigned gap)
{
    static const uint64_t keep[5] = {
        0x5555555555555555, 0x3333333333333333, 0x0f0f0f0f0f0f0f0f, 0x00ff00ff00ff00ff, 0x0000ffff0000ffff,
    };
    for (int i = 4; i >= 0 && (1u << i) >= gap; i--)
        bits = (bits | bits << (1u << i)) & keep[i];
    return bits;
}

static void swap_words(uint64_t plane[MC_M][FIELD_WORDS], const uint64_t control[CONTROL_WORDS], unsigned gap)
{
    for (unsigned j = 0; j < CONTROL_WORDS; j++) {
        unsigned low = j % gap + 2 * gap * (j / gap);
        for (unsigned b = 0; b < MC_M; b++) {
            uint64_t change = (plane[b][low] ^ plane[b][low + gap]) & control[j];
            plane[b][low] ^= change;
            plane[b][low + gap] ^= change;
        }
    }
}

static void swap_bits(uint64_t plane[MC_M][FIELD_WORDS], const uint64_t control[CONTROL_WORDS], unsigned gap)
{
    for (unsigned word = 0; word < FIELD_WORDS; word++) {
        uint64_t pairs = spread(control[word / 2] >> (32 * (word % 2)) & 0xffffffff, gap);
        for (unsigned b = 0; b < MC_M; b++) {
            uint64_t change = (plane[b][word] ^ plane[b][word] >> gap) & pairs;
            plane[b][word] ^= change ^ change << gap;
        }
    }
}

void mc_support_from_control(struct mc_block support[MC_BLOCKS], const uint8_t control[MC_CONTROL_LEN])
{
    uint64_t plane[MC_M][FIELD_WORDS], layer[CONTROL_WORDS];

    for (unsigned b = 0; b < MC_M; b++)
        for (unsigned word = 0; word < FIELD_WORDS; word++)
            plane[b][word] = position_bit(MC_M - 1 - b, word);
    for (unsigned l = 0; l < LAYERS; l++) {
        unsigned gap = 1u << (l < LAYERS / 2 ? l : LAYERS - 1 - l);
        for (unsigned j = 0; j < CONTROL_WORDS; j++)
            layer[j] = mc_le64(control + 8 * (l * CONTROL_WORDS + j));
        if (gap < 64)
            swap_bits(plane, layer, gap);
        else
            swap_words(plane, layer, gap / 64);
    }
    for (unsigned word = 0; word < MC_ERROR_WORDS; word++)
        for (unsigned b = 0; b < MC_M; b++)
            support[word / MC_BLOCK_WORDS].plane[b][word % MC_BLOCK_WORDS] = plane[b][word];
    explicit_bzero(plane, sizeof(plane));
    explicit_bzero(layer, sizeof(layer));
}

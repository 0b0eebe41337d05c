/* The units of rosenpass/csrc against plain arithmetic, and the whole against vectors. */
#include <errno.h>
#include <pthread.h>

#include "vectors.h"

static struct vectors vectors;
static uint64_t seed = 1;

/* One element at a time, one bit at a time. */
static unsigned times(unsigned a, unsigned b)
{
    unsigned product = 0;
    for (unsigned i = 0; i < MC_M; i++)
        product ^= (b >> i & 1) * (a << i);
    for (unsigned i = 2 * MC_M - 2; i >= MC_M; i--)
        product ^= (product >> i & 1) * (0x201bu << (i - MC_M));
    return product;
}

static unsigned get(const struct mc_block *blocks, size_t i)
{
    unsigned element = 0;
    for (unsigned b = 0; b < MC_M; b++)
        element |= (unsigned)(blocks[i / 512].plane[b][i % 512 / 64] >> (i % 64) & 1) << b;
    return element;
}

static void put(struct mc_block *blocks, size_t i, unsigned element)
{
    for (unsigned b = 0; b < MC_M; b++) {
        uint64_t *word = &blocks[i / 512].plane[b][i % 512 / 64];
        *word = (*word & ~((uint64_t)1 << (i % 64))) | (uint64_t)(element >> b & 1) << (i % 64);
    }
}

static void fill(struct mc_block *blocks, size_t count)
{
    draw_bytes(&seed, (uint8_t *)blocks, count * sizeof(blocks[0]));
}

static void every_element_times_its_inverse_is_one(void)
{
    struct mc_block x;
    for (unsigned base = 0; base < 8192; base += 512) {
        for (unsigned i = 0; i < 512; i++)
            put(&x, i, base + i);
        mc_invert(&x);
        for (unsigned i = 0; i < 512; i++)
            CHECK_EQUAL(times(base + i, get(&x, i)), base + i != 0);
    }
}

static void every_square_is_the_product_with_itself(void)
{
    struct mc_block x;
    for (unsigned base = 0; base < 8192; base += 512) {
        for (unsigned i = 0; i < 512; i++)
            put(&x, i, base + i);
        mc_square(&x);
        for (unsigned i = 0; i < 512; i++)
            CHECK_EQUAL(get(&x, i), times(base + i, base + i));
    }
}

static void every_width_evaluates_as_plain_arithmetic(void)
{
    struct mc_block points[MC_BLOCKS], values[MC_BLOCKS];
    struct mc_poly poly;
    unsigned coefficients[MC_T + 1];

    fill(points, MC_BLOCKS);
    for (unsigned i = 0; i <= MC_T; i++) {
        coefficients[i] = draw_below(&seed, 8192);
        for (unsigned b = 0; b < MC_M; b++)
            poly.mask[i][b] = 0 - (uint64_t)(coefficients[i] >> b & 1);
    }
    for (const struct mc_lanes *const *lanes = all_lanes(); *lanes; lanes++) {
        (*lanes)->evaluate(values, points, &poly);
        for (size_t at = 0; at < MC_N; at++) {
            unsigned value = 0, x = get(points, at);
            for (unsigned i = 0; i <= MC_T; i++)
                value = times(value, x) ^ coefficients[i];
            CHECK_EQUAL(get(values, at), value);
        }
    }
}

static void every_width_sums_the_same_syndromes_as_plain_arithmetic(void)
{
    struct mc_block points[MC_BLOCKS], weights[MC_BLOCKS];
    unsigned want[MC_SYNDROMES] = {0};
    uint16_t got[MC_SYNDROMES];

    for (size_t blocks = MC_C0_BLOCKS; blocks <= MC_BLOCKS; blocks += MC_BLOCKS - MC_C0_BLOCKS) {
        fill(points, MC_BLOCKS);
        fill(weights, MC_BLOCKS);
        memset(want, 0, sizeof want);
        for (size_t at = 0; at < 512 * blocks; at++) {
            unsigned term = get(weights, at), x = get(points, at);
            for (unsigned k = 0; k < MC_SYNDROMES; k++) {
                want[k] ^= term;
                term = times(term, x);
            }
        }
        for (const struct mc_lanes *const *lanes = all_lanes(); *lanes; lanes++) {
            (*lanes)->syndromes(got, points, weights, blocks);
            for (unsigned k = 0; k < MC_SYNDROMES; k++)
                CHECK_EQUAL(got[k], want[k]);
        }
    }
}

static void every_width_finds_the_same_parities_as_bit_by_bit(void)
{
    uint8_t *public_key = malloc(MCELIECE_PUBLIC_KEY_LEN); /* exactly: the sanitizer guards its end */
    uint8_t bits[MC_ROW_LEN], got[MCELIECE_CIPHERTEXT_LEN];

    CHECK(public_key);
    draw_bytes(&seed, public_key, MCELIECE_PUBLIC_KEY_LEN);
    draw_bytes(&seed, bits, sizeof bits);
    for (const struct mc_lanes *const *lanes = all_lanes(); *lanes; lanes++) {
        (*lanes)->parities(got, public_key, bits);
        for (size_t row = 0; row < MC_ROWS; row++) {
            unsigned parity = 0;
            for (size_t i = 0; i < MC_ROW_LEN; i++)
                parity ^= (unsigned)__builtin_parity(public_key[row * MC_ROW_LEN + i] & bits[i]);
            CHECK_EQUAL(got[row / 8] >> (row % 8) & 1, parity);
        }
    }
    free(public_key);
}

static void the_network_swaps_as_a_naive_one(void)
{
    static uint8_t control[MC_CONTROL_LEN];
    static unsigned a[8192];
    struct mc_block support[MC_BLOCKS];

    for (unsigned round = 0; round < 3; round++) { /* nothing swapped, everything, some */
        memset(control, round == 1 ? 0xff : 0, sizeof control);
        if (round == 2)
            draw_bytes(&seed, control, sizeof control);
        for (unsigned i = 0; i < 8192; i++) {
            a[i] = 0;
            for (unsigned b = 0; b < MC_M; b++)
                a[i] |= (i >> b & 1) << (MC_M - 1 - b);
        }
        for (unsigned layer = 0; layer < 25; layer++) {
            unsigned gap = 1u << (layer < 12 ? layer : 24 - layer);
            for (unsigned j = 0; j < 4096; j++) {
                unsigned p = j % gap + 2 * gap * (j / gap), bit = 4096 * layer + j;
                if (control[bit / 8] >> (bit % 8) & 1) {
                    unsigned held = a[p];
                    a[p] = a[p + gap];
                    a[p + gap] = held;
                }
            }
        }
        mc_support_from_control(support, control);
        for (unsigned i = 0; i < MC_N; i++)
            CHECK_EQUAL(get(support, i), a[i]);
    }
}

static unsigned value_of(const struct mc_poly *poly, unsigned x)
{
    unsigned value = 0;
    for (unsigned i = 0; i <= MC_T; i++) {
        unsigned coefficient = 0;
        for (unsigned b = 0; b < MC_M; b++) {
            CHECK(poly->mask[i][b] == 0 || poly->mask[i][b] == ~(uint64_t)0);
            coefficient |= (unsigned)(poly->mask[i][b] & 1) << b;
        }
        value = times(value, x) ^ coefficient;
    }
    return value;
}

static void the_locator_has_exactly_the_points_as_roots(void)
{
    static const unsigned counts[] = {1, 2, 48, 95, 96};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        uint16_t syndromes[MC_SYNDROMES] = {0};
        uint8_t chosen[8192] = {0};
        struct mc_poly locator;
        for (unsigned left = counts[c]; left > 0;) {
            unsigned x = 1 + draw_below(&seed, 8191), term = 1 + draw_below(&seed, 8191);
            if (chosen[x])
                continue;
            chosen[x] = 1;
            left--;
            for (unsigned k = 0; k < MC_SYNDROMES; k++) {
                syndromes[k] = (uint16_t)(syndromes[k] ^ term);
                term = times(term, x);
            }
        }
        mc_locator(&locator, syndromes);
        for (unsigned x = 1; x < 8192; x++)
            CHECK_EQUAL(value_of(&locator, x) == 0, chosen[x]);
    }
}

/* The same draw with branches and division. */
static void naive_error(uint8_t error[MCELIECE_ERROR_LEN], const uint8_t *random)
{
    memset(error, 0, MCELIECE_ERROR_LEN);
    for (unsigned i = MC_T; i-- > 0;) {
        uint64_t drawn = 0;
        for (unsigned j = 8; j-- > 0;)
            drawn = drawn << 8 | random[8 * i + j];
        unsigned at = i + (unsigned)(((unsigned __int128)drawn * (MC_N - i)) >> 64);
        if (error[at / 8] >> (at % 8) & 1)
            at = i;
        CHECK(!(error[at / 8] >> (at % 8) & 1));
        error[at / 8] = (uint8_t)(error[at / 8] | 1 << (at % 8));
    }
}

static void errors_are_drawn_as_described(void)
{
    uint8_t random[MCELIECE_RANDOM_LEN], got[MCELIECE_ERROR_LEN], want[MCELIECE_ERROR_LEN];
    for (unsigned round = 0; round < 300; round++) {
        memset(random, round == 1 ? 0xff : 0, sizeof random);
        if (round > 1)
            draw_bytes(&seed, random, sizeof random);
        for (unsigned i = 0; round > 200 && i < MC_T; i++) /* crowded: most draws are taken already */
            memset(random + 8 * i + 2, 0, 6);
        mceliece_error_from_random(got, random);
        naive_error(want, random);
        CHECK(memcmp(got, want, sizeof got) == 0);
    }
}

static struct mceliece_key *load(const uint8_t *bytes, size_t len)
{
    struct mceliece_key *key = NULL;
    CHECK_EQUAL(mceliece_key_new(&key, bytes, len), 0);
    return key;
}

static void vectors_open_at_every_width_from_both_layouts(void)
{
    uint8_t go[MCELIECE_SECRET_KEY_GO_LEN], secret[MCELIECE_SHARED_SECRET_LEN];
    to_go_layout(go, vectors.rust_key);
    struct mceliece_key *keys[] = {load(vectors.rust_key, sizeof vectors.rust_key), load(go, sizeof go)};
    for (size_t k = 0; k < 2; k++) {
        for (const struct mc_lanes *const *lanes = all_lanes(); *lanes; lanes++) {
            keys[k]->lanes = *lanes;
            for (size_t i = 0; i < vectors.openings; i++) {
                const struct opening *o = &vectors.opening[i];
                CHECK_EQUAL(mceliece_decaps(secret, keys[k], o->ciphertext, o->ciphertext_len), 0);
                CHECK(memcmp(secret, o->secret, sizeof secret) == 0);
            }
        }
        mceliece_key_free(keys[k]);
    }
}

static void lengths_and_forms_of_no_kind_are_refused(void)
{
    uint8_t secret[MCELIECE_SHARED_SECRET_LEN], any[MCELIECE_SECRET_KEY_GO_LEN] = {0};
    struct mceliece_key *key = NULL;
    static const size_t key_lens[] = {0, 1, 13567, 13569, 13607, 524160}, lens[] = {0, 155, 157, 187, 189};

    for (size_t i = 0; i < sizeof key_lens / sizeof key_lens[0]; i++)
        CHECK_EQUAL(mceliece_key_new(&key, any, key_lens[i]), -EINVAL);
    key = load(vectors.rust_key, sizeof vectors.rust_key);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        CHECK_EQUAL(mceliece_decaps(secret, key, any, lens[i]), -EINVAL);
        CHECK_EQUAL(mceliece_encaps(any, lens[i], secret, any, any), -EINVAL);
    }
    mceliece_key_free(key);
    mceliece_key_free(NULL);
}

static void a_goppa_polynomial_with_a_root_or_excess_bits_is_refused(void)
{
    uint8_t bytes[MCELIECE_SECRET_KEY_RUST_LEN];
    struct mceliece_key *key = NULL;

    memset(bytes, 0, sizeof bytes); /* g = x^96, a root at zero, which the unpermuted support holds */
    CHECK_EQUAL(mceliece_key_new(&key, bytes, sizeof bytes), -EBADMSG);
    memcpy(bytes, vectors.rust_key, sizeof bytes);
    bytes[576 + 1] |= 0x80;
    CHECK_EQUAL(mceliece_key_new(&key, bytes, sizeof bytes), -EBADMSG);
    CHECK(key == NULL);
}

static void *open_all(void *argument)
{
    uint8_t secret[MCELIECE_SHARED_SECRET_LEN];
    for (unsigned round = 0; round < 5; round++) {
        for (size_t i = 0; i < vectors.openings; i++) {
            const struct opening *o = &vectors.opening[i];
            CHECK_EQUAL(mceliece_decaps(secret, argument, o->ciphertext, o->ciphertext_len), 0);
            CHECK(memcmp(secret, o->secret, sizeof secret) == 0);
        }
    }
    return NULL;
}

static void one_key_serves_several_threads(void)
{
    struct mceliece_key *key = load(vectors.rust_key, sizeof vectors.rust_key);
    pthread_t thread[4];
    for (size_t i = 0; i < 4; i++)
        CHECK_EQUAL(pthread_create(&thread[i], NULL, open_all, key), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    mceliece_key_free(key);
}

int main(int argc, char **argv)
{
    read_vectors(&vectors, argc > 1 ? argv[1] : NULL);
    RUN(every_element_times_its_inverse_is_one);
    RUN(every_square_is_the_product_with_itself);
    RUN(every_width_evaluates_as_plain_arithmetic);
    RUN(every_width_sums_the_same_syndromes_as_plain_arithmetic);
    RUN(every_width_finds_the_same_parities_as_bit_by_bit);
    RUN(the_network_swaps_as_a_naive_one);
    RUN(the_locator_has_exactly_the_points_as_roots);
    RUN(errors_are_drawn_as_described);
    RUN(vectors_open_at_every_width_from_both_layouts);
    RUN(lengths_and_forms_of_no_kind_are_refused);
    RUN(a_goppa_polynomial_with_a_root_or_excess_bits_is_refused);
    RUN(one_key_serves_several_threads);
    return 0;
}

/*
 * Berlekamp-Massey (Massey 1969) over 192 syndromes, without inversions and without branches.
 *
 * A polynomial of degree <= 96 is 13 planes of 128 bits: bit i of a plane belongs to coefficient x^i. Scaling
 * the connection polynomial by the last nonzero discrepancy instead of dividing by it leaves its roots alone.
 */
#include "internal.h"

typedef uint64_t pair __attribute__((vector_size(16)));

#define MC_VEC pair
#define MC_FN(x) x##_pair
#define MC_TARGET
#include "field_template.h"

struct state {
    pair connection[MC_M]; /* C: annihilates the syndromes seen so far */
    pair previous[MC_M];   /* x^k times the C before the last length change */
    pair window[MC_M];     /* bit i: the syndrome seen i steps ago */
    pair scale[MC_M];      /* the discrepancy of the last length change, in every position */
    uint64_t length;
};

/* Multiplies by x: each coefficient moves up one place, and low becomes the lowest. */
static inline pair shift_in(pair p, uint64_t low)
{
    return (pair){p[0] << 1 | low, p[1] << 1 | p[0] >> 63};
}

static inline void broadcast(pair out[MC_M], uint64_t element)
{
    for (unsigned b = 0; b < MC_M; b++) {
        uint64_t all = 0 - (element >> b & 1);
        out[b] = (pair){all, all};
    }
}

static inline uint64_t discrepancy(const struct state *st)
{
    pair product[MC_M];
    uint64_t sum = 0;

    multiply_pair(product, st->connection, st->window);
    for (unsigned b = 0; b < MC_M; b++)
        sum |= mc_parity(product[b][0] ^ product[b][1]) << b;
    return sum;
}

static inline void step(struct state *st, uint64_t syndrome, uint64_t n)
{
    pair scaled[MC_M], correction[MC_M], delta[MC_M];

    for (unsigned b = 0; b < MC_M; b++)
        st->window[b] = shift_in(st->window[b], syndrome >> b & 1);
    uint64_t d = discrepancy(st);
    uint64_t too_short = mc_opaque((2 * st->length - n - 1) >> 63); /* 2 * length <= n */
    uint64_t longer = ~mc_mask_zero(d) & (0 - too_short);
    pair change = {longer, longer};

    broadcast(delta, d);
    multiply_pair(scaled, st->connection, st->scale);
    multiply_pair(correction, st->previous, delta);
    for (unsigned b = 0; b < MC_M; b++) {
        st->previous[b] = shift_in((change & st->connection[b]) | (~change & st->previous[b]), 0);
        st->connection[b] = scaled[b] ^ correction[b];
        st->scale[b] = (change & delta[b]) | (~change & st->scale[b]);
    }
    st->length ^= longer & (st->length ^ (n + 1 - st->length));
}

void mc_locator(struct mc_poly *locator, const uint16_t syndromes[MC_SYNDROMES])
{
    struct state st = {.connection[0] = {1, 0}, .previous[0] = {2, 0}};

    broadcast(st.scale, 1);
    for (unsigned n = 0; n < MC_SYNDROMES; n++)
        step(&st, syndromes[n], n);
    /* The roots of C are the inverses of the points. Read backwards, C has the points themselves as its
     * roots: the constant coefficient becomes the highest. */
    for (unsigned i = 0; i <= MC_T; i++)
        for (unsigned b = 0; b < MC_M; b++)
            locator->mask[i][b] = mc_opaque(0 - (st.connection[b][i / 64] >> (i % 64) & 1));
    explicit_bzero(&st, sizeof(st));
}

/*
 * Bitsliced GF(2^13) for one vector type: include after defining
 *
 *   MC_VEC      the type, an integer or a vector of uint64_t
 *   MC_FN(x)    the name x of this instance
 *   MC_TARGET   attributes of its functions (empty for the base instruction set)
 *
 * Each function must carry the target itself: gcc splits wide vectors before it inlines. Inlining is forced:
 * 26 vectors through memory cost as much as the product.
 */

#ifndef MC_UNROLL
#if defined(__clang__)
#define MC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MC_UNROLL _Pragma("GCC unroll 32")
#endif
#endif

/* Schoolbook product, reduced on the way: r = r * z + a_i * b from the highest a_i down; 13 accumulators. */
MC_TARGET static inline __attribute__((always_inline)) void MC_FN(multiply)(MC_VEC *out, const MC_VEC *a,
                                                                            const MC_VEC *b)
{
    MC_VEC r[MC_M];

    MC_UNROLL
    for (int j = 0; j < MC_M; j++)
        r[j] = a[MC_M - 1] & b[j];
    MC_UNROLL
    for (int i = MC_M - 2; i >= 0; i--) {
        MC_VEC top = r[MC_M - 1];
        MC_UNROLL
        for (int j = MC_M - 1; j > 0; j--)
            r[j] = r[j - 1];
        r[0] = top;
        r[1] ^= top;
        r[3] ^= top;
        r[4] ^= top;
        MC_UNROLL
        for (int j = 0; j < MC_M; j++)
            r[j] ^= a[i] & b[j];
    }
    MC_UNROLL
    for (int j = 0; j < MC_M; j++)
        out[j] = r[j];
}

/* 512-bit lanes. */
#if defined(__x86_64__)
#define MC_VEC_BYTES 64
#define MC_FN(x) x##_avx512
#define MC_TARGET __attribute__((target("avx512f")))
#define MC_LANES_NAME "avx512"
#include "lanes_template.h"
#else
typedef int mc_no_avx512_here;
#endif

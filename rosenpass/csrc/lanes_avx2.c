/* 256-bit lanes. */
#if defined(__x86_64__)
#define MC_VEC_BYTES 32
#define MC_FN(x) x##_avx2
#define MC_TARGET __attribute__((target("avx2")))
#define MC_LANES_NAME "avx2"
#include "lanes_template.h"
#else
typedef int mc_no_avx2_here;
#endif

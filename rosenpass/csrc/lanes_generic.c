/* 128-bit lanes: SSE2 or NEON where the base instruction set has it, plain words elsewhere. */
#define MC_VEC_BYTES 16
#define MC_FN(x) x##_generic
#define MC_TARGET
#define MC_LANES_NAME "generic"
#include "lanes_template.h"

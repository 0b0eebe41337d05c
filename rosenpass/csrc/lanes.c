/* Chooses the vector width once per call site; knows no field. */
#include "internal.h"

const struct mc_lanes *mc_lanes_here(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return &mc_lanes_avx512;
    if (__builtin_cpu_supports("avx2"))
        return &mc_lanes_avx2;
#endif
    return &mc_lanes_generic;
}

const char *mceliece_lanes(void)
{
    return mc_lanes_here()->name;
}

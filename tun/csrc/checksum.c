#include "checksum.h"

/*
 * The sums run over 64 bytes at a time: eight 64-bit lanes, their halves added apart so that nothing
 * overflows. On x86-64 gcc makes a copy for each vector width, chosen when the library is loaded; the
 * sanitizers do not live with that mechanism, and clang 14 gives the copies a name that nobody calls.
 */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&    \
    !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

typedef uint64_t lanes __attribute__((vector_size(64)));

static inline uint64_t halves(uint64_t word)
{
    return (word & 0xffffffff) + (word >> 32);
}

/* The last bytes of a sum, fewer than eight. */
static inline uint64_t add_rest(uint64_t sum, const uint8_t *data, size_t length)
{
    uint32_t word = 0;
    uint16_t pair = 0;
    uint8_t last[2] = {0};
    if (length & 4) {
        memcpy(&word, data, 4);
        sum += word;
        data += 4;
    }
    if (length & 2) {
        memcpy(&pair, data, 2);
        sum += pair;
        data += 2;
    }
    if (length & 1) {
        last[0] = *data;
        memcpy(&pair, last, 2);
        sum += pair;
    }
    return sum;
}

CLONES uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t length)
{
    if (length >= 64) {
        lanes low = {0}, high = {0}, piece;
        for (; length >= 64; length -= 64, data += 64) {
            memcpy(&piece, data, 64);
            low += piece & 0xffffffff;
            high += piece >> 32;
        }
        low += high;
        sum += low[0] + low[1] + low[2] + low[3] + low[4] + low[5] + low[6] + low[7];
    }
    for (; length >= 8; length -= 8, data += 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        sum += halves(word);
    }
    return add_rest(sum, data, length);
}

CLONES uint64_t checksum_copy(uint64_t sum, uint8_t *restrict to, const uint8_t *restrict from, size_t length)
{
    if (length >= 64) {
        lanes low = {0}, high = {0}, piece;
        for (; length >= 64; length -= 64, from += 64, to += 64) {
            memcpy(&piece, from, 64);
            memcpy(to, &piece, 64);
            low += piece & 0xffffffff;
            high += piece >> 32;
        }
        low += high;
        sum += low[0] + low[1] + low[2] + low[3] + low[4] + low[5] + low[6] + low[7];
    }
    for (; length >= 8; length -= 8, from += 8, to += 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        memcpy(to, &word, 8);
        sum += halves(word);
    }
    for (size_t i = 0; i < length; i++)
        to[i] = from[i];
    return add_rest(sum, from, length);
}

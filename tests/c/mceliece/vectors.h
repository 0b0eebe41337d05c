/* The project's own vectors, read from what vectors.py prints. */
#ifndef MCELIECE_VECTORS_H
#define MCELIECE_VECTORS_H

#include "harness.h"
#include "internal.h"

#define MAX_CASES 16

struct opening {
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_PC_LEN];
    size_t ciphertext_len;
    uint8_t secret[MCELIECE_SHARED_SECRET_LEN];
};

struct vectors {
    uint8_t rust_key[MCELIECE_SECRET_KEY_RUST_LEN];
    struct opening opening[MAX_CASES];
    size_t openings;
};

static inline void read_vectors(struct vectors *v, const char *path)
{
    FILE *file = path ? fopen(path, "r") : NULL;
    struct words words = {0};

    if (!file) {
        fprintf(stderr, "cannot read vectors: %s\n", path ? path : "none named");
        exit(1);
    }
    v->openings = 0;
    while (read_words(file, &words)) {
        if (strcmp(words.word[0], "key") == 0) {
            CHECK_EQUAL(unhex(words.word[1], v->rust_key, sizeof v->rust_key), sizeof v->rust_key);
            continue;
        }
        CHECK(v->openings < MAX_CASES);
        struct opening *o = &v->opening[v->openings++];
        o->ciphertext_len = unhex(words.word[1], o->ciphertext, sizeof o->ciphertext);
        unhex(words.word[2], o->secret, sizeof o->secret);
    }
    CHECK(v->openings > 0);
    free(words.line);
    fclose(file);
}

/* s 576, g 192, control bits 12800 -> delta 32, pivots 8, g, control bits, s */
static inline void to_go_layout(uint8_t go[MCELIECE_SECRET_KEY_GO_LEN],
                                const uint8_t rust[MCELIECE_SECRET_KEY_RUST_LEN])
{
    memset(go, 0, MCELIECE_SECRET_KEY_GO_LEN);
    memset(go + 32, 0xff, 4);
    memcpy(go + 40, rust + 576, 12992);
    memcpy(go + 13032, rust, 576);
}

/* Every vector width this processor runs; ends in NULL. */
static inline const struct mc_lanes *const *all_lanes(void)
{
    static const struct mc_lanes *lanes[4];
    size_t count = 0;

    lanes[count++] = &mc_lanes_generic;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        lanes[count++] = &mc_lanes_avx2;
    if (__builtin_cpu_supports("avx512f"))
        lanes[count++] = &mc_lanes_avx512;
#endif
    lanes[count] = NULL;
    return lanes;
}

#endif

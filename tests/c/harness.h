/*
 * The C tests' whole framework. A test is a function named as a claim, a program is a main of RUN lines;
 * CHECK ends the program at the first claim that does not hold.
 *
 * Vectors come from tests/c/vectors.py, which turns JSON into lines of words: $WGPY_C_VECTORS/own/NAME.txt
 * (made by this project) and $WGPY_C_VECTORS/shared/NAME.txt (where they exist).
 */
#ifndef WGPY_HARNESS_H
#define WGPY_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(claim)                                                                                         \
    do {                                                                                                     \
        if (!(claim)) {                                                                                      \
            fprintf(stderr, "%s:%d: %s: does not hold: %s\n", __FILE__, __LINE__, __func__, #claim);         \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define CHECK_EQUAL(a, b)                                                                                    \
    do {                                                                                                     \
        long long left_ = (long long)(a), right_ = (long long)(b);                                           \
        if (left_ != right_) {                                                                               \
            fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, __func__, #a, left_,    \
                    right_);                                                                                 \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define RUN(test)                                                                                            \
    do {                                                                                                     \
        test();                                                                                              \
        printf("ok %s\n", #test);                                                                            \
    } while (0)

/* xorshift64*: the same numbers in every run. */
static inline uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

static inline uint32_t draw_below(uint64_t *state, uint32_t bound)
{
    return (uint32_t)((draw(state) >> 32) % bound);
}

static inline void draw_bytes(uint64_t *state, uint8_t *out, size_t length)
{
    for (size_t i = 0; i < length; i++)
        out[i] = (uint8_t)(draw(state) >> 56);
}

/* One line of a vector file. */
#define MAX_WORDS 32
struct words {
    char *line;
    size_t capacity;
    char *word[MAX_WORDS];
    int count;
};

static inline int read_words(FILE *file, struct words *words)
{
    if (getline(&words->line, &words->capacity, file) < 0)
        return 0;
    words->count = 0;
    char *rest = words->line;
    for (char *word; words->count < MAX_WORDS && (word = strsep(&rest, " \n"));) {
        if (*word)
            words->word[words->count++] = word;
    }
    return 1;
}

/* Calls step for every line of both sets of NAME; says so when a set is absent. */
static inline void each_vector(const char *name, void (*step)(const struct words *words))
{
    static const char *const sets[] = {"own", "shared"};
    const char *root = getenv("WGPY_C_VECTORS");
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s/%s.txt", root ? root : ".", sets[i], name);
        FILE *file = fopen(path, "r");
        if (!file) {
            printf("skip %s: no %s vectors\n", name, sets[i]);
            continue;
        }
        struct words words = {0};
        long lines = 0;
        while (read_words(file, &words)) {
            step(&words);
            lines++;
        }
        printf("vectors %s/%s: %ld lines\n", sets[i], name, lines);
        CHECK(lines > 0);
        free(words.line);
        fclose(file);
    }
}

/* "-" is the empty string. Returns how many bytes. */
static inline size_t unhex(const char *hex, uint8_t *out, size_t capacity)
{
    size_t length = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
    CHECK(length <= capacity);
    for (size_t i = 0; i < length; i++) {
        unsigned byte;
        CHECK(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        out[i] = (uint8_t)byte;
    }
    return length;
}

/* A list of numbers "1,2,3"; "-" is the empty list. */
static inline size_t numbers(const char *text, uint32_t *out, size_t capacity)
{
    size_t count = 0;
    if (strcmp(text, "-") == 0)
        return 0;
    for (char *end; *text; text = *end ? end + 1 : end) {
        CHECK(count < capacity);
        out[count++] = (uint32_t)strtoul(text, &end, 10);
    }
    return count;
}

#endif

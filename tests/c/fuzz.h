/* Reading a fuzzer's input piece by piece; beyond its end there are zeros. */
#ifndef WGPY_FUZZ_H
#define WGPY_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST(claim)                                                                                          \
    do {                                                                                                     \
        if (!(claim))                                                                                        \
            __builtin_trap();                                                                                \
    } while (0)

struct input {
    const uint8_t *data;
    size_t left;
};

static inline void take_bytes(struct input *input, void *out, size_t length)
{
    size_t have = input->left < length ? input->left : length;
    memset(out, 0, length);
    memcpy(out, input->data, have);
    input->data += have;
    input->left -= have;
}

static inline uint8_t take_byte(struct input *input)
{
    uint8_t byte;
    take_bytes(input, &byte, 1);
    return byte;
}

static inline uint16_t take_word(struct input *input)
{
    uint16_t word;
    take_bytes(input, &word, 2);
    return word;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif

/*
 * Any bytes as ciphertext, any bytes as secret key: no memory error, and every vector width answers alike.
 *
 * Input: one byte of what to do, then
 *   even   a ciphertext for the key of the vectors, cut or padded with zeros to 188 or 156 bytes
 *   odd    positions and values (2 + 1 bytes each) to change in that secret key, which then opens a vector;
 * from 13568 bytes on a whole secret key
 *
 * With libFuzzer (make fuzz), or without: a main that runs the files it is given.
 */
#include "vectors.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vectors vectors;
static struct mceliece_key *fixed_key;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    read_vectors(&vectors, getenv("WGPY_MCELIECE_VECTORS"));
    CHECK_EQUAL(mceliece_key_new(&fixed_key, vectors.rust_key, sizeof vectors.rust_key), 0);
    return 0;
}

static void widths_agree(struct mceliece_key *key, const uint8_t *ciphertext, size_t len)
{
    uint8_t first[MCELIECE_SHARED_SECRET_LEN], other[MCELIECE_SHARED_SECRET_LEN];
    for (const struct mc_lanes *const *lanes = all_lanes(); *lanes; lanes++) {
        key->lanes = *lanes;
        CHECK_EQUAL(mceliece_decaps(lanes == all_lanes() ? first : other, key, ciphertext, len), 0);
        if (lanes != all_lanes())
            CHECK(memcmp(first, other, sizeof first) == 0);
    }
}

static void any_ciphertext(const uint8_t *data, size_t size, size_t len)
{
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_PC_LEN] = {0};
    memcpy(ciphertext, data, size < len ? size : len);
    widths_agree(fixed_key, ciphertext, len);
}

static void any_secret_key(const uint8_t *data, size_t size)
{
    uint8_t changed[MCELIECE_SECRET_KEY_RUST_LEN];
    struct mceliece_key *key = NULL;

    if (size < sizeof changed) {
        memcpy(changed, vectors.rust_key, sizeof changed);
        for (; size >= 3; data += 3, size -= 3)
            changed[(data[0] | data[1] << 8) % (int)sizeof changed] = data[2];
        data = changed;
        size = sizeof changed;
    }
    if (mceliece_key_new(&key, data, size) == 0) {
        widths_agree(key, vectors.opening[0].ciphertext, vectors.opening[0].ciphertext_len);
        mceliece_key_free(key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        any_secret_key(data + 1, size - 1);
    else
        any_ciphertext(data + 1, size - 1,
                       data[0] & 2 ? MCELIECE_CIPHERTEXT_LEN : MCELIECE_CIPHERTEXT_PC_LEN);
    return 0;
}

#ifndef MC_LIBFUZZER
int main(int argc, char **argv)
{
    static uint8_t data[1 << 20];
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        CHECK(file);
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
#endif

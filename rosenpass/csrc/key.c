/* Secret keys: two layouts read into one precomputed form that never leaves C. */
#include <errno.h>
#include <sys/mman.h>

#include "internal.h"

struct fields {
    const uint8_t *s, *g, *control;
};

static int find_fields(struct fields *f, const uint8_t *secret_key, size_t len)
{
    switch (len) {
    case MCELIECE_SECRET_KEY_RUST_LEN:
        *f = (struct fields){secret_key, secret_key + 576, secret_key + 768};
        return 0;
    case MCELIECE_SECRET_KEY_GO_LEN:
        *f = (struct fields){secret_key + 13032, secret_key + 40, secret_key + 232};
        return 0;
    default:
        return -EINVAL;
    }
}

/* g is monic and stored from the constant up. Returns nonzero where a coefficient has more than 13 bits. */
static uint64_t read_goppa(struct mc_poly *g, const uint8_t bytes[MC_G_LEN])
{
    uint64_t excess = 0;

    memset(g, 0, sizeof(*g));
    g->mask[0][0] = ~(uint64_t)0;
    for (unsigned i = 0; i < MC_T; i++) {
        uint64_t coefficient = bytes[2 * i] | (uint64_t)bytes[2 * i + 1] << 8;
        excess |= coefficient >> MC_M;
        for (unsigned b = 0; b < MC_M; b++)
            g->mask[MC_T - i][b] = mc_opaque(0 - (coefficient >> b & 1));
    }
    return excess;
}

/* Fills weight with 1 / g^2. Returns nonzero where g has a root in the support. */
static uint64_t weigh(struct mceliece_key *key, const struct mc_poly *g)
{
    uint64_t root = 0;

    key->lanes->evaluate(key->weight, key->support, g);
    for (unsigned block = 0; block < MC_BLOCKS; block++) {
        for (unsigned i = 0; i < MC_BLOCK_WORDS; i++) {
            uint64_t nonzero = 0;
            for (unsigned b = 0; b < MC_M; b++)
                nonzero |= key->weight[block].plane[b][i];
            root |= ~nonzero;
        }
        mc_invert(&key->weight[block]);
        mc_square(&key->weight[block]);
    }
    return root;
}

/* Pages of its own: locked and undumped without touching a neighbour's. */
static struct mceliece_key *allocate(void)
{
    struct mceliece_key *key =
        mmap(NULL, sizeof(*key), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (key == MAP_FAILED)
        return NULL;
    (void)mlock(key, sizeof(*key)); /* best effort: RLIMIT_MEMLOCK may say no */
    (void)madvise(key, sizeof(*key), MADV_DONTDUMP);
    return key;
}

int mceliece_key_new(struct mceliece_key **out, const uint8_t *secret_key, size_t secret_key_len)
{
    struct fields f;
    struct mc_poly g;
    struct mceliece_key *key;
    uint64_t invalid;

    if (find_fields(&f, secret_key, secret_key_len))
        return -EINVAL;
    key = allocate();
    if (!key)
        return -ENOMEM;
    key->lanes = mc_lanes_here();
    memcpy(key->s, f.s, sizeof(key->s));
    mc_support_from_control(key->support, f.control);
    invalid = read_goppa(&g, f.g);
    invalid |= weigh(key, &g);
    explicit_bzero(&g, sizeof(g));

    /* That a key is one at all is public: an honest key always passes. */
    invalid = ~mc_mask_zero(invalid >> 32 | (invalid & 0xffffffff));
    mc_declassify(&invalid, sizeof(invalid));
    if (invalid) {
        mceliece_key_free(key);
        return -EBADMSG;
    }
    *out = key;
    return 0;
}

void mceliece_key_free(struct mceliece_key *key)
{
    if (!key)
        return;
    explicit_bzero(key, sizeof(*key));
    munmap(key, sizeof(*key));
}

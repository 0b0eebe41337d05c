#include "aead.h"

#include "harness.h"
#include "packet.h"

#define COUNT 150
#define ROOM 4096

static const struct aead *implementations[2];
static size_t implementation_count;

static void find_implementations(void)
{
    implementations[implementation_count++] = aead_openssl();
    if (aead_ipsec_mb())
        implementations[implementation_count++] = aead_ipsec_mb();
    else
        printf("skip ipsec-mb: not built or not for this CPU\n");
}

static uint32_t run_one(const struct aead *aead, enum aead_direction direction, const uint8_t *key,
                        uint8_t *data, size_t length, uint64_t counter)
{
    struct aead_state *state = aead->state_new(0);
    struct aead_key *handle = aead->key_new(key, direction, 1);
    struct aead_op op = {.key = handle, .data = data, .counter = counter, .length = (uint32_t)length};
    CHECK(state && handle);
    (direction == AEAD_SEAL ? aead->seal_batch : aead->open_batch)(state, &op, 1);
    aead->key_free(handle);
    aead->state_free(state);
    return op.ok;
}

/* Vectors with the paper's nonce and no associated data; xaead_test runs the others. */
static void step(const struct words *words)
{
    uint8_t key[32], nonce[12], plain[ROOM], sealed[ROOM], data[ROOM];
    CHECK_EQUAL(unhex(words->word[1], key, 32), 32);
    if (unhex(words->word[2], nonce, 12) != 8 || strcmp(words->word[3], "-") != 0)
        return;
    uint64_t counter = get_le64(nonce);
    size_t length = unhex(words->word[5], sealed, ROOM) - TAG_LEN;
    int valid = atoi(words->word[6]);
    unhex(words->word[4], plain, ROOM);
    for (size_t i = 0; i < implementation_count; i++) {
        if (strcmp(words->word[0], "seal") == 0) {
            memcpy(data, plain, length);
            CHECK_EQUAL(run_one(implementations[i], AEAD_SEAL, key, data, length, counter), 1);
            CHECK(memcmp(data, sealed, length + TAG_LEN) == 0);
        }
        memcpy(data, sealed, length + TAG_LEN);
        CHECK_EQUAL(run_one(implementations[i], AEAD_OPEN, key, data, length, counter), valid);
        CHECK(!valid || memcmp(data, plain, length) == 0);
    }
}

static void vectors_hold(void)
{
    each_vector("chacha20poly1305", step);
}

static uint8_t plain[COUNT][ROOM], work[COUNT][ROOM];
static struct aead_op ops[COUNT];

/* Lengths around every boundary a vector implementation may have, the empty keepalive included. */
static void draw_batch(uint64_t *random)
{
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t length = i < 20 ? i : i < 40 ? (i - 20) * 16 : draw_below(random, ROOM - TAG_LEN + 1);
        draw_bytes(random, plain[i], length);
        memcpy(work[i], plain[i], length);
        ops[i] = (struct aead_op){.data = work[i], .length = length, .counter = draw(random)};
    }
}

/* One implementation seals with three keys in one batch, the other opens; some packets are damaged on the
 * way. */
static void exchange(const struct aead *sealer, const struct aead *opener)
{
    uint64_t random = 3;
    uint8_t bytes[3][32];
    struct aead_key *send[3], *receive[3];
    struct aead_state *out = sealer->state_new(0), *in = opener->state_new(0);
    for (int k = 0; k < 3; k++) {
        draw_bytes(&random, bytes[k], 32);
        send[k] = sealer->key_new(bytes[k], AEAD_SEAL, 1);
        receive[k] = opener->key_new(bytes[k], AEAD_OPEN, 1);
        CHECK(send[k] && receive[k]);
    }
    draw_batch(&random);
    for (int i = 0; i < COUNT; i++)
        ops[i].key = send[i % 3];
    sealer->seal_batch(out, ops, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQUAL(ops[i].ok, 1);
        ops[i].key = receive[i % 3];
        if (i % 7 == 6)
            work[i][draw_below(&random, ops[i].length + TAG_LEN)] ^= (uint8_t)(1 << draw_below(&random, 8));
        else if (i % 11 == 10)
            ops[i].counter++;
    }
    opener->open_batch(in, ops, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQUAL(ops[i].ok, i % 7 != 6 && i % 11 != 10);
        CHECK(!ops[i].ok || memcmp(work[i], plain[i], ops[i].length) == 0);
    }
    for (int k = 0; k < 3; k++) {
        sealer->key_free(send[k]);
        opener->key_free(receive[k]);
    }
    sealer->state_free(out);
    opener->state_free(in);
}

static void what_one_seals_the_other_opens_and_damage_is_found(void)
{
    for (size_t i = 0; i < implementation_count; i++) {
        for (size_t j = 0; j < implementation_count; j++)
            exchange(implementations[i], implementations[j]);
    }
}

static void the_choice_is_one_of_them(void)
{
    const struct aead *chosen = aead_choose(DP_AEAD_AUTO);
    CHECK(chosen == aead_openssl() || chosen == aead_ipsec_mb());
    CHECK(chosen == aead_choose(DP_AEAD_AUTO));
    CHECK(aead_choose(DP_AEAD_OPENSSL) == aead_openssl());
    CHECK(aead_choose(DP_AEAD_IPSEC_MB) == aead_ipsec_mb());
    CHECK(aead_choose(77) == NULL);
    printf("chosen: %s\n", chosen->name);
}

static void freeing_nothing_is_fine(void)
{
    for (size_t i = 0; i < implementation_count; i++) {
        implementations[i]->key_free(NULL);
        implementations[i]->state_free(NULL);
    }
}

int main(void)
{
    find_implementations();
    RUN(vectors_hold);
    RUN(what_one_seals_the_other_opens_and_damage_is_found);
    RUN(the_choice_is_one_of_them);
    RUN(freeing_nothing_is_fine);
    return 0;
}

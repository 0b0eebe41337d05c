#include "aead.h"

#ifndef DP_WITH_IPSEC_MB

const struct aead *aead_ipsec_mb(void)
{
    return NULL;
}

#else

#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "packet.h"

#define NONCE_LEN 12
#define CHUNK 64 /* jobs that are under way at once; the manager's ring holds 256 */

struct aead_key {
    uint8_t bytes[DP_KEY_LEN];
};

/* A manager is one thread's. Nonces and computed tags must live as long as their jobs. */
struct aead_state {
    IMB_MGR *manager;
    uint8_t nonces[CHUNK][NONCE_LEN];
    uint8_t tags[CHUNK][TAG_LEN];
};

static void state_free(struct aead_state *state)
{
    if (!state)
        return;
    if (state->manager)
        free_mb_mgr(state->manager);
    explicit_bzero(state, sizeof *state);
    free(state);
}

static struct aead_state *state_new(uint32_t worker)
{
    (void)worker;
    struct aead_state *state = calloc(1, sizeof *state);
    if (!state)
        return NULL;
    IMB_ARCH arch = IMB_ARCH_NONE;
    state->manager = alloc_mb_mgr(0);
    if (state->manager)
        init_mb_mgr_auto(state->manager, &arch);
    if (arch == IMB_ARCH_NONE) {
        state_free(state);
        return NULL;
    }
    return state;
}

static struct aead_key *key_new(const uint8_t bytes[DP_KEY_LEN], enum aead_direction direction,
                                uint32_t workers)
{
    (void)direction;
    (void)workers; /* it is only read */
    struct aead_key *key = malloc(sizeof *key);
    if (key)
        memcpy(key->bytes, bytes, sizeof key->bytes);
    return key;
}

static void key_free(struct aead_key *key)
{
    if (!key)
        return;
    explicit_bzero(key, sizeof *key);
    free(key);
}

static void describe(IMB_JOB *job, struct aead_op *op, IMB_CIPHER_DIRECTION direction, const uint8_t *nonce,
                     uint8_t *tag)
{
    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->cipher_direction = direction;
    job->chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->enc_keys = op->key->bytes;
    job->dec_keys = op->key->bytes;
    job->key_len_in_bytes = DP_KEY_LEN;
    job->iv = nonce;
    job->iv_len_in_bytes = NONCE_LEN;
    job->src = op->data;
    job->dst = op->data;
    job->cipher_start_src_offset_in_bytes = 0;
    job->msg_len_to_cipher_in_bytes = op->length;
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_hash_in_bytes = op->length;
    job->u.CHACHA20_POLY1305.aad = nonce; /* nothing is read of it, but it may not be NULL */
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
    job->auth_tag_output = tag;
    job->auth_tag_output_len_in_bytes = TAG_LEN;
    job->user_data = op;
}

static void take_result(const IMB_JOB *job)
{
    struct aead_op *op = job->user_data;
    op->ok = job->status == IMB_STATUS_COMPLETED;
}

/* At most CHUNK packets: all are handed in before the first result is waited for. */
static void run(struct aead_state *state, struct aead_op *ops, size_t count, IMB_CIPHER_DIRECTION direction)
{
    IMB_MGR *manager = state->manager;
    IMB_JOB *job;

    for (size_t i = 0; i < count; i++) {
        memset(state->nonces[i], 0, 4);
        put_le64(state->nonces[i] + 4, ops[i].counter);
        ops[i].ok = 0;
        job = IMB_GET_NEXT_JOB(manager);
        describe(job, &ops[i], direction, state->nonces[i],
                 direction == IMB_DIR_ENCRYPT ? ops[i].data + ops[i].length : state->tags[i]);
        /* Unchecked: every field is set just above, and the check costs a tenth of a small packet. */
        for (job = IMB_SUBMIT_JOB_NOCHECK(manager); job; job = IMB_GET_COMPLETED_JOB(manager))
            take_result(job);
    }
    while ((job = IMB_FLUSH_JOB(manager)))
        take_result(job);
}

static void seal_batch(struct aead_state *state, struct aead_op *ops, size_t count)
{
    for (size_t at = 0; at < count; at += CHUNK)
        run(state, ops + at, count - at < CHUNK ? count - at : CHUNK, IMB_DIR_ENCRYPT);
}

static void open_batch(struct aead_state *state, struct aead_op *ops, size_t count)
{
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t chunk = count - at < CHUNK ? count - at : CHUNK;
        struct aead_op *part = ops + at;
        run(state, part, chunk, IMB_DIR_DECRYPT);
        for (size_t i = 0; i < chunk; i++)
            part[i].ok &= CRYPTO_memcmp(state->tags[i], part[i].data + part[i].length, TAG_LEN) == 0;
    }
}

const struct aead *aead_ipsec_mb(void)
{
    static const struct aead implementation = {
        .name = "ipsec-mb",
        .state_new = state_new,
        .state_free = state_free,
        .key_new = key_new,
        .key_free = key_free,
        .seal_batch = seal_batch,
        .open_batch = open_batch,
    };
    struct aead_state *state = state_new(0);
    int runs = state != NULL;
    state_free(state);
    return runs ? &implementation : NULL;
}

#endif

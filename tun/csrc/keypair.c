#include "keypair.h"

#include <stdlib.h>
#include <string.h>

#include "gate.h"

struct keypair *keypair_new(const struct aead *aead, uint32_t workers, struct peer *peer,
                            const struct dp_keypair_config *config)
{
    struct keypair *keypair = calloc(1, sizeof(*keypair));

    if (!keypair)
        return NULL;
    pthread_mutex_init(&keypair->window_lock, NULL);
    keypair->aead = aead;
    keypair->send = aead->key_new(config->send_key, AEAD_SEAL, workers);
    keypair->receive = aead->key_new(config->receive_key, AEAD_OPEN, workers);
    if (!keypair->send || !keypair->receive) {
        keypair_free(keypair);
        return NULL;
    }
    keypair->peer = peer;
    keypair->birthdate_ns = config->birthdate_ns;
    keypair->psk_birthdate_ns = config->psk_birthdate_ns;
    keypair->local_index = config->local_index;
    keypair->remote_index = config->remote_index;
    keypair->psk_kind = config->psk_kind;
    keypair->is_initiator = config->is_initiator != 0;
    keypair->is_confirmed = keypair->is_initiator;
    atomic_init(&keypair->is_sendable, true);
    atomic_init(&keypair->send_counter, 0);
    return keypair;
}

void keypair_free(struct keypair *keypair)
{
    if (!keypair)
        return;
    keypair->aead->key_free(keypair->send);
    keypair->aead->key_free(keypair->receive);
    pthread_mutex_destroy(&keypair->window_lock);
    explicit_bzero(keypair, sizeof(*keypair));
    free(keypair);
}

/* Differences saturate at zero: a birthdate ahead of the clock is an age of nothing. */
static bool is_younger(const struct keypair *keypair, uint64_t limit_ns, uint64_t now_ns)
{
    return now_ns < keypair->birthdate_ns || now_ns - keypair->birthdate_ns < limit_ns;
}

bool keypair_may_send(const struct keypair *keypair, const struct keypair_limits *limits, uint64_t now_ns)
{
    return keypair && keypair->is_confirmed &&
           atomic_load_explicit(&keypair->is_sendable, memory_order_relaxed) &&
           is_younger(keypair, limits->reject_after_time_ns, now_ns);
}

bool keypair_may_receive(const struct keypair *keypair, const struct keypair_limits *limits, uint64_t now_ns)
{
    return is_younger(keypair, limits->reject_after_time_ns, now_ns);
}

bool keypair_wants_rekey(const struct keypair *keypair, const struct keypair_limits *limits)
{
    return atomic_load_explicit(&keypair->send_counter, memory_order_relaxed) > limits->rekey_after_messages;
}

size_t keypair_take_counters(struct keypair *keypair, const struct keypair_limits *limits, size_t n,
                             uint64_t *first)
{
    uint64_t limit = limits->reject_after_messages;
    uint64_t start = atomic_fetch_add_explicit(&keypair->send_counter, n, memory_order_relaxed);

    *first = start;
    if (start < limit && n <= limit - start)
        return n;
    atomic_store_explicit(&keypair->is_sendable, false, memory_order_relaxed);
    return start < limit ? (size_t)(limit - start) : 0;
}

static void list_add(struct keypair_list *list, struct keypair *keypair)
{
    if (keypair)
        list->at[list->count++] = keypair;
}

/* Out of its slot; what is on the wire under it still opens until the next one leaves. */
static void drain(struct keypair_slots *slots, struct keypair *keypair, struct keypair_list *out)
{
    if (!keypair)
        return;
    list_add(out, slots->draining);
    slots->draining = keypair;
}

static bool carries_user(const struct keypair *keypair, const struct dp_gate *gate, uint64_t now_ns)
{
    return keypair && keypair->is_confirmed && gate_admits(gate, keypair, now_ns);
}

/* True if a slot holds a confirmed keypair for user packets that is newer than this one. */
static bool is_superseded(const struct keypair_slots *slots, const struct keypair *keypair,
                          const struct dp_gate *gate, uint64_t now_ns)
{
    const struct keypair *others[] = {slots->current, slots->previous, slots->kept};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (others[i] != keypair && carries_user(others[i], gate, now_ns) &&
            others[i]->birthdate_ns >= keypair->birthdate_ns)
            return true;
    return false;
}

/* A keypair loses its slot: it is kept if user packets have no newer one, else it drains. */
static void retire(struct keypair_slots *slots, struct keypair *keypair, const struct dp_gate *gate,
                   uint64_t now_ns, struct keypair_list *out)
{
    if (!keypair)
        return;
    if (!carries_user(keypair, gate, now_ns) || is_superseded(slots, keypair, gate, now_ns)) {
        drain(slots, keypair, out);
        return;
    }
    drain(slots, slots->kept, out);
    slots->kept = keypair;
}

/* What was kept goes at the first rotation that finds a newer keypair for user packets in place. */
static void drop_superseded(struct keypair_slots *slots, const struct dp_gate *gate, uint64_t now_ns,
                            struct keypair_list *out)
{
    if (slots->kept && is_superseded(slots, slots->kept, gate, now_ns)) {
        drain(slots, slots->kept, out);
        slots->kept = NULL;
    }
}

void keypair_slots_install(struct keypair_slots *slots, struct keypair *keypair, const struct dp_gate *gate,
                           uint64_t now_ns, struct keypair_list *out)
{
    struct keypair *previous = slots->previous;
    struct keypair *current = slots->current;
    struct keypair *next = slots->next;

    out->count = 0;
    drop_superseded(slots, gate, now_ns, out);
    slots->previous = NULL;
    if (!keypair->is_initiator) {
        slots->next = keypair;
        drain(slots, next, out);
        retire(slots, previous, gate, now_ns, out);
        return;
    }
    slots->current = keypair;
    slots->next = NULL;
    slots->previous = next ? next : current;
    if (next)
        retire(slots, current, gate, now_ns, out);
    retire(slots, previous, gate, now_ns, out);
}

void keypair_slots_confirm(struct keypair_slots *slots, struct keypair *keypair, const struct dp_gate *gate,
                           uint64_t now_ns, struct keypair_list *out)
{
    struct keypair *previous = slots->previous;

    out->count = 0;
    keypair->is_confirmed = true;
    if (slots->next != keypair)
        return;
    drop_superseded(slots, gate, now_ns, out);
    slots->previous = slots->current;
    slots->current = keypair;
    slots->next = NULL;
    retire(slots, previous, gate, now_ns, out);
}

void keypair_slots_clear(struct keypair_slots *slots, struct keypair_list *out)
{
    out->count = 0;
    list_add(out, slots->current);
    list_add(out, slots->previous);
    list_add(out, slots->next);
    list_add(out, slots->kept);
    list_add(out, slots->draining);
    memset(slots, 0, sizeof(*slots));
}

void keypair_slots_stop_sending(struct keypair_slots *slots)
{
    struct keypair *all[] = {slots->current, slots->previous, slots->next, slots->kept, slots->draining};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i])
            atomic_store_explicit(&all[i]->is_sendable, false, memory_order_relaxed);
}

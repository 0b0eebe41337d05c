#include "keypair.h"

#include "gate.h"
#include "harness.h"

#define SECOND 1000000000ull
#define NOW (1000 * SECOND)

static const struct keypair_limits limits = {
    .reject_after_time_ns = 180 * SECOND, .reject_after_messages = 1000, .rekey_after_messages = 500};
static struct dp_gate open_gate, strict;
static struct keypair_slots slots;
static struct keypair_list out;
static uint64_t clock_ns;

static void begin(void)
{
    gate_init_open(&open_gate);
    strict = (struct dp_gate){.user_kinds = 1u << DP_PSK_PQ, .user_psk_max_age_ns = 600 * SECOND};
    memset(&slots, 0, sizeof slots);
    clock_ns = NOW;
}

/* Each is a second younger than the one before. */
static struct keypair *make(int is_initiator, uint32_t kind)
{
    clock_ns += SECOND;
    struct dp_keypair_config config = {.birthdate_ns = clock_ns,
                                       .psk_birthdate_ns = clock_ns,
                                       .is_initiator = (uint32_t)is_initiator,
                                       .psk_kind = kind};
    const struct aead *aead = aead_openssl();
    struct keypair *keypair = keypair_new(aead, 1, NULL, &config);
    CHECK(keypair);
    return keypair;
}

static struct keypair *install(int is_initiator, uint32_t kind, const struct dp_gate *gate)
{
    struct keypair *keypair = make(is_initiator, kind);
    keypair_slots_install(&slots, keypair, gate, clock_ns, &out);
    return keypair;
}

static void free_out(void)
{
    while (out.count)
        keypair_free(out.at[--out.count]);
}

static void end(void)
{
    free_out();
    keypair_slots_clear(&slots, &out);
    free_out();
}

static int dropped(const struct keypair *keypair)
{
    for (size_t i = 0; i < out.count; i++)
        if (out.at[i] == keypair)
            return 1;
    return 0;
}

static void an_initiators_keypair_becomes_current(void)
{
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    CHECK(slots.current == a && !slots.previous && !slots.next && a->is_confirmed);
    struct keypair *b = install(1, 0, &open_gate);
    CHECK(slots.current == b && slots.previous == a && out.count == 0);
    struct keypair *c = install(1, 0, &open_gate);
    CHECK(slots.current == c && slots.previous == b && slots.draining == a && out.count == 0);
    struct keypair *d = install(1, 0, &open_gate);
    CHECK(slots.current == d && slots.draining == b && out.count == 1 && dropped(a));
    end();
}

static void an_initiators_keypair_pushes_a_waiting_next_to_previous(void)
{
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    struct keypair *next = install(0, 0, &open_gate);
    struct keypair *b = install(1, 0, &open_gate);
    CHECK(slots.current == b && slots.previous == next && !slots.next && slots.draining == a);
    end();
}

static void a_responders_keypair_waits_as_next_and_never_sends(void)
{
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    struct keypair *b = install(1, 0, &open_gate);
    struct keypair *next = install(0, 0, &open_gate);
    CHECK(slots.next == next && slots.current == b && !slots.previous && slots.draining == a);
    free_out();
    CHECK(!keypair_may_send(next, &limits, clock_ns));
    CHECK(keypair_may_receive(next, &limits, clock_ns));
    struct keypair *again = install(0, 0, &open_gate);
    CHECK(slots.next == again && slots.draining == next && dropped(a));
    end();
}

static void the_first_packet_promotes_next(void)
{
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    struct keypair *next = install(0, 0, &open_gate);
    keypair_slots_confirm(&slots, next, &open_gate, clock_ns, &out);
    CHECK(slots.current == next && slots.previous == a && !slots.next);
    CHECK(keypair_may_send(next, &limits, clock_ns));
    end();
}

static void age_ends_sending_and_receiving(void)
{
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    CHECK(keypair_may_send(a, &limits, a->birthdate_ns + 180 * SECOND - 1));
    CHECK(!keypair_may_send(a, &limits, a->birthdate_ns + 180 * SECOND));
    CHECK(!keypair_may_receive(a, &limits, a->birthdate_ns + 180 * SECOND));
    CHECK(keypair_may_send(a, &limits, a->birthdate_ns - 5)); /* a clock seen to go back */
    end();
}

static void counters_stop_at_the_limit_and_are_never_given_twice(void)
{
    uint64_t first;
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    CHECK_EQUAL(keypair_take_counters(a, &limits, 990, &first), 990);
    CHECK_EQUAL(first, 0);
    CHECK(keypair_wants_rekey(a, &limits));
    CHECK_EQUAL(keypair_take_counters(a, &limits, 20, &first), 10);
    CHECK_EQUAL(first, 990);
    CHECK(!keypair_may_send(a, &limits, clock_ns));
    CHECK_EQUAL(keypair_take_counters(a, &limits, 1, &first), 0);
    end();
}

static void counters_are_64_bits_wide(void)
{
    const struct keypair_limits wide = {.reject_after_time_ns = 180 * SECOND,
                                        .reject_after_messages = UINT64_MAX - (1 << 13),
                                        .rekey_after_messages = 1ull << 60};
    uint64_t first;
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    atomic_store(&a->send_counter, UINT32_MAX - 1ull);
    CHECK_EQUAL(keypair_take_counters(a, &wide, 4, &first), 4);
    CHECK_EQUAL(first, UINT32_MAX - 1ull);
    CHECK_EQUAL(keypair_take_counters(a, &wide, 1, &first), 1);
    CHECK_EQUAL(first, UINT32_MAX + 3ull);
    CHECK(!keypair_wants_rekey(a, &wide));
    end();
}

static void stopping_lets_all_slots_only_receive(void)
{
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    struct keypair *next = install(0, 0, &open_gate);
    keypair_slots_stop_sending(&slots);
    keypair_slots_confirm(&slots, next, &open_gate, clock_ns, &out);
    CHECK(!keypair_may_send(a, &limits, clock_ns) && !keypair_may_send(next, &limits, clock_ns));
    CHECK(keypair_may_receive(a, &limits, clock_ns) && keypair_may_receive(next, &limits, clock_ns));
    end();
}

static struct keypair *user(void)
{
    return gate_user_keypair(&strict, &slots, &limits, clock_ns);
}

static void user_packets_stay_on_the_newest_session_the_gate_admits(void)
{
    begin();
    CHECK(user() == NULL);
    install(1, DP_PSK_INTERIM, &strict);
    CHECK(user() == NULL);
    struct keypair *pq = install(1, DP_PSK_PQ, &strict);
    CHECK(user() == pq);
    for (int i = 0; i < 20; i++) { /* weaker handshakes, in both roles, as many as anybody likes */
        struct keypair *weak = install(i & 1, i & 2 ? DP_PSK_NONE : DP_PSK_INTERIM, &strict);
        CHECK(!dropped(pq) && user() == pq);
        free_out();
        if (i % 3 == 0) {
            keypair_slots_confirm(&slots, weak, &strict, clock_ns, &out);
            CHECK(!dropped(pq) && user() == pq);
            free_out();
        }
    }
    struct keypair *newer = install(1, DP_PSK_PQ, &strict);
    CHECK(user() == newer);
    end();
}

static void a_session_not_confirmed_does_not_carry_user_packets(void)
{
    begin();
    install(1, DP_PSK_INTERIM, &strict);
    struct keypair *next = install(0, DP_PSK_PQ, &strict);
    CHECK(user() == NULL);
    install(1, DP_PSK_INTERIM, &strict); /* a collision: ours overtakes it */
    free_out();
    CHECK(slots.previous == next && user() == NULL);
    keypair_slots_confirm(&slots, next, &strict, clock_ns, &out);
    CHECK(user() == next);
    end();
}

static void what_is_kept_goes_when_a_newer_one_has_settled(void)
{
    begin();
    struct keypair *old = install(1, DP_PSK_PQ, &strict);
    install(1, DP_PSK_NONE, &strict);
    install(1, DP_PSK_NONE, &strict);
    CHECK(slots.kept == old);
    free_out();
    install(1, DP_PSK_PQ, &strict);
    CHECK(slots.kept == old && !dropped(old)); /* what is under way still opens */
    free_out();
    install(1, DP_PSK_PQ, &strict);
    CHECK(slots.kept == NULL && (slots.draining == old || dropped(old)));
    end();
}

static void what_left_its_slot_last_still_receives_and_never_sends(void)
{
    begin();
    struct keypair *ours = install(1, 0, &open_gate); /* handshakes that crossed: two sessions */
    struct keypair *theirs = install(0, 0, &open_gate);
    keypair_slots_confirm(&slots, theirs, &open_gate, clock_ns, &out);
    CHECK(slots.current == theirs && slots.previous == ours);
    install(0, 0, &open_gate); /* the peer, which sends on `ours`, calls again */
    CHECK(slots.draining == ours && !dropped(ours) && keypair_may_receive(ours, &limits, clock_ns));
    CHECK(gate_user_keypair(&open_gate, &slots, &limits, clock_ns) == theirs);
    CHECK(gate_user_keypair(&strict, &slots, &limits, clock_ns) == NULL);
    end();
}

static void a_preshared_key_too_old_closes_the_gate(void)
{
    begin();
    struct keypair *pq = install(1, DP_PSK_PQ, &strict);
    strict.user_psk_max_age_ns = 60 * SECOND;
    CHECK(gate_admits(&strict, pq, pq->psk_birthdate_ns + 60 * SECOND - 1));
    CHECK(!gate_admits(&strict, pq, pq->psk_birthdate_ns + 60 * SECOND));
    pq->psk_birthdate_ns = 0; /* without an age */
    CHECK(gate_admits(&strict, pq, clock_ns + 1000 * SECOND));
    end();
}

static void an_open_gate_sends_on_current_alone(void)
{
    begin();
    struct keypair *a = install(1, 0, &open_gate);
    struct keypair *b = install(1, 0, &open_gate);
    CHECK(gate_user_keypair(&open_gate, &slots, &limits, clock_ns) == b);
    atomic_store(&b->is_sendable, false);
    CHECK(gate_user_keypair(&open_gate, &slots, &limits, clock_ns) == NULL);
    CHECK(slots.previous == a);
    end();
}

int main(void)
{
    RUN(an_initiators_keypair_becomes_current);
    RUN(an_initiators_keypair_pushes_a_waiting_next_to_previous);
    RUN(a_responders_keypair_waits_as_next_and_never_sends);
    RUN(the_first_packet_promotes_next);
    RUN(age_ends_sending_and_receiving);
    RUN(counters_stop_at_the_limit_and_are_never_given_twice);
    RUN(counters_are_64_bits_wide);
    RUN(stopping_lets_all_slots_only_receive);
    RUN(user_packets_stay_on_the_newest_session_the_gate_admits);
    RUN(a_session_not_confirmed_does_not_carry_user_packets);
    RUN(what_is_kept_goes_when_a_newer_one_has_settled);
    RUN(what_left_its_slot_last_still_receives_and_never_sends);
    RUN(a_preshared_key_too_old_closes_the_gate);
    RUN(an_open_gate_sends_on_current_alone);
    return 0;
}

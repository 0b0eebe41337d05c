#include "counter.h"

#include "harness.h"

static struct counter window;

static void step(const struct words *words)
{
    if (strcmp(words->word[0], "reset") == 0) {
        window = (struct counter){0};
    } else if (strcmp(words->word[0], "range") == 0) {
        long first = atol(words->word[1]), last = atol(words->word[2]), by = atol(words->word[3]);
        for (long counter = first; counter != last + by; counter += by)
            CHECK(counter_accept(&window, (uint64_t)counter, REJECT_AFTER_MESSAGES));
    } else {
        uint64_t counter = strtoull(words->word[1], NULL, 10);
        CHECK_EQUAL(counter_accept(&window, counter, REJECT_AFTER_MESSAGES), atoi(words->word[2]));
    }
}

static void vectors_hold(void)
{
    each_vector("replay", step);
}

static void numbers_that_share_their_low_32_bits_are_told_apart(void)
{
    window = (struct counter){0};
    for (uint64_t high = 0; high < 5; high++) {
        CHECK(counter_accept(&window, high << 32 | 7, REJECT_AFTER_MESSAGES));
        CHECK(!counter_accept(&window, high << 32 | 7, REJECT_AFTER_MESSAGES));
    }
    CHECK(!counter_accept(&window, 7, REJECT_AFTER_MESSAGES));
}

/* What the window is meant to be: everything ever accepted, and the greatest of it. */
#define NAIVE_SPAN 60000
static void window_agrees_with_a_naive_set(void)
{
    static uint8_t seen[NAIVE_SPAN];
    uint64_t random = 7, greatest = 0, position = 0;
    bool any = false;

    window = (struct counter){0};
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < 400000; i++) {
        position += draw_below(&random, 100) == 0 ? draw_below(&random, 3000) : 0;
        uint64_t back = draw_below(&random, 3) ? draw_below(&random, 70) : draw_below(&random, 9000);
        uint64_t ahead = position + draw_below(&random, 40);
        uint64_t counter = ahead > back ? ahead - back : 0;
        if (counter >= NAIVE_SPAN)
            break;
        bool fresh = (!any || counter > greatest || greatest - counter <= COUNTER_WINDOW) && !seen[counter];
        CHECK_EQUAL(counter_accept(&window, counter, REJECT_AFTER_MESSAGES), fresh);
        if (fresh) {
            seen[counter] = 1;
            greatest = counter > greatest ? counter : greatest;
            any = true;
        }
    }
}

static void nothing_at_or_above_the_limit_is_accepted(void)
{
    window = (struct counter){0};
    CHECK(!counter_accept(&window, 100, 100));
    CHECK(!counter_accept(&window, UINT64_MAX, 100));
    CHECK(counter_accept(&window, 99, 100));
    CHECK(counter_accept(&window, 0, 100));
}

static void a_jump_over_the_whole_ring_forgets_it(void)
{
    window = (struct counter){0};
    for (uint64_t counter = 0; counter < 9000; counter++)
        CHECK(counter_accept(&window, counter, REJECT_AFTER_MESSAGES));
    CHECK(counter_accept(&window, 1ull << 60, REJECT_AFTER_MESSAGES));
    CHECK(counter_accept(&window, (1ull << 60) - COUNTER_WINDOW, REJECT_AFTER_MESSAGES));
    CHECK(!counter_accept(&window, (1ull << 60) - COUNTER_WINDOW - 1, REJECT_AFTER_MESSAGES));
    CHECK(!counter_accept(&window, 8999, REJECT_AFTER_MESSAGES));
}

int main(void)
{
    RUN(vectors_hold);
    RUN(numbers_that_share_their_low_32_bits_are_told_apart);
    RUN(window_agrees_with_a_naive_set);
    RUN(nothing_at_or_above_the_limit_is_accepted);
    RUN(a_jump_over_the_whole_ring_forgets_it);
    return 0;
}

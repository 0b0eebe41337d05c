#include "segment.h"

#include "harness.h"

/* coalesce LENGTHS CAPACITIES RESULT_LENGTHS GSO_SIZES: a message's buffer is the first datagram's. */
static void check_coalesce(const struct words *words)
{
    uint32_t lengths[64], capacities[64], results[64], sizes[64];
    size_t count = numbers(words->word[1], lengths, 64), messages = 0, at = 0;
    numbers(words->word[2], capacities, 64);
    numbers(words->word[3], results, 64);
    size_t expected = numbers(words->word[4], sizes, 64);
    while (at < count) {
        struct segment_batch batch = {0};
        uint32_t room = capacities[at];
        for (; at < count && segment_fits(&batch, lengths[at], room); at++)
            segment_add(&batch, lengths[at]);
        CHECK(batch.count > 0 && messages < expected);
        CHECK_EQUAL(batch.length, results[messages]);
        CHECK_EQUAL(batch.count > 1 ? batch.size : 0, sizes[messages]);
        messages++;
    }
    CHECK_EQUAL(messages, expected);
}

/* split SLOTS LENGTHS GSO_SIZES EXPECTED ERROR: what lies in the received messages, into SLOTS slots. */
static void check_split(const struct words *words)
{
    uint32_t slots = (uint32_t)atoi(words->word[1]), lengths[64], sizes[64], expected[64], found = 0;
    size_t messages = numbers(words->word[2], lengths, 64);
    numbers(words->word[3], sizes, 64);
    numbers(words->word[4], expected, 64);
    bool overflow = false;
    for (size_t i = 0; i < messages; i++) {
        uint32_t offset = 0;
        for (uint32_t n = segment_count(lengths[i], sizes[i]); n > 0; n--) {
            uint32_t length = segment_length(lengths[i], sizes[i], offset);
            offset += length;
            if (found < slots)
                CHECK_EQUAL(length, expected[found]);
            overflow = overflow || found == slots;
            found += found < slots;
        }
        CHECK_EQUAL(offset, lengths[i]);
    }
    CHECK_EQUAL(overflow, atoi(words->word[5]));
    for (; found < slots; found++)
        CHECK_EQUAL(expected[found], 0);
}

static void step(const struct words *words)
{
    if (strcmp(words->word[0], "coalesce") == 0)
        check_coalesce(words);
    else
        check_split(words);
}

static void vectors_hold(void)
{
    each_vector("udp_batch", step);
}

static void a_batch_ends_at_64_segments_or_with_a_shorter_one(void)
{
    struct segment_batch batch = {0};
    for (int i = 0; i < SEGMENT_MAX; i++) {
        CHECK(segment_fits(&batch, 100, SEGMENT_MAX_BYTES4));
        CHECK(!segment_fits(&batch, 101, SEGMENT_MAX_BYTES4) || i == 0);
        segment_add(&batch, 100);
    }
    CHECK(!segment_fits(&batch, 100, SEGMENT_MAX_BYTES4));
    batch = (struct segment_batch){0};
    segment_add(&batch, 100);
    CHECK(!segment_fits(&batch, 0, SEGMENT_MAX_BYTES4));
    segment_add(&batch, 99);
    CHECK(!segment_fits(&batch, 99, SEGMENT_MAX_BYTES4));
}

static void forty_five_full_packets_fit_one_send(void)
{
    struct segment_batch batch = {0};
    while (segment_fits(&batch, 1452, SEGMENT_MAX_BYTES4))
        segment_add(&batch, 1452);
    CHECK_EQUAL(batch.count, 45);
}

static void nothing_follows_a_datagram_that_is_too_long_itself(void)
{
    struct segment_batch batch = {0};
    segment_add(&batch, SEGMENT_MAX_BYTES4 + 1);
    CHECK(!segment_fits(&batch, SEGMENT_MAX_BYTES4 + 1, SEGMENT_MAX_BYTES4));
    CHECK(!segment_fits(&batch, 100, SEGMENT_MAX_BYTES4));
}

static void nonsense_from_the_kernel_is_one_datagram(void)
{
    CHECK_EQUAL(segment_count(0, 0), 1);
    CHECK_EQUAL(segment_count(100, 200), 1);
    CHECK_EQUAL(segment_length(100, 200, 0), 100);
    CHECK_EQUAL(segment_length(0, 0, 0), 0);
}

int main(void)
{
    RUN(vectors_hold);
    RUN(a_batch_ends_at_64_segments_or_with_a_shorter_one);
    RUN(forty_five_full_packets_fit_one_send);
    RUN(nothing_follows_a_datagram_that_is_too_long_itself);
    RUN(nonsense_from_the_kernel_is_one_datagram);
    return 0;
}

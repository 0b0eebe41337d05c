/* Any sequence of counters: the window answers as a list of all that was accepted. */
#include "counter.h"
#include "fuzz.h"

#define MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct counter window = {0};
    uint64_t accepted[MAX], greatest = 0, counter = 0;
    uint64_t limit = take_byte(&input) & 1 ? REJECT_AFTER_MESSAGES : 20000;

    for (size_t count = 0; count < MAX && input.left > 0;) {
        uint8_t how = take_byte(&input);
        int64_t by = (int16_t)take_word(&input);
        counter = (how & 1 ? greatest : counter) + (uint64_t)(by * (1ll << how / 16 * 3));
        bool fresh = counter < limit && (counter > greatest || greatest - counter <= COUNTER_WINDOW);
        for (size_t i = 0; i < count; i++)
            fresh = fresh && accepted[i] != counter;
        MUST(counter_accept(&window, counter, limit) == fresh);
        if (fresh) {
            accepted[count++] = counter;
            greatest = counter > greatest ? counter : greatest;
        }
    }
    return 0;
}

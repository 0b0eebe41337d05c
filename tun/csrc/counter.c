#include "counter.h"

#define BLOCK_BITS 64

/* Moves the window forward: the blocks between the old and the new greatest counter have seen nothing yet. */
static void advance(struct counter *window, uint64_t counter)
{
    uint64_t old = window->greatest / BLOCK_BITS;
    uint64_t steps = counter / BLOCK_BITS - old;

    if (steps > COUNTER_BLOCKS)
        steps = COUNTER_BLOCKS;
    for (uint64_t step = 1; step <= steps; step++)
        window->blocks[(old + step) % COUNTER_BLOCKS] = 0;
    window->greatest = counter;
}

bool counter_accept(struct counter *window, uint64_t counter, uint64_t reject_after)
{
    if (counter >= reject_after)
        return false;
    if (counter > window->greatest)
        advance(window, counter);
    else if (window->greatest - counter > COUNTER_WINDOW)
        return false;

    uint64_t *block = &window->blocks[counter / BLOCK_BITS % COUNTER_BLOCKS];
    uint64_t bit = 1ull << (counter % BLOCK_BITS);
    if (*block & bit)
        return false;
    *block |= bit;
    return true;
}

#include "index.h"

#include <errno.h>

#include "harness.h"

#define MANY 20000

static struct index_table table;
static uint32_t indices[MANY];

static void every_index_is_found_while_the_table_grows(void)
{
    CHECK_EQUAL(index_init(&table), 0);
    for (uint32_t i = 0; i < MANY; i++)
        CHECK_EQUAL(index_reserve(&table, i % 100, &indices[i]), 0);
    CHECK_EQUAL(table.count, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        const struct index_entry *entry = index_find(&table, indices[i]);
        CHECK(entry && entry->kind == INDEX_HANDSHAKE && entry->peer == i % 100 &&
              entry->index == indices[i]);
        CHECK(index_keypair(&table, indices[i]) == NULL);
    }
}

static void released_indices_are_gone_and_the_others_stay(void)
{
    for (uint32_t i = 0; i < MANY; i += 2)
        CHECK_EQUAL(index_release(&table, indices[i]), 0);
    for (uint32_t i = 0; i < MANY; i++)
        CHECK((index_find(&table, indices[i]) != NULL) == (i % 2 == 1));
    CHECK_EQUAL(index_release(&table, indices[0]), -ENOENT);
    index_release_peer(&table, 1);
    for (uint32_t i = 1; i < MANY; i += 2)
        CHECK((index_find(&table, indices[i]) != NULL) == (i % 100 != 1));
    CHECK_EQUAL(table.count, MANY / 2 - MANY / 100);
    index_clear(&table);
}

static void a_keypair_takes_over_its_handshake_only(void)
{
    uint32_t index;
    int keypair;
    CHECK_EQUAL(index_init(&table), 0);
    CHECK_EQUAL(index_reserve(&table, 5, &index), 0);
    CHECK_EQUAL(index_install(&table, index, 6, &keypair), -ENOENT);
    CHECK_EQUAL(index_install(&table, index + 1, 5, &keypair), -ENOENT);
    CHECK_EQUAL(index_install(&table, index, 5, &keypair), 0);
    CHECK(index_keypair(&table, index) == &keypair);
    CHECK_EQUAL(index_install(&table, index, 5, &keypair), -ENOENT);
    CHECK_EQUAL(index_release(&table, index), 0);
    CHECK(index_keypair(&table, index) == NULL);
    index_clear(&table);
}

/* Counted or shifted ones tell a stranger how many peers there are, and in which order they came. */
static void indices_tell_nothing_of_their_order(void)
{
    int ascending = 0, near = 0;
    uint32_t bits = 0;
    CHECK_EQUAL(index_init(&table), 0);
    for (uint32_t i = 0; i < 4000; i++) {
        CHECK_EQUAL(index_reserve(&table, i, &indices[i]), 0);
        bits |= indices[i];
        if (i) {
            ascending += indices[i] > indices[i - 1];
            near += indices[i] - indices[i - 1] < 1 << 16;
        }
    }
    CHECK_EQUAL(bits, UINT32_MAX);
    CHECK(ascending > 1700 && ascending < 2300); /* ten times the deviation around a half */
    CHECK(near < 10);
    index_clear(&table);
}

int main(void)
{
    RUN(every_index_is_found_while_the_table_grows);
    RUN(released_indices_are_gone_and_the_others_stay);
    RUN(a_keypair_takes_over_its_handshake_only);
    RUN(indices_tell_nothing_of_their_order);
    return 0;
}

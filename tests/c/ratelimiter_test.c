#include "ratelimiter.h"

#include <sys/socket.h>

#include "harness.h"

#define MS 1000000ull

static struct dp_address addresses[64];
static size_t address_count;
static uint64_t now_ns;
static struct ratelimiter *limiter;

static void fresh(void)
{
    ratelimiter_free(limiter);
    limiter = ratelimiter_new();
    CHECK(limiter);
    now_ns = 1000 * MS;
}

static void step(const struct words *words)
{
    if (strcmp(words->word[0], "reset") == 0) {
        fresh();
        address_count = 0;
    } else if (strcmp(words->word[0], "address") == 0) {
        struct dp_address address = {0};
        address.family = unhex(words->word[1], address.ip, 16) == 4 ? AF_INET : AF_INET6;
        addresses[address_count++] = address;
    } else {
        now_ns += strtoull(words->word[1], NULL, 10) * MS;
        for (size_t i = 0; i < address_count; i++)
            CHECK_EQUAL(ratelimiter_allow(limiter, &addresses[i], now_ns), atoi(words->word[2]));
    }
}

static void vectors_hold(void)
{
    each_vector("ratelimiter", step);
}

static struct dp_address v4(uint32_t number)
{
    struct dp_address address = {.family = AF_INET, .port = (uint16_t)number};
    memcpy(address.ip, &number, 4);
    return address;
}

static void exhaust(const struct dp_address *address)
{
    for (int i = 0; i < 5; i++)
        CHECK(ratelimiter_allow(limiter, address, now_ns));
    CHECK(!ratelimiter_allow(limiter, address, now_ns));
}

static void all_of_an_ipv6_64_is_one_source_and_its_neighbour_another(void)
{
    struct dp_address address = {.family = AF_INET6, .ip = {0x20, 1, 0x0d, 0xb8}}, other = address;
    fresh();
    exhaust(&address);
    address.ip[15] = 9;
    CHECK(!ratelimiter_allow(limiter, &address, now_ns));
    other.ip[7] = 1;
    CHECK(ratelimiter_allow(limiter, &other, now_ns));
}

static void the_port_does_not_matter(void)
{
    struct dp_address address = v4(7);
    fresh();
    exhaust(&address);
    address.port = 1;
    CHECK(!ratelimiter_allow(limiter, &address, now_ns));
}

static void idle_sources_make_room_and_a_full_table_refuses(void)
{
    fresh();
    for (uint32_t i = 0; i < RATELIMITER_MAX; i++) {
        struct dp_address address = v4(i);
        CHECK(ratelimiter_allow(limiter, &address, now_ns));
    }
    struct dp_address one_more = v4(RATELIMITER_MAX), known = v4(3);
    CHECK(!ratelimiter_allow(limiter, &one_more, now_ns));
    CHECK(ratelimiter_allow(limiter, &known, now_ns));
    CHECK_EQUAL(ratelimiter_count(limiter), RATELIMITER_MAX);
    now_ns += 1001 * MS;
    CHECK(ratelimiter_allow(limiter, &one_more, now_ns));
    CHECK_EQUAL(ratelimiter_count(limiter), 1);
}

static void a_clock_that_goes_back_gives_nothing_away(void)
{
    struct dp_address address = v4(1);
    fresh();
    exhaust(&address);
    CHECK(!ratelimiter_allow(limiter, &address, now_ns - 500 * MS));
}

int main(void)
{
    RUN(vectors_hold);
    RUN(all_of_an_ipv6_64_is_one_source_and_its_neighbour_another);
    RUN(the_port_does_not_matter);
    RUN(idle_sources_make_room_and_a_full_table_refuses);
    RUN(a_clock_that_goes_back_gives_nothing_away);
    ratelimiter_free(limiter);
    return 0;
}

#include "police.h"

#include <linux/in6.h>
#include <sys/socket.h>

#include "plane.h"

#define NOW (100ull * 1000000000u)
#define STEP POLICE_LOOK_NS

static struct police police;
static int sock, sender;
static uint64_t now;
static uint8_t data[64] = {MESSAGE_DATA}, handshake[MESSAGE_INITIATION_LEN] = {MESSAGE_INITIATION};

static void begin_at(int fd)
{
    int room = 16 << 20;

    sock = fd;
    sender = -1;
    now = NOW;
    setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    CHECK_EQUAL(police_begin(&police, sock), 0);
    police_look(&police, sock, now);
}

static void begin(void)
{
    uint16_t port;

    begin_at(bound_udp4(&port));
}

static void begin6(void)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);

    CHECK(bind(fd, (struct sockaddr *)&name, sizeof name) == 0);
    begin_at(fd);
}

/* 127.0.0.`last`. */
static struct dp_address v4(uint8_t last)
{
    return (struct dp_address){.family = AF_INET, .ip = {127, 0, 0, last}};
}

/* 2001:db8:`upper`:`lower`::1; whose it is does not matter to a socket that says so. */
static struct dp_address v6(uint8_t upper, uint8_t lower)
{
    struct dp_address address = {.family = AF_INET6, .ip = {0x20, 0x01, 0x0d, 0xb8}};

    address.ip[5] = upper;
    address.ip[7] = lower;
    address.ip[15] = 1;
    return address;
}

static void bind_sender(const struct dp_address *source)
{
    struct sockaddr_storage name = {.ss_family = source->family};
    int on = 1;

    sender = socket(source->family, SOCK_DGRAM, 0);
    if (source->family == AF_INET) {
        memcpy(&((struct sockaddr_in *)&name)->sin_addr, source->ip, 4);
    } else {
        memcpy(&((struct sockaddr_in6 *)&name)->sin6_addr, source->ip, 16);
        CHECK(setsockopt(sender, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on) == 0);
    }
    CHECK(bind(sender, (struct sockaddr *)&name, sizeof name) == 0);
}

/* Returns how many came through, and tells the police of those that are no data. */
static int from_source(struct dp_address source, const uint8_t *message, size_t length, int count)
{
    struct sockaddr_storage to;
    socklen_t size = sizeof to;
    uint8_t ignored[256];
    int came = 0;

    CHECK(getsockname(sock, (struct sockaddr *)&to, &size) == 0);
    bind_sender(&source);
    for (int i = 0; i < count; i++) {
        CHECK(sendto(sender, message, length, 0, (struct sockaddr *)&to, size) == (ssize_t)length);
        if (recv(sock, ignored, sizeof ignored, MSG_DONTWAIT) < 0)
            continue;
        came++;
        if (message[0] != MESSAGE_DATA)
            police_saw(&police, &source);
    }
    close(sender);
    return came;
}

static int from(uint8_t last, const uint8_t *message, size_t length, int count)
{
    return from_source(v4(last), message, length, count);
}

static void look(bool overflows)
{
    now += STEP;
    police.overflows = overflows;
    police_look(&police, sock, now);
}

/* The police's own word for it: which share is counted. */
static int share(struct dp_address source)
{
    struct police probe = police;

    memset(probe.counts, 0, sizeof probe.counts);
    police_saw(&probe, &source);
    for (int i = 0; i < POLICE_SHARES; i++)
        if (probe.counts[i])
            return i;
    return -1;
}

static uint8_t somebody_of_another_share(uint8_t last)
{
    uint8_t other = (uint8_t)(last + 1);

    while (share(v4(other)) == share(v4(last)))
        other++;
    return other;
}

static void flood(void)
{
    CHECK_EQUAL(from(2, handshake, sizeof handshake, 5000), 5000);
    look(true);
    CHECK(police_is_thinning(&police));
}

static void a_flood_that_we_keep_up_with_is_let_be(void)
{
    begin();
    CHECK_EQUAL(from(2, handshake, sizeof handshake, 5000), 5000);
    look(false);
    CHECK(!police_is_thinning(&police));
    CHECK_EQUAL(from(2, handshake, sizeof handshake, 100), 100);
    close(sock);
}

static void an_overflow_without_a_flood_is_nobodys_fault(void)
{
    begin();
    CHECK_EQUAL(from(2, handshake, sizeof handshake, 100), 100);
    CHECK_EQUAL(from(2, data, sizeof data, 5000), 5000);
    look(true);
    CHECK(!police_is_thinning(&police));
    close(sock);
}

static void the_flooder_is_thinned_out_and_nobody_else(void)
{
    begin();
    flood();
    CHECK(from(2, handshake, sizeof handshake, 1000) < 300);
    CHECK_EQUAL(from(somebody_of_another_share(2), handshake, sizeof handshake, 200), 200);
    close(sock);
}

static void the_kernel_agrees_on_the_share_of_an_ipv4_source(void)
{
    begin();
    flood();
    for (uint8_t last = 3; last < 252; last++)
        CHECK_EQUAL(from(last, handshake, sizeof handshake, 40) == 40, share(v4(last)) != share(v4(2)));
    close(sock);
}

static void the_kernel_agrees_on_the_share_of_an_ipv6_source(void)
{
    struct dp_address flooder = v6(1, 1);

    begin6();
    CHECK_EQUAL(from_source(flooder, handshake, sizeof handshake, 5000), 5000);
    look(true);
    CHECK(police_is_thinning(&police));
    for (uint8_t n = 2; n < 120; n++) {
        CHECK_EQUAL(from_source(v6(1, n), handshake, sizeof handshake, 40) == 40, share(v6(1, n)) != share(flooder));
        CHECK_EQUAL(from_source(v6(n, 1), handshake, sizeof handshake, 40) == 40, share(v6(n, 1)) != share(flooder));
    }
    close(sock);
}

/* With one multiplication, one key in some hundred put most of a network into the share of one flooder. */
static void neighbours_are_spread_over_the_shares_whatever_the_key(void)
{
    for (int key = 0; key < 500; key++) {
        uint32_t seen = 0, seen6 = 0;

        begin();
        for (uint8_t n = 1; n < 251; n++) {
            seen |= 1u << share(v4(n));
            seen6 |= 1u << share(v6(1, n));
        }
        CHECK(__builtin_popcount(seen) > 20);
        CHECK(__builtin_popcount(seen6) > 20);
        close(sock);
    }
}

static void transport_data_passes_from_anywhere(void)
{
    begin();
    flood();
    CHECK_EQUAL(from(2, data, sizeof data, 500), 500);
    close(sock);
}

static void a_flood_from_everywhere_takes_no_newcomers_along(void)
{
    begin();
    for (uint8_t last = 2; last < 252; last++)
        CHECK_EQUAL(from(last, handshake, sizeof handshake, 25), 25);
    look(true);
    CHECK_EQUAL(from(1, handshake, sizeof handshake, 50), 50);
    for (uint8_t last = 2; last < 252; last++)
        from(last, handshake, sizeof handshake, 100);
    look(true);
    CHECK(police_is_thinning(&police));
    CHECK(from(1, handshake, sizeof handshake, 1000) > 200);
    close(sock);
}

static void what_is_let_through_follows_the_flood(void)
{
    int came = 0;

    begin();
    flood();
    for (int turn = 0; turn < 4; turn++) {
        came = from(2, handshake, sizeof handshake, 20000);
        look(false);
    }
    CHECK(came > 200 && came < 1500);
    close(sock);
}

static void the_filter_goes_with_the_flood(void)
{
    begin();
    flood();
    for (int turn = 0; turn < 8; turn++)
        look(false);
    CHECK(!police_is_thinning(&police));
    CHECK_EQUAL(from(2, handshake, sizeof handshake, 500), 500);
    close(sock);
}

static void a_filter_does_not_outlive_its_owner(void)
{
    begin();
    flood();
    CHECK_EQUAL(police_begin(&police, sock), 0);
    CHECK_EQUAL(from(2, handshake, sizeof handshake, 500), 500);
    close(sock);
}

int main(void)
{
    RUN(a_flood_that_we_keep_up_with_is_let_be);
    RUN(an_overflow_without_a_flood_is_nobodys_fault);
    RUN(the_flooder_is_thinned_out_and_nobody_else);
    RUN(the_kernel_agrees_on_the_share_of_an_ipv4_source);
    RUN(the_kernel_agrees_on_the_share_of_an_ipv6_source);
    RUN(neighbours_are_spread_over_the_shares_whatever_the_key);
    RUN(transport_data_passes_from_anywhere);
    RUN(a_flood_from_everywhere_takes_no_newcomers_along);
    RUN(what_is_let_through_follows_the_flood);
    RUN(the_filter_goes_with_the_flood);
    RUN(a_filter_does_not_outlive_its_owner);
    return 0;
}

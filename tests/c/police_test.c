#include "police.h"

#include <sys/socket.h>

#include "plane.h"

#define NOW (100ull * 1000000000u)
#define STEP POLICE_LOOK_NS

static struct police police;
static int sock, sender;
static uint64_t now;
static uint8_t data[64] = {MESSAGE_DATA}, handshake[MESSAGE_INITIATION_LEN] = {MESSAGE_INITIATION};

static void begin(void)
{
    int room = 16 << 20;
    uint16_t port;

    sock = bound_udp4(&port);
    sender = -1;
    now = NOW;
    setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    CHECK_EQUAL(police_begin(&police, sock), 0);
    police_look(&police, sock, now);
}

/* 127.0.0.`last` sends; returns how many came through, and tells the police of those that are no data. */
static int from(uint8_t last, const uint8_t *message, size_t length, int count)
{
    struct sockaddr_in to, name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u + last)};
    struct dp_address source = {.family = AF_INET, .ip = {127, 0, 0, last}};
    socklen_t size = sizeof to;
    uint8_t ignored[256];
    int came = 0;

    CHECK(getsockname(sock, (struct sockaddr *)&to, &size) == 0);
    sender = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(bind(sender, (struct sockaddr *)&name, sizeof name) == 0);
    for (int i = 0; i < count; i++) {
        CHECK(sendto(sender, message, length, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)length);
        if (recv(sock, ignored, sizeof ignored, MSG_DONTWAIT) < 0)
            continue;
        came++;
        if (message[0] != MESSAGE_DATA)
            police_saw(&police, &source);
    }
    close(sender);
    return came;
}

static void look(bool overflows)
{
    now += STEP;
    police.overflows = overflows;
    police_look(&police, sock, now);
}

/* The police's own word for it: which share is counted. */
static int share(uint8_t last)
{
    struct dp_address source = {.family = AF_INET, .ip = {127, 0, 0, last}};
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

    while (share(other) == share(last))
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
    RUN(transport_data_passes_from_anywhere);
    RUN(a_flood_from_everywhere_takes_no_newcomers_along);
    RUN(what_is_let_through_follows_the_flood);
    RUN(the_filter_goes_with_the_flood);
    RUN(a_filter_does_not_outlive_its_owner);
    return 0;
}

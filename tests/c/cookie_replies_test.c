#include "cookie_replies.h"

#include "plane.h"

#define SECOND 1000000000ull
#define NOW (100 * SECOND)

static struct plane plane;
static uint8_t initiation[MESSAGE_INITIATION_LEN] = {MESSAGE_INITIATION};

static void begin(void)
{
    uint8_t public_key[DP_KEY_LEN] = {9};

    plane_begin(&plane, 0);
    CHECK_EQUAL(dp_set_identity(plane.dp, public_key), 0);
}

static void ask(uint32_t ip, uint16_t port, uint64_t now_ns)
{
    struct dp_endpoint source = {.remote = {.family = AF_INET, .port = port}};

    memcpy(source.remote.ip, &ip, 4);
    cookie_replies_add(plane.dp, 0, initiation, sizeof initiation, &source, now_ns);
}

static int replies(void)
{
    int before = kernel.sends;

    cookie_replies_send(plane.dp, 0);
    return kernel.sends - before;
}

static void one_source_gets_five_at_once_and_twenty_a_second(void)
{
    begin();
    for (int i = 0; i < 60; i++)
        ask(htonl(INADDR_LOOPBACK), (uint16_t)(1000 + i), NOW);
    CHECK_EQUAL(replies(), REPLIES_SOURCE_BURST);
    for (uint64_t now = NOW; now < NOW + 10 * SECOND; now += SECOND / 100)
        ask(htonl(INADDR_LOOPBACK), 1000, now);
    replies();
    CHECK(kernel.sends <= REPLIES_SOURCE_BURST + 200);
    CHECK(kernel.sends >= 200);
    plane_end(&plane);
}

static void all_sources_together_are_bounded(void)
{
    begin();
    for (uint32_t i = 0; i < 20000; i++)
        ask(htonl(0x7f000000u + i), 9, NOW);
    replies();
    CHECK(kernel.sends <= REPLIES_BURST);
    CHECK(kernel.sends > REPLIES_BURST / 2);
    plane_end(&plane);
}

static void strangers_without_number_take_nothing_from_a_peer(void)
{
    struct dp_endpoint peer;

    begin();
    for (uint32_t i = 0; i < 20000; i++)
        ask(htonl(0x7f000000u + i), 9, NOW);
    replies();
    CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &peer), 0);
    ask(htonl(INADDR_LOOPBACK), peer.remote.port, NOW);
    CHECK_EQUAL(replies(), 1);
    plane_end(&plane);
}

static void who_knows_where_a_peer_is_finds_no_others_that_look_like_it(void)
{
    struct dp_endpoint peer;

    begin();
    CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &peer), 0);
    for (uint16_t i = 1; i < 4000; i++) {
        uint32_t ip;
        memcpy(&ip, peer.remote.ip, 4);
        ask(ip ^ i, peer.remote.port ^ i, NOW);
    }
    replies();
    ask(htonl(INADDR_LOOPBACK), peer.remote.port, NOW);
    CHECK_EQUAL(replies(), 1);
    plane_end(&plane);
}

static void source_the_kernel_refuses_costs_the_others_nothing(void)
{
    begin();
    for (uint32_t i = 0; i < 10; i++)
        ask(htonl(0x7f000000u + i), 9, NOW);
    kernel.any = EINVAL;
    kernel.any_times = 3;
    CHECK_EQUAL(replies(), 7);
    plane_end(&plane);
}

static void replies_leave_together(void)
{
    begin();
    for (uint32_t i = 0; i < REPLIES_AT_ONCE - 1; i++)
        ask(htonl(0x7f000000u + i), 9, NOW);
    CHECK_EQUAL(kernel.sends, 0);
    CHECK(replies() > REPLIES_AT_ONCE / 2); /* but for sources that share a bucket by chance */
    plane_end(&plane);
}

static void what_finds_the_buffer_full_is_counted(void)
{
    uint8_t junk[100] = {0x77};
    int room = 2048, sent = 1000;

    begin();
    CHECK_EQUAL(setsockopt(plane.udp4, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    for (int i = 0; i < sent; i++)
        peer_sends_raw(&plane, junk, sizeof junk);
    inbound(&plane);
    peer_sends_raw(&plane, junk, sizeof junk); /* brings the news */
    inbound(&plane);
    CHECK(dp_drops(plane.dp)[DROP_UDP_OVERFLOW] > 900);
    CHECK_EQUAL(dp_drops(plane.dp)[DROP_UDP_OVERFLOW] + dp_drops(plane.dp)[DROP_UDP_MALFORMED], sent + 1);
    CHECK_EQUAL(use_socket(plane.dp, plane.udp4), 0); /* the same again: counted once */
    peer_sends_raw(&plane, junk, sizeof junk);
    inbound(&plane);
    CHECK_EQUAL(dp_drops(plane.dp)[DROP_UDP_OVERFLOW] + dp_drops(plane.dp)[DROP_UDP_MALFORMED], sent + 2);
    plane_end(&plane);
}

int main(void)
{
    RUN(one_source_gets_five_at_once_and_twenty_a_second);
    RUN(all_sources_together_are_bounded);
    RUN(strangers_without_number_take_nothing_from_a_peer);
    RUN(who_knows_where_a_peer_is_finds_no_others_that_look_like_it);
    RUN(source_the_kernel_refuses_costs_the_others_nothing);
    RUN(replies_leave_together);
    RUN(what_finds_the_buffer_full_is_counted);
    return 0;
}

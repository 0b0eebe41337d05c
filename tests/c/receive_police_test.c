/* The inbound worker and the police of its sockets, one of each family; police_test.c has the police alone.
 * Time stands still but for what a test lets pass, else a machine that is slow enough sees no flood.
 */
#include "police.h"

#include <linux/filter.h>

#include "plane.h"

static uint8_t data[64] = {MESSAGE_DATA}, handshake[MESSAGE_INITIATION_LEN] = {MESSAGE_INITIATION};
static struct plane plane;
static int sock6;
static uint64_t now_ns;

uint64_t __wrap_now_boottime_ns(void);

uint64_t __wrap_now_boottime_ns(void)
{
    return now_ns;
}

static void begin(void)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int room = 16 << 20;

    now_ns = 1000000000000u;
    plane_begin(&plane, 0);
    sock6 = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    CHECK(bind(sock6, (struct sockaddr *)&name, sizeof name) == 0);
    setsockopt(sock6, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    CHECK_EQUAL(dp_set_sockets(plane.dp, &(struct dp_socket_pair){plane.udp4, sock6}, 1), 0);
}

static void end(void)
{
    plane_end(&plane);
    close(sock6);
}

static bool is_filtered(int fd)
{
    socklen_t length = 0;

    CHECK(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &length) == 0);
    return length > 0;
}

static void send6(const uint8_t *message, size_t length, int count)
{
    struct sockaddr_in6 to;
    socklen_t size = sizeof to;
    int from6 = socket(AF_INET6, SOCK_DGRAM, 0);

    CHECK(getsockname(sock6, (struct sockaddr *)&to, &size) == 0);
    for (int i = 0; i < count; i++)
        CHECK(sendto(from6, message, length, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)length);
    close(from6);
}

/* Thousands in a tenth of a second, and at its end the buffer overflows. */
static void flood6(const uint8_t *message, size_t length)
{
    int room = 2048;

    send6(data, sizeof data, 1);
    inbound(&plane); /* looks for the first time */
    send6(message, length, 5000);
    inbound(&plane);
    setsockopt(sock6, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    send6(message, length, 200);
    inbound(&plane);
    now_ns += POLICE_LOOK_NS;
    send6(message, length, 1); /* brings the news */
    inbound(&plane);
    CHECK(is_filtered(sock6));
}

static void a_filter_goes_though_the_other_family_keeps_us_busy(void)
{
    begin();
    flood6(handshake, sizeof handshake);
    for (int i = 0; i < 60 && is_filtered(sock6); i++) {
        now_ns += POLICE_LOOK_NS / 5;
        peer_sends_raw(&plane, data, sizeof data); /* IPv4 */
        inbound(&plane);
    }
    CHECK(!is_filtered(sock6));
    end();
}

static void a_flood_of_empty_datagrams_is_one_too(void)
{
    begin();
    flood6((const uint8_t *)"", 0);
    end();
}

int main(void)
{
    RUN(a_filter_goes_though_the_other_family_keeps_us_busy);
    RUN(a_flood_of_empty_datagrams_is_one_too);
    return 0;
}

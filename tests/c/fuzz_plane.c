/*
 * The whole device: anything from the network, anything inside authenticated packets, anything from the TUN.
 * The input is a list of [kind 1][length 2][bytes]: kind 0 a datagram as it is, 1 a packet sealed by the
 * peer, 2 a frame from the TUN with its vnet header, 3 a datagram cut into segments by the kernel.
 */
#include "plane.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct plane plane;
static uint64_t counter;

static void begin(void)
{
    struct dp_gate strict = {.user_kinds = 1u << DP_PSK_PQ};
    uint8_t public_key[32] = {1};

    plane_begin(&plane, 1);
    plane_session(&plane, 1, DP_PSK_PQ);
    CHECK_EQUAL(dp_set_identity(plane.dp, public_key), 0);
    strict.control_local = loopback(1);
    strict.control_remote = loopback(2);
    CHECK_EQUAL(dp_peer_set_gate(plane.dp, plane.peer, &strict), 0);
}

static void datagram(const uint8_t *data, uint32_t length)
{
    struct sockaddr_in to;
    socklen_t size = sizeof to;

    getsockname(plane.udp4, (struct sockaddr *)&to, &size);
    if (sendto(plane.remote, data, length, MSG_DONTWAIT, (struct sockaddr *)&to, size) >= 0)
        inbound(&plane);
}

static void sealed(const uint8_t *data, uint32_t length)
{
    uint8_t message[2000];

    datagram(message, (uint32_t)make_data(&plane, counter++, data, length > 1500 ? 1500 : length, message));
}

static void segments(const uint8_t *data, uint32_t length)
{
    int segment = length ? data[0] : 0;

    (void)setsockopt(plane.remote, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
    datagram(data, length);
    segment = 0;
    (void)setsockopt(plane.remote, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
}

static void frame(const uint8_t *data, uint32_t length)
{
    if (length && send(plane.tun, data, length, MSG_DONTWAIT) >= 0)
        outbound(&plane);
}

static void empty_all(void)
{
    static uint8_t taken[70000];
    struct dp_event events[16];

    while (recv(plane.tun, taken, sizeof taken, MSG_DONTWAIT) > 0 || peer_gets(&plane, NULL) >= 0)
        ;
    while (dp_events(plane.dp, events, 16))
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(const uint8_t *, uint32_t) = {datagram, sealed, frame, segments};

    if (!plane.dp)
        begin();
    while (size >= 3) {
        uint32_t length = get_be16(data + 1);
        uint8_t kind = data[0] & 3;

        data += 3;
        size -= 3;
        if (length > size)
            length = (uint32_t)size;
        kinds[kind](data, length);
        data += length;
        size -= length;
    }
    empty_all();
    return 0;
}

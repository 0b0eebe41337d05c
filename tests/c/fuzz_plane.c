/*
 * The whole device: anything from the network, anything inside authenticated packets, anything from the TUN.
 * The input is a list of [kind 1][length 2][bytes]: kind 0 a datagram as it is, 1 a packet sealed by the
 * peer, 2 a frame from the TUN with its vnet header, 3 a datagram cut into segments by the kernel, 4 a
 * handshake message whose length and mac1 are right, maybe to a device under load.
 */
#include "mac1.h"
#include "plane.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t public_key[32] = {1};
static struct plane plane;
static uint64_t counter;
static uint32_t handshake_index;

static void begin(void)
{
    struct dp_gate strict = {.user_kinds = 1u << DP_PSK_PQ};

    plane_begin(&plane, 1);
    plane_session(&plane, 1, DP_PSK_PQ);
    CHECK_EQUAL(dp_set_identity(plane.dp, public_key), 0);
    CHECK_EQUAL(dp_index_reserve(plane.dp, plane.peer, &handshake_index), 0);
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

/* [choices 1][body]: bit 0 a response, 1 to an index that waits for one, 2 under load. */
static void handshake(const uint8_t *data, uint32_t length)
{
    uint8_t message[MESSAGE_INITIATION_LEN] = {0}, choices = length ? *data : 0;
    bool is_response = choices & 1;
    size_t whole = is_response ? MESSAGE_RESPONSE_LEN : MESSAGE_INITIATION_LEN;

    if (length > 1)
        memcpy(message, data + 1, length - 1 < whole ? length - 1 : whole);
    put_le32(message, is_response ? MESSAGE_RESPONSE : MESSAGE_INITIATION);
    if (choices & 2)
        put_le32(message + 8, handshake_index);
    put_mac1(public_key, message, whole);
    plane.dp->events.loaded_until_ns = choices & 4 ? UINT64_MAX : 0;
    datagram(message, (uint32_t)whole);
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
    static void (*const kinds[])(const uint8_t *, uint32_t) = {datagram,  sealed, frame, segments,
                                                               handshake, sealed, frame, segments};

    if (!plane.dp)
        begin();
    while (size >= 3) {
        uint32_t length = get_be16(data + 1);
        uint8_t kind = data[0] & 7;

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

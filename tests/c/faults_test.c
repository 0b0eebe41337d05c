/*
 * The kernel refuses, call by call as scripted: what docs/dataplane.md promises in "When the kernel refuses",
 * row by row where send_test.c and receive_test.c do not, and then everything at random. Whatever happens,
 * each packet either arrives or is counted.
 */
#include <poll.h>

#include "packets.h"
#include "plane.h"

#define SCRIPT_MAX 64
#define CUT_SHORT 4000 /* no errno: the call takes a part and says so */

/* What the next calls answer: an errno, or 0 for what the kernel says. Behind its end the kernel is asked. */
struct script {
    int outcome[SCRIPT_MAX];
    int length, at;
};

static struct plane plane;
static struct script on_read, on_writev, on_sendmmsg, on_recvmmsg, on_poll;
static int polls, pauses, reads;

static bool refuses(struct script *script)
{
    int error = script->at < script->length ? script->outcome[script->at++] : 0;
    if (error)
        errno = error;
    return error != 0;
}

static void say(struct script *script, int error, int times)
{
    CHECK(times <= SCRIPT_MAX);
    script->at = 0;
    script->length = times;
    for (int i = 0; i < times; i++)
        script->outcome[i] = error;
}

static ssize_t scripted_read(int fd, void *buffer, size_t length)
{
    reads++;
    return refuses(&on_read) ? -1 : fake_read(fd, buffer, length);
}

static ssize_t scripted_writev(int fd, const struct iovec *iov, int count)
{
    if (refuses(&on_writev))
        return errno == CUT_SHORT ? 20 : -1;
    return fake_writev(fd, iov, count);
}

static int scripted_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    return refuses(&on_sendmmsg) ? -1 : fake_sendmmsg(fd, messages, count, flags);
}

static int scripted_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                             struct timespec *timeout)
{
    return refuses(&on_recvmmsg) ? -1 : fake_recvmmsg(fd, messages, count, flags, timeout);
}

int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

/* Pauses are counted and take no time; a wait for nothing ends at once, for the script may hold more to say.
 */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    CHECK(++polls < 1000000);
    pauses += timeout > 0;
    return refuses(&on_poll) ? -1 : __real_poll(fds, count, 0);
}

static void begin(int vnet)
{
    struct script *all[] = {&on_read, &on_writev, &on_sendmmsg, &on_recvmmsg, &on_poll};
    for (size_t i = 0; i < 5; i++)
        all[i]->length = all[i]->at = 0;
    polls = pauses = reads = 0;
    plane_begin(&plane, vnet);
    plane.dp->system =
        (struct system_calls){scripted_read, scripted_writev, scripted_sendmmsg, scripted_recvmmsg};
    plane_session(&plane, 1, DP_PSK_NONE);
}

/* One TCP segment of the flow that merges. */
static void peer_sends_segment(uint64_t counter, uint32_t sequence)
{
    struct packet_shape shape = {
        .version = 4, .protocol = PROTO_TCP, .ttl = 64, .flags = 0x10, .sequence = sequence, .payload = 96};
    uint8_t packet[400] = {0};
    uint32_t length = build_packet(packet, &shape);
    memcpy(packet + 12, "\x0a\x00\x00\x02\x0a\x00\x01\x01", 8);
    seal_headers(packet, length);
    peer_sends(&plane, counter, packet, padded_length(length, 1420));
}

/* How many of the peer's segments came out of the TUN; super-packets are taken apart by their length. */
static int tun_takes_all(void)
{
    static uint8_t taken[70000];
    ssize_t length;
    int count = 0;
    while ((length = recv(plane.tun, taken, sizeof taken, MSG_DONTWAIT)) > 0) {
        ssize_t payload = length - 40 - (plane.dp->config.tun_has_vnet_header ? VNET_HEADER_LEN : 0);
        CHECK(payload > 0 && payload % 96 == 0);
        count += (int)payload / 96;
    }
    return count;
}

static void an_interrupted_call_is_made_again_and_nothing_is_counted(void)
{
    begin(1);
    say(&on_read, EINTR, 50);
    say(&on_sendmmsg, EINTR, 50);
    say(&on_poll, EINTR, 50);
    tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    say(&on_recvmmsg, EINTR, 50);
    say(&on_writev, EINTR, 50);
    say(&on_poll, EINTR, 50);
    peer_sends_segment(0, 0);
    CHECK_EQUAL(inbound(&plane), 0);
    CHECK_EQUAL(tun_takes_all(), 1);
    for (int why = 0; why < DROP_END; why++)
        CHECK_EQUAL(plane.dp->drops[why], 0);
    plane_end(&plane);
}

static void an_interrupted_handshake_is_sent_again(void)
{
    uint8_t message[148] = {1};
    begin(0);
    say(&on_sendmmsg, EINTR, 3);
    CHECK_EQUAL(dp_send_handshake(plane.dp, plane.peer, message, sizeof message), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    plane_end(&plane);
}

static void a_handshake_the_kernel_refuses_is_reported_and_counted(void)
{
    const int errors[] = {ENOBUFS, EAGAIN, EPERM, EHOSTUNREACH, EMSGSIZE, ENETDOWN};
    uint8_t message[148] = {1};
    begin(0);
    for (size_t i = 0; i < 6; i++) {
        say(&on_sendmmsg, errors[i], 1);
        CHECK_EQUAL(dp_send_handshake(plane.dp, plane.peer, message, sizeof message), -errors[i]);
        CHECK_EQUAL(record_of(&plane)->tx_errors, i + 1);
        CHECK_EQUAL(dropped(&plane, DROP_SEND), i + 1);
    }
    CHECK_EQUAL(record_of(&plane)->last_tx_auth_ns, 0);
    plane_end(&plane);
}

static void a_storm_of_false_readiness_ends_with_every_packet_delivered(void)
{
    begin(1);
    say(&on_read, EAGAIN, 60);
    say(&on_sendmmsg, 0, 0);
    for (int i = 0; i < 10; i++)
        tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 10);
    CHECK(polls >= 60 && pauses == 0);
    say(&on_recvmmsg, EAGAIN, 60);
    for (uint32_t i = 0; i < 10; i++)
        peer_sends_segment(i, i * 96);
    CHECK_EQUAL(inbound(&plane), 0);
    CHECK_EQUAL(tun_takes_all(), 10);
    CHECK_EQUAL(dropped(&plane, DROP_UDP_ERROR), 0);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_READ), 0);
    plane_end(&plane);
}

static void a_queue_full_for_many_batches_costs_those_and_no_more(int error)
{
    begin(0);
    say(&on_sendmmsg, error, 20);
    for (uint32_t batch = 0; batch < 20; batch++) {
        tun_gives(&plane, 500, 0);
        CHECK_EQUAL(outbound(&plane), 0);
        CHECK_EQUAL(record_of(&plane)->tx_errors, batch + 1);
        CHECK_EQUAL(dropped(&plane, DROP_SEND), batch + 1);
    }
    CHECK_EQUAL(on_sendmmsg.at, 20); /* each batch asked once: no busy waiting for a full queue */
    CHECK_EQUAL(peer_gets_all(&plane), 0);
    tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    CHECK_EQUAL(record_of(&plane)->tx_packets, 1);
    plane_end(&plane);
}

static void full_queues_are_not_waited_for(void)
{
    a_queue_full_for_many_batches_costs_those_and_no_more(ENOBUFS);
    a_queue_full_for_many_batches_costs_those_and_no_more(EAGAIN);
    a_queue_full_for_many_batches_costs_those_and_no_more(ENOMEM);
}

static void a_datagram_too_long_for_the_path_is_counted_and_the_next_goes(void)
{
    begin(0);
    say(&on_sendmmsg, EMSGSIZE, 1);
    tun_gives(&plane, 1300, 0);
    tun_gives(&plane, 1400, 0); /* longer: a send of its own */
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    CHECK_EQUAL(record_of(&plane)->tx_errors, 1);
    CHECK_EQUAL(dropped(&plane, DROP_SEND), 1);
    CHECK_EQUAL(dropped(&plane, DROP_SEGMENTS_REFUSED), 0);
    plane_end(&plane);
}

static void a_refusal_in_the_middle_of_segments_sent_singly_costs_that_one(void)
{
    begin(0);
    on_sendmmsg = (struct script){{EIO, 0, 0, EMSGSIZE, 0, 0, 0, 0}, 8, 0};
    for (int i = 0; i < 6; i++)
        tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(peer_gets_all(&plane), 5);
    CHECK_EQUAL(record_of(&plane)->tx_packets, 5);
    CHECK_EQUAL(record_of(&plane)->tx_errors, 1);
    CHECK_EQUAL(dropped(&plane, DROP_SEGMENTS_REFUSED), 1);
    plane_end(&plane);
}

static void a_tun_that_is_down_is_looked_at_ten_times_a_second(void)
{
    begin(0);
    say(&on_read, EIO, 20);
    tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(pauses, 20);
    CHECK(reads < 30); /* a pause behind each look: it does not spin */
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_READ), 0);
    plane_end(&plane);
}

static void a_read_that_keeps_failing_is_counted_and_does_not_spin(void)
{
    begin(0);
    say(&on_read, ENOMEM, 20);
    tun_gives(&plane, 500, 0);
    CHECK_EQUAL(outbound(&plane), 0);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_READ), 20);
    CHECK_EQUAL(pauses, 20);
    CHECK_EQUAL(peer_gets_all(&plane), 1);
    plane_end(&plane);
}

static void a_write_while_the_tun_is_down_costs_its_packets(void)
{
    begin(1);
    say(&on_writev, EIO, 1);
    for (uint32_t i = 0; i < 5; i++)
        peer_sends_segment(i, i * 96);
    CHECK_EQUAL(inbound(&plane), 0);
    CHECK_EQUAL(tun_takes_all(), 0);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_WRITE), 5); /* packets, not writes */
    CHECK_EQUAL(dropped(&plane, DROP_TUN_MERGE_REFUSED), 0);
    peer_sends_segment(5, 5 * 96);
    CHECK_EQUAL(inbound(&plane), 0);
    CHECK_EQUAL(tun_takes_all(), 1);
    plane_end(&plane);
}

static void a_write_that_takes_a_part_counts_as_none(void)
{
    begin(1);
    on_writev = (struct script){{CUT_SHORT, EINVAL, 0, CUT_SHORT}, 4, 0};
    for (uint32_t i = 0; i < 5; i++)
        peer_sends_segment(i, i * 96);
    CHECK_EQUAL(inbound(&plane), 0);
    CHECK_EQUAL(tun_takes_all(), 0);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_WRITE), 5);
    for (uint32_t i = 5; i < 10; i++)
        peer_sends_segment(i, i * 96);
    CHECK_EQUAL(inbound(&plane), 0); /* refused as one, then singly */
    CHECK_EQUAL(tun_takes_all(), 4);
    CHECK_EQUAL(dropped(&plane, DROP_TUN_WRITE), 6);
    plane_end(&plane);
}

static void a_tun_removed_under_the_inbound_worker_ends_its_run(void)
{
    const int errors[] = {EBADFD, EBADF, ENODEV};
    for (size_t i = 0; i < 3; i++) {
        struct dp_event event;
        begin(1);
        say(&on_writev, errors[i], 1);
        peer_sends_segment(0, 0);
        CHECK_EQUAL(inbound(&plane), -errors[i]);
        CHECK(take_event(&plane, DP_EVENT_DEVICE_GONE, &event));
        CHECK_EQUAL(event.length, errors[i]);
        plane_end(&plane);
    }
}

static void a_tun_removed_under_the_outbound_worker_ends_its_run(void)
{
    const int errors[] = {EBADFD, EBADF, ENODEV};
    for (size_t i = 0; i < 3; i++) {
        struct dp_event event;
        begin(0);
        say(&on_read, errors[i], 1);
        CHECK_EQUAL(outbound(&plane), -errors[i]);
        CHECK(take_event(&plane, DP_EVENT_DEVICE_GONE, &event));
        CHECK_EQUAL(event.length, errors[i]);
        plane_end(&plane);
    }
}

static void a_tun_removed_between_refused_and_single_writes_ends_the_run(void)
{
    begin(1);
    on_writev = (struct script){{EINVAL, 0, EBADFD}, 3, 0};
    for (uint32_t i = 0; i < 5; i++)
        peer_sends_segment(i, i * 96);
    CHECK_EQUAL(inbound(&plane), -EBADFD);
    CHECK_EQUAL(tun_takes_all(), 1);
    plane_end(&plane);
}

static void errors_of_the_network_are_counted_and_the_datagrams_behind_them_taken(void)
{
    const int errors[] = {ECONNREFUSED, EHOSTUNREACH, ENOMEM, ENOBUFS};
    begin(1);
    on_recvmmsg.length = 4;
    memcpy(on_recvmmsg.outcome, errors, sizeof errors);
    for (uint32_t i = 0; i < 5; i++)
        peer_sends_segment(i, i * 96);
    CHECK_EQUAL(inbound(&plane), 0);
    CHECK_EQUAL(tun_takes_all(), 5);
    CHECK_EQUAL(dropped(&plane, DROP_UDP_ERROR), 4);
    plane_end(&plane);
}

static void a_socket_closed_under_the_worker_ends_its_run(void)
{
    struct dp_event event;
    begin(0);
    int copy = dup(plane.udp4);
    close(plane.udp4);
    CHECK_EQUAL(inbound(&plane), -EBADF);
    CHECK(take_event(&plane, DP_EVENT_DEVICE_GONE, &event));
    CHECK_EQUAL(dup2(copy, plane.udp4), plane.udp4);
    close(copy);
    plane_end(&plane);
}

/* A script of random refusals; most calls succeed. */
static void random_script(struct script *script, uint64_t *state, const int *errors, uint32_t count)
{
    script->at = 0;
    script->length = (int)draw_below(state, 12);
    for (int i = 0; i < script->length; i++)
        script->outcome[i] = draw_below(state, 3) ? 0 : errors[draw_below(state, count)];
}

static void random_outbound(uint64_t *state)
{
    static const int of_read[] = {EINTR, EAGAIN, EIO, ENOMEM};
    static const int of_send[] = {EINTR, EAGAIN,       ENOBUFS,     EMSGSIZE,      EIO,    EINVAL,
                                  EPERM, EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL, ENODEV, ECONNREFUSED};
    static const int of_poll[] = {EINTR};
    const struct dp_record *record = record_of(&plane);
    uint64_t packets = record->tx_packets, errors = record->tx_errors, sends = dropped(&plane, DROP_SEND);
    uint32_t given = 1 + draw_below(state, 12), size = draw_below(state, 2) ? 500 : 0;

    random_script(&on_read, state, of_read, 4);
    random_script(&on_sendmmsg, state, of_send, 12);
    random_script(&on_poll, state, of_poll, 1);
    kernel.at_most = draw_below(state, 3) ? 0 : 1 + (int)draw_below(state, 3);
    if (draw_below(state, 4) == 0) {
        struct dp_endpoint endpoint;
        CHECK_EQUAL(dp_peer_endpoint(plane.dp, plane.peer, &endpoint), 0);
        endpoint.local = loopback(0);
        CHECK_EQUAL(dp_peer_set_endpoint(plane.dp, plane.peer, &endpoint), 0);
    }
    for (uint32_t i = 0; i < given; i++)
        tun_gives(&plane, size ? size : 10 + draw_below(state, 1300), 0);
    CHECK_EQUAL(outbound(&plane), 0);
    uint64_t arrived = (uint64_t)peer_gets_all(&plane);
    CHECK_EQUAL(record->tx_packets - packets, arrived);
    CHECK_EQUAL(record->tx_errors - errors, given - arrived);
    CHECK_EQUAL(dropped(&plane, DROP_SEND) - sends, given - arrived);
    CHECK_EQUAL(record->staged, 0);
}

static void random_inbound(uint64_t *state, uint64_t *counter, uint32_t *sequence)
{
    static const int of_receive[] = {EINTR, EAGAIN, ECONNREFUSED, ENOMEM, EHOSTUNREACH};
    static const int of_write[] = {EINTR, EIO, EINVAL, EAGAIN, ENOBUFS, ENOMEM, CUT_SHORT};
    uint64_t packets = record_of(&plane)->rx_packets, lost = dropped(&plane, DROP_TUN_WRITE);
    uint32_t given = 1 + draw_below(state, 12);

    random_script(&on_recvmmsg, state, of_receive, 5);
    random_script(&on_writev, state, of_write, 7);
    random_script(&on_poll, state, (const int[]){EINTR}, 1);
    for (uint32_t i = 0; i < given; i++) {
        if (draw_below(state, 4) == 0)
            *sequence += 1000; /* a gap: another super-packet begins */
        peer_sends_segment((*counter)++, *sequence);
        *sequence += 96;
    }
    CHECK_EQUAL(inbound(&plane), 0);
    uint64_t arrived = (uint64_t)tun_takes_all();
    CHECK_EQUAL(record_of(&plane)->rx_packets - packets, given);
    CHECK_EQUAL(arrived + dropped(&plane, DROP_TUN_WRITE) - lost, given);
}

static void whatever_the_kernel_says_each_packet_arrives_or_is_counted(void)
{
    uint64_t state = 0x9e3779b97f4a7c15, counter = 0;
    uint32_t sequence = 1;

    begin(1);
    for (int round = 0; round < 1500; round++) {
        random_outbound(&state);
        random_inbound(&state, &counter, &sequence);
        if (round % 50 == 0) { /* what was switched off is tried again */
            plane_end(&plane);
            begin(round % 100 == 0);
            counter = 0;
        }
    }
    plane_end(&plane);
}

int main(void)
{
    RUN(an_interrupted_call_is_made_again_and_nothing_is_counted);
    RUN(an_interrupted_handshake_is_sent_again);
    RUN(a_handshake_the_kernel_refuses_is_reported_and_counted);
    RUN(a_storm_of_false_readiness_ends_with_every_packet_delivered);
    RUN(full_queues_are_not_waited_for);
    RUN(a_datagram_too_long_for_the_path_is_counted_and_the_next_goes);
    RUN(a_refusal_in_the_middle_of_segments_sent_singly_costs_that_one);
    RUN(a_tun_that_is_down_is_looked_at_ten_times_a_second);
    RUN(a_read_that_keeps_failing_is_counted_and_does_not_spin);
    RUN(a_write_while_the_tun_is_down_costs_its_packets);
    RUN(a_write_that_takes_a_part_counts_as_none);
    RUN(a_tun_removed_under_the_inbound_worker_ends_its_run);
    RUN(a_tun_removed_under_the_outbound_worker_ends_its_run);
    RUN(a_tun_removed_between_refused_and_single_writes_ends_the_run);
    RUN(errors_of_the_network_are_counted_and_the_datagrams_behind_them_taken);
    RUN(a_socket_closed_under_the_worker_ends_its_run);
    RUN(whatever_the_kernel_says_each_packet_arrives_or_is_counted);
    return 0;
}

/*
 * Numbered UDP datagrams at a steady rate, and what became of them. Built by the test that needs it.
 *
 *     numbered send    ADDRESS PORT PER_SECOND SECONDS    prints {"sent": N, "late": N, "refused": N}
 *     numbered receive ADDRESS PORT                       prints when 2 s have brought nothing:
 *         {"received": N, "duplicated": N, "reordered": N, "highest": N, "gap_ms": X, "gap_at": N}
 *
 * The gap is the longest time between two arrivals by the kernel's own stamps, so that a receiver that is not
 * scheduled does not count as a silent tunnel; "late" counts milliseconds in which the sender was not
 * scheduled in time, by how much a gap may be its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD_LEN 200
#define BATCH 64
#define TICK_NS 500000
#define MOST 16000000u
#define SILENCE_S 2

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int open_socket(const char *address, const char *port, int is_receiver)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int room = 64 << 20, on = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (fd < 0 || inet_pton(AF_INET, address, &name.sin_addr) != 1)
        exit(2);
    setsockopt(fd, SOL_SOCKET, is_receiver ? SO_RCVBUFFORCE : SO_SNDBUFFORCE, &room, sizeof room);
    if (is_receiver) {
        struct timeval silence = {.tv_sec = SILENCE_S};
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    }
    if (is_receiver ? bind(fd, (struct sockaddr *)&name, sizeof name)
                    : connect(fd, (struct sockaddr *)&name, sizeof name))
        exit(3);
    return fd;
}

static int send_numbered(int fd, uint64_t per_second, uint64_t seconds)
{
    static uint8_t payload[BATCH][PAYLOAD_LEN];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec iov[BATCH];
    uint64_t sent = 0, late = 0, refused = 0, begun = now_ns(), total = per_second * seconds;

    for (unsigned i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){payload[i], PAYLOAD_LEN};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    while (sent < total) {
        uint64_t passed = now_ns() - begun, due = passed * per_second / 1000000000u;
        uint64_t ahead = due > total ? total - sent : due - sent;

        if (passed > (sent + 1) * 1000000000u / per_second + 1000000u)
            late++;
        while (ahead) {
            unsigned n = ahead < BATCH ? (unsigned)ahead : BATCH;

            for (unsigned i = 0; i < n; i++) {
                uint64_t number = sent + i;
                memcpy(payload[i], &number, sizeof number);
            }
            int done = sendmmsg(fd, messages, n, 0);
            if (done < 0) { /* a number that never left is no loss of the tunnel's: it is sent again */
                refused++;
                break;
            }
            sent += (unsigned)done;
            ahead -= (unsigned)done;
        }
        struct timespec tick = {.tv_nsec = TICK_NS};
        nanosleep(&tick, NULL);
    }
    printf("{\"sent\": %" PRIu64 ", \"late\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"seconds\": %.3f}\n", sent,
           late, refused, (double)(now_ns() - begun) / 1e9);
    return 0;
}

static uint64_t stamp_of(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(c), sizeof at);
            return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
        }
    return 0;
}

static int receive_numbered(int fd)
{
    static uint8_t payload[BATCH][PAYLOAD_LEN], control[BATCH][64];
    uint8_t *seen = calloc(MOST, 1);
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH];
    uint64_t received = 0, duplicated = 0, reordered = 0, highest = 0, last = 0, gap = 0, gap_at = 0;

    if (!seen)
        return 4;
    for (;;) {
        for (unsigned i = 0; i < BATCH; i++) {
            iov[i] = (struct iovec){payload[i], PAYLOAD_LEN};
            messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i],
                                                  .msg_iovlen = 1,
                                                  .msg_control = control[i],
                                                  .msg_controllen = sizeof control[i]};
        }
        int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (n < 0 && received)
            break;
        for (int i = 0; i < n; i++) {
            uint64_t number, at = stamp_of(&messages[i].msg_hdr);

            memcpy(&number, payload[i], sizeof number);
            if (number >= MOST)
                continue;
            if (last && at > last && at - last > gap) {
                gap = at - last;
                gap_at = number;
            }
            last = at;
            duplicated += seen[number];
            seen[number] = 1;
            reordered += number < highest;
            highest = number > highest ? number : highest;
            received++;
        }
    }
    printf("{\"received\": %" PRIu64 ", \"duplicated\": %" PRIu64 ", \"reordered\": %" PRIu64
           ", \"highest\": %" PRIu64 ", \"gap_ms\": %.2f, \"gap_at\": %" PRIu64 "}\n",
           received, duplicated, reordered, highest, (double)gap / 1e6, gap_at);
    free(seen);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && !strcmp(argv[1], "send"))
        return send_numbered(open_socket(argv[2], argv[3], 0), strtoull(argv[4], NULL, 10),
                             strtoull(argv[5], NULL, 10));
    if (argc == 4 && !strcmp(argv[1], "receive"))
        return receive_numbered(open_socket(argv[2], argv[3], 1));
    return 2;
}

/*
 * A stranger who sends what he is given, over and over, at a steady rate. Built by who needs it (flood.py).
 *
 *     flood ADDRESS PORT PER_SECOND SECONDS RUN SOURCE SOURCES < DATAGRAMS
 *
 * DATAGRAMS: each is two bytes of length, little endian, and that many bytes. Up to RUN neighbours of equal
 * length go out by one call with UDP_SEGMENT: the cheapest way to send; an interface without that offload
 * makes single packets of them all the same. SOURCES addresses from SOURCE on take turns from run to run;
 * all of them must be local ("ip route add local").
 *
 * Prints {"sent": N, "refused": N, "seconds": X}. Sends until SECONDS are over or SIGTERM comes. What it is
 * behind by more than 50 ms is not made up for: the rate that was reached is the rate that is said.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define POOL_MOST (32u << 20)
#define RUNS_MOST 65536
#define RUN_MOST 64u
#define RUN_BYTES_MOST 60000u
#define BATCH 16
#define TICK_NS 500000
#define BEHIND_NS 50000000u

struct run {
    uint8_t *bytes;
    uint32_t length; /* of all */
    uint16_t segment;
    uint16_t count;
};

union control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
};

static uint8_t pool[POOL_MOST];
static struct run runs[RUNS_MOST];
static struct sockaddr_in target;
static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Datagrams lie one behind the other, so that a run of equal ones is one buffer. */
static size_t read_runs(size_t run_most)
{
    uint8_t length[2], *at = pool;
    size_t count = 0;

    while (count < RUNS_MOST && fread(length, 2, 1, stdin) == 1) {
        uint16_t size = (uint16_t)(length[0] | length[1] << 8);
        struct run *last = count ? &runs[count - 1] : NULL;

        if (at + size > pool + POOL_MOST || fread(at, 1, size, stdin) != size)
            exit(4);
        if (last && size && last->segment == size && last->count < run_most &&
            last->length + size <= RUN_BYTES_MOST) {
            last->length += size;
            last->count++;
        } else {
            runs[count++] = (struct run){.bytes = at, .length = size, .segment = size, .count = 1};
        }
        at += size;
    }
    return count;
}

/* Bound to every address: what comes back ends in its buffer and makes no ICMP. */
static int open_socket(const char *address, const char *port)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    int room = 8 << 20, fd = socket(AF_INET, SOCK_DGRAM, 0);

    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (fd < 0 || inet_pton(AF_INET, address, &target.sin_addr) != 1)
        exit(2);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&any, sizeof any))
        exit(3);
    return fd;
}

static void add_control(struct msghdr *message, int level, int type, const void *data, size_t length)
{
    struct cmsghdr *header = (void *)((uint8_t *)message->msg_control + message->msg_controllen);

    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(header), data, length);
    message->msg_controllen += CMSG_SPACE(length);
}

static void prepare(struct mmsghdr *message, struct iovec *iov, union control *control, const struct run *run,
                    uint32_t source)
{
    struct in_pktinfo from = {.ipi_spec_dst = {htonl(source)}};

    memset(control, 0, sizeof *control);
    *iov = (struct iovec){run->bytes, run->length};
    message->msg_hdr = (struct msghdr){.msg_name = &target,
                                       .msg_namelen = sizeof target,
                                       .msg_iov = iov,
                                       .msg_iovlen = 1,
                                       .msg_control = control};
    add_control(&message->msg_hdr, IPPROTO_IP, IP_PKTINFO, &from, sizeof from);
    if (run->count > 1)
        add_control(&message->msg_hdr, SOL_UDP, UDP_SEGMENT, &run->segment, sizeof run->segment);
}

int main(int argc, char **argv)
{
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH];
    union control control[BATCH];
    uint64_t sent = 0, refused = 0, next = 0;

    if (argc != 8)
        return 2;
    int fd = open_socket(argv[1], argv[2]);
    double per_ns = strtod(argv[3], NULL) / 1e9;
    size_t run_most = strtoul(argv[5], NULL, 10);
    size_t count = read_runs(run_most < RUN_MOST ? run_most : RUN_MOST);
    uint32_t first = ntohl(inet_addr(argv[6])), sources = (uint32_t)strtoul(argv[7], NULL, 10);

    if (!count || !sources)
        return 5;
    signal(SIGTERM, stop);
    uint64_t begun = now_ns(), end = begun + (uint64_t)(strtod(argv[4], NULL) * 1e9), last = begun;
    double owed = 0;

    for (uint64_t now = begun; now < end && !stopped; now = now_ns()) {
        owed += (double)(now - last) * per_ns;
        last = now;
        if (owed > BEHIND_NS * per_ns)
            owed = BEHIND_NS * per_ns;
        while (owed >= 1 && !stopped) {
            unsigned batch = 0;

            for (; batch < BATCH && owed >= 1; batch++, next++) {
                const struct run *run = &runs[next % count];

                prepare(&messages[batch], &iov[batch], &control[batch], run, first + (uint32_t)(next % sources));
                owed -= run->count ? run->count : 1;
            }
            for (unsigned done = 0; done < batch;) {
                int n = sendmmsg(fd, messages + done, batch - done, 0);
                unsigned taken = n > 0 ? (unsigned)n : 1; /* whoever is refused is skipped */

                for (unsigned i = done; i < done + taken; i++)
                    *(n > 0 ? &sent : &refused) += runs[(next - batch + i) % count].count;
                done += taken;
            }
        }
        struct timespec tick = {.tv_nsec = TICK_NS};
        nanosleep(&tick, NULL);
    }
    printf("{\"sent\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"seconds\": %.3f}\n", sent, refused,
           (double)(now_ns() - begun) / 1e9);
    return 0;
}

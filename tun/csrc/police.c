#include "police.h"

#include <errno.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "packet.h"

#define WHOLE (1ull << 32)
#define SECOND_NS 1000000000ull
#define SHARE_BITS 5
#define DATA_ON_THE_WIRE 0x04000000 /* the filter reads big-endian */
#define PAYLOAD_AT 8                /* it sees the UDP header first */

int police_begin(struct police *police, int fd)
{
    int none = 0;

    memset(police, 0, sizeof(*police));
    (void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none));
    if (getrandom(police->keys, sizeof(police->keys), 0) != (ssize_t)sizeof(police->keys))
        return -EIO;
    police->keys[0] |= 1;
    police->keys[1] |= 1;
    return 0;
}

/* As the filter computes it: an IPv4 address, or an IPv6 /64. Both multiplications are needed: after one alone,
 * neighbours share a fate with one key in a hundred.
 */
static uint32_t share_of(const struct police *police, const struct dp_address *source)
{
    uint32_t mixed = get_be32(source->ip);

    if (source->family == AF_INET6)
        mixed = get_be32(source->ip + 4) ^ mixed * police->keys[1];
    mixed *= police->keys[0];
    mixed = (mixed ^ mixed >> 16) * police->keys[1];
    return mixed >> (32 - SHARE_BITS);
}

void police_saw(struct police *police, const struct dp_address *source)
{
    police->counts[share_of(police, source)]++;
}

static void attach(const struct police *police, int fd)
{
    uint32_t net = (uint32_t)SKF_NET_OFF;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, PAYLOAD_AT),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, DATA_ON_THE_WIRE, 22, 0),
        BPF_STMT(BPF_LDX | BPF_IMM, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, net),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, net + 8), /* IPv6 has one word more */
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, police->keys[1]),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, net + 12),
        BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, police->keys[0]),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
        BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, police->keys[1]),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 32 - SHARE_BITS),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_IMM, 1),
        BPF_STMT(BPF_ALU | BPF_LSH | BPF_X, 0),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, police->flooding),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)police->keep, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* A second's worth of a count made in `elapsed_ns`. */
static uint64_t rate(uint64_t count, uint64_t elapsed_ns)
{
    return count * SECOND_NS / elapsed_ns;
}

static uint64_t count_of(const struct police *police, uint32_t shares)
{
    uint64_t count = 0;

    for (unsigned share = 0; share < POLICE_SHARES; share++)
        count += shares >> share & 1 ? police->counts[share] : 0;
    return count;
}

/* The shares that send much too much, if all together do. */
static uint32_t flooding_now(const struct police *police, uint64_t elapsed_ns)
{
    uint32_t shares = 0;

    if (rate(count_of(police, UINT32_MAX), elapsed_ns) < POLICE_FLOOD)
        return 0;
    for (unsigned share = 0; share < POLICE_SHARES; share++)
        if (rate(police->counts[share], elapsed_ns) > POLICE_FLOOD / POLICE_SHARES)
            shares |= 1u << share;
    return shares;
}

static uint64_t keep_next(uint64_t keep, uint64_t through, uint32_t shares)
{
    uint64_t relaxed = keep * POLICE_RELAX_MOST;
    uint64_t allowed = (uint64_t)__builtin_popcount(shares) * POLICE_LET_THROUGH;
    uint64_t wanted = through ? keep * allowed / through : relaxed;
    uint64_t next = relaxed < wanted ? relaxed : wanted;

    return next ? next : 1;
}

static void judge(struct police *police, int fd, uint64_t elapsed_ns)
{
    bool was_thinning = police_is_thinning(police);
    uint32_t shares = police->flooding;
    int none = 0;

    if (was_thinning || police->overflows)
        shares |= flooding_now(police, elapsed_ns);
    if (!shares)
        return;
    police->keep =
        keep_next(was_thinning ? police->keep : WHOLE, rate(count_of(police, shares), elapsed_ns), shares);
    police->flooding = police->keep < WHOLE ? shares : 0;
    if (police->flooding)
        attach(police, fd);
    else if (was_thinning)
        (void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none));
}

void police_look(struct police *police, int fd, uint64_t now_ns)
{
    uint64_t elapsed_ns = now_ns - police->looked_ns;

    if (elapsed_ns < POLICE_LOOK_NS)
        return;
    judge(police, fd, elapsed_ns);
    memset(police->counts, 0, sizeof(police->counts));
    police->overflows = false;
    police->looked_ns = now_ns;
}

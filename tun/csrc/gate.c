#include "gate.h"

#include <string.h>
#include <sys/socket.h>

void gate_init_open(struct dp_gate *gate)
{
    memset(gate, 0, sizeof(*gate));
    gate->user_kinds = GATE_OPEN_KINDS;
}

bool gate_is_open(const struct dp_gate *gate)
{
    return (gate->user_kinds & GATE_OPEN_KINDS) == GATE_OPEN_KINDS && !gate->user_psk_max_age_ns;
}

bool gate_admits(const struct dp_gate *gate, const struct keypair *keypair, uint64_t now_ns)
{
    uint64_t max_age = gate->user_psk_max_age_ns;
    uint64_t born = keypair->psk_birthdate_ns;

    if (!(gate->user_kinds & (1u << (keypair->psk_kind & 3))))
        return false;
    return !max_age || !born || now_ns < born || now_ns - born < max_age;
}

struct keypair *gate_user_keypair(const struct dp_gate *gate, const struct keypair_slots *slots,
                                  const struct keypair_limits *limits, uint64_t now_ns)
{
    struct keypair *candidates[] = {slots->previous, slots->kept};
    struct keypair *best = slots->current;

    if (keypair_may_send(best, limits, now_ns) && gate_admits(gate, best, now_ns))
        return best;
    if (gate_is_open(gate)) /* plain WireGuard: only current sends */
        return NULL;
    best = NULL;
    for (size_t i = 0; i < 2; i++) {
        struct keypair *keypair = candidates[i];

        if (keypair_may_send(keypair, limits, now_ns) && gate_admits(gate, keypair, now_ns) &&
            (!best || keypair->birthdate_ns > best->birthdate_ns))
            best = keypair;
    }
    return best;
}

static bool matches(const struct dp_address *address, unsigned version, const uint8_t *ip,
                    const uint8_t *port)
{
    sa_family_t family = version == 4 ? AF_INET : AF_INET6;

    return address->family == family && address->port == get_be16(port) &&
           !memcmp(address->ip, ip, version == 4 ? 4 : 16);
}

static bool is_control(const struct dp_address *source, const struct dp_address *destination,
                       const struct inner *inner)
{
    /* the header begins 12 (IPv4) or 8 (IPv6) bytes before the source address */
    const uint8_t *udp = inner->source - (inner->version == 4 ? 12 : 8) + inner->header_len;

    if (!source->family || inner->protocol != PROTO_UDP || inner->fragment ||
        inner->length < inner->header_len + UDP_HEADER_LEN)
        return false;
    return matches(source, inner->version, inner->source, udp) &&
           matches(destination, inner->version, inner->destination, udp + 2);
}

bool gate_is_control_out(const struct dp_gate *gate, const struct inner *inner)
{
    return is_control(&gate->control_local, &gate->control_remote, inner);
}

bool gate_is_control_in(const struct dp_gate *gate, const struct inner *inner)
{
    return is_control(&gate->control_remote, &gate->control_local, inner);
}

/* The names of the reasons, for status pages and metrics. */
#include "internal.h"

static const char *const names[] = {
    [DROP_TUN_MALFORMED] = "tun_malformed",
    [DROP_TUN_NO_PEER] = "tun_no_peer",
    [DROP_TUN_NO_ENDPOINT] = "tun_no_endpoint",
    [DROP_TUN_LOOP] = "tun_loop",
    [DROP_TUN_READ] = "tun_read",
    [DROP_TUN_WRITE] = "tun_write",
    [DROP_TUN_MERGE_REFUSED] = "tun_merge_refused",
    [DROP_STAGED] = "staged",
    [DROP_SEND] = "send",
    [DROP_SEGMENTS_REFUSED] = "segments_refused",
    [DROP_SOURCE_REFUSED] = "source_refused",
    [DROP_UDP_EMPTY] = "udp_empty",
    [DROP_UDP_TRUNCATED] = "udp_truncated",
    [DROP_UDP_MALFORMED] = "udp_malformed",
    [DROP_UDP_ERROR] = "udp_error",
    [DROP_UDP_OVERFLOW] = "udp_overflow",
    [DROP_HANDSHAKE_IDENTITY] = "handshake_identity",
    [DROP_HANDSHAKE_MAC1] = "handshake_mac1",
    [DROP_HANDSHAKE_INDEX] = "handshake_index",
    [DROP_HANDSHAKE_COOKIE] = "handshake_cookie",
    [DROP_HANDSHAKE_RATE] = "handshake_rate",
    [DROP_EVENT_FULL] = "event_full",
    [DROP_DATA_INDEX] = "data_index",
    [DROP_DATA_EXPIRED] = "data_expired",
    [DROP_DATA_AUTHENTICATION] = "data_authentication",
    [DROP_DATA_REPLAYED] = "data_replayed",
    [DROP_DATA_MALFORMED] = "data_malformed",
    [DROP_DATA_SOURCE] = "data_source",
    [DROP_DATA_GATED] = "data_gated",
};

_Static_assert(DROP_END <= DP_DROP_COUNT, "dp_drops has room for every reason");
_Static_assert(sizeof(names) / sizeof(names[0]) == DROP_END, "every reason has a name");

const char *dp_drop_name(uint32_t drop)
{
    return drop < DROP_END ? names[drop] : NULL;
}

/*
 * The whole surface of the data plane that Python may call. tun/ffi_build.py reads the declarations between
 * the two marker lines; nothing is declared twice.
 *
 * The data plane moves packets between one TUN and one or two UDP sockets. It knows keypairs, allowed IPs and
 * endpoints; it knows nothing of handshakes beyond the cheap checks that keep a stranger's packet cheap
 * (length, mac1, cookie, rate limit, receiver index). It enforces what must never happen: sending or
 * accepting beyond REJECT_AFTER_*, replays, packets from a source that is not the peer's, user packets
 * through the gate. What should happen (rekey, keepalive, retry) is decided by Python from dp_records and
 * dp_events.
 *
 * Calls return 0 or a count, else -errno as listed. Pointer arguments are borrowed for the call. Keys are
 * copied in and wiped with explicit_bzero. All times are ns of CLOCK_BOOTTIME. Peers are named by the number
 * that dp_peer_add returned; a removed peer's number may be given out again.
 */
#ifndef WGPY_DATAPLANE_H
#define WGPY_DATAPLANE_H

#include <stddef.h>
#include <stdint.h>

/* cdef-begin */
#define DP_KEY_LEN 32
#define DP_HANDSHAKE_MAX 148
#define DP_MAX_PEERS 65536
#define DP_NO_PEER 0xffffffff
#define DP_MAX_WORKERS 8

struct dp;

struct dp_address {
    uint16_t family;   /* AF_INET, AF_INET6; 0 = none */
    uint16_t port;     /* host byte order */
    uint32_t scope_id; /* IPv6 link-local only */
    uint8_t ip[16];    /* network byte order; IPv4 in the first four */
};

/* Where a peer is, and the cached ("sticky") local address its last packet arrived on. */
struct dp_endpoint {
    struct dp_address remote;
    struct dp_address local; /* port unused; family 0 = let the kernel choose */
    uint32_t ifindex;        /* 0 = any */
    uint32_t reserved;
};

/* Offloads and fall-backs; every one can be switched off by configuration. */
#define DP_FEATURE_TSO 0x01          /* TCP super-packets from the TUN */
#define DP_FEATURE_USO 0x02          /* UDP super-packets from and to the TUN */
#define DP_FEATURE_UDP_GSO 0x04      /* UDP_SEGMENT on the sockets */
#define DP_FEATURE_UDP_GRO 0x08      /* UDP_GRO on the sockets */
#define DP_FEATURE_TUN_COALESCE 0x10 /* merged super-packets into the TUN */
#define DP_FEATURE_ECN 0x20
#define DP_FEATURE_ICMP 0x40 /* unreachable errors for packets without a way out */
#define DP_FEATURE_ALL 0x7f

#define DP_AEAD_AUTO 0
#define DP_AEAD_OPENSSL 1
#define DP_AEAD_IPSEC_MB 2

/* One of the TUN's queues. Made non-blocking; with vnet header iff tun_has_vnet_header. */
struct dp_tun_queue {
    int read_fd;
    /* read_fd where there is one queue. Of several another descriptor, detached (TUNSETQUEUE): a packet
     * written to an attached queue pulls its flow's other direction onto that queue, in the middle of it. */
    int write_fd;
};

struct dp_config {
    struct dp_tun_queue queues[DP_MAX_WORKERS]; /* one for each pair of workers */
    uint32_t workers;                           /* pairs, at least 1 */
    int tun_has_vnet_header;
    uint32_t mtu;
    uint32_t features;             /* DP_FEATURE_*: wanted; what the kernel refuses is taken out */
    uint32_t aead;                 /* DP_AEAD_* */
    uint32_t max_peers;            /* at most DP_MAX_PEERS */
    uint64_t reject_after_time_ns; /* 180 s; tests shorten it */
    uint64_t reject_after_messages;
    uint64_t rekey_after_messages; /* only sets a flag in the peer's record */
};

/* What a keypair's preshared key was (product.md section 5 rule 5). */
#define DP_PSK_NONE 0
#define DP_PSK_CONFIGURED 1
#define DP_PSK_INTERIM 2
#define DP_PSK_PQ 3

struct dp_keypair_config {
    uint8_t send_key[32];
    uint8_t receive_key[32];
    uint32_t local_index; /* reserved by dp_index_reserve for this peer */
    uint32_t remote_index;
    uint64_t birthdate_ns;
    uint64_t psk_birthdate_ns; /* when the preshared key was agreed; 0 = no age */
    uint32_t is_initiator;
    uint32_t psk_kind; /* DP_PSK_* */
};

/*
 * The gate of a peer: user packets pass only on keypairs whose kind is in user_kinds (bit 1 << DP_PSK_*) and
 * whose preshared key is younger than user_psk_max_age_ns (0 = no limit). UDP between the two control
 * addresses and ports, and keepalives, pass on any keypair. user_kinds 0xf and age 0: no gate.
 */
struct dp_gate {
    uint32_t user_kinds;
    uint32_t reserved;
    uint64_t user_psk_max_age_ns;
    struct dp_address control_local;
    struct dp_address control_remote;
};

/* One record per peer number, read by Python as a numpy array without a copy. Counters only grow, except that
 * a peer's record is zeroed when its number is given out. Stamps are ns of CLOCK_BOOTTIME, 0 = never. "auth"
 * is any authenticated packet (data, keepalive, initiation, response), "data" a non-empty one. */
struct dp_record {
    /* written by the outbound workers */
    uint64_t tx_bytes;   /* whole UDP payloads of all message types */
    uint64_t tx_packets; /* transport data */
    uint64_t tx_dropped; /* staged packets dropped, whatever the reason */
    uint64_t tx_errors;  /* sends the kernel refused */
    uint64_t tx_gated;   /* user packets that had to wait for the gate */
    uint64_t last_tx_auth_ns;
    uint64_t last_tx_data_ns;
    uint64_t tx_unanswered_ns; /* first data sent since the last auth packet received; 0 = all answered */
    /* written by the inbound workers */
    uint64_t rx_bytes;
    uint64_t rx_packets;
    uint64_t rx_dropped; /* authenticated, but malformed inside or from a source not allowed */
    uint64_t rx_replayed;
    uint64_t rx_gated; /* user packets refused by the gate */
    uint64_t last_rx_auth_ns;
    uint64_t last_rx_data_ns;
    uint64_t rx_unanswered_ns; /* first data received since the last auth packet sent; 0 = all answered */
    /* written under the exclusive lock, when a keypair or the gate changes or a packet finds that one
     * expired: who needs to know it now compares the ages too */
    uint64_t current_birthdate_ns; /* of the keypair control packets use; 0 = no current keypair */
    uint64_t user_birthdate_ns;    /* of the keypair user packets use; 0 = none passes the gate */
    uint64_t user_psk_birthdate_ns;
    uint32_t current_index; /* local index */
    uint32_t current_flags; /* DP_KEYPAIR_* */
    uint32_t current_psk_kind;
    uint32_t user_psk_kind;
    uint32_t in_use; /* 1 while the number names a peer */
    uint32_t staged; /* packets waiting now */
    uint64_t reserved[10];
};
#define DP_KEYPAIR_INITIATOR 0x01
#define DP_KEYPAIR_SENDABLE 0x02
#define DP_KEYPAIR_REKEY_MESSAGES 0x04 /* REKEY_AFTER_MESSAGES passed */

/* Device-wide counters: why a datagram or a TUN frame went no further. Index names in dp_drop_name. */
#define DP_DROP_COUNT 32

/* What C tells Python. Bounded ring; while it is full further events are dropped and counted. */
#define DP_EVENT_HANDSHAKE 1    /* a type 1, 2 or 3 message that passed every cheap check */
#define DP_EVENT_WANT_SESSION 2 /* a packet waits and no keypair may send at all; at most four a second */
#define DP_EVENT_CONFIRMED 3    /* first authenticated packet on a keypair we responded for */
#define DP_EVENT_DEVICE_GONE 4  /* the TUN was deleted or a socket is dead; length = errno */

struct dp_event {
    uint32_t kind;
    uint32_t peer;   /* DP_NO_PEER for an initiation; for 2 and 3 the owner of the receiver index */
    uint32_t index;  /* CONFIRMED: local index of the keypair */
    uint32_t length; /* HANDSHAKE: bytes in message */
    uint64_t time_ns;
    struct dp_endpoint source;
    uint8_t message[148];
    uint32_t reserved;
};

/* configure */
struct dp *dp_new(const struct dp_config *config, int *error); /* NULL and *error = -errno */
void dp_free(struct dp *dp);                                   /* after all runs returned */
uint32_t dp_features(struct dp *dp);                           /* what is really in use */
const char *dp_aead_name(struct dp *dp);
void dp_set_mtu(struct dp *dp, uint32_t mtu);
/* Own static public key: mac1 and cookie keys. NULL: no identity, every handshake message is dropped. */
int dp_set_identity(struct dp *dp, const uint8_t *public_key);
/* Bound UDP sockets of both families, -1 = absent. */
struct dp_socket_pair {
    int fd4;
    int fd6;
};
/*
 * One pair for each inbound worker, all of one family on one port (SO_REUSEPORT: the kernel keeps what comes
 * from one address in one of them); count 0 = none. With fewer pairs than workers the rest only send, through
 * these. Borrowed until replaced; returns after no worker uses the old ones. -EINVAL: too many.
 */
int dp_set_sockets(struct dp *dp, const struct dp_socket_pair *pairs, size_t count);

int dp_peer_add(struct dp *dp); /* peer number, -ENOSPC */
int dp_peer_remove(struct dp *dp, uint32_t peer);
int dp_peer_set_endpoint(struct dp *dp, uint32_t peer, const struct dp_endpoint *endpoint);
int dp_peer_endpoint(struct dp *dp, uint32_t peer, struct dp_endpoint *out); /* -ENOENT: none */
int dp_peer_clear_source(struct dp *dp, uint32_t peer);
int dp_peer_set_gate(struct dp *dp, uint32_t peer, const struct dp_gate *gate);

/* An exact prefix owned by another peer moves. Host bits are masked off. -EINVAL, -ENOMEM. */
int dp_allowed_ip_insert(struct dp *dp, uint32_t peer, const struct dp_address *prefix, uint32_t bits);
int dp_allowed_ip_remove(struct dp *dp, uint32_t peer, const struct dp_address *prefix, uint32_t bits);
int dp_allowed_ips_clear(struct dp *dp, uint32_t peer);
struct dp_allowed_ip {
    struct dp_address prefix;
    uint32_t bits;
    uint32_t reserved;
};
/* Insertion order. Returns how many there are; writes at most max. */
int dp_allowed_ips(struct dp *dp, uint32_t peer, struct dp_allowed_ip *out, size_t max);
/* The peer's endpoint on a line of its own, empty without one, then a line for each allowed IP, as UAPI
 * writes them. Returns how many bytes that is; out holds it, without a zero, where they fit. -ENOENT,
 * -ENOMEM. */
int dp_peer_text(struct dp *dp, uint32_t peer, char *out, size_t size);
int dp_allowed_ip_lookup(struct dp *dp, const struct dp_address *address, uint32_t *peer); /* -ENOENT */

/* One table for handshakes and keypairs. The index is random and unused; installing a keypair turns the
 * handshake's entry into the keypair's. -ENOMEM. */
int dp_index_reserve(struct dp *dp, uint32_t peer, uint32_t *out);
int dp_index_release(struct dp *dp, uint32_t index);

/* Slots as the kernel module's: an initiator's keypair becomes current, a responder's next. -ENOENT: the
 * index is not reserved for this peer. */
int dp_keypair_install(struct dp *dp, uint32_t peer, const struct dp_keypair_config *keypair);
int dp_keypairs_clear(struct dp *dp, uint32_t peer);        /* wipe all slots, release their indices */
int dp_keypairs_stop_sending(struct dp *dp, uint32_t peer); /* private key changed: receive only */

/* A handshake message to the peer's endpoint, DSCP AF41; counts and stamps it. -EDESTADDRREQ, -ENETDOWN or
 * the kernel's errno. */
int dp_send_handshake(struct dp *dp, uint32_t peer, const uint8_t *message, size_t length);
/* Python authenticated a handshake message of this peer: endpoint roams, stamps and rx_bytes follow. */
int dp_peer_authenticated(struct dp *dp, uint32_t peer, const struct dp_endpoint *source, uint32_t length);
/* Have the outbound workers send what is staged; with keepalive, an empty packet where nothing is. */
int dp_peer_flush(struct dp *dp, uint32_t peer, int keepalive);
int dp_peer_drop_staged(struct dp *dp, uint32_t peer);

/* run: a thread for each worker, which blocks without the GIL until dp_stop; 0, or -errno when the TUN or the
 * sockets are gone for good; -EINVAL: no such worker, -EBUSY: it runs */
int dp_run_outbound(struct dp *dp, uint32_t worker);
int dp_run_inbound(struct dp *dp, uint32_t worker);
void dp_stop(struct dp *dp);

/* observe */
const struct dp_record *dp_records(struct dp *dp); /* config.max_peers of them, lives until dp_free */
const uint64_t *dp_drops(struct dp *dp);           /* DP_DROP_COUNT counters */
const char *dp_drop_name(uint32_t drop);           /* NULL past the last */
int dp_event_fd(struct dp *dp);                    /* readable while events wait */
int dp_events(struct dp *dp, struct dp_event *out, size_t max); /* how many were taken */
/* cdef-end */

#endif

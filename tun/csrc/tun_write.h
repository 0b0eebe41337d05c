/*
 * From decrypted packets to the TUN: one writev per merged item, and what to do when the kernel refuses a
 * super-packet (section 21: some kernels answer EINVAL to every one of them). Knows no peers.
 */
#ifndef WGPY_TUN_WRITE_H
#define WGPY_TUN_WRITE_H

#include "coalesce.h"
#include "internal.h"

/* So many refusals in a row without one success mean that this kernel takes none. */
#define TUN_WRITE_PROBES 3

struct tun_writer {
    struct dp *dp;
    int fd;
    uint32_t tcp_refused; /* [rx] in a row */
    uint32_t udp_refused; /* [rx] */
    struct coalesce coalesce;
};

/* Begins a new set of packets, merging what the TUN is known to take. */
void tun_writer_begin(struct tun_writer *writer);
/* Writes all of it. 0, or -errno if the TUN is gone. */
int tun_writer_finish(struct tun_writer *writer);

#endif

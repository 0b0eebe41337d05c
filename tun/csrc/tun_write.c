#include "tun_write.h"

#include <errno.h>

#include "checksum.h"

#define TCP_CHECKSUM_AT 16
#define UDP_LENGTH_AT 4
#define UDP_CHECKSUM_AT 6

static bool is_gone(int error)
{
    return error == EBADFD || error == EBADF || error == ENODEV;
}

void tun_writer_begin(struct tun_writer *writer)
{
    struct dp *dp = writer->dp;
    bool merge = has_feature(dp, DP_FEATURE_TUN_COALESCE);

    coalesce_begin(&writer->coalesce, dp->config.tun_has_vnet_header != 0,
                   merge && writer->tcp_refused < TUN_WRITE_PROBES,
                   merge && has_feature(dp, DP_FEATURE_USO) && writer->udp_refused < TUN_WRITE_PROBES);
}

/* The kernel takes a packet whole or not at all; one it cut short is none: -EIO. */
static int write_once(struct tun_writer *writer, const struct iovec *iov, uint32_t count, uint32_t length)
{
    ssize_t written;

    do {
        written = writer->dp->system.writev(writer->fd, iov, (int)count);
    } while (written < 0 && errno == EINTR);
    if (written < 0)
        return -errno;
    return written < (ssize_t)length ? -EIO : 0;
}

/* The first packet carries the super-packet's headers: back to its own. A PSH it inherited does no harm. */
static void restore_headers(uint8_t *packet, uint32_t length)
{
    bool v4 = packet[0] >> 4 == 4;
    uint32_t header = v4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN;
    struct inner inner;
    bool tcp;
    uint8_t *checksum;
    uint64_t sum;

    if (v4) {
        put_be16(packet + 2, (uint16_t)length);
        checksum_ipv4_header(packet, header);
    } else {
        put_be16(packet + 4, (uint16_t)(length - header));
    }
    if (inner_parse(packet, length, &inner))
        return;
    tcp = inner.protocol == PROTO_TCP;
    if (!tcp)
        put_be16(packet + header + UDP_LENGTH_AT, (uint16_t)(length - header));
    checksum = packet + header + (tcp ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT);
    checksum_put(checksum, 0);
    sum = checksum_add(checksum_pseudo(&inner, inner.protocol, length - header), packet + header,
                       length - header);
    if (tcp)
        checksum_finish(checksum, sum);
    else
        checksum_finish_udp(checksum, sum);
}

static int write_singly(struct tun_writer *writer, const struct coalesce_item *item)
{
    struct coalesce *coalesce = &writer->coalesce;
    uint8_t zeros[VNET_HEADER_LEN] = {0};

    restore_headers(coalesce->packets[item->first].data, coalesce->packets[item->first].length);
    for (uint16_t at = item->first; at != COALESCE_NONE; at = coalesce->packets[at].next) {
        struct iovec iov[2] = {{zeros, sizeof(zeros)},
                               {coalesce->packets[at].data, coalesce->packets[at].length}};
        int result = write_once(writer, iov, 2, coalesce->packets[at].length);

        if (is_gone(-result))
            return result;
        if (result)
            count_drop(writer->dp, DROP_TUN_WRITE);
    }
    return 0;
}

static int merge_refused(struct tun_writer *writer, const struct coalesce_item *item)
{
    bool udp = item->kind == VNET_GSO_UDP_L4;
    uint32_t *refused = udp ? &writer->udp_refused : &writer->tcp_refused;

    count_drop(writer->dp, DROP_TUN_MERGE_REFUSED);
    if (++*refused == TUN_WRITE_PROBES && !udp)
        feature_lost(writer->dp, DP_FEATURE_TUN_COALESCE);
    return write_singly(writer, item);
}

static int write_item(struct tun_writer *writer, const struct coalesce_item *item)
{
    int result = write_once(writer, item->iov, item->iov_count, item->length);

    if (result == 0) {
        if (item->packets > 1)
            *(item->kind == VNET_GSO_UDP_L4 ? &writer->udp_refused : &writer->tcp_refused) = 0;
        return 0;
    }
    if (is_gone(-result))
        return result;
    if (result == -EINVAL && item->packets > 1)
        return merge_refused(writer, item);
    count_drops(writer->dp, DROP_TUN_WRITE, item->packets); /* EIO: the link is down */
    return 0;
}

int tun_writer_finish(struct tun_writer *writer)
{
    size_t count = coalesce_finish(&writer->coalesce);
    int result = 0;

    for (size_t i = 0; i < count && !result; i++)
        result = write_item(writer, &writer->coalesce.items[i]);
    return result;
}

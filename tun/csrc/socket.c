#include "socket.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static int set_int(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static bool knows_segment(int fd)
{
    int value = 0;
    socklen_t length = sizeof(value);

    return getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &length) == 0;
}

static uint32_t overflows_so_far(int fd)
{
    uint32_t values[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof(values);

    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &length) < 0)
        return 0;
    return values[SK_MEMINFO_DROPS];
}

int udp_socket_prepare(struct udp_socket *sock, int fd, int family, bool want_gso, bool want_gro)
{
    union socket_name name = {0};
    socklen_t length = sizeof(name);
    int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    int result;

    if (getsockname(fd, &name.any, &length) < 0)
        return -errno;
    if (name.any.sa_family != family)
        return -EAFNOSUPPORT;
    sock->fd = fd;
    sock->port = ntohs(family == AF_INET ? name.v4.sin_port : name.v6.sin6_port);
    result = set_int(fd, level, family == AF_INET ? IP_PKTINFO : IPV6_RECVPKTINFO, 1);
    if (result)
        return result;
    result = set_int(fd, level, family == AF_INET ? IP_RECVTOS : IPV6_RECVTCLASS, 1);
    if (result)
        return result;
    (void)set_int(fd, SOL_SOCKET, SO_RXQ_OVFL, 1); /* without it they are not counted */
    sock->overflows = overflows_so_far(fd);
    sock->gso = want_gso && knows_segment(fd);
    sock->gro = set_int(fd, SOL_UDP, UDP_GRO, want_gro) == 0 && want_gro;
    return 0;
}

socklen_t socket_name_of(const struct dp_address *address, union socket_name *name)
{
    memset(name, 0, sizeof(*name));
    if (address->family == AF_INET) {
        name->v4.sin_family = AF_INET;
        name->v4.sin_port = htons(address->port);
        memcpy(&name->v4.sin_addr, address->ip, 4);
        return sizeof(name->v4);
    }
    if (address->family == AF_INET6) {
        name->v6.sin6_family = AF_INET6;
        name->v6.sin6_port = htons(address->port);
        name->v6.sin6_scope_id = address->scope_id;
        memcpy(&name->v6.sin6_addr, address->ip, 16);
        return sizeof(name->v6);
    }
    return 0;
}

void socket_address_of(const union socket_name *name, struct dp_address *address)
{
    memset(address, 0, sizeof(*address));
    if (name->any.sa_family == AF_INET) {
        address->family = AF_INET;
        address->port = ntohs(name->v4.sin_port);
        memcpy(address->ip, &name->v4.sin_addr, 4);
    } else if (name->any.sa_family == AF_INET6) {
        address->family = AF_INET6;
        address->port = ntohs(name->v6.sin6_port);
        memcpy(address->ip, &name->v6.sin6_addr, 16);
        /* the kernel reports a scope for link-local sources only */
        address->scope_id = name->v6.sin6_scope_id;
    }
}

static void control_add(struct msghdr *message, int level, int type, const void *data, size_t length)
{
    struct cmsghdr *header =
        (struct cmsghdr *)(void *)((uint8_t *)message->msg_control + message->msg_controllen);

    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(header), data, length);
    message->msg_controllen += CMSG_SPACE(length);
}

static void add_source(struct msghdr *message, const struct dp_endpoint *endpoint)
{
    if (endpoint->local.family == AF_INET) {
        struct in_pktinfo info = {.ipi_ifindex = (int)endpoint->ifindex};

        memcpy(&info.ipi_spec_dst, endpoint->local.ip, 4);
        control_add(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else if (endpoint->local.family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_ifindex = endpoint->ifindex};

        memcpy(&info.ipi6_addr, endpoint->local.ip, 16);
        control_add(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
}

void control_for_send(struct msghdr *message, const struct dp_endpoint *endpoint, bool without_source,
                      uint8_t ds, uint16_t segment)
{
    bool v4 = endpoint->remote.family == AF_INET;

    message->msg_controllen = 0;
    if (!without_source && endpoint->local.family == endpoint->remote.family)
        add_source(message, endpoint);
    if (ds) {
        int value = ds;

        control_add(message, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &value,
                    sizeof(value));
    }
    if (segment)
        control_add(message, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
}

static void read_pktinfo4(const struct cmsghdr *header, struct dp_endpoint *endpoint)
{
    struct in_pktinfo info;

    memcpy(&info, CMSG_DATA(header), sizeof(info));
    endpoint->local.family = AF_INET;
    memcpy(endpoint->local.ip, &info.ipi_spec_dst, 4);
    endpoint->ifindex = (uint32_t)info.ipi_ifindex;
}

static void read_pktinfo6(const struct cmsghdr *header, struct dp_endpoint *endpoint)
{
    struct in6_pktinfo info;

    memcpy(&info, CMSG_DATA(header), sizeof(info));
    endpoint->local.family = AF_INET6;
    memcpy(endpoint->local.ip, &info.ipi6_addr, 16);
    endpoint->ifindex = info.ipi6_ifindex;
}

static void read_control(const struct cmsghdr *header, struct dp_endpoint *endpoint,
                         struct received_control *control)
{
    size_t length = header->cmsg_len - CMSG_LEN(0);
    int value = 0;

    if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO &&
        length >= sizeof(struct in_pktinfo)) {
        read_pktinfo4(header, endpoint);
    } else if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_TOS && length >= 1) {
        control->ds = *CMSG_DATA(header);
    } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO &&
               length >= sizeof(struct in6_pktinfo)) {
        read_pktinfo6(header, endpoint);
    } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_TCLASS &&
               length >= sizeof(value)) {
        memcpy(&value, CMSG_DATA(header), sizeof(value));
        control->ds = (uint8_t)value;
    } else if (header->cmsg_level == SOL_UDP && header->cmsg_type == UDP_GRO && length >= sizeof(value)) {
        memcpy(&value, CMSG_DATA(header), sizeof(value));
        control->segment = value > 0 ? (uint32_t)value : 0;
    } else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SO_RXQ_OVFL &&
               length >= sizeof(control->overflows)) {
        memcpy(&control->overflows, CMSG_DATA(header), sizeof(control->overflows));
        control->has_overflows = true;
    }
}

void control_of_received(const struct msghdr *message, struct dp_endpoint *endpoint,
                         struct received_control *control)
{
    struct cmsghdr *header;

    memset(control, 0, sizeof(*control));
    memset(&endpoint->local, 0, sizeof(endpoint->local));
    endpoint->ifindex = 0;
    for (header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR((struct msghdr *)(uintptr_t)message, header))
        read_control(header, endpoint, control);
}

bool is_source_error(int error)
{
    return error == EINVAL || error == ENETUNREACH || error == ENODEV || error == EADDRNOTAVAIL;
}

"""Looks up the names of endpoints and services. Edge: it talks to the resolver and sleeps between tries."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from wgpy.config_values import HostPort
from wgpy.errors import WgpyError
from wgpy.model import SocketAddress

RETRIES = 15
_FINAL = {
    value
    for name in ("EAI_NONAME", "EAI_FAIL", "EAI_NODATA", "EAI_SERVICE", "EAI_ADDRFAMILY")
    if (value := getattr(socket, name, None)) is not None
}


class NameNotFound(WgpyError):  # noqa: N818
    """A name has no address, or nobody answered often enough."""


def retries_from_environment() -> int | None:
    """WG_ENDPOINT_RESOLUTION_RETRIES: a number, `infinity` (None), 15 where it is absent or nonsense."""
    text = os.environ.get("WG_ENDPOINT_RESOLUTION_RETRIES", "")
    if text == "infinity":
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else RETRIES


def resolve(
    endpoint: HostPort,
    sleep: Callable[[float], None] = time.sleep,
    warn: Callable[[str], None] = lambda _: None,
) -> SocketAddress:
    """Return the first address of an endpoint; a literal address asks nobody.

    Temporary failures are tried again 15 times (WG_ENDPOINT_RESOLUTION_RETRIES), after 1 s and then 1.2 times
    longer each, at most 20 s; a name that does not exist is final.

    Raises:
        NameNotFound: no address.
    """
    for pause in _pauses(retries_from_environment()):
        try:
            found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)
            return _socket_address(found[0][4])
        except (socket.gaierror, UnicodeError) as error:
            final = isinstance(error, UnicodeError) or error.errno in _FINAL
            words = "no such name" if isinstance(error, UnicodeError) else error.strerror
            if final or pause is None:
                raise NameNotFound(
                    f"cannot find {endpoint}: {words}; correct the endpoint or the DNS"
                ) from None
            warn(f"cannot find {endpoint} yet: {words}; trying again in {pause:.2f} s")
            sleep(pause)
    raise AssertionError("the last pause is None")


def _pauses(retries: int | None) -> Iterator[float | None]:
    """Seconds to wait after each failure; None after the last."""
    pause, done = 1.0, 0
    while retries is None or done < retries:
        yield pause
        pause, done = min(pause * 1.2, 20.0), done + 1
    yield None


def _socket_address(
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
) -> SocketAddress:
    host, port = str(address[0]), address[1]
    scope_id = address[3] if len(address) == 4 else 0
    assert isinstance(port, int)
    return SocketAddress(ip_address(host.partition("%")[0]), port, scope_id)


def service_port(name: str) -> int:
    """The UDP port of a service name.

    Raises:
        LookupError: no such service.
    """
    try:
        return socket.getservbyname(name, "udp")
    except (OSError, UnicodeError):
        raise LookupError(name) from None


def zone_index(name: str) -> int:
    """The index of an interface name, for IPv6 zones; raises OSError."""
    try:
        return socket.if_nametoindex(name)
    except (ValueError, UnicodeError) as error:
        raise OSError(str(error)) from None

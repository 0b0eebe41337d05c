"""The port and the sockets of a device: what is open when, and who is heard where."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tun.udp import UdpSockets
from wgpy.device_sockets import DeviceSockets


class Plane:
    """Remembers the descriptors it was told to use."""

    workers = 1

    def __init__(self) -> None:
        self.used: tuple[tuple[int, int], ...] = ()
        self.refuses = False

    def set_sockets(self, *pairs: tuple[int, int]) -> None:
        if self.refuses:
            raise OSError(errno.ENOMEM, "no memory")
        self.used = pairs


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made


def port_of(plane: Plane) -> int:
    """Of the IPv4 socket in use."""
    with socket.socket(fileno=os.dup(plane.used[0][0])) as seen:
        return int(seen.getsockname()[1])


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def sockets(plane: Plane) -> Iterator[DeviceSockets]:
    made = DeviceSockets(plane, None)  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.fixture
def handed(plane: Plane) -> Iterator[tuple[DeviceSockets, int]]:
    """With a socket that was handed in, and its port."""
    adopted = UdpSockets.adopt((bound().detach(),), 0)
    made = DeviceSockets(plane, adopted)  # type: ignore[arg-type]
    yield made, adopted.port
    made.close()


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_the_first_port_stays_over_down_and_up(plane: Plane, sockets: DeviceSockets) -> None:
    sockets.carry()
    port = sockets.port
    assert port != 0
    assert port_of(plane) == port
    sockets.rest()
    assert plane.used == ()
    assert sockets.port == port
    assert is_free(port)
    sockets.carry()
    assert port_of(plane) == port


def test_a_taken_port_is_refused_down_and_up(plane: Plane, sockets: DeviceSockets) -> None:
    with bound() as other:
        taken = other.getsockname()[1]
        for is_up in (False, True):
            if is_up:
                sockets.carry()
            before, used = sockets.port, plane.used
            with pytest.raises(OSError, match="in use") as refused:
                sockets.set_port(taken)
            assert refused.value.errno == errno.EADDRINUSE
            assert sockets.port == before
            assert plane.used == used


def test_sockets_the_data_plane_refuses_are_closed(plane: Plane, sockets: DeviceSockets) -> None:
    sockets.carry()
    port, used = sockets.port, plane.used
    plane.refuses = True
    with bound() as probe:
        free = probe.getsockname()[1]
    with pytest.raises(OSError, match="no memory"):
        sockets.set_port(free)
    assert (sockets.port, plane.used) == (port, used)
    assert is_free(free)
    assert not is_free(port)


def test_handed_in_sockets_stay_while_any_port_will_do(
    plane: Plane, handed: tuple[DeviceSockets, int]
) -> None:
    sockets, port = handed
    for _ in range(2):
        sockets.set_port(0)
        sockets.carry()
        sockets.set_port(0)
        assert sockets.port == port_of(plane) == port
        sockets.rest()
        assert not is_free(port)


@pytest.mark.parametrize("is_up", [False, True])
def test_another_port_takes_the_place_of_handed_in_sockets(
    plane: Plane, handed: tuple[DeviceSockets, int], is_up: bool
) -> None:
    sockets, old = handed
    if is_up:
        sockets.carry()
    with bound() as probe:
        new = probe.getsockname()[1]
    sockets.set_port(new)
    sockets.carry()
    assert sockets.port == port_of(plane) == new
    assert is_free(old)

"""A TUN that is a datagram pair: `kernel` is the test's end."""

import socket

from tun.device import Tun


class PairTun(Tun):
    def __init__(self) -> None:
        ours, self.__dict__["kernel"] = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        self.__dict__["state"] = {"up": True}
        fd = ours.detach()
        super().__init__(((fd, fd),), has_vnet_header=False)

    @property
    def name(self) -> str:
        return "wgtest"

    @property
    def is_up(self) -> bool:
        return bool(self.__dict__["state"]["up"])

    def set_up(self, up: bool) -> None:
        self.__dict__["state"]["up"] = up

    def write(self, packet: bytes) -> None:
        self.__dict__["kernel"].send(packet)

    def read(self) -> bytes:
        kernel: socket.socket = self.__dict__["kernel"]
        kernel.settimeout(5)
        return kernel.recv(65535)

"""One end of a tunnel without any handshake: a TUN and a data plane with keys derived from a number.

For measuring the data plane alone. Run inside a network namespace:

    python bench/static_plane.py wg0 0|1 OTHER_OUTER_ADDRESS [FEATURES] [AEAD] [WORKERS]

Prints "ready" once the interface is up; prints counters and ends when its input closes.
"""

import hashlib
import json
import subprocess
import sys
import time
from ipaddress import ip_address, ip_network

from tun.dataplane import DataPlane
from tun.device import open_tun
from tun.records import Address, Aead, Endpoint, Feature
from tun.udp import UdpSockets

MTU = 1420
PORT = 51820


def install(plane: DataPlane, number: int, peer: int) -> None:
    """The index is random, so both ends tell each other theirs over standard input and output."""
    index = plane.index_reserve(peer)
    print("index", index, flush=True)
    remote = int(sys.stdin.readline())
    keys = [hashlib.sha256(bytes([end])).digest() for end in (0, 1)]
    plane.keypair_install(
        peer,
        send_key=keys[number],
        receive_key=keys[1 - number],
        local_index=index,
        remote_index=remote,
        birthdate=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        is_initiator=True,
    )


def main() -> None:
    name, number, other = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    features = Feature(int(sys.argv[4], 0)) if len(sys.argv) > 4 else Feature.ALL
    aead = Aead(int(sys.argv[5])) if len(sys.argv) > 5 else Aead.AUTO
    workers = int(sys.argv[6]) if len(sys.argv) > 6 else 1
    tun = open_tun(name, workers)
    sockets = UdpSockets.open(PORT, 0, workers)
    limits = {"reject_after_time": 10**15}
    with DataPlane(
        tun.queues, has_vnet_header=True, mtu=MTU, features=features, aead=aead, **limits
    ) as plane:
        plane.set_sockets(*sockets.descriptors)
        peer = plane.peer_add()
        plane.peer_set_endpoint(peer, Endpoint(Address(ip_address(other), PORT)))
        for network in ("10.0.0.0/8", "fd00::/64"):
            plane.allowed_ip_insert(peer, ip_network(network))
        install(plane, number, peer)
        plane.start()
        for address in (f"10.0.0.{number + 1}/24", f"fd00::{number + 1}/64"):
            subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "mtu", str(MTU), "up"], check=True)
        print("ready", plane.aead_name, plane.features, flush=True)
        sys.stdin.read()
        said = {
            "drops": {reason: count for reason, count in plane.drops.items() if count},
            "record": {field: int(plane.records[peer][field]) for field in plane.records.dtype.names},
            "features": int(plane.features),
            "events": [event.kind.name for event in plane.events()],
        }
        print(json.dumps(said), flush=True)


main()

"""How fast the key encapsulation mechanisms are on one core of this machine.

    python bench/kem.py [--seconds 1]

Prints a line per operation: median time and operations per second. WGPY_LIBOQS adds liboqs to the comparison.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from pqcrypto.kem import mceliece_460896

from rosenpass import kem, liboqs
from rosenpass.kem import KyberFromMlKem, StaticKem, StaticSecretKey


def median_seconds(operation: Callable[[], object], seconds: float) -> float:
    """Runs for about the given time, at least three times."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        operation()
        taken.append(time.perf_counter() - begin)
    return sorted(taken)[len(taken) // 2]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def operations() -> dict[str, Callable[[], object]]:
    public_key, secret_key = StaticKem(188, os.urandom).keypair()
    loaded = StaticSecretKey(secret_key)
    table: dict[str, Callable[[], object]] = {}
    lengths = liboqs.Lengths(kem.STATIC_PUBLIC_KEY_LEN, kem.STATIC_SECRET_KEY_GO_LEN, 156, 32)
    oqs_static = liboqs.find("Classic-McEliece-460896", lengths)
    table["McEliece keypair, pqcrypto"] = mceliece_460896.keygen
    if oqs_static:
        table["McEliece keypair, liboqs"] = oqs_static.keypair
    table["McEliece load secret key"] = lambda: StaticSecretKey(secret_key)
    for form in kem.STATIC_CIPHERTEXT_LENS:
        static = StaticKem(form, os.urandom)
        ciphertext, _ = static.encaps(public_key)
        table[f"McEliece encaps {form}"] = lambda static=static: static.encaps(public_key)
        table[f"McEliece decaps {form}"] = lambda static=static, c=ciphertext: static.decaps(loaded, c)
        table[f"McEliece decaps {form}, forged"] = lambda static=static, f=form: static.decaps(
            loaded, bytes(f)
        )
    if len(secret_key) == kem.STATIC_SECRET_KEY_GO_LEN:
        table["McEliece decaps 156, pqcrypto"] = lambda: mceliece_460896.decaps(bytes(secret_key), ciphertext)
        if oqs_static:
            table["McEliece decaps 156, liboqs"] = lambda: oqs_static.decaps(secret_key, ciphertext)
    oqs_kyber = liboqs.find("Kyber512", liboqs.Lengths(800, 1632, 768, 32))
    for name, backend in (("pqcrypto", KyberFromMlKem()), ("liboqs", oqs_kyber)):
        if backend is None:
            continue
        epki, eski = backend.keypair()
        ecti, _ = backend.encaps(epki)
        table[f"Kyber512 keypair, {name}"] = backend.keypair
        table[f"Kyber512 encaps, {name}"] = lambda b=backend, pk=epki: b.encaps(pk)
        table[f"Kyber512 decaps, {name}"] = lambda b=backend, sk=eski, ct=ecti: b.decaps(sk, ct)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="per operation")
    seconds = parser.parse_args().seconds
    print(f"{processor()}, {kem.ffi.string(kem.lib.mceliece_lanes()).decode()} lanes, one core")
    for name, operation in operations().items():
        median = median_seconds(operation, seconds)
        print(f"{name:34} {1000 * median:9.4f} ms {1 / median:10.0f} /s")


if __name__ == "__main__":
    main()

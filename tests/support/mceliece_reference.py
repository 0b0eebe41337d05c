"""Classic McEliece 460896 the slow and plain way: log tables, numpy, no care for time.

Shares nothing with rosenpass/csrc but the specification, so that a test comparing the two means something.
"""

import hashlib

import numpy as np

M, N, T = 13, 4608, 96
ROWS = M * T
ORDER = (1 << M) - 1
POLYNOMIAL = 0b10000000011011  # z^13 + z^4 + z^3 + z + 1


def _tables() -> tuple[np.ndarray, np.ndarray]:
    exp, log, x = np.zeros(2 * ORDER, np.int64), np.zeros(ORDER + 1, np.int64), 1
    for i in range(ORDER):
        exp[i] = exp[i + ORDER] = x
        log[x] = i
        x = (x << 1) ^ (POLYNOMIAL if x >> (M - 1) else 0)
    return exp, log


EXP, LOG = _tables()


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where((a == 0) | (b == 0), 0, EXP[LOG[a] + LOG[b]])


def inverse(a: np.ndarray) -> np.ndarray:
    return EXP[(ORDER - LOG[a]) % ORDER]


def evaluate(coefficients: list[int], points: np.ndarray) -> np.ndarray:
    """Lowest coefficient first."""
    value = np.zeros_like(points)
    for coefficient in reversed(coefficients):
        value = multiply(value, points) ^ coefficient
    return value


class SecretKey:
    """A secret key of 13568 bytes, opened up: s, the support and 1 / g(support)^2."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == 13568
        self.s = key[:576]
        self.g = [*np.frombuffer(key[576:768], "<u2").astype(int).tolist(), 1]
        self.support = _permute(np.unpackbits(np.frombuffer(key[768:], np.uint8), bitorder="little"))
        self.inverse_g = inverse(evaluate(self.g, self.support))
        self.weight = multiply(self.inverse_g, self.inverse_g)

    def syndromes(self, positions: np.ndarray) -> list[int]:
        term, out = self.weight[positions], []
        for _ in range(2 * T):
            out.append(int(np.bitwise_xor.reduce(term)) if len(term) else 0)
            term = multiply(term, self.support[positions])
        return out

    def decode(self, c0: bytes) -> bytes | None:
        """Return the error vector, or None where there is none of weight 96."""
        received = self.syndromes(np.flatnonzero(bits(c0)))
        locator = berlekamp_massey(received)
        if len(locator) > T + 1:
            return None
        locator += [0] * (T + 1 - len(locator))
        roots = np.flatnonzero(evaluate(locator[::-1], self.support) == 0)
        if len(roots) != T or self.syndromes(roots) != received:
            return None
        e = np.zeros(N, np.uint8)
        e[roots] = 1
        return np.packbits(e, bitorder="little").tobytes()

    def decaps(self, ciphertext: bytes) -> bytes:
        c0, c1 = ciphertext[:156], ciphertext[156:]
        e = self.decode(c0)
        if e is None or (c1 and c1 != shake(b"\2" + e)):
            return shake(b"\0" + self.s + ciphertext)
        return shake(b"\1" + e + ciphertext)

    def public_key(self) -> bytes:
        """The parity check matrix L_j^i / g(L_j), brought to [identity | public key]."""
        term, rows = self.inverse_g, []
        for _ in range(T):
            rows += [(term >> b & 1).astype(np.uint8) for b in range(M)]
            term = multiply(term, self.support)
        return _systematic(np.packbits(np.array(rows), axis=1, bitorder="little"))[:, ROWS // 8 :].tobytes()


def encaps(public_key: bytes, e: bytes, ciphertext_len: int) -> tuple[bytes, bytes]:
    matrix = np.frombuffer(public_key, np.uint8).reshape(ROWS, -1)
    products = np.unpackbits(matrix & np.frombuffer(e[156:], np.uint8), axis=1)
    syndrome = (products.sum(axis=1) & 1).astype(np.uint8) ^ bits(e[:156])
    ciphertext = np.packbits(syndrome, bitorder="little").tobytes()
    if ciphertext_len == 188:
        ciphertext += shake(b"\2" + e)
    return ciphertext, shake(b"\1" + e + ciphertext)


def berlekamp_massey(s: list[int]) -> list[int]:
    """The textbook version, dividing by the last discrepancy; coefficients from the constant 1 up."""
    c, b, length, since, last = [1], [1], 0, 1, 1
    for n, _ in enumerate(s):
        terms = min(len(c), n + 1)
        d = int(np.bitwise_xor.reduce(multiply(np.array(c[:terms]), np.array(s[n::-1][:terms]))))
        if d == 0:
            since += 1
            continue
        factor = multiply(np.array(d), inverse(np.array(last)))
        shifted = [0] * since + multiply(np.array(b), factor).tolist()
        width = max(len(c), len(shifted))
        new = [x ^ y for x, y in zip(_padded(c, width), _padded(shifted, width), strict=True)]
        if 2 * length <= n:
            b, length, last, since = c, n + 1 - length, d, 1
        else:
            since += 1
        c = new
    return _padded(c, length + 1)[: length + 1]


def bits(data: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")


def shake(data: bytes) -> bytes:
    return hashlib.shake_256(data).digest(32)


def _padded(coefficients: list[int], width: int) -> list[int]:
    return coefficients + [0] * (width - len(coefficients))


def _permute(control: np.ndarray) -> np.ndarray:
    a = np.array([int(f"{i:013b}"[::-1], 2) for i in range(1 << M)])
    j = np.arange(4096)
    for layer in range(25):
        gap = 1 << min(layer, 24 - layer)
        low = (j % gap) + 2 * gap * (j // gap)
        low = low[control[4096 * layer : 4096 * (layer + 1)] == 1]
        a[low], a[low + gap] = a[low + gap], a[low].copy()
    return a[:N]


def _systematic(rows: np.ndarray) -> np.ndarray:
    for column in range(ROWS):
        has = rows[:, column // 8] >> (column % 8) & 1
        pivot = column + int(np.flatnonzero(has[column:])[0])
        rows[[column, pivot]] = rows[[pivot, column]]
        has[[column, pivot]] = has[[pivot, column]]
        has[column] = 0
        rows[has == 1] ^= rows[column]
    return rows

"""The pairing-friendly curve bn254 (alt_bn128 of EIP-196 and EIP-197) in plain integers.

    E  : y^2 = x^3 + 3            over Fp             G1 = E(Fp), order R
    E' : y^2 = x^3 + 3 / (9 + i)  over Fp2 = Fp[i]    G2 = the subgroup of order R
    Fp12 = Fp2[w] / (w^6 - (9 + i)) = Fp[w] / (w^12 - 18 w^6 + 82)

The optimal ate pairing (Vercauteren 2010) with affine lines; an Fp12 product is one product of big integers
(Kronecker substitution), which makes this some fifty times faster than the pairing of py_ecc, against which
the tests check it. Not constant-time: for verification, and for signing on the signer's own machine.

A point is (x, y), None is the point at infinity; an element of Fp2 is (a, b) for a + b i.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

P = 21888242871839275222246405745257275088696311157297823662689037894645226208583
R = 21888242871839275222246405745257275088548364400416034343698204186575808495617
_U = 4965661367192848881

Fp2 = tuple[int, int]
PointG1 = tuple[int, int] | None
PointG2 = tuple[Fp2, Fp2] | None
_Fp12 = tuple[int, ...]

G1: PointG1 = (1, 2)
G2: PointG2 = (
    (
        10857046999023057135944570762232829481370756359578518086990519993285655852781,
        11559732032986387107991004021392285783925812861821192530917403151452391805634,
    ),
    (
        8495653923123431417604973247489272438418190587263600148770280649306958101930,
        4082367875863433681332203403145435568316851327593401208105741076214120093531,
    ),
)

# -- Fp2


def _mul(a: Fp2, b: Fp2) -> Fp2:
    (x, y), (u, v) = a, b
    return (x * u - y * v) % P, (x * v + y * u) % P


def _sub(a: Fp2, b: Fp2) -> Fp2:
    return (a[0] - b[0]) % P, (a[1] - b[1]) % P


def _inverse(a: Fp2) -> Fp2:
    x, y = a
    norm = pow(x * x + y * y, -1, P)
    return x * norm % P, -y * norm % P


def _power(a: Fp2, exponent: int) -> Fp2:
    result: Fp2 = (1, 0)
    for bit in bin(exponent)[2:]:
        result = _mul(result, result)
        if bit == "1":
            result = _mul(result, a)
    return result


_XI: Fp2 = (9, 1)
_B2 = _mul((3, 0), _inverse(_XI))
_GAMMA = [_power(_XI, k * (P - 1) // 6) for k in range(6)]
"""xi^(k (p-1)/6): w^k to the power of p is this times w^k."""

# -- G1


def g1_valid(point: PointG1) -> bool:
    """True for a point of G1: coordinates below P, on the curve. The whole curve has order R."""
    if point is None:
        return True
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - x * x * x - 3) % P == 0


def g1_neg(point: PointG1) -> PointG1:
    """The inverse."""
    return None if point is None else (point[0], -point[1] % P)


def g1_add(a: PointG1, b: PointG1) -> PointG1:
    """The sum of two points of G1."""
    if a is None or b is None:
        return b if a is None else a
    (x1, y1), (x2, y2) = a, b
    if x1 == x2:
        if (y1 + y2) % P == 0:
            return None
        slope = 3 * x1 * x1 * pow(2 * y1, -1, P) % P
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, P) % P
    x3 = (slope * slope - x1 - x2) % P
    return x3, (slope * (x1 - x3) - y1) % P


def g1_mul(point: PointG1, scalar: int) -> PointG1:
    """`scalar` times a point of G1."""
    result: PointG1 = None
    for bit in bin(scalar % R)[2:]:
        result = g1_add(result, result)
        if bit == "1":
            result = g1_add(result, point)
    return result


# -- G2


def _g2_slope(a: tuple[Fp2, Fp2], b: tuple[Fp2, Fp2]) -> Fp2 | None:
    """The slope of the line through two points of E' (the tangent when equal), None for a vertical."""
    (x1, y1), (x2, y2) = a, b
    if x1 != x2:
        return _mul(_sub(y2, y1), _inverse(_sub(x2, x1)))
    if y1 != y2 or y1 == (0, 0):
        return None
    s = _mul(x1, x1)
    return _mul((3 * s[0], 3 * s[1]), _inverse((2 * y1[0], 2 * y1[1])))


def _g2_third(a: tuple[Fp2, Fp2], b: tuple[Fp2, Fp2], slope: Fp2) -> tuple[Fp2, Fp2]:
    """a + b, given the slope of the line through them."""
    x3 = _sub(_sub(_mul(slope, slope), a[0]), b[0])
    return x3, _sub(_mul(slope, _sub(a[0], x3)), a[1])


def g2_add(a: PointG2, b: PointG2) -> PointG2:
    """The sum of two points of E'."""
    if a is None or b is None:
        return b if a is None else a
    slope = _g2_slope(a, b)
    return None if slope is None else _g2_third(a, b, slope)


def g2_mul(point: PointG2, scalar: int) -> PointG2:
    """`scalar` (not reduced) times a point of E'."""
    result: PointG2 = None
    for bit in bin(scalar)[2:]:
        result = g2_add(result, result)
        if bit == "1":
            result = g2_add(result, point)
    return result


@lru_cache(maxsize=4096)
def g2_valid(point: PointG2) -> bool:
    """True for a point of G2: coordinates below P, on the twist, and of order R (most points of E' are
    not).
    """
    if point is None:
        return True
    x, y = point
    if not all(0 <= c < P for c in (*x, *y)):
        return False
    on_curve = _sub(_mul(y, y), _mul(_mul(x, x), x)) == _B2
    return on_curve and g2_mul(point, R) is None


# -- Fp12: twelve coefficients of w^0 .. w^11

_SLOT = 68
"""Bytes kept for a coefficient of a product, which is below 12 p^2 < 2^511."""
_ONE: _Fp12 = (1, *(0,) * 11)


def _pack(a: _Fp12) -> int:
    return int.from_bytes(b"".join(c.to_bytes(_SLOT, "little") for c in a), "little")


def _mul12(a: _Fp12, b: _Fp12) -> _Fp12:
    packed = _pack(a)
    whole = (packed * (packed if a is b else _pack(b))).to_bytes(24 * _SLOT, "little")
    c = [int.from_bytes(whole[i : i + _SLOT], "little") for i in range(0, 23 * _SLOT, _SLOT)]
    for k in range(22, 11, -1):  # w^12 = 18 w^6 - 82
        high = c[k]
        c[k - 6] += 18 * high
        c[k - 12] -= 82 * high
    return tuple(x % P for x in c[:12])


def _conjugate(a: _Fp12) -> _Fp12:
    """a^(p^6): w becomes -w. The inverse, once a has norm 1 over Fp6."""
    return tuple(-c % P if k % 2 else c for k, c in enumerate(a))


def _frobenius(a: _Fp12) -> _Fp12:
    """a^p, by the coefficients in Fp2: a_k + 6 and i = w^6 - 9."""
    low, high = [0] * 6, [0] * 6
    for k in range(6):
        coefficient: Fp2 = ((a[k] + 9 * a[k + 6]) % P, -a[k + 6] % P)
        x, y = _mul(coefficient, _GAMMA[k])
        low[k], high[k] = (x - 9 * y) % P, y
    return (*low, *high)


def _inverse12(a: _Fp12) -> _Fp12:
    """1 / a, through the norm to Fp: the product of the eleven other conjugates, over the norm."""
    conjugates = [a]
    for _ in range(11):
        conjugates.append(_frobenius(conjugates[-1]))
    rest = _ONE
    for conjugate in conjugates[1:]:
        rest = _mul12(rest, conjugate)
    norm = pow(_mul12(rest, a)[0], -1, P)
    return tuple(c * norm % P for c in rest)


# -- the pairing

_NAF_LOOP: tuple[int, ...]


def _naf(n: int) -> tuple[int, ...]:
    """Non-adjacent form, highest digit first."""
    digits = []
    while n:
        digit = 2 - n % 4 if n % 2 else 0
        digits.append(digit)
        n = (n - digit) // 2
    return tuple(reversed(digits))


_NAF_LOOP = _naf(6 * _U + 2)
_NAF_U = _naf(_U)


def _line(t: tuple[Fp2, Fp2], slope: Fp2, at: tuple[int, int]) -> _Fp12:
    """The line through the untwisted t with that slope, at a point of G1: y - s x w + (s x_t - y_t) w^3."""
    x, y = at
    a, b = -slope[0] * x % P, -slope[1] * x % P
    c, d = _sub(_mul(slope, t[0]), t[1])
    return (y, (a - 9 * b) % P, 0, (c - 9 * d) % P, 0, 0, 0, b, 0, d, 0, 0)


def _twisted_frobenius(q: tuple[Fp2, Fp2]) -> tuple[Fp2, Fp2]:
    (a, b), (c, d) = q
    return _mul((a, -b % P), _GAMMA[2]), _mul((c, -d % P), _GAMMA[3])


class _Walk:
    """One pair on its way through the Miller loop: T runs over multiples of Q."""

    def __init__(self, p: tuple[int, int], q: tuple[Fp2, Fp2]) -> None:
        self.p, self.t = p, q
        self.plus = q
        self.minus = (q[0], _sub((0, 0), q[1]))

    def step(self, other: tuple[Fp2, Fp2]) -> _Fp12:
        """T becomes T + other; the line through them at P. Both have order R and are not opposite."""
        slope = _g2_slope(self.t, other)
        if slope is None:  # cannot happen in G2: the loop's multiples stay below R
            raise ArithmeticError("the points are not in G2")
        line = _line(self.t, slope, self.p)
        self.t = _g2_third(self.t, other, slope)
        return line


def _miller(pairs: Iterable[tuple[PointG1, PointG2]]) -> _Fp12:
    """The product of the Miller functions of all pairs, with one squaring a step."""
    walks = [_Walk(p, q) for p, q in pairs if p is not None and q is not None]
    f = _ONE
    for digit in _NAF_LOOP[1:]:
        f = _mul12(f, f)
        for walk in walks:
            f = _mul12(f, walk.step(walk.t))
            if digit:
                f = _mul12(f, walk.step(walk.plus if digit > 0 else walk.minus))
    for walk in walks:
        first = _twisted_frobenius(walk.plus)
        x, y = _twisted_frobenius(first)
        f = _mul12(f, walk.step(first))
        f = _mul12(f, walk.step((x, _sub((0, 0), y))))
    return f


def _power_u(a: _Fp12) -> _Fp12:
    """a^u for a of norm 1, where the inverse is the conjugate."""
    inverse, result = _conjugate(a), a
    for digit in _NAF_U[1:]:
        result = _mul12(result, result)
        if digit:
            result = _mul12(result, a if digit > 0 else inverse)
    return result


def _final(f: _Fp12) -> _Fp12:
    """f^((p^12 - 1) / R), the hard part by Scott et al. 2009 (section 4), for BN curves."""
    f = _mul12(_conjugate(f), _inverse12(f))
    f = _mul12(_frobenius(_frobenius(f)), f)
    fu = _power_u(f)
    fu2 = _power_u(fu)
    fu3 = _power_u(fu2)
    fp, fup, fu2p = _frobenius(f), _frobenius(fu), _frobenius(fu2)
    fp2 = _frobenius(fp)
    y0 = _mul12(_mul12(fp, fp2), _frobenius(fp2))
    y1, y2, y3 = _conjugate(f), _frobenius(fu2p), _conjugate(fup)
    y4, y5 = _conjugate(_mul12(fu, fu2p)), _conjugate(fu2)
    y6 = _conjugate(_mul12(fu3, _frobenius(fu3)))
    t0 = _mul12(_mul12(_mul12(y6, y6), y4), y5)
    t1 = _mul12(_mul12(y3, y5), t0)
    t0 = _mul12(t0, y2)
    t1 = _mul12(_mul12(t1, t1), t0)
    t1 = _mul12(t1, t1)
    t0 = _mul12(t1, y1)
    t1 = _mul12(t1, y0)
    return _mul12(_mul12(t0, t0), t1)


def pairing_is_one(pairs: Iterable[tuple[PointG1, PointG2]]) -> bool:
    """True when the product of e(p, q) over all pairs is one. All points must be valid (`g1_valid`,
    `g2_valid`).
    """
    return _final(_miller(pairs)) == _ONE

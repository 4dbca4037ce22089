"""Cells of a table as text: integers, texts, and numbers with the shortest digits that reproduce them.

The digits are found as in R. Giulietti, "The Schubfach way to render doubles": the limits of the interval that rounds
to a number are scaled by a power of ten, of which 128 bits suffice.
"""

from __future__ import annotations

import numpy as np

from ..build.jit import njit

TEXT, SIGNED, UNSIGNED, SINGLE, DOUBLE = range(5)
FIRST_POWER = -292

_ZERO, _ONE, _TWO, _FOUR, _TEN = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(10)
_HALF_WORD, _LOW_HALF = np.uint64(32), np.uint64((1 << 32) - 1)
_COMMA, _NEWLINE, _MINUS, _PLUS, _POINT, _DIGIT, _E = 44, 10, 45, 43, 46, 48, 101
_POSITIONAL = (-4, 16)  # decimal exponents of numbers that are written without one


@njit(nogil=True, cache=True, error_model="numpy")
def write_cells(cells, kinds, texts, text_starts, powers, out):
    """Write rows of cells, separated by commas, each row ended by a line feed; returns the number of bytes.

    cells        (columns, rows) the bits of a value, or the number of a text
    kinds        (columns,) TEXT, SIGNED, UNSIGNED, SINGLE or DOUBLE
    texts        of all columns; text k is texts[text_starts[k]:text_starts[k + 1]]
    powers       (n, 2) high and low word of 10^k from FIRST_POWER on: its first 128 bits, rounded up
    out          large enough: 25 bytes a cell, and those of the texts
    """
    columns, rows = cells.shape
    at = 0
    for i in range(rows):
        for j in range(columns):
            bits, kind = cells[j, i], kinds[j]
            if kind == SINGLE:
                at = _put_number(bits, np.uint64(23), np.uint64(8), powers, out, at)
            elif kind == DOUBLE:
                at = _put_number(bits, np.uint64(52), np.uint64(11), powers, out, at)
            elif kind == TEXT:
                for k in range(text_starts[np.int64(bits)], text_starts[np.int64(bits) + 1]):
                    out[at] = texts[k]
                    at += 1
            else:
                if kind == SIGNED and bits >> np.uint64(63) != _ZERO:
                    out[at] = _MINUS
                    at += 1
                    bits = ~bits + _ONE
                at = _put_digits(bits, _count_digits(bits), out, at)
            out[at] = _COMMA
            at += 1
        out[at - 1] = _NEWLINE
    return at


@njit(nogil=True, cache=True, error_model="numpy")
def _count_digits(value):
    count = 1
    limit = _TEN
    while value >= limit:
        count += 1
        if count == 20:  # the next limit exceeds a word
            break
        limit *= _TEN
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def _put_digits(value, count, out, at):
    for k in range(count - 1, -1, -1):
        out[at + k] = _DIGIT + np.int64(value % _TEN)
        value //= _TEN
    return at + count


@njit(nogil=True, cache=True, error_model="numpy")
def _put_number(bits, fraction_bits, exponent_bits, powers, out, at):
    """Write a number of IEEE 754 with these fields."""
    top = (_ONE << exponent_bits) - _ONE
    fraction, exponent = bits & ((_ONE << fraction_bits) - _ONE), (bits >> fraction_bits) & top
    if exponent == top and fraction != _ZERO:
        out[at], out[at + 1], out[at + 2] = 110, 97, 110
        return at + 3
    if bits >> (fraction_bits + exponent_bits) != _ZERO:
        out[at] = _MINUS
        at += 1
    if exponent == top:
        out[at], out[at + 1], out[at + 2] = 105, 110, 102
        return at + 3
    if exponent == _ZERO and fraction == _ZERO:
        out[at], out[at + 1], out[at + 2] = _DIGIT, _POINT, _DIGIT
        return at + 3
    digits, power = _shortest(fraction, np.int64(exponent), fraction_bits, np.int64(top >> _ONE), powers)
    while digits % _TEN == _ZERO:
        digits //= _TEN
        power += 1
    count = _count_digits(digits)
    point = count + power
    if not _POSITIONAL[0] < point <= _POSITIONAL[1]:
        return _put_scientific(digits, count, point - 1, out, at)
    if power >= 0:
        at = _put_digits(digits, count, out, at)
        for _ in range(power):
            out[at] = _DIGIT
            at += 1
        out[at], out[at + 1] = _POINT, _DIGIT
        return at + 2
    if point > 0:
        end = _put_digits(digits, count, out, at + 1)
        for k in range(at, at + point):
            out[k] = out[k + 1]
        out[at + point] = _POINT
        return end
    out[at], out[at + 1] = _DIGIT, _POINT
    at += 2
    for _ in range(-point):
        out[at] = _DIGIT
        at += 1
    return _put_digits(digits, count, out, at)


@njit(nogil=True, cache=True, error_model="numpy")
def _put_scientific(digits, count, exponent, out, at):
    end = _put_digits(digits, count, out, at + 1)
    out[at] = out[at + 1]
    out[at + 1] = _POINT
    at = end if count > 1 else at + 1
    out[at], out[at + 1] = _E, _MINUS if exponent < 0 else _PLUS
    size = np.uint64(abs(exponent))
    at += 2
    return _put_digits(size, max(2, _count_digits(size)), out, at)


@njit(nogil=True, cache=True, error_model="numpy")
def _shortest(fraction, exponent, fraction_bits, bias, powers):
    """Find the shortest decimal that rounds to a positive number, of several the nearest: (digits, power of ten)."""
    width = np.int64(fraction_bits)
    if exponent != 0:
        mantissa, binary = fraction | (_ONE << fraction_bits), exponent - bias - width
        if -width <= binary <= 0:
            whole = mantissa >> np.uint64(-binary)
            if whole << np.uint64(-binary) == mantissa:
                return whole, np.int64(0)
    else:
        mantissa, binary = fraction, 1 - bias - width
    is_closer_below = fraction == _ZERO and exponent > 1
    excluded = mantissa & _ONE
    left = _FOUR * mantissa - (_ONE if is_closer_below else _TWO)
    power = (binary * 1262611 - (524031 if is_closer_below else 0)) >> 22
    shift = np.uint64(binary + ((-power * 1741647) >> 19) + 1)
    row = -power - FIRST_POWER
    high, low = powers[row, 0], powers[row, 1]
    lower = _scaled(left << shift, high, low) + excluded
    middle = _scaled((_FOUR * mantissa) << shift, high, low)
    upper = _scaled((_FOUR * mantissa + _TWO) << shift, high, low) - excluded
    digits = middle >> _TWO
    if digits >= _TEN:
        fewer = digits // _TEN
        tens = np.uint64(40) * fewer
        is_below, is_above = lower <= tens, tens + np.uint64(40) <= upper
        if is_below != is_above:
            return fewer + (_ONE if is_above else _ZERO), power + 1
    is_below, is_above = lower <= _FOUR * digits, _FOUR * digits + _FOUR <= upper
    if is_below != is_above:
        return digits + (_ONE if is_above else _ZERO), power
    half = _FOUR * digits + _TWO
    is_up = middle > half or (middle == half and digits & _ONE != _ZERO)
    return digits + (_ONE if is_up else _ZERO), power


@njit(nogil=True, cache=True, error_model="numpy")
def _scaled(value, high, low):
    """Multiply by 128 bits and keep the highest 64, with the lowest of them set if anything is lost: round to odd."""
    carried = _high_product(low, value)
    middle = high * value + carried
    top = _high_product(high, value) + (_ONE if middle < carried else _ZERO)
    return top | (_ONE if middle > _ONE else _ZERO)


@njit(nogil=True, cache=True, error_model="numpy")
def _high_product(a, b):
    """Compute the higher word of a product of two words."""
    a0, a1 = a & _LOW_HALF, a >> _HALF_WORD
    b0, b1 = b & _LOW_HALF, b >> _HALF_WORD
    first = a1 * b0 + ((a0 * b0) >> _HALF_WORD)
    second = a0 * b1 + (first & _LOW_HALF)
    return a1 * b1 + (first >> _HALF_WORD) + (second >> _HALF_WORD)

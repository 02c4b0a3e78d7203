"""The inner loops over rows of factors, in LLVM's vectors: weighted sums of rows, and residuals.

Left to the compiler, the loop over the columns of a row checks at every entry whether arrays
overlap and keeps its sums in memory, which takes as long again as fetching the rows. Here weighted
sums of one line stay in registers, and residuals are taken four at a time: the fewer instructions
an entry takes, the more entries a processor fetches ahead.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.base import BaseContext
from numba.extending import intrinsic

from .lanes import FOUR, LANES

_INT = ir.IntType(64)
# So that additions do not wait for each other, even and odd entries are summed apart.
_CHAINS = 2
_FREELY = ("contract", "nsz", "reassoc")
_SMALL = ir.IntType(32)


@intrinsic(prefer_literal=True)
def weighted_sum(typingctx, weights, indices, X, start, stop, column, out, vectors):
    """out[c + k] = Σ_{start ≤ t < stop} weights[t] X[indices[t], c + k], 0 ≤ k < 8 · ``vectors``.

    c is ``column``, ``vectors`` is a literal; the arrays are contiguous, of one floating type but
    for the indices.
    """
    count = vectors.literal_value
    place = types.int64
    signature = types.void(weights, indices, X, place, place, place, out, vectors)

    def codegen(context, builder, signature, arguments):
        start, stop, column = arguments[3:6]
        w, i, x, o = (
            context.make_array(signature.args[k])(context, builder, arguments[k])
            for k in (0, 1, 2, 6)
        )
        number = context.get_value_type(signature.args[0].dtype)
        lanes = ir.VectorType(number, LANES)
        length = builder.extract_value(x.shape, 1)
        first = builder.gep(x.data, [column])
        sums = [[_kept(builder, lanes) for _ in range(count)] for _ in range(_CHAINS)]

        def add(t: ir.Value, totals: list[ir.Value]) -> None:
            index = builder.zext(builder.load(builder.gep(i.data, [t])), _INT)
            weight = _spread(builder, builder.load(builder.gep(w.data, [t])), lanes)
            row = builder.gep(first, [builder.mul(index, length)])
            for k, total in enumerate(totals):
                part = _load(builder, row, _INT(LANES * k), lanes)
                product = builder.fmul(weight, part, flags=("contract",))
                new = builder.fadd(builder.load(total), product, flags=("contract",))
                builder.store(new, total)

        at = cgutils.alloca_once(builder, _INT)
        builder.store(start, at)

        def left(entries: int) -> ir.Value:
            last = builder.add(builder.load(at), _INT(entries - 1))
            return builder.icmp_signed("<", last, stop)

        with _loop(builder, lambda: left(_CHAINS)):
            t = builder.load(at)
            for k, totals in enumerate(sums):
                add(builder.add(t, _INT(k)), totals)
            builder.store(builder.add(t, _INT(_CHAINS)), at)
        with builder.if_then(left(1)):
            add(builder.load(at), sums[0])
        end = builder.gep(o.data, [column])
        for k, (even, odd) in enumerate(zip(*sums, strict=True)):
            value = builder.fadd(builder.load(even), builder.load(odd))
            place = _vector(builder, end, _INT(LANES * k), lanes)
            builder.store(value, place, align=_bytes(number))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def residuals_of_line(
    typingctx, z, Y, indices, values, weights, weighted, mean, start, stop, out, step, total, square
):
    """Σ w e² with e = x − mean − z·Y[indices[t]] over the entries start ≤ t < ``stop`` of a line.

    ``total`` += Σ w e Y[indices[t]], ``square`` += Σ w Y[indices[t]]² unless it is empty, and
    out[``step`` · t] = w e; with step 0 the first four numbers of ``out`` are overwritten again and
    again. Without ``weighted`` every w is 1. stop − start is a multiple of `FOUR`, the width of z,
    Y, ``total`` and ``square`` one of `LANES`; the arrays are contiguous, of one floating type but
    for the indices.
    """
    place, sides = types.int64, (z, Y, indices, values, weights)
    rest = types.boolean, values.dtype, place, place, out, place, total, square
    signature = types.float64(*sides, *rest)

    def codegen(context, builder, signature, arguments):
        arrays = [
            context.make_array(signature.args[k])(context, builder, arguments[k])
            for k in (0, 1, 2, 3, 4, 9, 11, 12)
        ]
        weighted, mean, start, stop, step = (arguments[k] for k in (5, 6, 7, 8, 10))
        z, Y, indices, values, weights, out, total, square = (array.data for array in arrays)
        width, squares = (builder.extract_value(arrays[k].shape, int(k == 1)) for k in (1, 7))
        lanes, four = _vectors(context, signature.args[6])
        curved = builder.icmp_signed(">", squares, _INT(0))
        energy = _Squares(builder, four)
        with _steps(builder, start, stop, FOUR) as t:
            rows = _rows(builder, Y, width, indices, t)
            e = builder.fsub(_load(builder, values, t, four), _spread(builder, mean, four))
            e = builder.fsub(e, _dots(builder, z, rows, width, lanes))
            weight = _weights(builder, weighted, weights, t, four)
            we = builder.fmul(weight, e)
            place = _vector(builder, out, builder.mul(t, step), four)
            builder.store(we, place, align=_bytes(four.element))
            energy.add(we, e)
            _add_rows(builder, total, rows, we, width, lanes)
            with builder.if_then(curved):
                _add_rows(builder, square, rows, weight, width, lanes, squared=True)
        return energy.total()

    return signature, codegen


@intrinsic
def curve_of_line(typingctx, z, Y, indices, weights, weighted, start, stop, total):
    """Σ w c² with c = z·Y[indices[t]] over the entries; ``total`` += Σ w c Y[indices[t]].

    As `residuals_of_line`; an empty ``total`` stays as it is.
    """
    place = types.int64
    signature = types.float64(z, Y, indices, weights, types.boolean, place, place, total)

    def codegen(context, builder, signature, arguments):
        arrays = [
            context.make_array(signature.args[k])(context, builder, arguments[k])
            for k in (0, 1, 2, 3, 7)
        ]
        weighted, start, stop = arguments[4:7]
        z, Y, indices, weights, total = (array.data for array in arrays)
        width, length = (builder.extract_value(arrays[k].shape, int(k == 1)) for k in (1, 4))
        lanes, four = _vectors(context, signature.args[0].dtype)
        energy = _Squares(builder, four)
        wanted = builder.icmp_signed(">", length, _INT(0))
        with _steps(builder, start, stop, FOUR) as t:
            rows = _rows(builder, Y, width, indices, t)
            c = _dots(builder, z, rows, width, lanes)
            wc = builder.fmul(_weights(builder, weighted, weights, t, four), c)
            energy.add(wc, c)
            with builder.if_then(wanted):
                _add_rows(builder, total, rows, wc, width, lanes)
        return energy.total()

    return signature, codegen


class _Squares:
    """A sum of products, four at a time, in float64."""

    def __init__(self, builder: ir.IRBuilder, four: ir.VectorType) -> None:
        self.builder, self.wide = builder, ir.VectorType(ir.DoubleType(), FOUR)
        self.place = _kept(builder, self.wide)

    def add(self, x: ir.Value, y: ir.Value) -> None:
        product = self.builder.fmul(x, y)
        if product.type != self.wide:
            product = self.builder.fpext(product, self.wide)
        self.builder.store(self.builder.fadd(self.builder.load(self.place), product), self.place)

    def total(self) -> ir.Value:
        whole = self.builder.load(self.place)
        parts = [self.builder.extract_element(whole, _SMALL(j)) for j in range(FOUR)]
        return reduce(self.builder.fadd, parts)


def _vectors(context: BaseContext, kind: types.Type) -> tuple[ir.VectorType, ir.VectorType]:
    """Vectors of `LANES` and of `FOUR` numbers."""
    number = context.get_value_type(kind)
    return ir.VectorType(number, LANES), ir.VectorType(number, FOUR)


def _weights(
    builder: ir.IRBuilder, weighted: ir.Value, weights: ir.Value, t: ir.Value, four: ir.VectorType
) -> ir.Value:
    """The weights t … t + 3, or ones."""
    place = _kept(builder, four, ir.Constant(four, [1.0] * FOUR))
    with builder.if_then(weighted):
        builder.store(_load(builder, weights, t, four), place)
    return builder.load(place)


def _rows(builder: ir.IRBuilder, Y: ir.Value, width: ir.Value, indices: ir.Value, t: ir.Value):
    """Where the rows of Y at ``indices`` t … t + 3 begin."""
    places = [builder.load(builder.gep(indices, [builder.add(t, _INT(j))])) for j in range(FOUR)]
    return [builder.gep(Y, [builder.mul(builder.zext(place, _INT), width)]) for place in places]


def _dots(
    builder: ir.IRBuilder,
    z: ir.Value,
    rows: list[ir.Value],
    width: ir.Value,
    lanes: ir.VectorType,
) -> ir.Value:
    """The dot products of z with four rows, as one vector."""
    sums = [_kept(builder, lanes) for _ in rows]
    with _steps(builder, _INT(0), width, LANES) as k:
        mine = _load(builder, z, k, lanes)
        for total, row in zip(sums, rows, strict=True):
            part = builder.fmul(mine, _load(builder, row, k, lanes), flags=_FREELY)
            builder.store(builder.fadd(builder.load(total), part, flags=_FREELY), total)
    a, b, c, d = (builder.load(total) for total in sums)

    def added(x: ir.Value, y: ir.Value, some: list[int], others: list[int]) -> ir.Value:
        return builder.fadd(
            _shuffled(builder, x, y, some), _shuffled(builder, x, y, others), flags=_FREELY
        )

    # halves on halves: 8 → 4 numbers of each, → 2, → 1
    lower, upper = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    ab, cd = added(a, b, lower, upper), added(c, d, lower, upper)
    acbd = added(ab, cd, [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15])
    return added(acbd, acbd, [0, 4, 2, 6], [1, 5, 3, 7])


def _add_rows(
    builder: ir.IRBuilder,
    total: ir.Value,
    rows: list[ir.Value],
    weights: ir.Value,
    width: ir.Value,
    lanes: ir.VectorType,
    squared: bool = False,
) -> None:
    """``total`` += Σ weights_j rows_j, or the squares of the rows."""
    spread = [_shuffled(builder, weights, weights, [j] * LANES) for j in range(FOUR)]
    with _steps(builder, _INT(0), width, LANES) as k:
        numbers = [_load(builder, row, k, lanes) for row in rows]
        if squared:
            numbers = [builder.fmul(x, x) for x in numbers]
        parts = [builder.fmul(w, x, flags=_FREELY) for w, x in zip(spread, numbers, strict=True)]
        new = reduce(lambda x, y: builder.fadd(x, y, flags=_FREELY), parts)
        place = _vector(builder, total, k, lanes)
        size = _bytes(lanes.element)
        old = builder.load(place, align=size)
        builder.store(builder.fadd(old, new, flags=_FREELY), place, align=size)


def _kept(builder: ir.IRBuilder, kind: ir.VectorType, value: ir.Value | None = None) -> ir.Value:
    """The place of a vector that changes: ``value`` first, or 0."""
    place = cgutils.alloca_once(builder, kind)  # made once per function, not per call
    builder.store(ir.Constant(kind, [0.0] * kind.count) if value is None else value, place)
    return place


def _load(builder: ir.IRBuilder, row: ir.Value, k: ir.Value, kind: ir.VectorType) -> ir.Value:
    """The numbers k, k + 1, … of a ``row``."""
    return builder.load(_vector(builder, row, k, kind), align=_bytes(kind.element))


def _shuffled(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, places: list[int]) -> ir.Value:
    """A vector of the numbers at these places of x followed by y."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_SMALL, len(places)), places))


def _bytes(number: ir.Type) -> int:
    return 4 if number == ir.FloatType() else 8


def _vector(builder: ir.IRBuilder, row: ir.Value, k: ir.Value, kind: ir.VectorType) -> ir.Value:
    """Where the numbers k, k + 1, … of a ``row`` lie, as a vector."""
    return builder.bitcast(builder.gep(row, [k]), kind.as_pointer())


def _spread(builder: ir.IRBuilder, number: ir.Value, kind: ir.VectorType) -> ir.Value:
    """A vector of copies of ``number``."""
    none = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(none, number, _SMALL(0))
    return _shuffled(builder, one, none, [0] * kind.count)


@contextmanager
def _steps(builder: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int) -> Iterator[ir.Value]:
    """A loop over start, start + step, … below ``stop``."""
    at = cgutils.alloca_once(builder, _INT)
    builder.store(start, at)
    with _loop(builder, lambda: builder.icmp_signed("<", builder.load(at), stop)):
        now = builder.load(at)
        yield now
        builder.store(builder.add(now, _INT(step)), at)


@contextmanager
def _loop(builder: ir.IRBuilder, condition: Callable[[], ir.Value]) -> Iterator[None]:
    """What is built inside is done while ``condition()`` holds."""
    head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
    builder.branch(head)
    builder.position_at_end(head)
    builder.cbranch(condition(), body, end)
    builder.position_at_end(body)
    yield
    builder.branch(head)
    builder.position_at_end(end)

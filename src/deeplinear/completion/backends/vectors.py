"""Weighted sums of rows, in LLVM's vectors: the inner loop of products with sparse matrices.

Left to the compiler, the loop over the columns of a row checks at every entry whether arrays
overlap and keeps its sums in memory, which takes as long again as fetching the rows. Here the sums
of one line stay in registers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .base import LANES

_INT = ir.IntType(64)
# So that additions do not wait for each other, even and odd entries are summed apart.
_CHAINS = 2


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
        zero = ir.Constant(lanes, [0.0] * LANES)
        sums = [
            [cgutils.alloca_once_value(builder, zero) for _ in range(count)] for _ in range(_CHAINS)
        ]
        for totals in sums:  # their memory is made once per function, not per call
            for total in totals:
                builder.store(zero, total)

        def add(t: ir.Value, totals: list[ir.Value]) -> None:
            index = builder.zext(builder.load(builder.gep(i.data, [t])), _INT)
            weight = _spread(builder, builder.load(builder.gep(w.data, [t])), lanes)
            row = builder.gep(first, [builder.mul(index, length)])
            for k, total in enumerate(totals):
                part = builder.load(_vector(builder, row, k, lanes), align=_bytes(number))
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
            builder.store(value, _vector(builder, end, k, lanes), align=_bytes(number))
        return context.get_dummy_value()

    return signature, codegen


def _bytes(number: ir.Type) -> int:
    return 4 if number == ir.FloatType() else 8


def _vector(builder: ir.IRBuilder, row: ir.Value, k: int, lanes: ir.VectorType) -> ir.Value:
    """Where vector ``k`` of a ``row`` lies."""
    return builder.bitcast(builder.gep(row, [_INT(LANES * k)]), lanes.as_pointer())


def _spread(builder: ir.IRBuilder, number: ir.Value, lanes: ir.VectorType) -> ir.Value:
    """A vector of copies of ``number``."""
    none, small = ir.Constant(lanes, ir.Undefined), ir.IntType(32)
    one = builder.insert_element(none, number, small(0))
    places = ir.Constant(ir.VectorType(small, LANES), [0] * LANES)
    return builder.shuffle_vector(one, none, places)


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

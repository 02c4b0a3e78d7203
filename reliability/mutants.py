"""Mutants of a module by cosmic-ray's operators: one operator, number or condition is changed."""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast

# One or two neighbours of each operator; all pairs would multiply the mutants that die at once.
_BINARY = ["Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "FloorDiv_Mul", "Mod_Mul"]
_BINARY += ["BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd", "LShift_RShift", "RShift_LShift"]
_COMPARISON = ["Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"]
_COMPARISON += ["Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"]
_OTHER = ["NumberReplacer", "AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd"]
_OTHER += ["ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ZeroIterationForLoop"]
_OTHER += ["ReplaceBreakWithContinue", "ReplaceContinueWithBreak"]
_UNARY = ["Delete_USub", "Delete_Not", "Delete_Invert"]
OPERATORS = [
    *(f"core/ReplaceBinaryOperator_{name}" for name in _BINARY),
    *(f"core/ReplaceComparisonOperator_{name}" for name in _COMPARISON),
    *(f"core/ReplaceUnaryOperator_{name}" for name in _UNARY),
    *(f"core/{name}" for name in _OTHER),
]
_COMPARED = re.compile(r"[<>]|[=!]=| is ")


class Mutant(NamedTuple):
    """One changed line, and the whole source with it."""

    line: int
    before: str
    after: str
    code: str

    @property
    def change(self) -> str:
        """What names a mutant across edits of the lines around it: the line before → after."""
        return f"{self.before} → {self.after}"


def mutants(source: str) -> Iterator[Mutant]:
    """The mutants of a source text, in the order of its lines.

    Annotations, decorators and strings stay, for they compute nothing, and numbers above 20, of
    which one more is hardly a change.
    """
    spared, found = _spared(source), {}
    for name in OPERATORS:
        operator = plugins.get_operator(name)()
        for place, (start, index) in enumerate(_places(source, operator)):
            if index or any(low <= start < high for low, high in spared):
                continue  # of the two neighbours of a number, the upper one
            code = _mutate(source, operator, place, index)
            mutant = _compare(source, code)
            if mutant is not None:
                found.setdefault(code, mutant)
    yield from sorted(found.values())


def _places(source: str, operator) -> Iterator[tuple[tuple[int, int], int]]:
    for node in ast_nodes(get_ast(source)):
        for index, (start, _) in enumerate(operator.mutation_positions(node)):
            yield start, index


def _mutate(source: str, operator, place: int, index: int) -> str:
    """The source with the operator applied at its ``place``-th position."""
    tree, count = get_ast(source), 0
    for node in ast_nodes(tree):
        positions = len(list(operator.mutation_positions(node)))
        if count + positions > place:
            changed = operator.mutate(node, index)
            if changed is not node:
                siblings = node.parent.children
                siblings[siblings.index(node)] = changed
            break
        count += positions
    return tree.get_code()


def _compare(source: str, code: str) -> Mutant | None:
    """Where two texts part; None where the change is no program."""
    try:
        ast.parse(code)
    except SyntaxError:
        return None
    pairs = zip(source.splitlines(), code.splitlines(), strict=False)
    for line, (before, after) in enumerate(pairs, 1):
        if before != after:
            if " not " in after and _COMPARED.search(before):
                return None  # the same as a comparison turned around
            if " /," in after or "(/," in after:
                return None  # the star of a signature
            return Mutant(line, " ".join(before.split()), " ".join(after.split()), code)
    return None


def _spared(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    spans = []
    for node in ast.walk(ast.parse(source)):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        parts += getattr(node, "decorator_list", [])
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value > 20:
            parts.append(node)
        for part in parts:
            if part is not None:
                spans.append(
                    ((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset))
                )
    return spans

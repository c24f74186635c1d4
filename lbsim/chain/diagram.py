"""Decision diagrams over header space: a value for every header, shared wherever decisions are equal.

A node asks for one field, in the order of `FIELDS`, and has a child for each interval of its values; a leaf
holds a value (Gouda and Liu, "Structured firewall design", Computer Networks 2007, call them firewall
decision diagrams). Equal nodes are one node, so that two diagrams are equal if and only if their numbers
are: hundreds of rules times thousands of routes stay as small as their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lbsim.chain.space import EVERYTHING, FIELDS, SIZES, Box, Int64s, Interval, Region

_FEW = 8  # intervals for which plain Python is quicker than NumPy


class Node(NamedTuple):
    """A decision: values from starts[i] on, up to the next start, lead to kids[i]."""

    field: int
    starts: Int64s  # starts[0] is 0, then ascending
    kids: Int64s  # neighbours differ


class Diagrams:
    """Diagrams that share their nodes. A diagram is the number of its root: below 0 a leaf, else a node."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.values: list[Hashable] = []  # of leaf -1, -2, ...
        self._leaf_of: dict[Hashable, int] = {}
        self._node_of: dict[tuple[int, bytes, bytes], int] = {}
        self._below: list[frozenset[int]] = []  # leaves under each node

    def leaf(self, value: Hashable) -> int:
        """Return the diagram that has `value` everywhere."""
        if value not in self._leaf_of:
            self._leaf_of[value] = ~len(self.values)
            self.values.append(value)
        return self._leaf_of[value]

    def value(self, leaf: int) -> Hashable:
        """Return the value of a leaf."""
        return self.values[~leaf]

    def node(self, field: int, starts: Int64s, kids: Int64s) -> int:
        """Return the diagram that asks for `field` and goes on with `kids`, which ask for later fields."""
        if kids.size > 1:
            changes = np.empty(kids.size, np.bool_)
            changes[0], changes[1:] = True, kids[1:] != kids[:-1]
            starts, kids = starts[changes], kids[changes]
        if kids.size == 1:
            return int(kids[0])
        key = (field, starts.tobytes(), kids.tobytes())
        if key not in self._node_of:
            self._node_of[key] = len(self.nodes)
            self.nodes.append(Node(field, starts, kids))
            self._below.append(frozenset[int]().union(*map(self.leaves, np.unique(kids).tolist())))
        return self._node_of[key]

    def leaves(self, root: int) -> frozenset[int]:
        """Return the leaves that some header reaches."""
        return self._below[root] if root >= 0 else frozenset((root,))

    def reached(self, root: int) -> list[int]:
        """Return all nodes and leaves of a diagram, each after its children, in the order of headers."""
        found: dict[int, None] = {}

        def visit(root: int) -> None:
            if root >= 0 and root not in found:
                for kid in dict.fromkeys(self.nodes[root].kids.tolist()):
                    visit(kid)
            found.setdefault(root)

        visit(root)
        return list(found)

    def first_match(self, rules: Sequence[tuple[Box, Hashable]]) -> int:
        """Return the diagram of rules of which the first that matches decides; some rule must match."""
        return _FirstMatch(self, rules).build(0, tuple(range(len(rules))))

    def combine(self, a: int, b: int, function: Callable[[int, int], int]) -> int:
        """Return the diagram whose leaf for a header is `function` of those that `a` and `b` have there."""
        done: dict[tuple[int, int], int] = {}

        def combined(a: int, b: int) -> int:
            if (a, b) not in done:
                done[a, b] = function(a, b) if a < 0 and b < 0 else divided(a, b)
            return done[a, b]

        def divided(a: int, b: int) -> int:
            field = min(self.nodes[root].field for root in (a, b) if root >= 0)
            (starts_a, kids_a), (starts_b, kids_b) = self._at(a, field), self._at(b, field)
            starts = np.union1d(starts_a, starts_b)
            ones = kids_a[np.searchsorted(starts_a, starts, "right") - 1]
            others = kids_b[np.searchsorted(starts_b, starts, "right") - 1]
            pairs, which = np.unique(ones << 32 | others & 0xFFFFFFFF, return_inverse=True)
            first = np.empty(pairs.size, np.int64)
            first[which] = np.arange(which.size)
            kids = [combined(int(ones[k]), int(others[k])) for k in first.tolist()]
            return self.node(field, starts, np.array(kids, np.int64)[which])

        return combined(a, b)

    def graft(self, root: int, leaf: int, diagram: int) -> int:
        """Return `root` with `diagram` wherever it has `leaf`."""
        if leaf not in self.leaves(root):
            return root
        return self.combine(root, diagram, lambda a, b: b if a == leaf else a)

    def relabel(self, root: int, function: Callable[[int], int]) -> int:
        """Return `root` with every leaf replaced by `function` of it."""
        return self.combine(root, root, lambda a, _: function(a))

    def assume(self, root: int, field: int, values: Interval, unsure: int) -> int:
        """Return `root` for headers that have `field` somewhere in `values`.

        Where its leaf depends on which value it is, it has the leaf `unsure`.
        """

        def agreed(node: Node) -> int:
            first, last = np.searchsorted(node.starts, (values[0], values[1] - 1), "right") - 1
            kids: list[int] = np.unique(node.kids[first : last + 1]).tolist()
            result = kids[0]
            for other in kids[1:]:
                result = self.combine(result, other, lambda a, b: a if a == b else unsure)
            return result

        return self._with(root, field, agreed)

    def shifted(self, root: int, field: int, by: int) -> int:
        """Return `root` for headers whose `field` is `by` higher than it asks for; below 0 counts as 0."""

        def raised(node: Node) -> int:
            starts = np.where(node.starts > 0, node.starts + by, 0)
            inside = starts < SIZES[field]
            return self.node(field, starts[inside], node.kids[inside])

        return self._with(root, field, raised)

    def _with(self, root: int, field: int, change: Callable[[Node], int]) -> int:
        """Return `root` with every node that asks for `field` changed."""
        done: dict[int, int] = {}

        def changed(root: int) -> int:
            if root < 0 or (node := self.nodes[root]).field > field:
                return root
            if root not in done:
                if node.field == field:
                    done[root] = change(node)
                else:
                    kids = [changed(kid) for kid in node.kids.tolist()]
                    done[root] = self.node(node.field, node.starts, np.array(kids, np.int64))
            return done[root]

        return changed(root)

    def find(self, root: int, at: Sequence[int]) -> int:
        """Return the leaf of one point of the space."""
        while root >= 0:
            node = self.nodes[root]
            root = int(node.kids[np.searchsorted(node.starts, at[node.field], "right") - 1])
        return root

    def find_all(self, root: int, columns: Sequence[Int64s]) -> Int64s:
        """Return the leaf of each of many points, given as a column for each field."""
        found = np.full(columns[0].size, root, np.int64)
        for field, column in enumerate(columns):
            for number in np.unique(found[found >= 0]).tolist():
                node = self.nodes[number]
                if node.field == field:
                    rows = np.flatnonzero(found == number)
                    found[rows] = node.kids[np.searchsorted(node.starts, column[rows], "right") - 1]
        return found

    def regions(self, root: int) -> Iterator[tuple[Region, int]]:
        """Yield disjoint regions that cover the space, each with its leaf."""
        yield from self._paths(root, ())

    def _paths(self, root: int, fixed: tuple[Int64s, ...]) -> Iterator[tuple[Region, int]]:
        field = len(fixed)
        if field == len(FIELDS):
            yield Region(*fixed), root
            return
        starts, kids = self._at(root, field)
        intervals = np.column_stack((starts, np.append(starts[1:], SIZES[field])))
        for kid in dict.fromkeys(kids.tolist()):
            yield from self._paths(kid, (*fixed, _joined(intervals[kids == kid])))

    def _at(self, root: int, field: int) -> tuple[Int64s, Int64s]:
        """Return starts and kids of a diagram at a field; where it does not ask for it, itself for all."""
        if root >= 0 and self.nodes[root].field == field:
            return self.nodes[root].starts, self.nodes[root].kids
        return np.zeros(1, np.int64), np.full(1, root, np.int64)


class _FirstMatch:
    """Makes the diagram of rules, field by field.

    At a field, each elementary interval has the list of rules that hold there; what a list still asks for is
    known by its rules without the fields already asked, so that equal ones are built once.
    """

    def __init__(self, diagrams: Diagrams, rules: Sequence[tuple[Box, Hashable]]) -> None:
        self.diagrams = diagrams
        self.bounds = np.array([box for box, _ in rules], np.int64).reshape(len(rules), len(FIELDS), 2)
        self.leaves = [diagrams.leaf(value) for _, value in rules]
        numbers: dict[tuple[tuple[Interval, ...], int], int] = {}
        # The number of what a rule still asks for from each field on, and whether that is nothing.
        self.rest = [
            [numbers.setdefault((box[field:], leaf), len(numbers)) for field in range(len(FIELDS) + 1)]
            for (box, _), leaf in zip(rules, self.leaves, strict=True)
        ]
        self.open = [
            [box[field:] == EVERYTHING[field:] for field in range(len(FIELDS) + 1)] for box, _ in rules
        ]
        self.done: dict[tuple[int, ...], int] = {}

    def build(self, field: int, rules: tuple[int, ...]) -> int:
        """Return the diagram of some of the rules, in order, from `field` on."""
        if self.open[rules[0]][field]:
            return self.leaves[rules[0]]
        key = (field, *(self.rest[rule][field] for rule in rules))
        if key not in self.done:
            first, last = self.bounds[list(rules), field].T
            starts = np.unique(np.concatenate(([0], first, last)))[:-1]
            first, last = np.searchsorted(starts, first), np.searchsorted(starts, last)
            lists, which = self._lists(field + 1, rules, first, last, starts.size)
            kids = [self.build(field + 1, rules) for rules in lists]
            self.done[key] = self.diagrams.node(field, starts, np.array(kids, np.int64)[which])
        return self.done[key]

    def _lists(
        self, field: int, rules: tuple[int, ...], first: Int64s, last: Int64s, intervals: int
    ) -> tuple[list[tuple[int, ...]], Int64s]:
        """Return lists of rules, and for each elementary interval which of them holds there."""
        before, added, closed = [0], [-1], [False]  # a list is the one before it and the rule added to it
        which = np.zeros(intervals, np.int64)
        for rule, a, b in zip(rules, first.tolist(), last.tolist(), strict=True):
            after, piece = dict[int, int](), which[a:b]
            for k in set(piece.tolist()) if b - a < _FEW else np.unique(piece).tolist():
                if not closed[k]:
                    after[k] = len(before)
                    before.append(k)
                    added.append(rule)
                    closed.append(self.open[rule][field])  # what comes later is never asked
            if after:
                piece[:] = [after.get(k, k) for k in piece.tolist()]
        used, which = np.unique(which, return_inverse=True)
        return [self._unrolled(k, before, added, field) for k in used.tolist()], which

    def _unrolled(self, k: int, before: list[int], added: list[int], field: int) -> tuple[int, ...]:
        """Return a list in order, without rules that ask for the same as an earlier one."""
        rules = []
        while k:
            rules.append(added[k])
            k = before[k]
        asked: dict[int, int] = {}
        for rule in reversed(rules):
            asked.setdefault(self.rest[rule][field], rule)
        return tuple(asked.values())


def _joined(intervals: Int64s) -> Int64s:
    """Return intervals in order with those that touch made one."""
    apart = np.flatnonzero(intervals[1:, 0] != intervals[:-1, 1])
    return np.column_stack((intervals[np.append(0, apart + 1), 0], intervals[np.append(apart, -1), 1]))

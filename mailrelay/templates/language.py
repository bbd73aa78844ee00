"""The part of jinja2's language that templates are written in, and where what they do is counted.

A parsed template is checked against a list of what is allowed: anything else (imports, macros,
calls, blocks, powers) is refused by its name and line.  Then the counting is put in:

- a loop pays, before it begins, for the nodes in it and each of its rounds;
- what is given to a filter, a comparison, a slice or ``~`` is paid for by its size.

So nothing that is left can run long or make much without having paid for it: values are variables
and numbers, which are bounded, and what filters and ``~`` make of what was paid for.
"""

from __future__ import annotations

from typing import Any

from jinja2 import nodes

from mailrelay.templates.filters import FILTERS_OF_TEMPLATES, TESTS_OF_TEMPLATES
from mailrelay.templates.model import BadTemplate

MOST_NODES = 1000
"""Of one part, with those that are put in: compiling holds the interpreter's lock, 50 us a node."""

MOST_DEPTH = 40
MOST_LOOPS = 8
"""Within each other; Python itself has a limit of 20 blocks."""

LARGEST_NUMBER = 10**15

PAID, PAID_ROUNDS = "(paid)", "(paid rounds)"
"""Filters that no template can name."""

_ALLOWED: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign),
    *(nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Keyword),
    *(nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.CondExpr, nodes.Concat),
    *(nodes.Not, nodes.And, nodes.Or, nodes.Neg, nodes.Pos, nodes.Call, nodes.Tuple, nodes.List),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)
_PAID_FOR = (nodes.Filter, nodes.Compare, nodes.Concat)
_TOLD = {
    nodes.Block: "block",
    nodes.Extends: "extends",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter as a block",
    nodes.AssignBlock: "set as a block",
    nodes.With: "with",
    nodes.Scope: "autoescape",
    nodes.Pow: "**",
    nodes.Dict: "an object",
}


def check(part: str, tree: nodes.Template) -> None:
    """Raises: BadTemplate, for what is not in the language."""
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 0, 0)]
    seen = 0
    while waiting:
        node, depth, loops = waiting.pop()
        children = list(node.iter_child_nodes())
        seen += 1 + (len(children) if isinstance(node, _PAID_FOR) else 0)
        loops += isinstance(node, nodes.For)
        said = _refusal(node)
        if said is None and seen > MOST_NODES:
            said = f"the template has more than {MOST_NODES} expressions and statements"
        if said is None and (depth > MOST_DEPTH or loops > MOST_LOOPS):
            said = f"is nested deeper than {MOST_DEPTH} levels, or {MOST_LOOPS} loops"
        if said is not None:
            raise BadTemplate(part, node.lineno or 0, said)  # jinja2 tells no line of autoescape
        waiting += [(child, depth + 1, loops) for child in children]


def _refusal(node: nodes.Node) -> str | None:
    """Why ``node`` cannot be in a template, None when it can."""
    if not isinstance(node, _ALLOWED):
        return f"{_TOLD.get(type(node), type(node).__name__)} is not part of the language here"
    match node:
        case nodes.Filter() | nodes.Test() | nodes.Call():
            return _refusal_of_use(node)
        case nodes.For(recursive=True):
            return "a recursive loop is not part of the language here"
        case nodes.Assign() if not isinstance(node.target, nodes.Name):
            return "set gives one name a value"
        case nodes.Tuple(ctx="store") if not all(isinstance(n, nodes.Name) for n in node.items):
            return "a loop names what it goes over: x, or key, value"
        case nodes.Tuple(ctx="load") | nodes.List():
            if not all(isinstance(one, nodes.Const) for one in node.items):
                return "a list here is of strings and numbers"
        case nodes.Const(value=int(value)) if abs(value) > LARGEST_NUMBER:
            return f"no number is over {LARGEST_NUMBER}"
        case nodes.Name(name="self" | "super" | "caller"):
            return f"{node.name} is not part of the language here"
    return None


def _refusal_of_use(node: nodes.Filter | nodes.Test | nodes.Call) -> str | None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        return "* and ** are not part of the language here"
    match node:
        case nodes.Filter() if node.name not in FILTERS_OF_TEMPLATES:
            return f"there is no filter {node.name} here; there are: {_FILTERS}"
        case nodes.Test() if node.name not in TESTS_OF_TEMPLATES:
            return f"there is no test {node.name} here; there are: {_TESTS}"
        case nodes.Call() if not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
            return "nothing is called here but range(); use filters"
    return None


_FILTERS = ", ".join(sorted(FILTERS_OF_TEMPLATES))
_TESTS = ", ".join(TESTS_OF_TEMPLATES)


def counted(tree: nodes.Template) -> nodes.Template:
    """``tree`` with the counting in it."""
    _count(tree)
    tree.set_environment(tree.environment)  # type: ignore[arg-type]
    return tree


def _count(node: nodes.Node) -> None:
    """Put the counting in, from the leaves up."""
    below = sum(1 for _ in node.find_all(nodes.Node)) if isinstance(node, nodes.For) else 0
    for child in list(node.iter_child_nodes()):
        _count(child)
    match node:
        case nodes.For():
            node.iter = _paid(node.iter, PAID_ROUNDS, nodes.Const(below))
        case nodes.Filter():
            node.node = _paid(node.node)
            node.args = [_paid(one) for one in node.args]
            for pair in node.kwargs:
                pair.value = _paid(pair.value)
        case nodes.Compare():
            node.expr = _paid(node.expr)
            for operand in node.ops:
                operand.expr = _paid(operand.expr)
        case nodes.Concat():
            node.nodes = [_paid(one) for one in node.nodes]
        case nodes.Getitem(arg=nodes.Slice()):
            node.node = _paid(node.node)


def _paid(node: Any, name: str = PAID, *arguments: nodes.Expr) -> nodes.Filter:
    made = nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
    for one in arguments:
        one.set_lineno(node.lineno)
    return made

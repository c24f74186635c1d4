"""What is wrong with a scenario, told to a person: every problem at once, each with a way out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import BaseModel, Tag, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

LONGEST_SHOWN = 60  # characters of a value in a message


class ScenarioError(ValueError):
    """Everything wrong with a scenario.

    `problems` holds one line a problem: field path, the value, what is allowed, and a fix; `str` joins them.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


def refuse(*problems: str) -> None:
    """Raise one `ScenarioError` if there is any problem."""
    if problems:
        raise ScenarioError(problems)


def show(value: object) -> str:
    """Return a value as a TOML file would write it, cut to a readable length."""
    match value:
        case bool():
            text = str(value).lower()
        case int() if value.bit_length() > 8 * LONGEST_SHOWN:  # Python refuses to print what is far longer
            text = f"a whole number of {value.bit_length()} bits"
        case str():
            text = json.dumps(value, ensure_ascii=False)
        case Mapping():
            text = "a table"
        case list() | tuple():
            text = "an array"
        case None:
            text = "nothing"
        case _:
            text = str(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Return the known name that `word` most resembles, if it is text and any does."""
    if not isinstance(word, str):
        return None
    return next(iter(difflib.get_close_matches(word[:LONGEST_SHOWN], list(known), 1, 0.5)), None)


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line for each problem that validation of `model` found."""
    problems: list[str] = []
    for detail in error.errors(include_url=False):
        found = detail["ctx"]["error"] if detail["type"] == "value_error" else None
        place = _place(model, detail["loc"])
        if isinstance(found, ScenarioError):  # a contradiction: names its fields itself
            problems += [_from_root(problem, place.names) for problem in found.problems]
        else:
            problems.append(f"{place.path}: {found or _explain(detail, place)}")
    return problems


def _from_root(problem: str, names: list[str]) -> str:
    """Return a part's own problem with the whole path, where the part is deeper inside than it knows."""
    first = problem.partition(":")[0].partition(".")[0]
    above = names[: names.index(first)] if first in names else []
    return ".".join([*above, problem])


class _Place(NamedTuple):
    """Where in the models a problem is."""

    names: list[str]  # of its path
    field: FieldInfo | None  # None: no such field
    owner: type[BaseModel] | None  # the model that holds it, or lacks it
    kind: str  # of the owner, where it has one
    kinds: dict[str, type[BaseModel]]  # what the owner could have been
    root: type[BaseModel]

    @property
    def path(self) -> str:
        return ".".join(self.names) or "scenario"

    def beside(self, name: str) -> str:
        """Return the path of another field of the owner."""
        return ".".join([*self.names[:-1], name])


def _place(root: type[BaseModel], loc: tuple[int | str, ...]) -> _Place:
    """Follow a validator's location, which names the chosen kind before a field of that kind."""
    here = _Place([], None, root, "", {}, root)
    inside: dict[str, type[BaseModel]] = {}
    for step in loc:
        part = str(step)
        if here.field is not None and part in _alternatives(here.field):
            continue
        if isinstance(step, int) and here.field is not None:  # one of an array
            here = here._replace(names=[*here.names, part], field=_element(here.field))
            continue
        if part in inside:
            here = here._replace(owner=inside[part], kind=part, kinds=inside)
            inside = {}
            continue
        field = here.owner.model_fields.get(part) if here.owner else None
        name = part if part.isprintable() and len(part) <= LONGEST_SHOWN else show(part)
        here = here._replace(names=[*here.names, name], field=field)
        inside = models_in(field.annotation) if field else {}
        if "" in inside:
            here, inside = here._replace(owner=inside[""], kind="", kinds={}), {}
    return here


def _alternatives(field: FieldInfo) -> dict[str, FieldInfo]:
    """Return what a field may be that tells its alternatives by tags, e.g. a number or an array."""
    return {
        mark.tag: FieldInfo.from_annotation(alternative)
        for alternative in get_args(field.annotation)
        for mark in get_args(alternative)[1:]
        if isinstance(mark, Tag)
    }


def _element(field: FieldInfo) -> FieldInfo:
    """Return the field that each element of an array is like."""
    return FieldInfo.from_annotation(get_args(_array(field.annotation))[0])


def _array(annotation: Any) -> Any:
    """Return the type of the array that a field may hold, None where it may not."""
    if get_origin(annotation) is tuple:
        return annotation
    return next(filter(None, map(_array, get_args(annotation))), None)


def models_in(annotation: Any) -> dict[str, type[BaseModel]]:
    """Return the models a field may hold by their kind (or grain); a single model without one is under ""."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        tag = annotation.model_fields.get(_tag(annotation))
        return {tag.default if tag else "": annotation}
    if get_origin(annotation) is Literal:
        return {}
    return {k: m for argument in get_args(annotation) for k, m in models_in(argument).items()}


def _tag(model: type[BaseModel]) -> str:
    """Return the field that tells a model from its alternatives, "" where it has none."""
    return next((name for name in ("kind", "grain") if name in model.model_fields), "")


def _explain(detail: ErrorDetails, place: _Place) -> str:
    """Return what is wrong at a place and how to mend it."""
    kind, value = detail["type"], show(detail["input"])
    if kind == "extra_forbidden":
        return _unknown(place)
    if kind == "missing":
        return f"missing; write {_wanted(place.field)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _kind(detail, place)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{value} is not a table; write {_wanted(place.field)}"
    if kind == "string_unicode":
        return "text with characters that do not exist; write valid Unicode"
    if kind == "literal_error":
        return none_of(detail["input"], _choices(place.field))
    fix = _fix(detail, place.field)
    hint = json.dumps(fix) if isinstance(fix, tuple) else show(fix)
    return f"{value} is not {_wanted(place.field)}" + (f"; try {hint}" if fix is not None else "")


def none_of(word: object, known: Iterable[str]) -> str:
    """Return that a value is none of those known, and which one was probably meant."""
    close = nearest(word, known)
    return f"{show(word)} is none of {', '.join(known)}" + (f'; did you mean "{close}"?' if close else "")


def _unknown(place: _Place) -> str:
    """Say that a field does not exist, and which one was probably meant."""
    name, fields = place.names[-1], list(place.owner.model_fields) if place.owner else []
    elsewhere = [kind for kind, model in place.kinds.items() if name in model.model_fields]
    if elsewhere:
        return f"unknown field of kind {place.kind}; it belongs to kind {' or '.join(elsewhere)}"
    close = nearest(name, fields)
    same = [path for path in _paths(place.root) if path.rpartition(".")[2] == name]
    meant = min(same, key=lambda path: path.count("."), default=None)  # deep inside, few mean it
    meant = meant or (place.beside(close) if close else None)
    return "unknown field; " + (f"did you mean {meant}?" if meant else f"known here: {', '.join(fields)}")


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every field."""
    for name, field in model.model_fields.items():
        yield prefix + name
        inside = f"{prefix}{name}." + ("0." if _array(field.annotation) else "")
        for inner in models_in(field.annotation).values():
            yield from _paths(inner, inside)


def _kind(detail: ErrorDetails, place: _Place) -> str:
    kinds = list(models_in(place.field.annotation)) if place.field else []
    tag = detail["ctx"]["discriminator"].strip("'")
    written = detail["input"].get(tag) if isinstance(detail["input"], Mapping) else None
    if written is None:
        return f"{tag} is missing; write {tag} = one of {', '.join(kinds)}"
    return f"{tag} {none_of(written, kinds)}"


def _choices(field: FieldInfo | None) -> list[str]:
    """Return the texts a field may hold, empty where it is not a choice."""
    annotation = field.annotation if field else None
    parts = [annotation, *get_args(annotation)]
    return [str(text) for part in parts if get_origin(part) is Literal for text in get_args(part)]


def _wanted(field: FieldInfo | None) -> str:
    """Say what a field holds and from where to where."""
    if field is None:
        return "something else"
    if alternatives := _alternatives(field):
        return " or ".join(map(_wanted, alternatives.values()))
    if _array(field.annotation):
        return f"an array, each of it {_wanted(_element(field))}"
    kinds = models_in(field.annotation)
    if kinds:
        if "" not in kinds:
            return f"a table with {_tag(next(iter(kinds.values())))} = one of {', '.join(kinds)}"
        needed = [name for name, part in kinds[""].model_fields.items() if part.is_required()]
        return f"a table with {' and '.join(needed)}" if needed else "a table"
    if _choices(field):
        return f"one of {', '.join(_choices(field))}"
    types = (field.annotation, *get_args(field.annotation))
    written = next((m for m in field.metadata if hasattr(m, "examples")), None)
    if written is not None:
        return f"text such as {' or '.join(map(show, written.examples))}"
    if str in types:
        longest = _limit(field, MaxLen, "max_length")
        return f"text of {_limit(field, MinLen, 'min_length') or 0} to {longest} characters" + (
            f", e.g. {show(field.examples[0])}" if field.examples else ""
        )
    what = "true or false" if bool in types else "a whole number" if int in types else "a finite number"
    low, above, high = _limit(field, Ge, "ge"), _limit(field, Gt, "gt"), _limit(field, Le, "le")
    what += f" from {low}" if low is not None else f" above {above}" if above is not None else ""
    return what + (f" to {high}" if high is not None else "")


def _limit(field: FieldInfo, constraint: type[Any], name: str) -> Any:
    """Return one bound of a field, None where it has none."""
    return next((getattr(m, name) for m in field.metadata if isinstance(m, constraint)), None)


def _fix(detail: ErrorDetails, field: FieldInfo | None) -> object:
    """Return a value that would do: the bound just passed, else an example, else the default."""
    if detail["type"] == "string_type" and isinstance(detail["input"], int | float):
        return str(detail["input"])
    context = detail.get("ctx", {})
    bound = context.get("ge", context.get("le"))
    if bound is not None or field is None:
        return bound
    if field.examples:
        return field.examples[0]
    return None if field.is_required() or field.default_factory else field.get_default()

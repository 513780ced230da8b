"""Which parts of a JSON Schema apply to a value, to find parameters that it marks as secret. It never decides for a part that it
does not understand: such a schema has a `fault`.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from aorch import jsonio

_COMBINED = ("allOf", "anyOf", "oneOf")
_SAME_VALUE = ("if", "then", "else", "not")
_BY_NAME = ("dependentSchemas", "dependencies")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_DEFINITIONS = ("$defs", "definitions")
_MAPS = ("properties", "patternProperties", *_BY_NAME, *_DEFINITIONS)
_DATA = ("const", "default", "enum", "examples", "example")


class SecretSchema:
    """A JSON Schema (draft 4 to 2020-12), in which local references are looked up."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self._anchors: dict[str, Any] = {}
        self._nested_id: str | None = None
        self._marked = False
        self._id = "id" if "draft-04" in str(root.get("$schema")) else "$id"
        for schema, _ in _all_schemas(root):
            self._marked = self._marked or schema.get("writeOnly") is True
            for name in ("$anchor", "$dynamicAnchor", self._id):
                if isinstance(anchor := schema.get(name), str):
                    self._note(schema, name, anchor)

    def _note(self, schema: Mapping[str, Any], keyword: str, anchor: str) -> None:
        if keyword in ("$anchor", "$dynamicAnchor"):
            self._anchors[anchor] = schema
        elif anchor.startswith("#"):
            self._anchors[anchor[1:]] = schema
        elif schema is not self.root:
            self._nested_id = anchor

    def applied(self, schemas: list[Any]) -> list[Mapping[str, Any]]:
        """These schemas, and all that apply to the same value. (A condition that may not hold counts: a secret too many is
        hidden.)
        """
        found: dict[int, Mapping[str, Any]] = {}
        waiting = list(schemas)
        while waiting:
            schema = waiting.pop()
            if isinstance(schema, Mapping) and id(schema) not in found:
                found[id(schema)] = schema
                waiting += [each for name in _COMBINED if isinstance(schema.get(name), list) for each in schema[name]]
                waiting += [schema[name] for name in _SAME_VALUE if name in schema]
                waiting += [each for name in _BY_NAME for each in _mapping(schema.get(name)).values()]
                waiting += [self._referred(schema[name]) for name in _REFERENCES if name in schema]
        return list(found.values())

    def of_name(self, schemas: list[Mapping[str, Any]], name: str) -> list[Any]:
        """The schemas of the property `name`."""
        found = []
        for schema in schemas:
            properties = _mapping(schema.get("properties"))
            if name in properties:
                found.append(properties[name])
            else:
                found += [schema.get("additionalProperties"), schema.get("unevaluatedProperties")]
            found += _mapping(schema.get("patternProperties")).values()  # whichever of them match
        return found

    def of_item(self, schemas: list[Mapping[str, Any]], number: int) -> list[Any]:
        """The schemas of the item with that number (from 0)."""
        found = []
        for schema in schemas:
            items = schema.get("items")
            tuples = [each for each in (schema.get("prefixItems"), items) if isinstance(each, list)]
            found += [each[number] for each in tuples if number < len(each)]
            found += [items, schema.get("contains")]
            if all(number >= len(each) for each in tuples):
                found += [schema.get("additionalItems"), schema.get("unevaluatedItems")]
        return found

    def marks_below(self, schemas: list[Any]) -> bool:
        """Whether these schemas, or those of any property or item below, mark a value as secret."""
        return any(schema.get("writeOnly") is True for schema in self._reached(schemas))

    def _reached(self, schemas: list[Any]) -> list[Mapping[str, Any]]:
        reached: dict[int, Mapping[str, Any]] = {}
        waiting = list(schemas)
        while waiting:
            for schema in self.applied([waiting.pop()]):
                if id(schema) not in reached:
                    reached[id(schema)] = schema
                    waiting += _below(schema)
        return list(reached.values())

    def fault(self) -> str | None:
        """Why secrets could be missed with this schema; None if none can be."""
        if not self._marked:
            return None
        if self._nested_id is not None:
            return f"it contains another schema with an id ({self._nested_id})"
        applied = self._reached([self.root])
        for schema in applied:
            for name in _REFERENCES:
                if name in schema and self._referred(schema[name]) is None:
                    return f"{name} {schema[name]!r} refers to nothing in it"
        reached = {id(schema) for schema in applied}
        for schema, inside in _all_schemas(self.root):
            is_unused = inside is not None and reached.isdisjoint(inside)  # a definition that nothing refers to
            if schema.get("writeOnly") is True and id(schema) not in reached and not is_unused:
                return f"writeOnly has no effect where it is: {jsonio.encode(schema)[:80]}"
        return None

    def _referred(self, reference: Any) -> Any:
        """The schema at a reference in this document: a JSON pointer or an anchor. None if there is none."""
        if not isinstance(reference, str):
            return None
        identity = self.root.get(self._id)
        base, _, fragment = reference.partition("#")
        if base and not (isinstance(identity, str) and base == identity.removesuffix("#")):
            return None
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment)
        found: Any = self.root
        for step in fragment.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                found = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
            else:
                found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping | bool) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _below(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas of properties and items in `schema`."""
    for name in ("properties", "patternProperties"):
        yield from _mapping(schema.get(name)).values()
    for name in ("items", "prefixItems"):
        yield from each if isinstance(each := schema.get(name), list) else [each]
    for name in ("additionalProperties", "unevaluatedProperties", "additionalItems", "unevaluatedItems", "contains"):
        yield schema.get(name)


def _all_schemas(root: Any) -> Iterator[tuple[Mapping[str, Any], tuple[int, ...] | None]]:
    """Every object in a schema that can be a schema, also under keywords that nobody knows. For one in a definition, also the
    `id`s of the objects around it within that definition, and its own.
    """
    waiting: list[tuple[Any, tuple[int, ...] | None, bool]] = [(root, None, False)]
    while waiting:
        value, inside, is_map = waiting.pop()
        if isinstance(value, list):
            waiting += [(each, inside, False) for each in value]
        elif isinstance(value, Mapping):
            if not is_map:
                inside = None if inside is None else (*inside, id(value))
                yield value, inside
            waiting += [
                (each, () if not is_map and name in _DEFINITIONS else inside, not is_map and name in _MAPS)
                for name, each in value.items()
                if is_map or name not in _DATA
            ]

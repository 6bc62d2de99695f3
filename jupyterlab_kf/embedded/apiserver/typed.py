"""Schemas compiled for walking: one :class:`Type` per component or property, with the facts that merging needs.

A schema says things in many ways (``$ref``, single ``allOf``, vendor extensions); here each is said once: is it a
struct, a map, a list or a leaf, is it atomic, by which keys are items told apart, by which key does a strategic merge
patch merge. Compiled lazily and kept, since every write walks these trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.embedded.apiserver import schemas
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

SCALAR: Final = "scalar"
MAP: Final = "map"
LIST: Final = "list"
ANY: Final = "any"

QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


class Type:
    """What one place in an object may hold.

    Attributes:
        shape: ``scalar``, ``map`` (structs too), ``list``, or ``any`` for what no schema describes.
        component: the component's name for a struct that has one, else empty.
        schema: the schema this was compiled from, with its description.
        atomic: a map or list that has one owner as a whole.
        keys: names of the fields that tell the items of an associative list apart; empty otherwise.
        is_set: a list whose items are told apart by their value.
        strategy: the strategic merge patch strategies, such as ``merge``.
        merge_key: the strategic merge patch key; empty for lists of primitives.
        omits: fields of a core struct whose empty values are forgotten.
        preserve: unknown fields are kept and not reported.
    """

    __slots__ = (
        "_compiler",
        "_defaults",
        "_fields",
        "_items",
        "atomic",
        "component",
        "is_set",
        "keys",
        "merge_key",
        "omits",
        "preserve",
        "required",
        "schema",
        "shape",
        "strategy",
    )

    def __init__(self, schema: Mapping[str, Any], compiler: Compiler | None, component: str = "") -> None:
        self.schema = schema
        self.component = component
        self._compiler = compiler
        self._fields: dict[str, Type] | None = None
        self._items: Type | None = None
        self.required: tuple[str, ...] = tuple(schema.get("required") or ())
        self.preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        self.shape = _shape(schema)
        self.omits = schemas.omitted(component) if component else frozenset()
        list_type = schema.get("x-kubernetes-list-type")
        custom = compiler is not None and compiler.atomic_lists
        self.keys: tuple[str, ...] = ()
        self._defaults: dict[str, Any] | None = None
        self.is_set = False
        self.atomic = schema.get("x-kubernetes-map-type") == "atomic"
        if self.shape == LIST:
            if list_type == "map" and not custom:
                self.keys = tuple(sorted(schema.get("x-kubernetes-list-map-keys") or ()))
            self.is_set = list_type == "set" and not custom
            self.atomic = not self.keys and not self.is_set
        self.strategy: tuple[str, ...] = tuple((schema.get("x-kubernetes-patch-strategy") or "").split(","))
        self.merge_key: str = schema.get("x-kubernetes-patch-merge-key") or ""

    @property
    def fields(self) -> dict[str, Type]:
        """Declared properties by name."""
        if self._fields is None:
            compiler = self._compiler
            properties = self.schema.get("properties") or {}
            self._fields = {} if compiler is None else {k: compiler.compile(v) for k, v in properties.items()}
        return self._fields

    @property
    def items(self) -> Type:
        """What a list's items are, or a map's values for undeclared keys."""
        if self._items is None:
            found = self.schema.get("items" if self.shape == LIST else "additionalProperties")
            if self._compiler is None or not isinstance(found, Mapping) or not found:
                self._items = UNKNOWN
            else:
                self._items = self._compiler.compile(found)
        return self._items

    @property
    def key_defaults(self) -> dict[str, Any]:
        """Values of keys that an item leaves out, such as ``protocol: TCP``."""
        if self._defaults is None:
            fields = self.items.fields
            found = {key: fields[key].schema.get("default") for key in self.keys if key in fields}
            self._defaults = {key: value for key, value in found.items() if value is not None}
        return self._defaults

    @property
    def closed(self) -> bool:
        """True for a struct: only declared fields belong in it."""
        return self.shape == MAP and not self.preserve and not self.schema.get("additionalProperties")

    def child(self, name: str) -> Type:
        """What a map holds under a name."""
        found = self.fields.get(name)
        return self.items if found is None else found


def _shape(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if kind == "array":
        return LIST
    if kind == "object":
        has_content = "properties" in schema or isinstance(schema.get("additionalProperties"), Mapping)
        return MAP if has_content else ANY
    if kind or schema.get("oneOf") or schema.get("x-kubernetes-int-or-string"):
        return SCALAR
    return MAP if "properties" in schema else ANY


UNKNOWN: Final = Type({}, None)
"""The type of what no schema describes: maps by key, lists as a whole."""


class Compiler:
    """Compiles the schemas of one world: core components, where list types count, or one of custom kinds.

    In a CustomResourceDefinition the pod template is written out with plain lists, so the list types of the core
    components that our training schemas refer to do not count there.
    """

    def __init__(self, *, atomic_lists: bool = False, root: Compiler | None = None) -> None:
        self.atomic_lists = atomic_lists
        self._components: dict[str, Type] = {}
        self._root = root

    def component(self, name: str) -> Type:
        """The compiled component."""
        if self._root is not None:
            return self._root.component(name)
        found = self._components.get(name)
        if found is None:
            found = self._components[name] = Type(schemas.components()[name], self, name)
        return found

    def compile(self, schema: Mapping[str, Any]) -> Type:
        """The compiled schema; a mere reference is the component itself."""
        name = schemas.referenced(schema)
        if name is None:
            return Type(schema, self)
        target = self.component(name)
        if schema.get("x-kubernetes-map-type") != "atomic" and "x-kubernetes-patch-strategy" not in schema:
            return target
        merged = {**target.schema, **{k: v for k, v in schema.items() if k.startswith("x-kubernetes-")}}
        return Type(merged, target._compiler, name)  # noqa: SLF001  a variation of the same component


_CORE: Final = Compiler()
_CUSTOM_REFS: Final = Compiler(atomic_lists=True)
_CUSTOM: Final = Compiler(root=_CUSTOM_REFS)
_kinds: dict[tuple[str, str], Type] = {}
_crds: dict[tuple[int, str], tuple[Obj, Type]] = {}
_MAX_CRDS: Final = 256


def _root(schema: Mapping[str, Any], compiler: Compiler) -> Type:
    root = Type(schema, compiler)
    fields = root.fields
    fields["metadata"] = _CORE.component(schemas.OBJECT_META)
    for name in ("apiVersion", "kind"):
        fields.setdefault(name, Type({"type": "string"}, None))
    if root.shape == ANY:
        root.shape = MAP
    return root


def of(kind: Kind, crd: Obj | None = None) -> Type:
    """The compiled schema of a kind; of a custom kind without one, a tree that accepts everything."""
    if crd is not None:
        key = (id(crd), kind.version)
        known = _crds.get(key)
        if known is None or known[0] is not crd:
            if len(_crds) >= _MAX_CRDS:
                _crds.clear()
            _crds[key] = known = (crd, _root(schemas.schema(kind, crd) or _OPEN, _CUSTOM))
        return known[1]
    name = (kind.api_version, kind.kind)
    found = _kinds.get(name)
    if found is None:
        schema = schemas.schema(kind)
        if schema is not None and not kind.custom:
            found = _CORE.component(schemas.component_name(kind))
        else:
            found = _root(schema or _OPEN, _CUSTOM)
        _kinds[name] = found
    return found


_OPEN: Final[Mapping[str, Any]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

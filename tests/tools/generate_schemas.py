"""Writes the packaged schemas of the core kinds and the field numbers of their wire form.

Input is the Go module cache: the type declarations of k8s.io/api, k8s.io/apimachinery and
k8s.io/apiextensions-apiserver in one version. From a declaration come the JSON names, types, required lists, list
types and merge keys, enumerations, descriptions (as OpenAPI v3 components) and, from the protobuf tags, field numbers.
Output is two gzip files with JSON in ``jupyterlab_kf/embedded/apiserver/data``; their content depends on the input
alone, so a second run changes nothing.

    go mod download k8s.io/api@v0.36.3 k8s.io/apimachinery@v0.36.3 k8s.io/apiextensions-apiserver@v0.36.3
    python tests/tools/generate_schemas.py v0.36.3
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "jupyterlab_kf" / "embedded" / "apiserver" / "data"

EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"

# Go import path -> component prefix
PACKAGES = {
    **{
        f"k8s.io/api/{path}": f"io.k8s.api.{path.replace('/', '.')}"
        for path in (
            "core/v1",
            "apps/v1",
            "batch/v1",
            "autoscaling/v1",
            "autoscaling/v2",
            "authentication/v1",
            "authorization/v1",
            "coordination/v1",
            "discovery/v1",
            "events/v1",
            "policy/v1",
        )
    },
    "k8s.io/apimachinery/pkg/apis/meta/v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1": EXTENSIONS,
}
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
CORE = "io.k8s.api.core.v1"

CORE_KINDS = "Namespace Node Pod Service ConfigMap Secret PersistentVolumeClaim Event ServiceAccount"

# component -> (group, kinds at top level)
ROOTS = {
    CORE: (
        "",
        " ".join(f"{kind} {kind}List" for kind in CORE_KINDS.split()) + " PodTemplate",
    ),
    "io.k8s.api.apps.v1": ("apps", "Deployment DeploymentList ReplicaSet ReplicaSetList"),
    "io.k8s.api.batch.v1": ("batch", "Job JobList"),
    "io.k8s.api.autoscaling.v1": ("autoscaling", "Scale"),
    "io.k8s.api.autoscaling.v2": ("autoscaling", "MetricSpec HorizontalPodAutoscaler HorizontalPodAutoscalerList"),
    "io.k8s.api.authentication.v1": ("authentication.k8s.io", "TokenReview SelfSubjectReview"),
    "io.k8s.api.authorization.v1": (
        "authorization.k8s.io",
        "SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview LocalSubjectAccessReview",
    ),
    "io.k8s.api.coordination.v1": ("coordination.k8s.io", "Lease LeaseList"),
    "io.k8s.api.discovery.v1": ("discovery.k8s.io", "EndpointSlice EndpointSliceList"),
    "io.k8s.api.policy.v1": ("policy", "Eviction PodDisruptionBudget PodDisruptionBudgetList"),
    EXTENSIONS: ("apiextensions.k8s.io", "CustomResourceDefinition CustomResourceDefinitionList"),
    META: ("", "Status DeleteOptions WatchEvent Patch ObjectMeta ListMeta"),
}

# Types whose JSON form is not that of their declaration.
SPECIAL: dict[str, dict[str, Any]] = {
    f"{META}.Time": {"type": "string", "format": "date-time"},
    f"{META}.MicroTime": {"type": "string", "format": "date-time"},
    f"{META}.Duration": {"type": "string"},
    f"{META}.FieldsV1": {"type": "object"},
    f"{META}.Patch": {"type": "object"},
    f"{META}.WatchEvent": {
        "type": "object",
        "required": ["type", "object"],
        "properties": {
            "type": {"type": "string"},
            "object": {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.runtime.RawExtension"},
        },
    },
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"type": "object"},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "oneOf": [{"type": "string"}, {"type": "number"}],
        "description": "A fixed-point number, such as 500m, 2 or 16Gi.",
    },
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "oneOf": [{"type": "integer"}, {"type": "string"}],
        "format": "int-or-string",
        "description": "A whole number, or a string such as a port's name or a percentage.",
    },
    f"{EXTENSIONS}.JSON": {"description": "Any valid JSON value."},
    f"{EXTENSIONS}.JSONSchemaPropsOrBool": {"description": "A JSON schema or a boolean."},
    f"{EXTENSIONS}.JSONSchemaPropsOrArray": {"description": "A JSON schema or a list of them."},
    f"{EXTENSIONS}.JSONSchemaPropsOrStringArray": {"description": "A JSON schema or a list of strings."},
}
QUALIFIED = {
    "metav1": META,
    "v1": CORE,
    "corev1": CORE,
    "resource": "io.k8s.apimachinery.pkg.api.resource",
    "intstr": "io.k8s.apimachinery.pkg.util.intstr",
    "runtime": "io.k8s.apimachinery.pkg.runtime",
    "types": "types",
}
PRIMITIVES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
    "[]byte": {"type": "string", "format": "byte"},
    "types.UID": {"type": "string"},
    "types.NodeName": {"type": "string"},
    "interface{}": {},
}


@dataclass
class Field:
    """One field of a Go struct."""

    name: str
    go: str
    tag: str
    comment: list[str]

    def key(self, name: str) -> str:
        match = re.search(rf'\b{name}:"([^"]*)"', self.tag)
        return match[1] if match else ""

    @property
    def json(self) -> list[str]:
        return self.key("json").split(",")

    def markers(self, name: str) -> list[str]:
        found = [line[1:] for line in self.comment if line.startswith("+")]
        return [line.partition("=")[2] for line in found if line.partition("=")[0] == name]


@dataclass
class Package:
    """The declarations of one Go package."""

    prefix: str
    structs: dict[str, tuple[list[str], list[Field]]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    marked: dict[str, list[str]] = field(default_factory=dict)
    enums: dict[str, list[tuple[str, list[str]]]] = field(default_factory=dict)


def parse(folder: Path, prefix: str) -> Package:  # noqa: C901  one branch a kind of line
    """Reads the declarations of a package; the sources are gofmt-ed, which makes them easy to cut into lines."""
    package = Package(prefix)
    for path in sorted(folder.glob("types*.go")):
        if path.name.endswith("_test.go") or "swagger" in path.name:
            continue
        comment: list[str] = []
        struct: tuple[list[str], list[Field]] | None = None
        for line in path.read_text().splitlines():
            text = line.strip()
            if text.startswith("//"):
                comment.append(text[2:].removeprefix(" "))
                continue
            if match := re.match(r"type (\w+) struct\s*\{(\})?", line):
                struct = package.structs[match[1]] = (comment, [])
                if match[2]:
                    struct = None
            elif match := re.match(r"type (\w+) ([\w\[\].*]+)\s*(//.*)?$", line):
                package.aliases[match[1]] = match[2]
                package.marked[match[1]] = comment
            elif line == "}":
                struct = None
            elif struct is not None and (match := re.match(r"(?:(\w+)\s+)?(\S+)\s+`(.*)`", text)):
                struct[1].append(Field(match[1] or "", match[2], match[3], comment))
            elif match := re.match(r'\s*(\w+)\s+(\w+)\s*=\s*"([^"]*)"', line):
                text_of = [comment[0].removeprefix(f"{match[1]} "), *comment[1:]] if comment else []
                package.enums.setdefault(match[2], []).append((match[3], text_of))
            comment = []
    return package


def prose(comment: list[str]) -> str:
    """A Go comment as an OpenAPI description: paragraphs on one line, indented lines and lists kept."""
    out = ""
    for line in "\n".join(comment).split("---")[0].split("\n"):
        text = line.rstrip()
        if not text:
            out = out.rstrip(" ") + "\n\n"
        elif text.lstrip().startswith(("TODO", "+")):
            continue
        elif text.startswith((" ", "\t")):
            out = out.rstrip(" ") + "\n" + text + "\n"
        else:
            out += text + " "
    return out.strip().replace('\\"', '"')


class Generator:
    """Turns declarations into components, beginning at the roots and following references."""

    def __init__(self, packages: dict[str, Package]) -> None:
        self.packages = packages
        self.schemas: dict[str, dict[str, Any]] = {}
        self.wire: dict[str, dict[str, Any]] = {}
        self.zeros: dict[str, Any] = {}
        self.omitted: dict[str, list[str]] = {}

    def locate(self, go: str, package: Package) -> tuple[str, str]:
        """Component prefix and bare name of a named Go type."""
        if "." in go:
            alias, name = go.split(".")
            return QUALIFIED[alias], name
        return package.prefix, go

    def type(self, go: str, package: Package) -> dict[str, Any]:
        go = go.removeprefix("*")
        if go in PRIMITIVES:
            return dict(PRIMITIVES[go])
        if go.startswith("[]"):
            return {"type": "array", "items": self.type(go[2:], package)}
        if match := re.match(r"map\[[\w.]+\](.*)", go):
            return {"type": "object", "additionalProperties": self.type(match[1], package)}
        prefix, name = self.locate(go, package)
        component = f"{prefix}.{name}"
        owner = self.packages.get(prefix)
        if component in SPECIAL:
            self.schemas.setdefault(component, SPECIAL[component])
            return {"$ref": f"#/components/schemas/{component}"}
        assert owner is not None, go
        if name in owner.aliases:
            schema = self.type(owner.aliases[name], owner)
            if "+enum" in [line.strip() for line in owner.marked[name]]:
                values = sorted(owner.enums.get(name, []))
                schema["enum"] = [value for value, _ in values]
                lines = [f' - `"{value}"`{" " + prose(text) if text else ""}' for value, text in values]
                schema["description"] = "\n\nPossible enum values:\n" + "\n".join(lines)
            return schema
        self.struct(component, owner, name)
        return {"$ref": f"#/components/schemas/{component}"}

    def fields(self, package: Package, name: str) -> list[tuple[Field, Package]]:
        out: list[tuple[Field, Package]] = []
        for item in package.structs[name][1]:
            if item.json[0] == "-":
                continue
            if item.json[0] == "":
                prefix, bare = self.locate(item.go.removeprefix("*"), package)
                out += self.fields(self.packages[prefix], bare)
            else:
                out.append((item, package))
        return out

    def struct(self, component: str, package: Package, name: str) -> None:
        if component in self.schemas:
            return
        schema: dict[str, Any] = {"type": "object"}
        self.schemas[component] = schema
        comment = package.structs[name][0]
        if text := prose(comment):
            schema["description"] = text
        properties: dict[str, Any] = {}
        required: list[str] = []
        for item, owner in self.fields(package, name):
            json_name = item.json[0]
            properties[json_name] = self.property(item, owner)
            optional = "omitempty" in item.json or "omitzero" in item.json or item.markers("optional")
            if not optional or item.markers("required"):
                required.append(json_name)
        if properties:
            schema["properties"] = dict(sorted(properties.items()))
        if required:
            schema["required"] = sorted(required)
        self.omitted[component] = sorted(
            item.json[0]
            for item, owner in self.fields(package, name)
            if "omitempty" in item.json
            and not item.go.startswith("*")
            and not self.code(item.go, owner).startswith("m:")
        )
        if any(line.startswith("+structType=atomic") for line in comment):
            schema["x-kubernetes-map-type"] = "atomic"
        self.number(component, package, name)

    def property(self, item: Field, owner: Package) -> dict[str, Any]:
        schema = self.type(item.go, owner)
        text = prose(item.comment) + schema.pop("description", "")
        if "$ref" in schema and text:
            schema = {"allOf": [schema]}
        if text:
            schema["description"] = text.strip()
        values = item.markers("default")
        if values and not values[0].startswith("ref("):
            schema["default"] = json.loads(values[0])
        if kinds := item.markers("listType"):
            schema["x-kubernetes-list-type"] = kinds[0]
        if keys := item.markers("listMapKey"):
            schema["x-kubernetes-list-map-keys"] = keys
        if kinds := item.markers("mapType") or item.markers("structType"):
            schema["x-kubernetes-map-type"] = kinds[0]
        if strategy := item.key("patchStrategy"):
            schema["x-kubernetes-patch-strategy"] = strategy
        if key := item.key("patchMergeKey"):
            schema["x-kubernetes-patch-merge-key"] = key
        return schema

    def number(self, component: str, package: Package, name: str) -> None:
        """Field numbers: number -> [JSON name, kind]; kinds are s b i (string, bool, int), B (bytes), d (double),
        m:component, with [] before for lists and {} for maps; an inlined struct is ~m:component, a named list *[].
        A third entry says that a zero value is left out of the JSON form.
        """
        numbers: dict[str, list[Any]] = {}
        for item in package.structs[name][1]:
            tag = item.key("protobuf").split(",")
            if len(tag) > 1 and tag[1].isdigit():
                inlined = item.json[0] == ""
                numbers[tag[1]] = [item.json[0], ("~" if inlined else "") + self.code(item.go, package)]
                if "omitempty" in item.json and not item.go.startswith("*"):
                    numbers[tag[1]].append(1)
                if inlined:
                    prefix, bare = self.locate(item.go.removeprefix("*"), package)
                    if f"{prefix}.{bare}" not in SPECIAL:
                        self.number(f"{prefix}.{bare}", self.packages[prefix], bare)
        self.wire[component] = numbers

    def code(self, go: str, package: Package) -> str:
        go = go.removeprefix("*")
        simple = {"string": "s", "bool": "b", "int32": "i", "int64": "i", "int": "i", "float64": "d", "[]byte": "B"}
        if go in simple:
            return simple[go]
        if go.startswith("types."):
            return "s"
        if go.startswith("[]"):
            return "[]" + self.code(go[2:], package)
        if match := re.match(r"map\[[\w.]+\](.*)", go):
            return "{}" + self.code(match[1], package)
        prefix, name = self.locate(go, package)
        owner = self.packages.get(prefix)
        if owner is not None and name in owner.aliases and f"{prefix}.{name}" not in SPECIAL:
            target = owner.aliases[name]
            # A named list is a message of its own on the wire: ExtraValue, Verbs.
            return f"*{self.code(target, owner)}" if target.startswith("[]") else self.code(target, owner)
        return f"m:{prefix}.{name}"

    def zero(self, go: str, package: Package, seen: tuple[str, ...] = ()) -> Any:
        """What the empty Go value looks like in JSON: creation is tracked as a change from it."""
        if go.startswith(("*", "[]", "map[")):
            return None
        if go in PRIMITIVES:
            return {"string": "", "boolean": False}.get(str(PRIMITIVES[go].get("type")), 0)
        prefix, name = self.locate(go, package)
        component, owner = f"{prefix}.{name}", self.packages.get(prefix)
        if component in SPECIAL or owner is None:
            return {"Quantity": "0", "IntOrString": 0}.get(name)
        if name in owner.aliases:
            return self.zero(owner.aliases[name], owner, seen)
        assert component not in seen
        out = {}
        for item, where in self.fields(owner, name):
            bare = item.go
            is_struct = not bare.startswith("*") and self.code(bare, where).startswith("m:")
            if "omitzero" in item.json or ("omitempty" in item.json and not is_struct):
                continue
            out[item.json[0]] = self.zero(bare, where, (*seen, component))
        return out


def write(path: Path, value: Any) -> None:
    text = json.dumps(value, separators=(",", ":"), sort_keys=False, ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def main(version: str) -> None:
    cache = Path(subprocess.check_output(["go", "env", "GOMODCACHE"], text=True).strip())
    packages = {}
    for path, prefix in PACKAGES.items():
        module = "/".join(path.split("/")[:2])
        packages[prefix] = parse(cache / f"{module}@{version}" / path.removeprefix(module).lstrip("/"), prefix)
    generator = Generator(packages)
    for prefix, (group, kinds) in ROOTS.items():
        for kind in kinds.split():
            component = f"{prefix}.{kind}"
            generator.type(kind, packages[prefix])
            if kind == "WatchEvent":  # written out above, with what it refers to
                generator.type("runtime.RawExtension", packages[prefix])
            schema = generator.schemas[component]
            if kind in {"ObjectMeta", "ListMeta", "MetricSpec"}:
                continue
            identity = {"group": group, "version": prefix.rpartition(".")[2], "kind": kind}
            schema["x-kubernetes-group-version-kind"] = [identity]
            if not kind.endswith("List") and component not in SPECIAL:
                generator.zeros[component] = generator.zero(kind, packages[prefix])
    DATA.mkdir(exist_ok=True)
    write(
        DATA / "schemas.json.gz",
        {
            "version": version,
            "schemas": dict(sorted(generator.schemas.items())),
            "zeros": generator.zeros,
            "omitted": {name: found for name, found in sorted(generator.omitted.items()) if found},
        },
    )
    write(DATA / "wire.json.gz", dict(sorted(generator.wire.items())))
    for name in ("schemas.json.gz", "wire.json.gz"):
        print(name, (DATA / name).stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "v0.36.3")

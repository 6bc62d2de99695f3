"""From what a person asks for to the objects that would be created: :class:`Request` to :class:`Plan`.

Everything that can be wrong with a request is found here, before any server is spoken to. A plan can be shown as
YAML, as a Python call and as a magic, and is what :mod:`.training` submits.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources as package_files
from pathlib import Path
from typing import Any

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import BundleError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.manifests.training import TrainingSpec
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services import bundle as bundles
from jupyterlab_kf.services.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of :func:`jupyterlab_kf.train`, as they were given."""

    code: str | Path | Callable[..., object]
    framework: str = "pytorch"
    workers: int | None = None
    replicas: Mapping[str, int] | None = None
    name: str | None = None
    namespace: str | None = None
    cpu: float | str | None = None
    memory: float | str | None = None
    gpu: int | None = None
    nproc: int = 1
    env: Mapping[str, str] | None = None
    args: Sequence[str] = ()
    params: Mapping[str, object] | None = None
    files: Sequence[str | Path] = ()
    image: str | None = None
    output: str | Path | None = None
    replace: bool = False
    restart: str | None = None
    retries: int | None = None
    deadline: int | None = None
    ttl: int | None = None
    clean: str = "Running"
    elastic: tuple[int, int] | None = None
    filename: str = "cell.py"
    first_line: int = 1
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be created, in order. Making one creates nothing.

    Attributes:
        spec: the job, checked.
        bundle: the code that it runs.
        manifests: the objects: the code, the results' volume if there is one, the job.
        request: what was asked for.
    """

    spec: TrainingSpec
    bundle: Bundle
    manifests: list[Obj]
    request: Request = field(repr=False)

    @property
    def job(self) -> Obj:
        """The job's own manifest, the last one."""
        return self.manifests[-1]

    @property
    def summary(self) -> str:
        """A few lines for people: what would be created, and of what it is made."""
        spec, bundle = self.spec, self.bundle
        size = len(self.manifests[0]["binaryData"]["code.tar.gz"]) * 3 // 4
        lines = [f"Would be created in namespace {spec.namespace}:"]
        lines += [f"  {made['kind']} {made['metadata']['name']}" for made in self.manifests]
        counts = ", ".join(f"{count} {role}" for role, count in spec.replicas.items())
        each = spec.resources.as_mapping()
        asked = ", ".join(f"{value} {name}" for name, value in each.items()) or "no resources asked for"
        lines.append(f"{spec.framework.title}: {counts}; each: {asked}; image {spec.image}")
        listed = ", ".join(sorted(bundle.files))
        lines.append(f"Code: {listed} ({size} bytes packed, sha256 {bundle.digest[:12]})")
        if spec.output:
            lines.append(f"Results: the files in $KF_OUTPUT come back to {self.request.output}")
        return "\n".join(lines)

    def yaml(self) -> str:
        """The manifests as YAML that ``kubectl create -f`` takes."""
        return to_yaml(*self.manifests)

    def python(self) -> str:
        """The same as a Python call."""
        code = self.request.code
        first = getattr(code, "__name__", None) or repr(str(code) if isinstance(code, (str, Path)) else code)
        given = [f"{key}={_shown(value)}" for key, value in self._given()]
        arguments = ",\n    ".join([first, repr(self.spec.framework.name), *given])
        return f"import jupyterlab_kf as kf\n\njob = kf.train(\n    {arguments},\n)\njob.wait()\n"

    def magic(self) -> str:
        """The same as a cell."""
        words = [self.spec.framework.name]
        # Everything after --args goes to the program, so it comes last.
        for key, value in sorted(self._given(), key=lambda pair: pair[0] == "args"):
            words += _flags(key, value)
        code = self.request.code
        text = code if isinstance(code, str) and bundles.script_path(code) is None else ""
        return f"%%kf_train {shlex.join(words)}\n{text}"

    def _given(self) -> list[tuple[str, Any]]:
        """The arguments that differ from their defaults, in the signature's order."""
        hidden = {"code", "framework", "filename", "first_line", "root", "replace"}
        return [
            (entry.name, bundles.plain(value) if entry.name == "params" else value)
            for entry in fields(Request)
            if entry.name not in hidden
            and (value := getattr(self.request, entry.name)) != entry.default
            and value not in (None, (), {}, [])
        ]


def make(request: Request, *, namespace: str, submission: str, kind: Kind | None = None) -> Plan:
    """The plan of a request.

    Raises:
        UsageError: anything about the request is wrong; the message says what.
    """
    row = frameworks.framework(request.framework)
    _check_words(request)
    params = bundles.plain(request.params or {})
    bundle = bundles.collect(
        request.code,
        files=request.files,
        params=params,
        filename=request.filename,
        first_line=request.first_line,
        root=request.root,
    )
    archive = bundle.archive()
    digest = hashlib.sha256(archive).hexdigest()
    image = request.image or row.image
    spec = training.check(
        TrainingSpec(
            name=names.check_job_name(request.name) if request.name is not None else _name(request, submission),
            namespace=request.namespace or namespace,
            framework=row,
            replicas=frameworks.layout(
                row, workers=request.workers, replicas=request.replicas, elastic=request.elastic
            ),
            submission=submission,
            image=image,
            resources=pods.resources(request.cpu, request.memory, request.gpu),
            nproc=request.nproc,
            env=dict(request.env or {}),
            restart=request.restart or "",
            retries=request.retries,
            deadline=request.deadline,
            ttl=request.ttl,
            clean=request.clean,
            output=request.output is not None,
            elastic=request.elastic,
            provenance=_provenance(request, bundle, params, image),
            kind=kind,
        )
    )
    instructions = bundles.instructions(
        bundle,
        framework=row.name,
        args=[str(word) for word in request.args],
        params=params,
        nodes=frameworks.trainers(spec.replicas),
        nproc=spec.nproc,
        ranks=spec.ranks,
        sha256=digest,
    )
    texts = {"job.json": instructions, "launch.py": launcher()}
    total = len(archive) + sum(len(text.encode()) for text in texts.values())
    if total > bundles.LIMIT + 64 * 1024:
        raise BundleError(
            f"code, parameters and arguments are {total // 1024} KiB; {bundles.LIMIT // 1024} KiB fit",
            hint="pass large values as files on a volume",
        )
    manifests = [training.code_map(spec, texts, archive)]
    if spec.output:
        manifests.append(training.output_claim(spec))
    return Plan(spec, bundle, [*manifests, training.encode(spec)], request)


def kind_of(obj: Obj) -> Kind:
    """The table's row of a planned object."""
    return kinds.of(obj["apiVersion"], obj["kind"])


def launcher() -> str:
    """The text of the launcher that travels with the code."""
    return package_files.files("jupyterlab_kf.runtime").joinpath("launch.py").read_text(encoding="utf-8")


def to_yaml(*documents: Obj) -> str:
    """Objects as YAML documents, texts of several lines as blocks."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  the base class' signature
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)


def _check_words(request: Request) -> None:
    if isinstance(request.args, str):
        raise UsageError(
            "args is one text; it must be a list of words", hint=f"for example {shlex.split(request.args)}"
        )
    if isinstance(request.files, (str, Path)):
        raise UsageError("files is one path; it must be a list of paths", hint=f"for example [{str(request.files)!r}]")
    if request.image is not None and (not request.image or any(c.isspace() for c in request.image)):
        raise UsageError(f"{request.image!r} is not an image's name")
    if request.output is not None and not str(request.output).strip():
        raise UsageError("output is empty; it names the folder that the results come back to")


def _name(request: Request, submission: str) -> str:
    code = request.code
    path = bundles.script_path(code) if isinstance(code, (str, Path)) else None
    base = path.stem if path else getattr(code, "__name__", "") or request.framework
    return f"{names.slug(base, limit=names.MAX_JOB_NAME - 6)}-{submission[:5]}"


def _provenance(request: Request, bundle: Bundle, params: Mapping[str, Any], image: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "code": bundle.digest,
        "main": bundle.filename,
        "files": sorted(bundle.files),
        "image": image,
        "packages": bundles.versions(bundle.imports),
        "params": dict(params),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    if commit := git_commit(request.root or Path.cwd()):
        record["commit"] = commit
    if request.args:
        record["args"] = list(request.args)
    if request.output is not None:
        record["output"] = str(request.output)
    return record


def git_commit(start: Path) -> str:
    """The commit that is checked out around a folder; empty where there is none. Read from git's own files."""
    for folder in (start, *start.parents):
        head = folder / ".git" / "HEAD"
        if not head.is_file():
            continue
        text = head.read_text().strip()
        if not text.startswith("ref: "):
            return text
        loose = folder / ".git" / text[5:]
        if loose.is_file():
            return loose.read_text().strip()
        packed = folder / ".git" / "packed-refs"
        lines = packed.read_text().splitlines() if packed.is_file() else []
        return next((line.split()[0] for line in lines if line.endswith(f" {text[5:]}")), "")
    return ""


def _shown(value: object) -> str:
    return repr(str(value) if isinstance(value, Path) else dict(value) if isinstance(value, Mapping) else value)


def _flags(key: str, value: Any) -> list[str]:
    """One argument as words of the magic's line."""
    match key:
        case "workers":
            words = ["-n", str(value)]
        case "elastic":
            words = ["--elastic", f"{value[0]}:{value[1]}"]
        case "replicas":
            words = [word for role, count in value.items() for word in (f"--{role}", str(count))]
        case "params":
            words = ["--param", *(f"{name}={item!r}" for name, item in value.items())]
        case "env":
            words = ["--env", *(f"{name}={item}" for name, item in value.items())]
        case "files" | "args":
            words = [f"--{key}", *(str(item) for item in value)]
        case _:
            words = [f"--{key}", str(value)]
    return words

"""From what a person asks for to the objects that would be created: :class:`Request` to :class:`Plan`.

Everything that can be wrong with a request is found here, before any server is spoken to. A plan can be shown as
YAML, as a Python call and as a magic, and is what :mod:`.training` submits.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from importlib import resources as package_files
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from jupyterlab_kf import kinds, names, settings
from jupyterlab_kf.errors import BundleError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.manifests.frameworks import Framework
from jupyterlab_kf.manifests.training import TrainingSpec
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import Choice, Hardware, Use, choose
from jupyterlab_kf.services import bundle as bundles
from jupyterlab_kf.services import contents, notebooks, packages
from jupyterlab_kf.services import hardware as named
from jupyterlab_kf.services import shelf as shelves
from jupyterlab_kf.services.bundle import Bundle
from jupyterlab_kf.services.contents import Contents, Gap
from jupyterlab_kf.services.packages import Package, Wanted
from jupyterlab_kf.services.shelf import Parcel
from jupyterlab_kf.services.storage import Storage

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of :func:`jupyterlab_kf.train`, as they were given; its documentation explains them."""

    code: str | Path | Callable[..., object]
    framework: str = "pytorch"
    _: KW_ONLY
    workers: int | None = None
    replicas: Mapping[str, int] | None = None
    name: str | None = None
    namespace: str | None = None
    cpu: float | str | None = None
    memory: float | str | None = None
    gpu: int | None = None
    profile: str | None = None
    nproc: int = 1
    env: Mapping[str, str] | None = None
    args: Sequence[str] = ()
    params: Mapping[str, object] | None = None
    files: Sequence[str | Path] = ()
    image: str | None = None
    install: bool | Sequence[str] = False
    output: str | Path | None = None
    volumes: Sequence[str] = ()
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


def taking(request: Callable[P, R]) -> Callable[[Callable[[R], T]], Callable[P, T]]:
    """Give a function of one request that class' own arguments, also where help and completion look."""

    def decorate(function: Callable[[R], T]) -> Callable[P, T]:
        known = inspect.signature(request)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in kwargs:
                if name not in known.parameters:
                    raise UsageError(
                        f"{function.__name__} has no argument {name!r}",
                        hint=frameworks.nearest(name, known.parameters, "its arguments are"),
                    )
            known.bind(*args, **kwargs)  # a TypeError of this function, not of the class
            return function(request(*args, **kwargs))

        answer = inspect.signature(function).return_annotation
        call.__signature__ = known.replace(return_annotation=answer)  # type: ignore[attr-defined]
        return call

    return decorate


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be created, in order. Making one creates nothing.

    Attributes:
        spec: the job, checked.
        bundle: the code that it runs.
        manifests: the objects: the code, the results' volume if there is one, the job.
        request: what was asked for.
        storage: what the cluster offers to keep files on, as it was known when the plan was made.
        install: what is installed at start where the image lacks it.
        parcel: code that goes onto a volume before anything is created; None when ConfigMaps carry it.
        needed: the packages that the code imports.
        contents: what the image has of them, as far as it was known when the plan was made.
    """

    spec: TrainingSpec
    bundle: Bundle
    manifests: list[Obj]
    request: Request = field(repr=False)
    storage: Storage | None = None
    install: tuple[Wanted, ...] = ()
    parcel: Parcel | None = field(default=None, repr=False)
    needed: tuple[Package, ...] = ()
    contents: Contents = field(default_factory=Contents)

    @property
    def job(self) -> Obj:
        """The job's own manifest, the last one."""
        return self.manifests[-1]

    @property
    def notice(self) -> str:
        """What to tell before it is submitted: that its hardware profile is deprecated; else empty."""
        return self.spec.hardware.profile.notice() if self.spec.hardware is not None else ""

    @property
    def gaps(self) -> list[Gap]:
        """What to tell before it is submitted: what the image has not, or not as the notebook has it."""
        return contents.gaps(self.needed, self.contents, self.install)

    @property
    def told(self) -> list[str]:
        """What to tell of packages: what is installed, what the image has not, and that nobody knows what it has."""
        wanted = ", ".join(one.requirement for one in self.install)
        lines = [f"Installed at start, unless the image has it: {wanted}"] if wanted else []
        lines += [f"Note: {gap}" for gap in self.gaps]
        if self.contents.versions is None and any(not one.optional for one in self.needed):
            why = f" ({self.contents.source})" if self.contents.source else ""
            lines.append(f"Note: what packages the image {self.spec.image} has is not known here{why}")
        return lines

    @property
    def summary(self) -> str:
        """A few lines for people: what would be created, and of what it is made."""
        spec, bundle = self.spec, self.bundle
        carried = [made.get("binaryData") or {} for made in self.manifests if made["kind"] == kinds.CONFIG_MAP.kind]
        size = sum(len(text) * 3 // 4 for entries in carried for text in entries.values())
        lines = [f"Would be created in namespace {spec.namespace}:"]
        lines += [f"  {made['kind']} {made['metadata']['name']}" for made in self.manifests]
        counts = ", ".join(f"{count} {role}" for role, count in spec.replicas.items())
        asked = ", ".join(f"{value} {name}" for name, value in spec.requests.items()) or "no resources asked for"
        lines.append(f"{spec.framework.title}: {counts}; each: {asked}; image {spec.image}")
        if spec.hardware is not None:
            profile = spec.hardware.profile
            lines.append(f"Hardware profile: {profile.display_name} ({profile.slug})")
        if self.notice:
            lines.append(f"Note: {self.notice}")
        listed = ", ".join(sorted(bundle.files))
        if self.parcel is not None:
            size = len(self.parcel.content)
        lines.append(f"Code: {listed} ({size} bytes packed, sha256 {bundle.digest[:12]})")
        if self.parcel is not None:
            lines.append(f"  kept on the volume {spec.shelf} as {training.SHELF}/{spec.archive}.tar.gz, where it stays")
        if bundle.program is not None and bundle.program.dropped:
            lines.append(f"Does not run in the job: {'; '.join(bundle.program.dropped)}")
        for one in spec.volumes:
            tied = self.storage is not None and self.storage.tied(one.claim)
            lines.append(
                f"Volume: {one.claim} at {one.path} (${one.variable})"
                + (", read only" if one.read_only else "")
                + ("; it can be mounted on one machine only, where all replicas must find room" if tied else "")
            )
        lines += self.told
        if spec.output:
            lines.append(
                f"Results: the files in $KF_OUTPUT come back to {self.request.output}; {_kept(spec, self.storage)}"
            )
        return "\n".join(lines)

    def yaml(self) -> str:
        """The manifests as YAML that ``kubectl create -f`` takes."""
        return to_yaml(*self.manifests)

    def python(self) -> str:
        """The same as a Python call."""
        code = self.request.code
        first = getattr(code, "__name__", None) or repr(self._file or str(code))
        given = [f"{key}={shown(value)}" for key, value in self._given()]
        arguments = ",\n    ".join([first, repr(self.spec.framework.name), *given])
        return f"import jupyterlab_kf as kf\n\njob = kf.train(\n    {arguments},\n)\njob.wait()\n"

    def magic(self) -> str:
        """The same as a cell."""
        code = self.request.code
        named = self._file or getattr(code, "__name__", "")
        words = [self.spec.framework.name, *([named] if named else [])]
        # Everything after --args goes to the program, so it comes last.
        for key, value in sorted(self._given(), key=lambda pair: pair[0] == "args"):
            words += flags(key, value)
        return f"%kf_train {shlex.join(words)}\n" if named else f"%%kf_train {shlex.join(words)}\n{code}"

    @property
    def _file(self) -> str:
        """The script or notebook that was named, below the folder where it was looked up; else empty."""
        code = self.request.code
        return self.bundle.filename if isinstance(code, (str, Path)) and bundles.script_path(code) else ""

    def _given(self) -> list[tuple[str, Any]]:
        """The arguments that differ from their defaults, in the signature's order."""
        hidden = {"code", "framework", "first_line", "root", "replace"}
        if self._file or not _says_more(self.request.filename):
            hidden.add("filename")
        return [
            (entry.name, bundles.plain(value) if entry.name == "params" else value)
            for entry in fields(Request)
            if entry.name not in hidden
            and (value := getattr(self.request, entry.name)) != entry.default
            and value not in (None, (), {}, [])
        ]


def make(
    request: Request,
    *,
    namespace: str,
    submission: str,
    kind: Kind | None = None,
    storage: Storage | None = None,
    beside: Mapping[str, bytes] | None = None,
    use: Use = Use.TRAINING,
) -> Plan:
    """The plan of a request; what the cluster has to keep files on is not judged where it is not given.

    ``beside`` are files that travel with the code and are on no disk; ``use`` says what a hardware profile must be for.

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
        beside=beside,
    )
    shelves.refuse(bundle.guess(), bundle.largest())
    archive = bundle.archive()
    digest = hashlib.sha256(archive).hexdigest()
    hardware = _hardware(request, use)
    image = request.image or (hardware.image if hardware else "") or row.image
    needed = _needed(bundle)
    install = packages.wanted(request.install, needed, packages.here)
    said = _said(request, row, namespace, submission, image)
    record = _provenance(request, bundle, needed, params, image)
    spec = training.check(replace(said, hardware=hardware, kind=kind, provenance=record, **_keeping(request, storage)))
    texts = _texts(request, spec, bundle, params=params, digest=digest, install=install)
    if len(archive) <= training.MAPS_LIMIT:
        parts = training.pieces(texts, archive)
    else:
        parts = [b""]
        spec = replace(spec, shelf=shelves.choose(spec, len(archive), bundle.largest()), archive=digest)
        # What is run can be read without the volume, as far as it fits.
        texts |= _readable(texts, bundle)
    spec = replace(spec, code_pieces=len(parts))
    manifests = training.code_maps(spec, texts, parts)
    if spec.output and not spec.output_claim and not spec.output_logs:
        manifests.append(training.output_claim(spec))
    job = training.encode(spec)
    if storage is not None:
        own = {made["metadata"]["name"] for made in manifests}
        storage.check(name for name in training.claims_of(job) if name not in own)
    parcel = Parcel(spec, job, texts["launch.py"], archive) if spec.shelf else None
    return Plan(
        spec,
        bundle,
        [*manifests, job],
        request,
        storage=storage,
        install=install,
        needed=needed,
        contents=contents.listed(image),
        parcel=parcel,
    )


def _said(request: Request, row: Framework, namespace: str, submission: str, image: str) -> TrainingSpec:
    """The job as the request says it by itself."""
    return TrainingSpec(
        name=names.check_job_name(request.name) if request.name is not None else _name(request, submission),
        namespace=request.namespace or namespace,
        framework=row,
        replicas=frameworks.layout(row, workers=request.workers, replicas=request.replicas, elastic=request.elastic),
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
        elastic=request.elastic,
        volumes=pods.mounts(request.volumes),
    )


def _texts(
    request: Request,
    spec: TrainingSpec,
    bundle: Bundle,
    *,
    params: Mapping[str, Any],
    digest: str,
    install: Sequence[Wanted],
) -> dict[str, str]:
    """What lies beside the packed code: the job's instructions, and the programs that heed them."""
    instructions = bundles.instructions(
        bundle,
        framework=spec.framework.name,
        args=[str(word) for word in request.args],
        params=params,
        nodes=frameworks.trainers(spec.replicas),
        nproc=spec.nproc,
        ranks=spec.ranks,
        sha256=digest,
        **({"resultsLimit": training.LOG_LIMIT} if spec.output_logs else {}),
        **({"install": [one.instruction() for one in install]} if install else {}),
    )
    texts = {"job.json": instructions, "launch.py": runtime("launch.py")}
    if install:
        texts["install.py"] = runtime("install.py")
    _check_texts(texts)
    return texts


def _says_more(filename: str) -> bool:
    """Whether text runs otherwise under that name: as a notebook's cells, or in a folder, among what lies there."""
    return filename.endswith(notebooks.SUFFIX) or "/" in filename


def _needed(bundle: Bundle) -> tuple[Package, ...]:
    """What the code imports, with the file's name as people know it."""
    found = packages.imported(bundle.imports, packages.here)
    return tuple(replace(one, file=bundle.filename) if one.file == bundle.main else one for one in found)


def _keeping(request: Request, storage: Storage | None) -> dict[str, Any]:
    """Where results are kept, as arguments of the spec.

    On a claim of the request's own, else on the notebook's if all machines can write it, else on a claim made for the
    job; and where that would get no volume, in the logs.
    """
    if request.output is None:
        return {}
    claim = next((one.claim for one in pods.mounts(request.volumes) if not one.read_only), "")
    own = settings.load().workspace
    if not claim and own is not None and storage is not None and storage.shared(own.claim):
        claim = own.claim
    logs = not claim and storage is not None and bool(storage.unable)
    return {"output": True, "output_claim": claim, "output_logs": logs}


def _kept(spec: TrainingSpec, storage: Storage | None) -> str:
    if spec.output_claim:
        return f"they stay on the volume {spec.output_claim} in {spec.output_folder}"
    if not spec.output_logs or storage is None:
        return f"a volume of {spec.output_size} is made for them, and goes with the job"
    there = f" (there are {', '.join(sorted(storage.claims))})" if storage.claims else ""
    return (
        f"{storage.unable}, so they come through the log of each replica that succeeds: at most "
        f"{bundles.size(training.LOG_LIMIT)} packed, what does not fit is left out. On a volume all of them are kept: "
        f"--volume CLAIM{there}"
    )


def _check_texts(texts: Mapping[str, str]) -> None:
    said = sum(len(text.encode()) for text in texts.values())
    if said > training.MAP_LIMIT:
        raise BundleError(
            f"parameters and arguments are {bundles.size(said)}; {bundles.size(training.MAP_LIMIT)} fit",
            hint="pass large values as files on a volume",
        )


def _readable(texts: Mapping[str, str], bundle: Bundle) -> dict[str, str]:
    source = bundle.files[bundle.main].decode(errors="replace")
    room = training.MAP_LIMIT - sum(len(text.encode()) for text in texts.values())
    return {training.SOURCE_KEY: source} if len(source.encode()) <= room else {}


def _hardware(request: Request, use: Use) -> Hardware | None:
    """The profile that is named, with what was said beside it. Groups are not known here: the cluster decides."""
    if request.profile is None:
        return None
    said = pods.resources(request.cpu, request.memory, request.gpu)
    asked = Choice(said.cpu, said.memory, request.gpu, image=request.image or "")
    return choose(named.catalogue().usable(request.profile, use), asked, any_image=True, any_amount=True)


def kind_of(obj: Obj) -> Kind:
    """The table's row of a planned object."""
    return kinds.of(obj["apiVersion"], obj["kind"])


def runtime(name: str) -> str:
    """The text of a program that travels with the code."""
    return package_files.files("jupyterlab_kf.runtime").joinpath(name).read_text(encoding="utf-8")


def to_yaml(*documents: Obj) -> str:
    """Objects as YAML documents, texts of several lines as blocks."""
    import yaml

    def dump(base: Any) -> str:
        dumper: Any = type("Dumper", (base,), {"ignore_aliases": lambda *_: True})
        dumper.add_representer(str, _text)
        written = yaml.dump_all(documents, Dumper=dumper, sort_keys=False, width=120, allow_unicode=True)
        return str(written)

    # libyaml writes the same many times sooner, but that it takes smileys for unprintable.
    written = dump(getattr(yaml, "CSafeDumper", yaml.SafeDumper))
    return dump(yaml.SafeDumper) if "\\U" in written else written


def _text(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _check_words(request: Request) -> None:
    if isinstance(request.args, str):
        raise UsageError(
            "args is one text; it must be a list of words", hint=f"for example {shlex.split(request.args)}"
        )
    if isinstance(request.files, (str, Path)):
        raise UsageError("files is one path; it must be a list of paths", hint=f"for example [{str(request.files)!r}]")
    if isinstance(request.volumes, str):
        raise UsageError("volumes is one text; it must be a list", hint=f"for example [{request.volumes!r}]")
    if request.image is not None and (not request.image or any(c.isspace() for c in request.image)):
        raise UsageError(f"{request.image!r} is not an image's name")
    if request.output is not None and not str(request.output).strip():
        raise UsageError("output is empty; it names the folder that the results come back to")


def _name(request: Request, submission: str) -> str:
    code = request.code
    path = bundles.script_path(code) if isinstance(code, (str, Path)) else None
    base = path.stem if path else getattr(code, "__name__", "") or request.framework
    return f"{names.slug(base, limit=names.MAX_JOB_NAME - 6)}-{submission[:5]}"


def _provenance(
    request: Request, bundle: Bundle, needed: Sequence[Package], params: Mapping[str, Any], image: str
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "code": bundle.digest,
        "main": bundle.filename,
        "files": sorted(bundle.files),
        "image": image,
        "packages": packages.versions(needed),
        "params": dict(params),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    if user := settings.load().user:
        record["user"] = user
    if commit := git_commit(request.root or Path.cwd()):
        record["commit"] = commit
    if request.profile is not None:
        record["profile"] = request.profile
    if request.install:
        record["install"] = request.install if isinstance(request.install, bool) else list(request.install)
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


def shown(value: object) -> str:
    """A value as Python text."""
    return repr(str(value) if isinstance(value, Path) else dict(value) if isinstance(value, Mapping) else value)


def flags(key: str, value: Any) -> list[str]:
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
        case "volumes":
            words = [word for item in value for word in ("--volume", str(item))]
        case "install":
            words = ["--install", *([] if value is True else value)]
        case "files" | "args":
            words = [f"--{key}", *(str(item) for item in value)]
        case _:
            words = [f"--{key}", str(value)]
    return words

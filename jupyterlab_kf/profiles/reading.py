"""Reading ``profiles.yaml``: every fault is found, with its line and the nearest word that would have been right.

Owns what each key may hold and what must hold between profiles; how lines are kept is in :mod:`.sections`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from jupyterlab_kf import names, quantities
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.profiles.sections import Problem, Section, nearest
from jupyterlab_kf.profiles.values import (
    GPU,
    Accelerator,
    Amount,
    Catalogue,
    Deprecation,
    Limits,
    Profile,
    Toleration,
    Use,
    Volume,
)

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED: Final = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_LONGEST_SLUG: Final = 40
"""Leaves room for what is put around a slug in the name of a pod or a kernel spec."""
_LONGEST_NAME: Final = 63
GPU_NAMES: Final = {GPU: "GPU", "amd.com/gpu": "AMD GPU", "habana.ai/gaudi": "Gaudi", "intel.com/gpu": "Intel GPU"}
_PACKAGE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:===?\s*(?P<version>[\w.!+-]+)|@\s.*)?(?:\s*[;#].*)?"
)
_SOURCES: Final = ("claim", "config_map", "secret", "empty_dir")

PROFILE_KEYS: Final = (
    "slug", "display_name", "description", "default", "image", "images", "cpu", "memory", "gpus", "shared_memory",
    "node_selector", "tolerations", "volumes", "environment", "groups", "used_for", "hidden", "deprecated",
    "idle_timeout",
)  # fmt: skip


def read(text: str, source: str = "profiles.yaml") -> Catalogue:
    """The profiles of a file's text.

    Raises:
        UsageError: the file has faults; all of them are named, one a line.
    """
    found, problems = check(text, source)
    if problems:
        first, *rest = problems
        message = f"{source}, {first}" if first.line else f"{source}: {first}"
        raise UsageError(message, hint="\n".join(f"{source}, {one}" for one in rest))
    return found


def check(text: str, source: str = "profiles.yaml") -> tuple[Catalogue, list[Problem]]:
    """What could be read, and everything that is wrong, in the order of lines."""
    import yaml

    problems: list[Problem] = []
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        return Catalogue(source=source), [Problem(line, f"this is not YAML: {error.problem}")]
    except yaml.YAMLError as error:
        return Catalogue(source=source), [Problem(0, f"this is not YAML: {error}")]
    finally:
        loader.dispose()
    if node is None:
        return Catalogue(source=source), [Problem(0, "the file is empty")]
    top = Section(node, "the file", ("profiles", "limits", "packages"), problems)
    profiles = [_profile(one) for one in top.sections("profiles", "a profile", PROFILE_KEYS)]
    limits = _limits(top)
    if "profiles" not in top:
        top.complain("there is no list 'profiles'")
    _across(profiles, problems)
    return Catalogue(tuple(profiles), limits, source, _packages(top)), sorted(problems)


def _profile(section: Section) -> Profile:
    slug = section.checked("slug", _slug)
    if "slug" not in section:
        section.complain("the profile has no 'slug': the short name by which it is chosen")
    if "deprecated" in section and section.flag("default"):
        section.wrong("default", "a deprecated profile cannot be the default")
    return Profile(
        slug=slug,
        display_name=section.scalar("display_name") or slug,
        description=section.scalar("description"),
        images=_images(section),
        cpu=_amount(section, "cpu"),
        memory=_amount(section, "memory"),
        accelerators=_accelerators(section),
        shared_memory=section.quantity("shared_memory", "memory"),
        node_selector=section.pairs("node_selector", _node_label),
        tolerations=tuple(
            _toleration(one)
            for one in section.sections(
                "tolerations", "a toleration", ("key", "operator", "value", "effect", "toleration_seconds")
            )
        ),
        volumes=tuple(
            _volume(one)
            for one in section.sections(
                "volumes", "a volume", ("name", "mount_path", "read_only", "sub_path", "size", *_SOURCES)
            )
        ),
        environment=section.pairs("environment", lambda name, _: names.check_env_name(name)),
        groups=section.texts("groups"),
        used_for=_uses(section),
        default=section.flag("default"),
        hidden=section.flag("hidden"),
        deprecated=_deprecation(section),
        idle_timeout=_time(section),
        line=section.line,
    )


def _images(section: Section) -> tuple[str, ...]:
    if "image" in section and "images" in section:
        section.wrong("images", "'image' and 'images' exclude each other; list them all in 'images'")
    found = section.texts("image") + section.texts("images")
    for image in found:
        if not image or any(character.isspace() for character in image):
            section.wrong("images" if "images" in section else "image", f"{image!r} is not an image's name")
    return found


def _amount(section: Section, resource: str) -> Amount:
    if section.is_scalar(resource):
        both = section.quantity(resource, resource)
        return Amount(both, both)
    inner = section.section(resource, f"{resource!r}", ("request", "limit", "min", "max", "default"))
    if inner is None:
        return Amount()
    values = {key: inner.quantity(key, resource) for key in ("request", "limit", "min", "max", "default")}
    fixed, movable = (
        [k for k in ("request", "limit") if k in inner],
        [k for k in ("min", "max", "default") if k in inner],
    )
    if fixed and movable:
        inner.complain(f"{resource!r} has both {fixed[0]!r} and {movable[0]!r}: it is either fixed or a range")
        return Amount()
    if not movable:
        _rising(inner, ("request", values["request"]), ("limit", values["limit"]))
        return Amount(values["request"] or values["limit"], values["limit"])
    if "max" not in inner or "min" not in inner:
        inner.complain(f"{resource!r} is a range and needs 'min' and 'max'")
        return Amount()
    start = values["default"] or values["min"]
    _rising(inner, ("min", values["min"]), ("max", values["max"]))
    if values["default"]:
        _rising(inner, ("min", values["min"]), ("default", start))
        _rising(inner, ("default", start), ("max", values["max"]))
    return Amount(start, start, values["min"], values["max"])


def _rising(section: Section, lower: tuple[str, str], upper: tuple[str, str]) -> None:
    (low, small), (high, large) = lower, upper
    if small and large and quantities.parse(small) > quantities.parse(large):
        section.wrong(low, f"{low!r} is {small}, which is more than {high!r}, {large}")


def _accelerators(section: Section) -> tuple[Accelerator, ...]:
    if section.is_scalar("gpus"):
        all_ = section.whole("gpus") or 0
        return (Accelerator(GPU, GPU_NAMES[GPU], all_, all_, all_),) if all_ else ()
    found = []
    keys = ("resource", "display_name", "count", "min", "max", "default")
    for one in section.sections("gpus", "'gpus'", keys):
        resource = one.checked("resource", _resource) or GPU
        count, least, most, start = (one.whole(key) for key in ("count", "min", "max", "default"))
        if count is not None and any(key in one for key in ("min", "max", "default")):
            one.complain("'gpus' has 'count' and a range: it is either fixed or a range")
        if count is None and most is None:
            one.complain("'gpus' needs 'count', or 'min' and 'max'")
            continue
        low = count if count is not None else least or 0
        high = count if count is not None else most or 0
        chosen = count if count is not None else low if start is None else start
        if not low <= chosen <= high:
            one.complain(f"'gpus' is a range from {low} to {high} with the default {chosen}")
        name = one.scalar("display_name") or GPU_NAMES.get(resource, resource)
        found.append(Accelerator(resource, name, chosen, low, high))
    return tuple(found)


def _toleration(section: Section) -> Toleration:
    operator = section.scalar("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        section.wrong("operator", f"'operator' is Equal or Exists, not {operator!r}")
    if operator == "Exists" and "value" in section:
        section.wrong("value", "a toleration with the operator Exists has no 'value'")
    if operator == "Equal" and "key" not in section:
        section.complain("a toleration without 'key' has the operator Exists")
    effect = section.scalar("effect")
    if effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        section.wrong("effect", f"'effect' is NoSchedule, PreferNoSchedule or NoExecute, not {effect!r}")
    return Toleration(
        section.checked("key", _qualified),
        operator,
        section.scalar("value"),
        effect,
        section.whole("toleration_seconds"),
    )


def _volume(section: Section) -> Volume:
    chosen = [key for key in _SOURCES if key in section]
    if len(chosen) != 1:
        section.complain(f"a volume has one of {', '.join(_SOURCES)}")
    source = chosen[0] if chosen else "empty_dir"
    path = section.scalar("mount_path")
    if not path.startswith("/") or "/../" in f"{path}/" or ":" in path:
        section.complain(f"'mount_path' is an absolute path, not {path!r}")
    if source == "empty_dir":
        target = "" if section.scalar("empty_dir") in ("", "true") else section.quantity("empty_dir", "memory")
    else:
        target = section.checked(source, _subdomain)
    name = section.checked("name", _label)
    if "name" not in section:
        section.complain("a volume has a 'name'")
    return Volume(name, path, source, target, section.flag("read_only"), section.scalar("sub_path"))


def _uses(section: Section) -> tuple[Use, ...]:
    if "used_for" not in section:
        return tuple(Use)
    found = []
    for word in section.texts("used_for"):
        if word in tuple(Use):
            found.append(Use(word))
        else:
            section.wrong("used_for", f"'used_for' has no {word!r}; {nearest(word, [str(use) for use in Use])}")
    return tuple(found)


def _deprecation(section: Section) -> Deprecation | None:
    inner = section.section("deprecated", "'deprecated'", ("message", "replacement"))
    return None if inner is None else Deprecation(inner.scalar("message"), inner.scalar("replacement"))


def _time(section: Section) -> int | None:
    text = section.checked("idle_timeout", quantities.seconds)
    return round(quantities.seconds(text)) if text else None


def _limits(top: Section) -> dict[str, Limits]:
    groups = top.section("limits", "'limits'", None)
    found = {}
    for name in groups.keys() if groups else ():
        assert groups is not None  # noqa: S101  for the type checker
        keys = ("servers", "cpu", "memory", "gpus", "storage", "own_image")
        one = groups.section(name, f"the limits of {name!r}", keys)
        if one is not None:
            cpu, memory = one.quantity("cpu", "cpu"), one.quantity("memory", "memory")
            storage = one.quantity("storage", "memory")
            found[name] = Limits(
                servers=one.whole("servers"),
                cpu=quantities.parse(cpu) if cpu else None,
                memory=quantities.parse(memory) if memory else None,
                gpus=one.whole("gpus"),
                storage=quantities.parse(storage) if storage else None,
                own_image=one.flag("own_image"),
            )
    return found


def _packages(top: Section) -> dict[str, tuple[tuple[str, str], ...]]:
    """The packages of images: lists of NAME==VERSION, or texts of such lines as ``pip freeze`` writes them."""
    images = top.section("packages", "'packages'", None)
    found = {}
    for image in images.keys() if images else ():
        assert images is not None  # noqa: S101  for the type checker
        lines = [line.strip() for text in images.texts(image) for line in text.splitlines()]
        rows = []
        for line in lines:
            match = _PACKAGE.fullmatch(line)
            if match:
                rows.append((match["name"], match["version"] or ""))
            elif line and not line.startswith(("#", "-e ")):
                images.wrong(image, f"{line!r} is not a package; write NAME==VERSION, as pip freeze does")
        found[image] = tuple(rows)
    return found


def _across(profiles: Sequence[Profile], problems: list[Problem]) -> None:
    """What is wrong between profiles that are right by themselves."""
    lines: dict[str, int] = {}
    for profile in profiles:
        if profile.slug in lines:
            first = lines[profile.slug]
            problems.append(Problem(profile.line, f"the slug {profile.slug!r} stands at line {first} too"))
        if profile.slug:
            lines.setdefault(profile.slug, profile.line)
    defaults = [profile for profile in profiles if profile.default]
    problems += [
        Problem(extra.line, f"the default is {defaults[0].slug!r} already, at line {defaults[0].line}")
        for extra in defaults[1:]
    ]
    for profile in profiles:
        target = profile.deprecated.replacement if profile.deprecated else ""
        if target and (target not in lines or target == profile.slug):
            known = [slug for slug in lines if slug != profile.slug]
            message = f"the replacement {target!r} is no other profile; {nearest(target, known)}"
            problems.append(Problem(profile.line, message))
        names_ = [volume.name for volume in profile.volumes]
        paths = [volume.mount_path.rstrip("/") for volume in profile.volumes]
        for what, values in (("name", names_), ("mount_path", paths)):
            twice = {value for value in values if values.count(value) > 1}
            problems += [Problem(profile.line, f"two volumes have the {what} {value!r}") for value in sorted(twice)]


def _slug(text: str) -> None:
    if not _LABEL.fullmatch(text) or len(text) > _LONGEST_SLUG:
        raise UsageError(
            f"{text!r} is not a slug: lower-case letters, digits and '-', at most {_LONGEST_SLUG}; "
            f"for example {names.slug(text, limit=_LONGEST_SLUG)!r}"
        )


def _label(text: str) -> None:
    if not _LABEL.fullmatch(text) or len(text) > _LONGEST_NAME:
        raise UsageError(f"{text!r} is not a name: lower-case letters, digits and '-'")


def _subdomain(text: str) -> None:
    if not all(_LABEL.fullmatch(part) for part in text.split(".")):
        raise UsageError(f"{text!r} is not an object's name: lower-case letters, digits, '-' and '.'")


def _resource(text: str) -> None:
    if "/" not in text or not _QUALIFIED.fullmatch(text):
        raise UsageError(f"{text!r} is not the name of an extended resource, such as nvidia.com/gpu")


def _qualified(text: str) -> None:
    if not _QUALIFIED.fullmatch(text):
        raise UsageError(f"{text!r} is not a label's key")


def _node_label(key: str, value: str) -> None:
    _qualified(key)
    if not _VALUE.fullmatch(value) or len(value) > _LONGEST_NAME:
        raise UsageError(f"{value!r} is not a label's value: letters, digits, '-', '_' and '.'")

"""The form in which hardware is chosen: plain HTML that works without JavaScript, in the hub's own look.

Everything is escaped by the template engine. What is chosen is checked in `options`; the form is a help.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests.capacity import Ground
from jupyterlab_kf.profiles import Catalogue, Use
from jupyterlab_kf.services import hardware
from jupyterlab_kf_hub.options import KEYS

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES: Final = Path(__file__).with_name("templates")


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    engine = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return engine.get_template("form.html")


def render(catalogue: Catalogue, groups: Iterable[str], ground: Ground, last: Mapping[str, Any], note: str = "") -> str:
    """The inside of the form, with the last choice made again where it is still possible."""
    known = list(groups)
    offers = hardware.offers(ground, catalogue.offered(Use.SERVER, known))
    chosen = str(last.get("hardware") or "")
    if chosen not in [one.profile.slug for one in offers]:
        try:
            # A hidden one that was chosen before stays chosen.
            offers += hardware.offers(ground, [catalogue.usable(chosen, Use.SERVER, known)])
        except UsageError:
            default = catalogue.default(Use.SERVER, known)
            chosen = default.slug if default else ""
    environment = last.get("environment") or ""
    if isinstance(environment, Mapping):
        environment = "\n".join(f"{name}={value}" for name, value in environment.items())
    images = list(dict.fromkeys(image for one in offers for image in one.profile.images))
    return _template().render(
        offers=offers,
        chosen=chosen,
        last={key: str(last.get(key) or "") for key in KEYS},
        environment=environment,
        images=images,
        own_image=catalogue.limits_of(known).own_image,
        movable=any(one.profile.cpu.movable or one.profile.memory.movable for one in offers),
        gpus=any(one.profile.accelerators for one in offers),
        note=note,
    )

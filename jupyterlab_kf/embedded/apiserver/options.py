"""What a caller may ask of a write or a deletion, beside the object itself.

Plain values. The defaults are those of a trusted caller in this process: no field checks, no field manager.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Options of create, update and patch.

    Attributes:
        manager: the field manager; empty leaves ``managedFields`` alone.
        field_validation: ``Strict``, ``Warn`` or ``Ignore``; empty means that unknown fields are not even looked for.
        dry_run: do everything but the write.
        force: take over fields that another manager applied.
        decoding: what was wrong with the body's text, such as ``duplicate field "data"``.
        warnings: filled with what ``Warn`` finds; the answer's Warning headers.
    """

    manager: str = ""
    field_validation: str = ""
    dry_run: bool = False
    force: bool = False
    decoding: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """Options of a deletion.

    Attributes:
        grace: seconds that a pod gets; None takes the pod's own.
        propagation: ``Background``, ``Foreground`` or ``Orphan``; empty is the background.
        uid: only if the object has this uid.
        resource_version: only if this version is stored.
        dry_run: do everything but the deletion.
    """

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

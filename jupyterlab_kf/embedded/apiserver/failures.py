"""The failures an API server answers with: constructors of ``ApiError`` with Kubernetes' own words, and the Status.

Owns the wording, reasons and details of errors that belong to no single kind, and their form as a ``Status`` object.
Refuses to decide when one is due. Clients match on these texts and details, so they are reproduced to the letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar

from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthorizedError,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

MODIFIED: Final = "the object has been modified; please apply your changes to the latest version and try again"
_SHOWN: Final[Mapping[str, Any]] = {}
"""Details that are empty and still written, as a real server does for failures before it knows the resource."""


_E = TypeVar("_E", bound=ApiError)


class CauseLike(Protocol):
    """One reason for a 422."""

    @property
    def field(self) -> str:
        """Path of the field, such as ``spec.containers[0].image``."""

    @property
    def reason(self) -> str:
        """Such as ``FieldValueInvalid``."""

    @property
    def message(self) -> str:
        """Such as ``Required value``."""


class PageNotFoundError(NotFoundError):
    """404 as plain text: nothing is registered at that path."""


class ContinueExpiredError(ExpiredError):
    """410 for a list in pages, with a token that goes on from the current state."""

    def __init__(self, message: str, *, token: str) -> None:
        super().__init__(message)
        self.token = token


def details(kind: Kind, name: str = "") -> dict[str, Any]:
    """``details`` of a Status that is about a resource."""
    out: dict[str, Any] = {"name": name} if name else {}
    if kind.group:
        out["group"] = kind.group
    out["kind"] = kind.plural
    return out


def qualified(kind: Kind) -> str:
    """``TFJob.kubeflow.org``, or ``Pod``: how messages about content name a kind."""
    return f"{kind.kind}.{kind.group}" if kind.group else kind.kind


def not_found(kind: Kind, name: str) -> NotFoundError:
    """404 for a missing object."""
    return NotFoundError(f'{kind.resource} "{name}" not found', details=details(kind, name))


def already_exists(kind: Kind, name: str, *, prefix: str = "") -> AlreadyExistsError:
    """409 for a name that is taken."""
    return AlreadyExistsError(f'{prefix}{kind.resource} "{name}" already exists', details=details(kind, name))


def conflict(kind: Kind, name: str, why: str = MODIFIED) -> ConflictError:
    """409 for a version that is not the stored one."""
    return ConflictError(
        f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}', details=details(kind, name)
    )


def precondition(kind: Kind, name: str, why: str) -> ConflictError:
    """409 for a precondition of a deletion; its details carry the kind, not the resource."""
    return ConflictError(
        f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {why}',
        details={**details(kind, name), "kind": kind.kind},
    )


def bad_request(message: str) -> InvalidError:
    """400."""
    return InvalidError(message, code=400, reason="BadRequest")


def internal(message: str) -> ApiError:
    """500 without a reason, as for errors that a real server does not classify."""
    return ApiError(message, code=500, reason="")


def invalid(kind: Kind, name: str, causes: Iterable[CauseLike]) -> InvalidError:
    """422 with its causes."""
    return _invalid(qualified(kind), {**details(kind, name), "kind": kind.kind}, name, causes)


def denied(kind: Kind, sentence: str, causes: Iterable[CauseLike]) -> InvalidError:
    """422 of a webhook, in its own sentence."""
    listed = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    return InvalidError(sentence, details={"group": kind.group, "kind": kind.kind, "causes": listed})


def invalid_resource(kind: Kind, name: str, causes: Iterable[CauseLike]) -> InvalidError:
    """422 that names the resource, as a real server does for what its storage refuses."""
    return _invalid(kind.resource, details(kind, name), name, causes)


def invalid_options(options: str, causes: Iterable[CauseLike]) -> InvalidError:
    """422 for query parameters, such as ``CreateOptions``."""
    return _invalid(f"{options}.meta.k8s.io", {"group": "meta.k8s.io", "kind": options}, "", causes)


def invalid_log_options(pod: str, causes: Iterable[CauseLike]) -> InvalidError:
    """422 for what is asked of a pod's log."""
    return _invalid("PodLogOptions", {"name": pod, "kind": "PodLogOptions"}, pod, causes)


def _invalid(subject: str, about: dict[str, Any], name: str, causes: Iterable[CauseLike]) -> InvalidError:
    listed = list(causes)
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in listed))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    about["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in listed]
    return InvalidError(f'{subject} "{name}" is invalid: {text}', details=about)


def forbidden(kind: Kind, name: str, why: str, *, causes: list[dict[str, str]] | None = None) -> ForbiddenError:
    """403 about an object."""
    about = details(kind, name)
    if causes:
        about["causes"] = causes
    subject = f'{kind.resource} "{name}"' if name else kind.resource
    return ForbiddenError(f"{subject} is forbidden: {why}", details=about)


def unauthorized() -> UnauthorizedError:
    """401."""
    return UnauthorizedError("Unauthorized")


def no_resource() -> NotFoundError:
    """404 for a resource or version that a built-in group does not have."""
    return shown(NotFoundError("the server could not find the requested resource"))


def no_page() -> PageNotFoundError:
    """404 for a path that means nothing."""
    return PageNotFoundError("404 page not found")


def method_not_allowed() -> ApiError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return shown(ApiError(message, code=405, reason="MethodNotAllowed"))


def not_acceptable(*, custom: bool) -> ApiError:
    """406; custom resources and built-in ones word it differently."""
    formats = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    if custom:
        message = f"only the following media types are accepted: {formats}"
        return ApiError(message, code=406, reason="NotAcceptable")
    streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    message = f"406: Not Acceptable\n\nAvailable representations: {formats}, {streams}"
    return shown(ApiError(message, code=406, reason="NotAcceptable"))


def unsupported_body(accepted: str) -> ApiError:
    """415 for a body in a format that is not read."""
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return ApiError(message, code=415, reason="UnsupportedMediaType")


def unsupported_patch() -> ApiError:
    """415 for a patch that is none of the known four."""
    return shown(ApiError("415: Unsupported Media Type", code=415, reason="UnsupportedMediaType"))


def too_large(limit: int) -> ApiError:
    """413."""
    return ApiError(f"Request entity too large: limit is {limit}", code=413, reason="RequestEntityTooLarge")


def future_version(wanted: int, current: int) -> ApiError:
    """504 for a list at a version that has not happened."""
    return ApiError(
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        code=504,
        reason="Timeout",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def shown(error: _E) -> _E:
    """The error with its empty details written out."""
    error.details = _SHOWN
    return error


def status(error: ApiError) -> Obj:
    """The ``Status`` object of a failure."""
    out: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": error.message}
    if isinstance(error, ContinueExpiredError):
        out["metadata"] = {"continue": error.token}
    if error.reason:
        out["reason"] = error.reason
    if error.details or error.details is _SHOWN or error.code == HTTPStatus.UNPROCESSABLE_ENTITY:
        out["details"] = dict(error.details)
    out["code"] = error.code
    return out


def success(kind: Kind, name: str, uid: str) -> Obj:
    """The ``Status`` that answers a deletion."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**details(kind, name), "uid": uid},
    }

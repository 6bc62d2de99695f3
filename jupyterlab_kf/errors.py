"""Every error this package raises on purpose, each with the object it is about and what the user can do.

    KubeflowError
    ├── UsageError              (also ValueError) the caller's input is wrong; nothing was created
    │   ├── ManifestError       a manifest that no cluster would accept
    │   └── BundleError         code or files that cannot be shipped
    ├── ApiError                the API server answered with a failure Status
    │   ├── NotFoundError       404
    │   ├── AlreadyExistsError  409, reason AlreadyExists
    │   ├── ConflictError       409, every other reason
    │   ├── InvalidError        422, and 400 for a body that cannot be read
    │   ├── ForbiddenError      403
    │   ├── UnauthorizedError   401
    │   ├── OperatorAwayError   what checks such objects for the server does not answer
    │   └── ExpiredError        410, a resource version that is no longer kept
    ├── UnreachableError        no API server answered
    │   └── CredentialsError    nobody was asked: there are no valid credentials, and none could be had
    ├── ClusterError            the embedded cluster could not be started, found or stopped
    ├── WaitTimeoutError        (also TimeoutError) what was waited for did not happen in time
    ├── JobFailedError          a job ended in failure; carries the root cause
    ├── KernelError             a kernel does not run, or runs no more
    └── EndpointError           an endpoint did not do what it was asked
        ├── EndpointNotReadyError   (also TimeoutError) a version does not come up; the others serve on
        └── PredictionError         a prediction failed; carries the unit, its status and its traceback

Errors of other libraries never leave the module that calls them: they are translated here, with the cause chained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.model import Cause, Ref


class KubeflowError(Exception):
    """The root of the tree.

    Args:
        message: what is wrong, in one sentence that names the thing.
        hint: what the user can do about it; empty when there is nothing to add.
        ref: the Kubernetes object the error is about, if there is one.
    """

    def __init__(self, message: str, *, hint: str = "", ref: Ref | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.ref = ref

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(KubeflowError, ValueError):
    """The caller's input is wrong. Raised before anything is created."""


class ManifestError(UsageError):
    """A manifest that no cluster would accept. The message names the field."""


class BundleError(UsageError):
    """Code or files that cannot be shipped to a job."""


class ApiError(KubeflowError):
    """The API server answered with a failure Status.

    Attributes:
        code: the HTTP status code.
        reason: the machine-readable reason of the Status, such as ``NotFound``.
        details: the Status' ``details`` object as it came, or an empty mapping.
    """

    code = 500
    reason = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        hint: str = "",
        ref: Ref | None = None,
    ) -> None:
        super().__init__(message, hint=hint, ref=ref)
        self.code = self.code if code is None else code
        self.reason = self.reason if reason is None else reason
        self.details: Mapping[str, Any] = details or {}


class NotFoundError(ApiError):
    """404: no such object, or a kind that this server does not serve."""

    code, reason = 404, "NotFound"


class AlreadyExistsError(ApiError):
    """409: an object of that name exists."""

    code, reason = 409, "AlreadyExists"


class ConflictError(ApiError):
    """409: the object has changed since it was read, or another field manager owns the field."""

    code, reason = 409, "Conflict"


class InvalidError(ApiError):
    """422 (or 400 for an unreadable body): the server refused the object's content."""

    code, reason = 422, "Invalid"


class ForbiddenError(ApiError):
    """403: the caller may not do this."""

    code, reason = 403, "Forbidden"


class UnauthorizedError(ApiError):
    """401: the credentials are missing or expired."""

    code, reason = 401, "Unauthorized"


class ExpiredError(ApiError):
    """410: the resource version or continue token is older than what the server keeps."""

    code, reason = 410, "Expired"


class OperatorAwayError(ApiError):
    """An admission webhook, by which an operator checks its jobs, did not answer: nothing was created.

    Attributes:
        cause: as of a job that no operator looks after.
    """

    cause = Cause.OPERATOR_ABSENT


class UnreachableError(KubeflowError):
    """No API server answered at the address of the current connection."""


class CredentialsError(UnreachableError):
    """No valid credentials, and none could be had just now: a program that gives them failed, a login has ended."""


class ClusterError(KubeflowError):
    """The embedded cluster could not be started, found or stopped."""


class WaitTimeoutError(KubeflowError, TimeoutError):
    """What was waited for did not happen within the given time."""


class JobFailedError(KubeflowError):
    """A job ended in failure.

    Attributes:
        replica: the replica that failed first, such as ``worker-1``; empty when no replica ran.
        exit_code: its exit code, if it has one.
        traceback: the Python traceback found in its log; empty when there is none.
    """

    def __init__(
        self,
        message: str,
        *,
        replica: str = "",
        exit_code: int | None = None,
        traceback: str = "",
        hint: str = "",
        ref: Ref | None = None,
    ) -> None:
        super().__init__(message, hint=hint, ref=ref)
        self.replica = replica
        self.exit_code = exit_code
        self.traceback = traceback


class KernelError(KubeflowError):
    """A kernel does not run, or runs no more.

    Attributes:
        cause: why, for programs.
    """

    def __init__(self, message: str, *, hint: str = "", ref: Ref | None = None, cause: Cause = Cause.OTHER) -> None:
        super().__init__(message, hint=hint, ref=ref)
        self.cause = cause


class EndpointError(KubeflowError):
    """An endpoint did not do what it was asked; carries the endpoint."""


class EndpointNotReadyError(EndpointError, TimeoutError):
    """A version of an endpoint does not come up. What served before serves on.

    Attributes:
        version: which one.
        traceback: the Python traceback found in its log; empty when there is none.
    """

    def __init__(
        self, message: str, *, version: str = "", traceback: str = "", hint: str = "", ref: Ref | None = None
    ) -> None:
        super().__init__(message, hint=hint, ref=ref)
        self.version = version
        self.traceback = traceback


class PredictionError(EndpointError):
    """A prediction failed.

    Attributes:
        status: the HTTP status code that came back.
        unit: the part of the graph that failed; empty where it is not known.
        traceback: the unit's own traceback; empty where it was not told.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 500,
        unit: str = "",
        traceback: str = "",
        hint: str = "",
        ref: Ref | None = None,
    ) -> None:
        super().__init__(message, hint=hint, ref=ref)
        self.status = status
        self.unit = unit
        self.traceback = traceback


_BY_REASON: Mapping[str, type[ApiError]] = {
    cls.reason: cls
    for cls in (
        NotFoundError,
        AlreadyExistsError,
        ConflictError,
        InvalidError,
        ForbiddenError,
        UnauthorizedError,
        ExpiredError,
    )
}
_BY_CODE: Mapping[int, type[ApiError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    422: InvalidError,
}


_HOOK_AWAY: Final = re.compile(
    r'failed calling webhook "(?P<name>[^"]+)": (?:failed to call webhook: )?(?:\w+ "[^"]*": )?(?P<why>.+)$', re.DOTALL
)
_HOOK_REFUSED: Final = re.compile(r'^admission webhook "(?P<name>[^"]+)" denied the request: (?P<why>.+)$', re.DOTALL)


def from_status(status: Mapping[str, Any], *, code: int, hint: str = "", ref: Ref | None = None) -> ApiError:
    """The error for a failure ``Status`` object (core/v1), chosen by its reason first and by its code second.

    Refusals of admission webhooks come with any code: they are told by their words.
    """
    reason = str(status.get("reason") or "")
    actual = int(status.get("code") or code)
    cls = _BY_REASON.get(reason) or _BY_CODE.get(actual, ApiError)
    message = str(status.get("message") or f"the server answered {actual}")
    what = str(ref) if ref is not None else "the object"
    if away := _HOOK_AWAY.search(message):
        cls = OperatorAwayError
        message = f"{what} was not taken: the cluster's rule {away['name']!r} does not answer ({away['why']})"
        hint = (
            "the operator that checks such jobs does not run, or cannot be reached: submit again when it is back "
            "(jupyter kf doctor tells), or ask the cluster's administrator"
        )
    elif refused := _HOOK_REFUSED.search(message):
        cls = InvalidError
        message = f"the cluster's rule {refused['name']!r} refuses {what}: {refused['why']}"
        hint = "change what it names and submit again; the cluster's administrator knows what the rule asks for"
    details = status.get("details")
    return cls(
        message,
        code=actual,
        reason=reason or cls.reason,
        details=details if isinstance(details, Mapping) else None,
        hint=hint,
        ref=ref,
    )

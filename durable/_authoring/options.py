"""How an activity is run: what can be said of it, where it is defined and where it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from .._core.retries import Duration, Retry, seconds

Isolation: TypeAlias = Literal["read_committed", "repeatable_read", "serializable"]


class Given(TypedDict, total=False):
    """See :func:`durable.activity` for each. What is left out stays as it is; None unsets."""

    retry: Retry | None
    timeout: Duration | None
    timeout_total: Duration | None
    heartbeat_timeout: Duration | None
    raises: tuple[type[Exception], ...] | None
    record_start: bool | None
    isolation: Isolation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityOptions:
    """The same as it is kept: times in seconds."""

    retry: Retry = field(default_factory=Retry)
    timeout: float | None = None
    timeout_total: float | None = None
    heartbeat_timeout: float | None = None
    raises: tuple[type[Exception], ...] = ()
    record_start: bool | None = None
    isolation: Isolation | None = None  # of a transaction

    def changed(self, given: Given) -> ActivityOptions:
        """
        Raises:
            ValueError: a time that is not positive, or ``raises`` that are no exceptions.
            TypeError: there is no such option, or it takes something else.
        """
        changes: dict[str, Any] = {**given}
        if unknown := changes.keys() - Given.__annotations__.keys():
            raise TypeError(
                f"an activity has no option {', '.join(sorted(unknown))}; it has "
                f"{', '.join(Given.__annotations__)}"
            )
        for name in ("timeout", "timeout_total", "heartbeat_timeout"):
            if (length := changes.get(name)) is not None:
                changes[name] = seconds(length, what=name)
                if not changes[name]:
                    raise ValueError(f"{name}=0: nothing ends in no time; None is without a limit")
        if "retry" in changes:
            changes["retry"] = changes["retry"] or Retry()
            if not isinstance(changes["retry"], Retry):
                raise TypeError(f"retry={changes['retry']!r}: it takes a Retry(attempts=...)")
        if changes.get("isolation") not in (None, *get_args(Isolation)):
            raise ValueError(
                f"isolation={changes['isolation']!r}: it takes one of {get_args(Isolation)}"
            )
        raises = changes.get("raises") or ()
        if not isinstance(raises, tuple) or not all(map(_is_exception, raises)):
            raise ValueError(
                f"raises={raises!r}: it takes a tuple of subclasses of Exception, "
                "as in raises=(CardDeclined,)"
            )
        return replace(self, **changes | ({"raises": raises} if "raises" in changes else {}))

    @property
    def is_timed(self) -> bool:
        return (self.timeout, self.timeout_total, self.heartbeat_timeout) != (None, None, None)

    @property
    def records_start(self) -> bool:
        return self.retry.attempts == 1 if self.record_start is None else self.record_start


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)

"""What an operator may do at the console beside replays: warm, purge, drain, reconcile.

Each is one value, read from a form: what it would do, and doing exactly that. The acts themselves
are those of `teleprefetch warm`, `purge`, `drain` and `reconcile`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, get_args

from teleprefetch.dicom import is_uid
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import Priority
from teleprefetch.operate import acts, previews
from teleprefetch.operate.acts import Actor
from teleprefetch.operate.previews import Line, known_node, known_origin
from teleprefetch.operate.reconciling import reconcile
from teleprefetch.operate.site import Site

_MOST_HOURS: Final = 24 * 90
_PRIORITIES: Final[Mapping[str, Priority]] = {one: one for one in get_args(Priority)}
Field = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be done; `given` is what was found for it and is done, nothing found later."""

    lines: tuple[Line, ...]
    given: Any = None


class Wanted(Protocol):
    """An act that was asked for; `button` does it, `nothing` is said where there is nothing."""

    @property
    def words(self) -> str:
        """What it is, in words."""

    @property
    def button(self) -> str:
        """What the button says that does it."""

    def preview(self, site: Site, *, now: datetime) -> Preview:
        """What it would do."""

    def carry_out(
        self, site: Site, actor: Actor, preview: Preview, *, now: datetime
    ) -> tuple[Line, ...]:
        """Do what the preview has shown, and record who and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """A study and its priors, beside a reading location."""

    study: str
    location: str
    origin: str
    priority: Priority
    button: str = "Warm it"

    @property
    def words(self) -> str:
        """What it is."""
        return f"Warm {self.study} and its priors at {self.location}, priority {self.priority}"

    def preview(self, site: Site, *, now: datetime) -> Preview:  # noqa: ARG002
        """The nodes that would be sent an order."""
        return Preview(
            lines=previews.of_warm(
                site,
                study_instance_uid=self.study,
                origin_id=self.origin,
                reading_location=self.location,
            )
        )

    def carry_out(
        self,
        site: Site,
        actor: Actor,
        preview: Preview,  # noqa: ARG002
        *,
        now: datetime,
    ) -> tuple[Line, ...]:
        """Start the prefetch."""
        name = acts.warm(
            site,
            actor,
            origin_id=self.origin,
            study_instance_uid=self.study,
            reading_location=self.location,
            priority=self.priority,
            now=now,
        )
        return (Line(name, "begun; Now tells how far it is"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """A study's image sets, at every node or at one."""

    study: str
    origin: str
    node: str
    button: str = "Forget it for good"

    @property
    def words(self) -> str:
        """What it is."""
        return f"Purge {self.study} at {self.node or 'every node'}, for good"

    def preview(self, site: Site, *, now: datetime) -> Preview:  # noqa: ARG002
        """The image sets of now, by a search of the data store."""
        ids = acts.image_sets_of(site, self.study, self.origin)
        nodes = (self.node,) if self.node else ()
        return Preview(
            lines=previews.of_purge(site, image_set_ids=ids, nodes=nodes) if ids else (), given=ids
        )

    def carry_out(
        self, site: Site, actor: Actor, preview: Preview, *, now: datetime
    ) -> tuple[Line, ...]:
        """Send the orders for the image sets that were shown."""
        sent = acts.purge(
            site,
            actor,
            origin_id=self.origin,
            image_set_ids=preview.given,
            nodes=(self.node,) if self.node else (),
            study_instance_uid=self.study,
            now=now,
        )
        return (Line(self.study, f"{sent} purge orders sent, {len(preview.given)} image sets"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A node is sent no more orders, or again."""

    node: str
    is_undone: bool

    @property
    def words(self) -> str:
        """What it is."""
        return f"Send {self.node} {'orders again' if self.is_undone else 'no more orders'}"

    @property
    def button(self) -> str:
        """What the button says."""
        return f"End the drain of {self.node}" if self.is_undone else f"Drain {self.node}"

    def preview(self, site: Site, *, now: datetime) -> Preview:  # noqa: ARG002
        """What becomes of its orders."""
        told = previews.of_undrain if self.is_undone else previews.of_drain
        return Preview(lines=told(site, self.node))

    def carry_out(
        self, site: Site, actor: Actor, preview: Preview, *, now: datetime
    ) -> tuple[Line, ...]:
        """Say it to whoever plans orders."""
        act = acts.undrain if self.is_undone else acts.drain
        act(site, actor, self.node, now=now)
        return preview.lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """Both sweeps at once: imports whose event was lost, notices past their deadline."""

    window_hours: int
    button: str = "Run the sweeps"

    @property
    def words(self) -> str:
        """What it is."""
        return f"Run the sweeps now, over {self.window_hours} hours"

    def preview(self, site: Site, *, now: datetime) -> Preview:
        """What they would start and release."""
        return Preview(lines=previews.of_reconcile(site, window_hours=self.window_hours, now=now))

    def carry_out(
        self,
        site: Site,
        actor: Actor,
        preview: Preview,  # noqa: ARG002
        *,
        now: datetime,
    ) -> tuple[Line, ...]:
        """Run them; a notice that another released meanwhile is not released again."""
        return previews.swept(reconcile(site, actor, window_hours=self.window_hours, now=now))


def wanted_act(site: Site, field: Field) -> Wanted:
    """The act that a form asks for.

    Args:
        site: the stack.
        field: a field of the form by its name; "" if it is not there.

    Raises:
        InvalidPayloadError: a field is not what it should be; the message names it.
    """
    read = _READ.get(field("act"))
    if read is None:
        raise InvalidPayloadError(f"act: one of {', '.join(_READ)}")
    return read(site, field)


def _warm(site: Site, field: Field) -> Warm:
    priority, location = _PRIORITIES.get(field("priority") or "high"), field("location")
    if priority is None:
        raise InvalidPayloadError(f"priority: one of {', '.join(_PRIORITIES)}")
    if location not in site.settings.routing.locations:
        raise InvalidPayloadError("location: not in ROUTING.locations")
    study, origin = _uid(field), _origin(site, field)
    return Warm(study=study, location=location, origin=origin, priority=priority)


def _purge(site: Site, field: Field) -> Purge:
    node = known_node(site, field("node")) if field("node") else ""
    return Purge(study=_uid(field), origin=_origin(site, field), node=node)


def _drain(site: Site, field: Field) -> Drain:
    return Drain(node=known_node(site, field("node")), is_undone=field("act") == "undrain")


def _reconcile(site: Site, field: Field) -> Reconcile:
    hours = field("hours") or str(site.settings.sweep_window_hours)
    if not hours.isdecimal() or not 1 <= int(hours) <= _MOST_HOURS:
        raise InvalidPayloadError(f"hours: from 1 to {_MOST_HOURS}")
    return Reconcile(window_hours=int(hours))


_READ: Final[Mapping[str, Callable[[Site, Field], Wanted]]] = {
    "warm": _warm,
    "purge": _purge,
    "drain": _drain,
    "undrain": _drain,
    "reconcile": _reconcile,
}


def _uid(field: Field) -> str:
    if not is_uid(field("study")):
        raise InvalidPayloadError("study: not a DICOM UID")
    return field("study")


def _origin(site: Site, field: Field) -> str:
    return known_origin(site, field("origin") or next(iter(site.settings.origins)))

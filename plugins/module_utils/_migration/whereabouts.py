# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the guest is after a failure, as a fresh look at both hosts shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .._host.endpoints import virsh
from .._options import Options
from .phases import Phase, phase
from .standing import Seen, Standing, standing
from .steps import Situation


@dataclass(frozen=True)
class Whereabouts:
    """The guest's domains on both hosts now; None where there is none."""

    source: Seen | None
    destination: Seen | None

    @property
    def standing(self) -> Standing:
        """Where the guest stands."""
        return standing(self.source, self.destination)

    @property
    def phase(self) -> Phase:
        """The phase of the migration that corresponds to it."""
        if self.standing in (Standing.LOST, Standing.LEFT, Standing.ABSENT):
            return Phase.LOST
        if self.standing in (Standing.ENDED, Standing.HOME):
            return Phase.COMPLETED
        at_source = "none" if self.source is None else self.source.migration
        return phase(at_source, "none" if self.destination is None else self.destination.migration)

    def describe(self, options: Options, advice: str | None = None) -> str:
        """One sentence: where the guest is, and what to do.

        :param advice: replaces the advice that follows from where it is.
        """
        where, to_do = self._where_and_what(options)
        return f"The guest {options.name} {where}: {advice}." if advice else f"The guest {options.name} {where}{to_do}."

    def _where_and_what(self, options: Options) -> tuple[str, str]:
        found, nothing = self.standing, "; nothing needs to be done"
        if found is Standing.MIGRATING:
            abort = virsh(options.source_uri, "domjobabort", options.name)
            return "is on the source, where its migration is still active", f": end that with {abort}"
        if found in (Standing.READY, Standing.WAITING, Standing.STOPPED) and self.source is not None:
            if self.source.run_state == "running":
                return "runs on the source", nothing
            resume = virsh(options.source_uri, "resume", options.name)
            return f"is on the source but not running ({self.source.run_state})", f": resume it with {resume}"
        if found is Standing.HALF:
            return "is split over both hosts", (
                ": destroy NEITHER half. Restore the link, then run the same task again: it finds the half migrated "
                "guest and brings it home"
            )
        if found in (Standing.HOME, Standing.ENDED) and self.destination is not None:
            if self.destination.run_state != "running":
                resume = virsh(options.destination_uri, "resume", options.name)
                stopped = f"is on the destination but not running ({self.destination.run_state})"
                return stopped, f": find out why, then resume it with {resume}"
            rest = "; run the same task again to end what is left of it on the source"
            return "runs on the destination", nothing if found is Standing.HOME else rest
        if found is Standing.LOST:
            return "is lost", "".join(self._halves(options))
        if found is Standing.LEFT:
            end = virsh(options.source_uri, "destroy", options.name)
            rest = f". What is left of it on the source is out of date and must not be resumed; end it with {end}"
            return found.value, rest
        if found is Standing.ABSENT:
            return "is gone: neither host runs it any more", ". Start it again"
        if found is Standing.UNKNOWN:
            return found.value, ": destroy NEITHER side, end the migration with virsh, or update the collection"
        return "exists on both hosts", ": inspect both, and destroy the wrong one"

    def _halves(self, options: Options) -> Iterator[str]:
        """What is left of a lost guest."""
        if self.source is not None:
            end = virsh(options.source_uri, "destroy", options.name)
            yield f". Its half on the source is kept for forensics and must not be resumed; end it with {end}"
        if self.destination is not None:
            end = virsh(options.destination_uri, "destroy", options.name)
            yield f". Its half on the destination lacks memory that exists nowhere else; end it with {end}"


def unknown(reason: str, options: Options, now: Situation | None) -> str:
    """What to say when a host does not answer.

    :param now: what was last seen of the migration; None if nothing was.
    """
    looks = (virsh(uri, "domstate", options.name) for uri in (options.source_uri, options.destination_uri))
    return (
        f"It is unknown where the guest {options.name} is ({reason}){_last_seen(now)}: look with "
        f"{' and '.join(looks)}, destroy NEITHER, and run the same task again when both hosts answer"
    )


def _last_seen(now: Situation | None) -> str:
    if now is None:
        return ""
    if now.phase is Phase.COMPLETED:
        seen = "whole on the destination"
    elif now.switched or not now.phase.reversible:
        seen = "split over both hosts"
    else:
        seen = "about to switch to the destination" if now.switching else "on the source"
    return f". When last seen, it was {seen} (source: {now.source or 'gone'}, destination: {now.destination or 'gone'})"

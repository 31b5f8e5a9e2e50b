"""A measurement: time, ratio, error and memory of one peer on one case, side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from benchmarks.speed.cases import Case, distance
from benchmarks.speed.peers import Peer
from benchmarks.speed.timing import Effort, Spread, interleave, ratios, spread


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure."""

    device: str = "cpu"
    tiny: bool = False

    @property
    def effort(self) -> Effort:
        """Rounds and repetitions."""
        if self.tiny:
            return Effort(seconds=0.0, least_rounds=2, shortest=0.0)
        if self.device == "cuda":
            return Effort(seconds=2.0, most_rounds=51, shortest=5e-3)
        return Effort()

    def wait(self) -> None:
        """Return when the device is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Row:
    """One line of a table, and one entry of the JSON file.

    ``seconds`` is the spread over ``rounds`` of a step's time, and ``ratio`` that of the time over
    the reference's in the same round. ``errors`` are largest errors over the largest exact number.
    All three, and the memory, are None where the peer cannot run.
    """

    shape: tuple[int, ...]
    ramp: str
    dtype: str
    peer: str
    framework: str
    reference: str
    out_shape: tuple[int, ...] | None = None
    rounds: int = 0
    seconds: Spread | None = None
    ratio: Spread | None = None
    errors: dict[str, float] | None = None
    peak_bytes: int | None = None
    note: str = ""

    def entry(self) -> dict[str, Any]:
        """Return what JSON can hold, with names for the parts of a spread."""
        found = asdict(self)
        for name in ("seconds", "ratio"):
            value = getattr(self, name)
            found[name] = None if value is None else value._asdict()
        return found


def measure(
    peers: Sequence[Peer],
    case: Case,
    reference: str,
    setting: Setting,
    *,
    effort: Effort | None = None,
) -> list[Row]:
    """Measure all peers of a case in turns; ratios are those to the peer named ``reference``."""
    steps = {peer.name: peer.step for peer in peers if peer.step is not None}
    checked = {peer.name: _checked(peer) for peer in peers if peer.step is not None}
    times = interleave(steps, effort or setting.effort, setting.wait)
    rows = []
    for peer in peers:
        row = Row(
            shape=case.shape,
            ramp=case.ramp,
            dtype=case.dtype,
            peer=peer.name,
            framework=peer.framework,
            reference=reference,
            note=peer.note,
        )
        if peer.step is not None:
            seconds = times[peer.name]
            out_shape, errors = checked[peer.name]
            row = replace(
                row,
                out_shape=out_shape,
                rounds=len(seconds),
                seconds=spread(seconds),
                ratio=ratios(seconds, times[reference]),
                errors=errors,
                peak_bytes=peer.peak(),
            )
        rows.append(row)
    return rows


def _checked(peer: Peer) -> tuple[tuple[int, ...], dict[str, float]]:
    """Output shape and errors of a peer."""
    assert peer.step is not None
    got = [peer.to_numpy(value) for value in peer.step()]
    named = zip(peer.of, got, peer.exact(), strict=True)
    return got[0].shape, {name: distance(value, exact) for name, value, exact in named}

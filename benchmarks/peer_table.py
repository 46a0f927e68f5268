"""Contests between a part of this project and what a user would pick instead, as tables in Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from benchmarks.measure import compare, peak_memory

EQUAL = 0.05
"""Shares of the time, or memory, that are within what a measurement can tell."""
Step = Callable[..., Callable[[], object]]


@dataclass(frozen=True)
class Peer:
    """Something that a user would pick instead.

    Attributes:
        package: the name that it is imported by.
        install: the name that pip installs it by.
        not_run: why it is not measured, by setting.
        why: why it is ahead where it is, as far as is known.
    """

    package: str
    install: str
    not_run: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Figure:
    """Median seconds of a run, and the bytes of memory that it needs; None: not measured."""

    seconds: float
    n_bytes: int | None = None


Found = Figure | str
"""A figure, or why there is none."""


@dataclass(frozen=True)
class Contest:
    """A part of this project against its peers.

    Attributes:
        title: of the table.
        text: what is measured.
        ours: the name of the part.
        peers: by name.
        settings: arguments of `step` by what the table calls them.
        step: makes what is timed, from threads, a name and a setting's arguments; at the top level of a
            module, so that a fresh process can call it, too.
        repeats: how often a run does what is timed.
        memory: whether memory is measured.
    """

    title: str
    text: str
    ours: str
    peers: Mapping[str, Peer]
    settings: Mapping[str, tuple[object, ...]]
    step: Step
    repeats: int = 1
    memory: bool = True

    def measure(self, threads: int, rounds: int, patience: float) -> dict[str, dict[str, Found]]:
        """What was found for each name, by setting; contenders take turns."""
        found: dict[str, dict[str, Found]] = {name: {} for name in (self.ours, *self.peers)}
        for setting, arguments in self.settings.items():
            made = {name: self._made(threads, name, setting) for name in found}
            runs = {name: run for name, run in made.items() if not isinstance(run, str)}
            for name, run in made.items():
                if isinstance(run, str):
                    found[name][setting] = run
            for name, timing in compare(runs, rounds=rounds, patience=patience).items():
                used = peak_memory(self.step, threads, name, *arguments) if self.memory else None
                found[name][setting] = Figure(timing.median / self.repeats, used)
        return found

    def _made(self, threads: int, name: str, setting: str) -> Callable[[], object] | str:
        """What is timed, or why a peer is not."""
        peer = self.peers.get(name)
        if peer is not None and find_spec(peer.package) is None:
            return f"not installed: pip install {peer.install}"
        if peer is not None and setting in peer.not_run:
            return f"not run: {peer.not_run[setting]}"
        try:
            run = self.step(threads, name, *self.settings[setting])
            run()
        except Exception as error:  # other packages fail in ways of their own
            if peer is None:
                raise
            return told(error)
        return run

    def lines(self, found: Mapping[str, Mapping[str, Found]]) -> list[str]:
        """The table of what was found."""
        heads = [f"{setting}{', memory' if self.memory else ''}" for setting in self.settings]
        lines = [f"### {self.title}", "", self.text, "", f"| | {' | '.join(heads)} | |"]
        lines.append("| --- " * (len(heads) + 2) + "|")
        ours = found[self.ours]
        lines.append(f"| {self.ours} | {' | '.join(_cell(ours[s], None) for s in self.settings)} | |")
        for name, peer in self.peers.items():
            cells = [_cell(found[name][setting], ours[setting]) for setting in self.settings]
            lines.append(f"| {name} | {' | '.join(cells)} | {verdict(found[name], ours, peer.why)} |")
        return [*lines, ""]


def told(error: Exception) -> str:
    """Why a peer has no figure, in a cell of a table."""
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return f"fails: {text}".replace("|", "/")


def verdict(theirs: Mapping[str, Found], ours: Mapping[str, Found], why: str) -> str:
    """Whether ours is ahead, or in which settings it is behind, by how much and why."""
    behind, measured = [], False
    for setting, figure in theirs.items():
        own = ours[setting]
        if isinstance(figure, str) or isinstance(own, str):
            continue
        measured = True
        for what, ratio in (("", _times(figure, own)), ("memory, ", _memory(figure, own))):
            if ratio is not None and ratio < 1 - EQUAL:
                behind.append(f"{what}{setting}, by {1 / ratio:.2f} x")
    if not measured:
        return ""
    if not behind:
        return "sma is ahead" if all(map(_is_ahead, theirs.values(), ours.values())) else "equal or ahead"
    return f"sma is behind: {'; '.join(behind)}. {why or 'The reason is not known'}."


def _is_ahead(theirs: Found, ours: Found) -> bool:
    if isinstance(theirs, str) or isinstance(ours, str):
        return True
    return _times(theirs, ours) > 1 + EQUAL


def _times(theirs: Figure, ours: Figure) -> float:
    return theirs.seconds / ours.seconds


def _memory(theirs: Figure, ours: Figure) -> float | None:
    if not theirs.n_bytes or not ours.n_bytes:
        return None
    return theirs.n_bytes / ours.n_bytes


def _cell(figure: Found, ours: Found | None) -> str:
    """Time, and memory; of a peer each with how many times ours it is."""
    if isinstance(figure, str):
        return figure
    parts = [_time(figure.seconds)]
    if figure.n_bytes is not None:
        parts.append(f"{figure.n_bytes / 2**20:,.0f} MB")
    if isinstance(ours, Figure):
        ratios = (_times(figure, ours), _memory(figure, ours))
        parts = [
            part if ratio is None else f"{part} ({ratio:.2f} x)"
            for part, ratio in zip(parts, ratios, strict=False)
        ]
    return ", ".join(parts)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.1f} ms"


def report(contests: Sequence[Contest], threads: int, rounds: int, patience: float) -> list[str]:
    """The tables of several contests."""
    return [
        line for contest in contests for line in contest.lines(contest.measure(threads, rounds, patience))
    ]

"""How far a build is, from TensorRT's nested phases: each fills one step of the phase that it belongs to. Pure."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Phase:
    start: float  # where in the whole it begins, and how much of the whole it is
    width: float
    steps: int
    done: int = 0

    @property
    def position(self) -> float:
        return self.start + self.width * min(1.0, self.done / self.steps)


class ProgressTree:
    """Fed by an IProgressMonitor."""

    def __init__(self) -> None:
        self.fraction = 0.0  # 0 to 1, never less than before
        self._phases: dict[str, _Phase] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins, within a step of its parent or at the root."""
        outer = self._phases.get(parent or "")
        if outer is None:
            self._phases[name] = _Phase(0.0, 1.0, max(1, steps))
        else:
            self._phases[name] = _Phase(outer.position, outer.width / outer.steps, max(1, steps))
        self._advance(self._phases[name])

    def step(self, name: str, step: int) -> None:
        """Step number `step` (from 0) of a phase is complete."""
        phase = self._phases.get(name)
        if phase is not None:
            phase.done = max(phase.done, step + 1)
            self._advance(phase)

    def finish(self, name: str) -> None:
        """A phase ends, with all its steps or before."""
        phase = self._phases.pop(name, None)
        if phase is not None:
            phase.done = phase.steps
            self._advance(phase)

    def _advance(self, phase: _Phase) -> None:
        self.fraction = max(self.fraction, min(1.0, phase.position))

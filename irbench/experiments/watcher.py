"""Who is told how a run goes on."""

from collections.abc import Sequence

from irbench.experiments.attempts import Outcome
from irbench.experiments.experiment import Experiment


class Watcher:
    """Is notified of how a run goes on, and does nothing about it."""

    def planned(self, stored: Sequence[Experiment], due: Sequence[Experiment]) -> None:
        """The results of some cells are stored and reused, the others are due."""

    def rescored(self, experiments: Sequence[Experiment]) -> None:
        """Stored results were scored again: by code that has changed since, or as their hits were lost."""

    def preparing(self, experiments: Sequence[Experiment]) -> None:
        """What these cells share is being made, where several jobs run at once."""

    def waits(self, experiments: Sequence[Experiment]) -> None:
        """They need what another process is making: another cell of the grid, or another command."""

    def prepared(self, experiments: Sequence[Experiment], seconds: float) -> None:
        """What these cells share has been made."""

    def started(self, experiment: Experiment) -> None:
        """A cell has begun; one that was prepared is measured now."""

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        """A cell has ended."""

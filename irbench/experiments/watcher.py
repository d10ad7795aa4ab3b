"""Who is told how a run goes on."""

from collections.abc import Sequence
from typing import Protocol

from irbench.experiments.attempts import Outcome
from irbench.experiments.run import Experiment


class Watcher(Protocol):
    """Is notified of how a run goes on."""

    def planned(self, stored: Sequence[Experiment], due: Sequence[Experiment]) -> None:
        """The results of some cells are stored and reused, the others are due."""

    def rescored(self, experiments: Sequence[Experiment]) -> None:
        """Stored results were scored again: by code that has changed since, or as their hits were lost."""

    def preparing(self, experiments: Sequence[Experiment]) -> None:
        """What these cells share is being made, where several jobs run at once."""

    def prepared(self, experiments: Sequence[Experiment], seconds: float) -> None:
        """What these cells share has been made."""

    def started(self, experiment: Experiment) -> None:
        """A cell has begun; one that was prepared is measured now."""

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        """A cell has ended."""


class Silent:
    """A watcher that is notified and does nothing."""

    def planned(self, stored: Sequence[Experiment], due: Sequence[Experiment]) -> None:
        """Do nothing."""

    def rescored(self, experiments: Sequence[Experiment]) -> None:
        """Do nothing."""

    def preparing(self, experiments: Sequence[Experiment]) -> None:
        """Do nothing."""

    def prepared(self, experiments: Sequence[Experiment], seconds: float) -> None:
        """Do nothing."""

    def started(self, experiment: Experiment) -> None:
        """Do nothing."""

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        """Do nothing."""

"""Several processes that train one model together, as torchrun has started them, and what they tell each other.

They talk through torchrun's own key-value store, which any number of processes of each may use: the command and the
process that it runs a cell in. Waiting for a word takes as long as it takes; only what networks exchange in between
(`irbench.training.parallel`) is limited in time.
"""

import os
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from time import sleep
from typing import TYPE_CHECKING

from irbench.core.errors import UsageError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

_SHORTEST_S, _LONGEST_S = 0.01, 0.5  # between two looks: the longer it has taken, the less it disturbs what is timed
_PATIENCE = timedelta(seconds=60)  # with the store itself, which answers at once
_words: Counter[str] = Counter()  # said or heard in this process, by what they were about


class OtherFailed(Exception):  # noqa: N818 -- the error is another process's
    """Another one of the processes failed, and so all end; the message is its own."""


@dataclass(frozen=True)
class Together:
    """This process among those that train together; alone by default."""

    rank: int = 0
    world: int = 1
    name: str = ""  # of what they are about, which keeps their words apart from others

    @classmethod
    def of_torchrun(cls) -> "Together":
        """Return what the environment says; alone where torchrun did not start this process."""
        world = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
        if world == 1:
            return cls()
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise UsageError("torchrun shares no store with its processes: leave its --rdzv-backend to it")
        return cls(int(os.environ["RANK"]), world)

    @property
    def alone(self) -> bool:
        """Is there no other process?"""
        return self.world == 1

    @property
    def first(self) -> bool:
        """Is this the process that stores, measures and reports?"""
        return self.rank == 0

    def about(self, name: str) -> "Together":
        """Return the same process, busy with something of a name of its own."""
        return replace(self, name=name)

    def say(self, word: str) -> None:
        """Tell the others; only the first one does, and each of them has to hear it."""
        if not self.alone:
            _store().set(self._next(), word)

    def hear(self) -> str:
        """Wait for the next word of the first process; `OtherFailed` as soon as one of them has failed."""
        place = self._next()
        self._wait(place)
        return str(_store().get(place).decode())

    def meet(self) -> None:
        """Wait until all have come this far; `OtherFailed` as soon as one of them has failed."""
        place = self._next()
        if _store().add(f"{place} count", 1) == self.world:
            _store().set(place, "all")
        self._wait(place)

    def fail(self, reason: str) -> str:
        """Tell the others that this one ends, and return the reason of the one that was the first to end."""
        return str(_store().compare_set(self._place("failed"), "", f"{self.rank} {reason}").decode())

    @property
    def failure(self) -> tuple[int, str] | None:
        """Return which process was the first to fail, and why; None as long as none has."""
        place = self._place("failed")
        if not _store().check([place]):
            return None
        rank, _, reason = str(_store().get(place).decode()).partition(" ")
        return int(rank), reason

    def store(self) -> "Store":
        """Return a store of their own, for a process group."""
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]

        return PrefixStore(self._place("group"), _store())

    def _wait(self, place: str) -> None:
        pause = _SHORTEST_S
        while not _store().check([place]):
            if (failure := self.failure) is not None:
                rank, reason = failure
                raise OtherFailed(self.told(rank, reason))
            sleep(pause)
            pause = min(2 * pause, _LONGEST_S)

    def told(self, rank: int, reason: str) -> str:
        """Return a reason with the number of its process, from one on."""
        return f"process {rank + 1} of {self.world}: {reason}"

    def _next(self) -> str:
        _words[self.name] += 1
        return self._place(f"word {_words[self.name]}")

    def _place(self, what: str) -> str:
        return f"irbench {os.environ['TORCHELASTIC_RESTART_COUNT']}/{self.name}/{what}"


ALONE = Together()


@cache
def _store() -> "Store":
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=_PATIENCE)

"""What is reported of the machine: the load that others put on it, and the peak of memory."""

import numpy as np

from irbench.runtime.environment import peak_memory
from irbench.runtime.machine import Runtime


def test_the_peak_of_memory_is_in_bytes(runtime: Runtime) -> None:
    block = np.ones(1 << 25)  # 268 MB, touched
    host, device = peak_memory(runtime)
    assert block.nbytes < host < 1 << 40
    assert device is None

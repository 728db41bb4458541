"""What holds threads and connections belongs to one process."""

from __future__ import annotations

from typing import NoReturn


class NotPickled:
    """Cannot be an argument of a task that another process runs, and says so."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: make one in each process.")

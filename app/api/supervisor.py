"""The parent of the processes that `convstore serve --workers N` spawns."""

from __future__ import annotations

from uvicorn.supervisors import Multiprocess

_FAILED_TO_START = 3
"""What uvicorn exits with when the application did not start."""


class Supervisor(Multiprocess):
    """Starts a worker again as soon as it has died, also when it was being asked whether it lives."""

    def keep_subprocess_alive(self) -> None:
        """Look at each worker once. The parent's copy of a worker's end of the pipe would keep that open after it."""
        for process in self.processes:
            process.child_conn.close()
        super().keep_subprocess_alive()

    @property
    def failed(self) -> bool:
        """Whether it ended because a worker could not start."""
        return any(process.exitcode == _FAILED_TO_START for process in self.processes)

"""Stages of a long job: timed, shown where wanted, stopped in order when the user asks for it."""

import signal
import threading
import time
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, Optional

Advance = Callable[[int], None]


class Stages:
    """Times the stages of a job; shows nothing and never stops it.

    Attributes:
        seconds: Time spent in each part so far.
        stopped: The user has asked to stop: what is done should be finished and kept.
    """

    def __init__(self) -> None:
        self.seconds: Dict[str, float] = {}
        self.stopped = False

    @contextmanager
    def stage(self, name: str, total: Optional[int] = None) -> Iterator[Advance]:
        """A stage of ``total`` steps (None: not known); call what it gives with the steps done."""
        yield lambda steps: None

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count the time of the block as spent in ``part``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0) + time.perf_counter() - start


class ShownStages(Stages):
    """Stages with a progress bar each, and the time left, in the terminal.

    As a context manager it turns the first Ctrl-C into ``stopped``; the second one interrupts.
    (In a thread other than the main one, where Python lets nobody do that, it leaves Ctrl-C alone.)
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        super().__init__()
        self._bars = Progress(
            TextColumn('{task.description:<24}'), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn(),
            console=Console(stderr=True))

    @contextmanager
    def stage(self, name: str, total: Optional[int] = None) -> Iterator[Advance]:
        task = self._bars.add_task(name, total=total)
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            self._bars.advance(task, steps)

        yield advance
        self._bars.update(task, total=done, completed=done)

    def __enter__(self) -> 'ShownStages':
        self._handler = None
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._interrupt)
        self._bars.start()
        return self

    def __exit__(self, *error) -> None:
        self._bars.stop()
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)

    def _interrupt(self, number, frame) -> None:
        self.stopped = True
        self._bars.console.print('stopping: what is done is being written; Ctrl-C again to leave '
                                 'without it')
        signal.signal(signal.SIGINT, signal.default_int_handler)

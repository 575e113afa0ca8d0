"""Runs a short benchmark beside the web server, one at a time for all viewers; nothing is saved."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.text.error_messages import problem_text
from app.text.words import viewer_language

logger = logging.getLogger(__name__)

SILENCE_S = 15.0
_running = threading.Lock()


@dataclass(eq=False)
class BenchJob:
    """One short benchmark. Only its thread writes.

    Attributes:
        share: progress, 0 to 1.
        what: name of the present measurement.
        document: the results; `None` until the end.
        message: why there are no results.
        waits: whether the job waits for another viewer's benchmark.
        language: the viewer's language, for `message`.
    """

    share: float = 0.0
    what: str = ""
    document: dict[str, Any] | None = None
    message: str = ""
    waits: bool = True
    language: str = field(default_factory=viewer_language)
    is_finished: bool = False
    last_seen: float = field(default_factory=time.monotonic)
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def touch(self) -> None:
        """Record that a viewer still watches."""
        self.last_seen = time.monotonic()

    def cancel(self) -> None:
        """Stop the benchmark after the present measurement."""
        self._cancelled.set()

    def should_stop(self) -> bool:
        """Whether the job was cancelled, or no viewer has watched for `SILENCE_S`."""
        return self._cancelled.is_set() or time.monotonic() - self.last_seen > SILENCE_S

    def note(self, share: float, what: str) -> None:
        """Record the progress."""
        self.share, self.what = share, what

    def work(self, measure: Callable[["BenchJob"], dict[str, Any]]) -> None:
        """Measure once no other benchmark runs; the job ends finished in every case."""
        from mor_core.benchmarks.harness import BenchmarkStopped

        try:
            with _running:
                self.waits = False
                if not self.should_stop():
                    self.document = measure(self)
        except BenchmarkStopped:
            pass
        except Exception as error:
            if not isinstance(error, (ValueError, OSError)):
                logger.exception("a benchmark failed")
            self.message = problem_text(error, self.language)
        finally:
            self.is_finished = True


def start(name: str, placement: Callable[[], tuple[str, str]]) -> BenchJob:
    """Start a short benchmark in a thread.

    Args:
        name: the benchmark's name.
        placement: returns device and dtype; called in the thread because it may import torch.
    """

    def measure(job: BenchJob) -> dict[str, Any]:
        from mor_core.benchmarks.registry import Settings, run_benchmark

        device, dtype = placement()
        settings = Settings(device=device, dtype=dtype, quick=True)
        return run_benchmark(name, settings, on_progress=job.note, should_stop=job.should_stop)

    job = BenchJob()
    threading.Thread(target=job.work, args=(measure,), name="mor-bench", daemon=True).start()
    return job

"""How far runs have been handed to a browser that cannot read the event route, alone or two in a race."""

from dataclasses import dataclass

from app.jobs import Job


@dataclass
class Delivery:
    """How far a live run has been handed to the browser where it cannot read the event route.

    Attributes:
        job_id: of the run.
        sent: events handed over so far.
        answered: the last request to resume that was met.
    """

    job_id: str
    sent: int = 0
    answered: str = ""


@dataclass
class Race:
    """Two runs that are generated at the same time.

    Attributes:
        jobs: of A and B.
        names: of A and B.
        deliveries: how far each has been handed to a browser that cannot read the event route.
    """

    jobs: tuple[Job, Job]
    names: tuple[str, str]
    deliveries: tuple[Delivery, Delivery]

    @property
    def id(self) -> str:
        """Name of the race."""
        return f"{self.jobs[0].id}+{self.jobs[1].id}"

    @property
    def is_finished(self) -> bool:
        """Whether both runs are over."""
        return all(job.is_finished for job in self.jobs)

"""How long jobs take and will take, in words."""

from __future__ import annotations

from superres.progress import Progress


class Pace:
    """How fast the stages of a job go, and how long they will take."""

    def __init__(self) -> None:
        self._stage = ""
        self._first, self._began = 0.0, 0.0

    def text(self, event: Progress, now: float) -> str:
        """Say in one line how far a stage is at a time (monotonic seconds) and how long it will take."""
        if event.stage != self._stage or event.done < self._first:
            self._stage, self._first, self._began = event.stage, event.done, now
        if event.total <= 0:
            return event.note or event.stage
        parts = [f"{event.stage} {event.done:.0f} of {event.total:.0f} {event.unit}".rstrip()]
        if self._first < event.done < event.total:
            left = (event.total - event.done) * (now - self._began) / (event.done - self._first)
            parts.append(f"{duration(left)} left")
        return ", ".join([*parts, event.note] if event.note else parts)


def duration(seconds: float) -> str:
    """Write a duration: ``45 s``, ``3:20 min``, ``2:05:00 h``.

    Examples
    --------
    >>> duration(200)
    '3:20 min'
    """
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"

"""What one configurator has told and the manager has not yet stored.

An agent never acknowledges by itself (I6): only what the manager says it has stored leaves the
inbox and becomes the ``after`` of the next poll.  Until then every manager that asks gets it, so a
notification reaches the store at least once whoever dies in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Notification = Mapping[str, object]


class Inbox:
    """The unacknowledged notifications of one configurator, of one boot of it at a time.

    :ivar boot_id: the boot that sequences belong to; ``None`` until the configurator or a manager
        has named one.
    :ivar acknowledged: the highest sequence of that boot that is stored.
    """

    def __init__(self) -> None:
        self.boot_id: str | None = None
        self.acknowledged = 0
        self._held: dict[int, Notification] = {}

    def __len__(self) -> int:
        return len(self._held)

    def acknowledge(self, boot_id: str, sequence: int) -> None:
        """Drop what a manager has stored.

        An acknowledgement of another boot says nothing about what is here.  One that comes
        before the configurator has been heard is believed: this agent has been restarted or is
        new, the manager is not; should the boot be over, the configurator ignores it.
        """
        if self.boot_id is None:
            self.boot_id = boot_id
        if boot_id == self.boot_id and sequence > self.acknowledged:
            self.acknowledged = sequence
            self._held = {number: told for number, told in self._held.items() if number > sequence}

    def fetched(self, boot_id: str, notifications: Sequence[Notification]) -> bool:
        """Take what a poll brought: all that the configurator holds unacknowledged, from its oldest.

        A configurator that was restarted is not listened to while something of its boot before
        is here: only we still have that, whereas the new boot keeps its own.

        :return: whether there is something new to tell.
        """
        if boot_id != self.boot_id:
            if self._held:
                return False
            self.boot_id = boot_id
            self.acknowledged = 0
        before = self._held
        told = {_sequence(one): one for one in notifications}
        self._held = {number: told[number] for number in sorted(told) if number > self.acknowledged}
        return not self._held.keys() <= before.keys()

    def answer(self) -> dict[str, object]:
        """What a manager is told; ``next`` is what it acknowledges once all of this is stored."""
        return {
            "boot_id": self.boot_id,
            "notifications": list(self._held.values()),
            "next": max(self._held, default=self.acknowledged),
        }


def _sequence(notification: Notification) -> int:
    number = notification["sequence"]
    assert isinstance(number, int)
    return number

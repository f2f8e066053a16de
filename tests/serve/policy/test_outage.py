"""Failures that are tried again every second and must not be logged every second."""

import logging

from pointsman.serve.policy.outage import Outage


def test_an_outage_is_said_when_it_begins_once_a_minute_and_when_it_is_over(caplog):
    """Ten minutes of a full disk are eleven lines, and its end is one."""
    now = [0.0]
    outage = Outage(logging.getLogger("outage"), "the state could not be stored", clock=lambda: now[0])
    with caplog.at_level(logging.WARNING):
        outage.over()
        for second in range(601):
            now[0] = float(second)
            outage.failed(OSError("no space left"))
        assert len(caplog.messages) == 11 and all("no space left" in line for line in caplog.messages)
        outage.over()
        outage.over()
        assert caplog.messages[11:] == ["the state could not be stored for 600 s; it works again"]
        outage.failed(OSError("again"))
        assert len(caplog.messages) == 13

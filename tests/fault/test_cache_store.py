# SPDX-License-Identifier: Apache-2.0
"""The cache's shared store under kill -9."""

import os
import re
import subprocess

from tests.harness.ladle import BINARY

from .scale import pick, say

STRESS = os.path.join(os.path.dirname(BINARY), "tests", "fault", "cache-stress")


def run_stress(kills, timeout=600, **environment):
    done = subprocess.run([STRESS, str(kills)], capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment})
    return done.returncode, done.stdout + done.stderr


def test_processes_killed_at_random_leave_the_store_whole():
    """Readers, writers, purges and evictions, killed at random: no wrong body, nothing broken, nothing leaked."""
    kills = pick(100, 2000)
    status, text = run_stress(kills)
    say(text.strip())
    assert status == 0, text
    inside = int(re.search(r"(\d+) inside a lock", text)[1])
    assert inside >= pick(0, 20), f"too few deaths inside a lock to say anything: {text}"


def test_the_stress_notices_a_store_without_its_journal():
    """The same with the journals of the dead forgotten is found broken: the test above can fail."""
    try:
        status, text = run_stress(300, timeout=60, CACHE_STRESS_FORGET_JOURNAL="1")
    except subprocess.TimeoutExpired:
        return # a list that was left as a ring: nobody gets to its end
    assert status == 1, text
    assert re.search(r"[1-9]\d* (wrong bodies|times broken|bytes leaked)", text), text

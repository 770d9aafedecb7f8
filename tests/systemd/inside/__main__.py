"""The checks in their order, for a throw-away machine with systemd as PID 1: python3 FOLDER WHEELS."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ending
import installing
import starting
import working
from tools import API, BIN, KEY, api, finish, must, until


def answers() -> bool:
    try:
        return bool(api())
    except OSError:
        return False


def main() -> None:
    installing.install(sys.argv[1])
    for user, group in (("ftpuser", "photos"), ("anna", "photos"), ("outsider", "")):
        must("useradd", "-m", *(("-G", group) if group else ()), user)
    must(
        *("systemd-run", "--unit=fake-api", "-p", "User=nobody", "-E", "HOME=/"),
        *(BIN, "sandbox", "--port", API.rpartition(":")[2], "--credits", "100000", "--key", KEY),
    )
    installing.units_are_clean()
    until(answers)
    starting.refused_starts()
    starting.start_waits_for_ready()
    starting.key_stays_secret()
    starting.check_runs_as_the_services_user()
    starting.wrong_key_is_told()
    working.shared_folders()
    starting.quicker()
    working.forbidden_things()
    working.reloads()
    ending.stop_in_flight()
    ending.stop_that_is_cut_short()
    ending.killed()
    ending.frozen()
    working.folders_come_and_go()
    working.separate_mounts()
    working.two_instances()
    working.examples_work()
    ending.stop_that_hangs()
    ending.hung_loops()
    working.users_own_service()
    starting.journal_is_in_order()
    installing.take_away()
    finish()


main()

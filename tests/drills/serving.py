"""Two drills of the serving layer: ``python -m tests.drills.serving [--reads 100000] [--seed 7]``, or ``make drills``.

1. Analysts read without a pause while refreshes run that are killed (SIGKILL of the job's processes) at random moments:
   no read may fail, and none may show a mix of two refreshes or a part of one.
2. MySQL, then HiveServer2 and the metastore, are killed in the middle of a load: once they are back and the load has
   run again, what MySQL and Hive say of every closed day equals the landing files.

Prints what it did and exits with 1 if a promise was broken.
"""

import argparse
import os
import random
import signal
import subprocess
import time
from collections import Counter
from datetime import timedelta

from include.use_case import load_use_case
from local_stack.analyst import query_hive, query_mysql
from local_stack.control import all_servers, wait_healthy
from local_stack.layout import layout_from
from local_stack.replay.drills import kill_server
from local_stack.stack import Stack, open_stack
from tests.bench.serving.world import World, fill, finish
from tests.landing_truth import departures_landed, facts_landed
from tests.spark_jobs.readers import VIEW, Seen, logged_rows, reading

DAYS, KEPT, READERS = 9, 7, 4
#: Every fourth refresh may end; the others are killed.
UNDISTURBED_EVERY = 4


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a job's processes as a crash would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def refresh_under_kills(world: World, seen: Seen, reads: int, chance: random.Random) -> Counter[str]:
    """Refresh until there were so many reads; most refreshes are killed at a random moment of their usual time."""
    ends: Counter[str] = Counter()
    usual = 0.0
    while seen.count < reads or not ends["killed"]:
        number = sum(ends.values())
        process, started = world.refresh(f"drill {number}"), time.monotonic()
        if number % UNDISTURBED_EVERY == 0:
            finish(process)
            usual = time.monotonic() - started
            ends["ended"] += 1
            continue
        try:
            process.wait(timeout=chance.uniform(0.2, 1.1) * usual)
            ends["ended before its kill"] += 1
        except subprocess.TimeoutExpired:
            kill(process)
            ends["killed"] += 1
        print(f"{seen.count} reads, refreshes: {dict(ends)}", flush=True)
    finish(world.refresh("drill last"))
    return ends


def torn(seen: Seen) -> list[str]:
    """What no refresh has made. One that was killed between its swap and its line in the log must equal the others."""
    logged = logged_rows(os.environ)
    first = {table: rows for (run, table), rows in logged.items() if run == "drill first"}
    for reading_ in seen.readings:
        for table, _, _, run in reading_:
            if run is not None and table != VIEW:
                logged.setdefault((run, table), first[table])
    return seen.torn(logged)


def reads_during_kills(world: World, reads: int, chance: random.Random) -> list[str]:
    """The first drill; what was wrong."""
    finish(world.refresh("drill first"))
    with reading(os.environ, READERS, pause=0.0) as seen:
        ends = refresh_under_kills(world, seen, reads, chance)
    runs = {run for reading_ in seen.readings for _, _, _, run in reading_ if run}
    print(f"{seen.count} reads by {READERS} readers, {len(runs)} versions seen, refreshes: {dict(ends)}")
    problems = [*seen.failures, *torn(seen)]
    print(f"{len(problems)} reads failed or were torn", flush=True)
    return problems


def kill_in_mid_load(stack: Stack, names: list[str], process: "subprocess.Popen[bytes]", after: float) -> None:
    """Kill servers while a job runs, and wait until they are back and the job has ended, well or not."""
    try:
        process.wait(timeout=after)
        print(f"the load ended before {names} were killed", flush=True)
    except subprocess.TimeoutExpired:
        for name in names:
            kill_server(stack, name, lambda text: print(text, flush=True))
    process.wait()
    for server in all_servers(stack):
        if server.name in names:
            wait_healthy(stack, server)
    print(f"the load ended with {process.returncode}", flush=True)


def differences(world: World) -> list[str]:
    """Where MySQL or Hive differ from the landing files."""
    truth = facts_landed(world.use_case, world.days)
    accepted = " union all ".join(
        f"select '{c.name}', ds, count(*) from raw_{c.name} group by ds" for c in world.use_case.sources
    )
    for source, ds, count in query_hive(os.environ, accepted.replace("from raw_", "from quarantine_")):
        truth[(source, ds)] -= count
    wanted = {key: count for key, count in truth.items() if count}
    hive = {(source, ds): count for source, ds, count in query_hive(os.environ, accepted)}
    kept = {day.isoformat() for day in world.days[-world.kept :]}
    shown = query_mysql(os.environ, "select source, ds, count(*) from recent_events group by source, ds")
    mysql = {(source, ds): count for source, ds, count in shown}
    statement = "select ds, sum(departed), sum(departed_late) from daily_stats group by ds"
    rates = {ds: (int(n), int(late)) for ds, n, late in query_mysql(os.environ, statement)}
    by_day = "select ds, count(*), sum(if(departure_delay > 15, 1, 0)) from raw_departures group by ds"
    archived = {ds: (n, late) for ds, n, late in query_hive(os.environ, by_day)}
    found = []
    if archived != departures_landed(world.use_case, [day.isoformat() for day in world.days]):
        found.append(f"rates in Hive: {archived}")
    if hive != wanted:
        found.append(f"Hive: {sorted(set(hive.items()) ^ set(wanted.items()))[:6]}")
    if mysql != {key: count for key, count in wanted.items() if key[1] in kept}:
        found.append(f"MySQL: {sorted(set(mysql.items()) ^ set(wanted.items()))[:6]}")
    if rates != departures_landed(world.use_case, kept):
        found.append(f"rates in MySQL: {rates}")
    return found


def servers_killed_in_mid_load(stack: Stack, world: World, chance: random.Random) -> list[str]:
    """The second drill; what was wrong."""
    started = time.monotonic()
    finish(world.refresh("undisturbed"))
    usual = time.monotonic() - started
    problems = []
    for names in (["mysql"], ["hiveserver2", "metastore"]):
        kill_in_mid_load(stack, names, world.refresh(f"without {names[0]}"), chance.uniform(0.4, 0.9) * usual)
        finish(world.refresh(f"{names[0]} is back"))
        problems += [f"after {names} were killed: {text}" for text in differences(world)]
    return problems


def main() -> int:
    """Run both drills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    use_case, chance = load_use_case("flight_delay"), random.Random(options.seed)
    last = use_case.history_start + timedelta(days=DAYS - 1)
    world = World(use_case, use_case.history_start, last, KEPT)
    print(f"seed {options.seed}; {fill(world)}", flush=True)
    problems = reads_during_kills(world, options.reads, chance)
    problems += servers_killed_in_mid_load(open_stack(layout_from()), world, chance)
    print("\n".join(["broken promises:", *problems[:20]]) if problems else "every promise kept")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())

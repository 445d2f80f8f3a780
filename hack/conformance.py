"""Runs the validation programs of opencontainers/runtime-tools and tells what they say: hack/conformance starts it.

Each program runs by itself, in mount and pid namespaces of its own with one kind of cgroup hierarchy, a /run and a
directory for bundles of its own (hack/conformance-inside.py). What it wrote is kept: NAME.tap, NAME.stderr, and in
NAME.json what it left.
"""

import argparse
import fnmatch
import json
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import conformance_table
from conformance_expected import VIEWS, Wrong, judge, plain, read_rows

HACK = Path(__file__).resolve().parent
EXPECTED = HACK.parent / "tests/conformance/expected.txt"
DOCUMENT = HACK.parent / "docs/conformance.md"
TIME_LIMIT = 60
TRIES = 5
NOT_PROGRAMS = ("runtimetest", "recipe", "version")
POINT = re.compile(r"(?P<verdict>ok|not ok)\b *\d* *-? *(?P<text>.*?)(?: # (?P<directive>SKIP|TODO)\b.*)?$")
# The programs name containers by a UUID, and give these paths to cgroups.
OURS = re.compile(r"/([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|cgrouptest|testdir)(/|$)")
SAYS_NOTHING = re.compile(r"exit status \d+|failed to (create|start) the container|")
CGROUP_FILESYSTEMS = {"v1": "cgroup", "v2": "cgroup2"}


@dataclass
class Result:
    """What one program said of one runtime in one view."""

    ok: int = 0
    skipped: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    left: list = field(default_factory=list)
    seconds: float = 0.0
    verdict: object = None

    def passes(self):
        return not self.failures

    def summary(self):
        words = [f"{count} {word}" for count, word in
                 ((self.ok, "ok"), (len(self.failures), "not ok"), (len(self.skipped), "skipped")) if count]
        return ", ".join(words) or "nothing"


def read_tap(text):
    """The test points at the left margin: what is indented are details of a point."""
    result = Result()
    for line in text.splitlines():
        if not (point := POINT.match(line)):
            continue
        if point["directive"]:
            result.skipped.append(point["text"])
        elif point["verdict"] == "ok":
            result.ok += 1
        else:
            result.failures.append(point["text"] or "a test point without a name")
    return result


def messages_of(text):
    """What the runtime and the program said, but not that something failed with some status."""
    lines = dict.fromkeys(line.strip() for line in text.splitlines())
    return "; ".join(line for line in lines if not SAYS_NOTHING.fullmatch(line))


def failure(text, messages):
    """Why a point is not ok: with the messages, if it ends in a status and so says nothing."""
    text = text.split("\\nRefer to")[0]
    if messages and re.search(r"exit status \d+$", text):
        text = f"{text}: {messages}"
    return plain(text)


def cgroups(view):
    """All cgroups of one kind of hierarchy, by their mount points."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    filesystem = CGROUP_FILESYSTEMS[view]
    points = {line.split()[4] for line in mounts if line.split(" - ")[1].split()[0] == filesystem}
    return {directory for point in points for directory, _, _ in os.walk(point)}


def remove_cgroups(before, view):
    """Those that a program left: told, and removed by their names, which fails if one is still in use."""
    left = sorted((path for path in cgroups(view) - before if OURS.search(path)), reverse=True)
    for path in left:
        os.rmdir(path)
    return [f"cgroup {path}" for path in reversed(left)]


def run_program(suite, runtime, view, program, output):
    """In namespaces of its own."""
    tap, messages, report = (output / f"{program}.{kind}" for kind in ("tap", "stderr", "json"))
    report.unlink(missing_ok=True)
    before, began = cgroups(view), time.monotonic()
    inside = [sys.executable, HACK / "conformance-inside.py", view, suite / program, TIME_LIMIT, report]
    with open(tap, "wb") as stdout, open(messages, "wb") as stderr:
        status = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", 'source "$0"; in_own_namespaces "$@"', HACK / "lib.sh", *map(str, inside)],
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=suite, check=False,
            env={**os.environ, "RUNTIME": runtime}).returncode
    result = read_tap(tap.read_text(errors="replace"))
    result.seconds = time.monotonic() - began
    said = messages_of(messages.read_text(errors="replace"))
    if not report.exists():
        raise Wrong(f"{program} could not be run in the view {view}: {said}")
    inside = json.loads(report.read_text())
    if inside["ended"] != "exit status 0":
        result.failures.append(inside["ended"])
    elif status != 0:
        result.failures.append(f"the namespaces ended with status {status}")
    if not (result.ok or result.failures or result.skipped):
        # Some write no test point at all, but an error in details if something is wrong.
        result.failures = re.findall(r'^ +"error": "(.*?)"', tap.read_text(errors="replace"), re.MULTILINE)
        result.ok += not result.failures
    result.failures = [failure(text, said) for text in result.failures]
    result.left = inside["left"] + remove_cgroups(before, view)
    report.write_text(json.dumps({**inside, "left": result.left}, indent=2) + "\n")
    return result


def select(suite, patterns):
    programs = sorted(path.name for path in suite.iterdir()
                      if path.name not in NOT_PROGRAMS and not path.name.endswith(".tar.gz"))
    chosen = [name for name in programs if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not chosen:
        raise Wrong(f"no program of the suite is called {' or '.join(patterns)}")
    return chosen


def judged(options, runtime, path, view, program):
    result = run_program(options.suite, path, view, program, options.output / runtime / view)
    result.verdict = judge(options.rows, (runtime, view, program), result.failures)
    return result


def best_of(once):
    """Again if it was a race that was lost; a race that is always lost is none."""
    for _ in range(TRIES):
        result = once()
        if not result.verdict.is_race():
            return result
    result.verdict.unexpected.append(f"{result.failures[0]} ({TRIES} times)")
    return result


def run(options, runtime, path, view):
    """All chosen programs with one runtime in one view."""
    (options.output / runtime / view).mkdir(parents=True, exist_ok=True)
    results = {}
    for program in options.programs:
        results[program] = result = best_of(lambda name=program: judged(options, runtime, path, view, name))
        lines = [f"{runtime:6} {view} {program:33} {result.summary()} ({result.seconds:.1f} s)"]
        lines += [f"          not ok: {text[:300]}" for text in result.failures]
        lines += [f"          left: {left}" for left in result.left if options.show_left]
        print("\n".join(lines), flush=True)
    return results


def run_views(options, runtime, path):
    """At once, as a program sleeps most of its time: the cgroups of one view are not those of the other."""
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, options, runtime, path, view) for view in options.views]
        return {view: running.result() for view, running in zip(options.views, runs)}


def views_here(options):
    """Those that were asked for, but without those that this machine does not have."""
    views = [options.view] if options.view else list(VIEWS)
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    filesystems = {line.split()[2] for line in mounts if line.split()[1].startswith("/sys/fs/cgroup")}
    missing = [view for view in views if CGROUP_FILESYSTEMS[view] not in filesystems]
    for view in missing:
        print(f"skipped conformance::{view}: this machine has no cgroup {view}")
    return [view for view in views if view not in missing], len(missing)


def be_alone():
    """Two runs would use the same cgroups. The name goes with the process, and is no file."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind("\0aril-conformance")
    except OSError as error:
        raise Wrong("another run is at work on this machine") from error
    return lock


def report(results):
    """The table; and of aril whether all is as expected, as the container tests say it."""
    for view in VIEWS:
        if any(view in views for views in results.values()):
            print("\n" + conformance_table.as_text(results, view), flush=True)
    failed = 0
    for view, programs in results.get("aril", {}).items():
        for program, result in programs.items():
            failed += not result.verdict.is_expected()
            for text in result.verdict.unexpected:
                print(f"FAILED conformance::{view}::{program}: unexpected: {text}")
            for row in result.verdict.gone:
                print(f"FAILED conformance::{view}::{program}: does not fail any more by {row.failure!r}: take line "
                      f"{row.line} out of {EXPECTED.relative_to(HACK.parent)}")
    return failed


def read_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--view", choices=VIEWS)
    parser.add_argument("--program", action="append", default=[], dest="patterns")
    parser.add_argument("--left", action="store_true", dest="show_left")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("runtimes", nargs="+", metavar="NAME=PATH")
    options = parser.parse_args()
    options.suite, options.output = options.suite.resolve(), options.output.resolve()
    if options.write and (options.patterns or options.view):
        raise Wrong("--write is for all programs in both views")
    options.programs = select(options.suite, options.patterns)
    options.rows = read_rows(EXPECTED, select(options.suite, []))
    return options


def main():
    options, lock = read_options(), be_alone()
    options.views, skipped = views_here(options)
    results = {}
    for name, path in (word.split("=", 1) for word in options.runtimes):
        results[name] = run_views(options, name, path)
    lock.close()
    failed = report(results)
    if options.write:
        conformance_table.write(DOCUMENT, results)
    if "aril" in results:
        passed = sum(map(len, results["aril"].values())) - failed
        print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"conformance: {wrong}")

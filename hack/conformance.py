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
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HACK = Path(__file__).resolve().parent
VIEWS = ("v1", "v2")
TIME_LIMIT = 60
NOT_PROGRAMS = ("runtimetest", "recipe", "version")
POINT = re.compile(r"(?P<verdict>ok|not ok)\b *\d* *-? *(?P<text>.*?)(?: # (?P<directive>SKIP|TODO)\b.*)?$")
# The programs name containers by a UUID, and give these paths to cgroups.
OURS = re.compile(r"/([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|cgrouptest|testdir)(/|$)")


class Wrong(Exception):
    """Something is missing, or a file says what cannot be."""


@dataclass
class Result:
    """What one program said of one runtime in one view."""

    ok: int = 0
    skipped: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    left: list = field(default_factory=list)
    seconds: float = 0.0

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


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def cgroups():
    """All cgroups of the machine, by the mount points of their hierarchies."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    points = {line.split()[4] for line in mounts if line.split(" - ")[1].split()[0] in ("cgroup", "cgroup2")}
    return {directory for point in points for directory, _, _ in os.walk(point)}


def remove_cgroups(before):
    """Those that a program left: told, and removed by their names, which fails if one is still in use."""
    left = sorted((path for path in cgroups() - before if OURS.search(path)), reverse=True)
    for path in left:
        os.rmdir(path)
    return [f"cgroup {path}" for path in reversed(left)]


def run_program(suite, runtime, view, program, output):
    """In namespaces of its own."""
    tap, messages, report = (output / f"{program}.{kind}" for kind in ("tap", "stderr", "json"))
    report.unlink(missing_ok=True)
    before, began = cgroups(), time.monotonic()
    inside = [sys.executable, HACK / "conformance-inside.py", view, suite / program, TIME_LIMIT, report]
    with open(tap, "wb") as stdout, open(messages, "wb") as stderr:
        status = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", 'source "$0"; in_own_namespaces "$@"', HACK / "lib.sh", *map(str, inside)],
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=suite, check=False,
            env={**os.environ, "RUNTIME": runtime}).returncode
    result = read_tap(tap.read_text(errors="replace"))
    result.seconds = time.monotonic() - began
    said = last_line(messages.read_text(errors="replace"))
    if not report.exists():
        raise Wrong(f"{program} could not be run in the view {view}: {said}")
    inside = json.loads(report.read_text())
    if inside["ended"] != "exit status 0":
        result.failures.append(f"{inside['ended']}: {said}")
    elif status != 0:
        result.failures.append(f"the namespaces ended with status {status}")
    if not (result.ok or result.failures or result.skipped):
        # Some write no test point at all, and say by an error in details what is wrong.
        errors = re.findall(r'^ +"error": "(.*?)"', tap.read_text(errors="replace"), re.MULTILINE)
        result.failures += errors
        if not errors:
            result.skipped.append("the program ended without a test point")
    result.left = inside["left"] + remove_cgroups(before)
    report.write_text(json.dumps({**inside, "left": result.left}, indent=2) + "\n")
    return result


def select(suite, patterns):
    programs = sorted(path.name for path in suite.iterdir()
                      if path.name not in NOT_PROGRAMS and not path.name.endswith(".tar.gz"))
    chosen = [name for name in programs if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not chosen:
        raise Wrong(f"no program of the suite is called {' or '.join(patterns)}")
    return chosen


def run(options, runtime, path, view):
    """All chosen programs with one runtime in one view."""
    output = options.output / runtime / view
    output.mkdir(parents=True, exist_ok=True)
    results = {}
    for program in options.programs:
        results[program] = result = run_program(options.suite, path, view, program, output)
        print(f"{runtime:6} {view} {program:33} {result.summary()} ({result.seconds:.1f} s)", flush=True)
        for failure in result.failures:
            print(f"          not ok: {failure}", flush=True)
        for left in result.left:
            print(f"          left: {left}", flush=True)
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--view", choices=VIEWS)
    parser.add_argument("--program", action="append", default=[], dest="patterns")
    parser.add_argument("runtimes", nargs="+", metavar="NAME=PATH")
    options = parser.parse_args()
    options.suite, options.output = options.suite.resolve(), options.output.resolve()
    options.programs = select(options.suite, options.patterns)
    for runtime, path in (word.split("=", 1) for word in options.runtimes):
        for view in [options.view] if options.view else VIEWS:
            began = time.monotonic()
            results = run(options, runtime, path, view).values()
            total = Result(sum(result.ok for result in results), sum((result.skipped for result in results), []),
                           sum((result.failures for result in results), []))
            print(f"== {runtime} {view}: {total.summary()} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"conformance: {wrong}")

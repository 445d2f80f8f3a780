"""Runs /bin/true in many containers and looks for what they left behind.

The containers run one after the other in each of a few lanes, in a pid namespace and a mount namespace
of their own: a process or a mount that is left is one that is still there at the end. The exit status
is 0 only if each container ended in time with status 0, and no process, cgroup, mount or directory is
left.

With --hostile, containers attack the host meanwhile (docs/testing.md, "The hostile container"): it shows how often
each probe has reached it, and the exit status is 0 only if none has.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HACK = Path(__file__).resolve().parent
CGROUPS = Path("/sys/fs/cgroup")


class Lane(threading.Thread):
    """Runs its share of the containers; stops at the first that fails."""

    def __init__(self, runtime, work, numbers, limit):
        super().__init__()
        self.command = [runtime, "--root", work / "state", "run", "--bundle", work / "bundle"]
        self.name_prefix, self.numbers, self.limit = work.name, numbers, limit
        self.done, self.failure = 0, None

    def run(self):
        for number in self.numbers:
            name = f"{self.name_prefix}-{number}"
            try:
                ended = subprocess.run([*self.command, name], timeout=self.limit, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            except subprocess.TimeoutExpired:
                self.failure = f"{name} hung: it did not end in {self.limit} seconds"
                return
            if ended.returncode != 0 or ended.stdout:
                self.failure = f"{name}: exit status {ended.returncode}: {ended.stdout.decode(errors='replace')}"
                return
            self.done += 1


def processes():
    """The command line of each process but this one."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        if int(directory.name) != os.getpid():
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(f"process {directory.name}: {command.strip() or (directory / 'comm').read_text().strip()}")
    return found


def mounts():
    """Each mount's place and source, without the numbers that a new one would change."""
    return [f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def cgroups(name):
    """Those with the containers' names, in every hierarchy."""
    return [f"cgroup {found}" for found in CGROUPS.rglob(f"*{name}-*")]


def directories(work):
    """All files and directories of the bundle and of the state."""
    return [f"{'directory' if found.is_dir() else 'file'} {found}" for found in work.rglob("*")]


def world(work):
    return sorted([*processes(), *mounts(), *cgroups(work.name), *directories(work)])


def make_bundle(runtime, bundle):
    """The runtime's own default configuration with /bin/true, on busybox."""
    script = 'source "$0/rootfs.sh" && make_busybox_rootfs "$1"'
    subprocess.run(["bash", "-euc", script, HACK, bundle / "rootfs"], check=True)
    subprocess.run([runtime, "spec", "--bundle", bundle], check=True)
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    config["process"].update(args=["/bin/true"], terminal=False)
    file.write_text(json.dumps(config))


def soak(runtime, work, options):
    """Runs all of it; the exit status."""
    (work / "state").mkdir()
    make_bundle(runtime, work / "bundle")
    before = world(work)
    lanes = [Lane(runtime, work, range(first, options.count, options.lanes), options.limit) for first in range(options.lanes)]
    began = time.monotonic()
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    seconds = time.monotonic() - began
    after = world(work)
    for lane in lanes:
        if lane.failure:
            print(f"FAILED  {lane.failure}")
    for line in after:
        if line not in before:
            print(f"left    {line}")
    for line in before:
        if line not in after:
            print(f"lost    {line}")
    done = sum(lane.done for lane in lanes)
    good = done == options.count and after == before
    print(f"{done} of {options.count} containers in {seconds:.0f} s, {options.lanes} at a time: "
          + ("nothing is left of them" if good else "FAILED"))
    return 0 if good else 1


def library(*command):
    """The exit status of a command that may be a function of hack/lib.sh."""
    return subprocess.run(["bash", "-euo", "pipefail", "-c", 'source "$0/lib.sh" && "$@"', HACK, *command]).returncode


def hostile(runtime, seconds, view):
    """Runs the container tests of the hostile container for that long; their exit status."""
    build = ["bash", "-euc", 'cd "$0/.." && source hack/lib.sh && build_container_tests', HACK]
    program = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    tests = ["hostile::everything_at_once_is_found", "hostile::everything_at_once"]
    environment = {**os.environ, "RUNTIME": runtime, "HOSTILE_SECONDS": str(seconds)}
    return subprocess.run([program, "--view", view, "--exact", *tests], env=environment).returncode


def arguments():
    parser = argparse.ArgumentParser(prog="hack/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=10000, help="containers (10000)")
    parser.add_argument("--lanes", type=int, default=2, help="containers at a time (2)")
    parser.add_argument("--limit", type=float, default=10, help="seconds after which a container hangs (10)")
    parser.add_argument("--hostile", type=int, nargs="?", const=60, metavar="SECONDS",
                        help="attack the host for so long (60), in place of COUNT containers")
    parser.add_argument("--view", default="host", help="with --hostile: host, v1 or v2 (host)")
    parser.add_argument("--inside", nargs=2, metavar=("RUNTIME", "DIRECTORY"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.inside:
        runtime, work = options.inside
        sys.exit(soak(runtime, Path(work), options))
    if os.geteuid() != 0:
        sys.exit("soak: must be root")
    runtime = subprocess.run([HACK / "runtime"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    if options.hostile is not None:
        sys.exit(hostile(runtime, options.hostile, options.view))
    work = tempfile.mkdtemp(prefix="aril-soak.")
    try:
        program = [sys.executable, HACK / "soak.py", *sys.argv[1:], "--inside", runtime, work]
        status = library("in_own_namespaces", *program)
    finally:
        removed = library("remove_tree", work)
    sys.exit(status or removed)


if __name__ == "__main__":
    main()

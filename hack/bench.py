"""Times a container's life under aril, the floor, crun and runc, side by side.

The floor (hack/floor/floor.c) is the kernel's share of the work: what no runtime can be faster than.
All run the same configuration (hack/floor/config.json) on the same root filesystem, interleaved and in
a new order each round, in a private mount namespace with cgroup2 on /sys/fs/cgroup and a tmpfs for
bundles and state. Nothing of the machine is changed and nothing is left.

Memory is ru_maxrss: the largest that the runtime's process, or any process it made and waited for, was.
"""

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HACK = Path(__file__).resolve().parent
CGROUPS = Path("/sys/fs/cgroup")
OPERATIONS = ("run", "create+start+delete", "exec")
WARM_UP = 10
CLONE_NEWNS, CLONE_NEWPID, PR_SET_PDEATHSIG = 0x00020000, 0x20000000, 1
LIMITS = {"crun": 0.7, "floor": 2.0, "memory": 3 * 1024, "size": 5 * 1024 - 1}


class Failed(Exception):
    """A measured command failed, or something to measure with is missing."""


class Timer:
    """The small C program that spawns the commands; see floor/timer.c for its requests."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write("\x1f".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            raise Failed(f"the timer ended at: {' '.join(map(str, words))}")
        return [int(word) for word in reply.split()]

    def run(self, *command):
        """Milliseconds and peak KiB of a command that must succeed."""
        nanoseconds, status, kib = self.ask("run", *command)
        if status != 0:
            raise Failed(f"exit status {status}: {' '.join(map(str, command))}")
        return nanoseconds / 1e6, kib

    def start(self, *command):
        return self.ask("start", *command)[0]

    def reap(self, pid):
        """Peak KiB of a child or orphan, once it has ended."""
        return self.ask("reap", pid)[1]

    def drain(self):
        """Waits for all children and orphans that are left."""
        self.ask("drain")


class Runtime:
    """An OCI runtime, with a bundle for each of its two containers."""

    def __init__(self, name, program, bench):
        self.name, self.program, self.timer = name, program, bench.timer
        self.command = (program, "--root", bench.work / f"{name}-state")
        self.short = bench.bundle(f"{name}-short", ["/bin/true"])
        self.long = bench.bundle(f"{name}-long", ["/bin/sleep", "100000"])

    def prepare(self):
        self.timer.run(*self.command, "run", "--detach", "--bundle", self.long, self.long.name)

    def run(self):
        return self.timer.run(*self.command, "run", "--bundle", self.short, self.short.name)

    def create_start_delete(self):
        """The three commands; the program's own time between start and delete is not counted."""
        pid_file = self.short / "pid"
        created = self.timer.run(*self.command, "create", "--pid-file", pid_file, "--bundle", self.short, self.short.name)
        started = self.timer.run(*self.command, "start", self.short.name)
        init = self.timer.reap(pid_file.read_text())  # an orphan of `create`: the timer is its shim
        deleted = self.timer.run(*self.command, "delete", self.short.name)
        times, peaks = zip(created, started, deleted)
        return sum(times), max(*peaks, init)

    def exec(self):
        return self.timer.run(*self.command, "exec", self.long.name, "/bin/true")

    def finish(self):
        self.timer.run(*self.command, "delete", "--force", self.long.name)


class Floor:
    """The floor program. It keeps no state, so there is no create, start and delete."""

    def __init__(self, program, bench):
        self.name, self.program, self.bench = "floor", program, bench
        self.short = bench.cgroup / "floor-short"
        self.long = bench.cgroup / "floor-long"
        self.create_start_delete = None

    def floor(self, *arguments):
        return (self.program, *arguments)

    def prepare(self):
        timer = self.bench.timer
        timer.start(*self.floor("run", self.bench.rootfs, self.long, "/bin/sleep", "100000"))
        self.pid = self.wait_for_program("sleep")

    def wait_for_program(self, name):
        for _ in range(1000):
            for pid in read_words(self.long / "cgroup.procs"):
                if read_words(Path("/proc") / pid / "comm") == [name]:
                    return int(pid)
            time.sleep(0.01)
        raise Failed(f"{name} did not start below the floor program")

    def run(self):
        return self.bench.timer.run(*self.floor("run", self.bench.rootfs, self.short, "/bin/true"))

    def exec(self):
        return self.bench.timer.run(*self.floor("exec", self.pid, self.long, "/bin/true"))

    def finish(self):
        os.kill(self.pid, signal.SIGKILL)


class Bench:
    """The private world in which all is measured: a cgroup, a root filesystem, the built tools."""

    def __init__(self, work):
        self.work = work
        self.rootfs = work / "rootfs"
        self.cgroup = CGROUPS / f"aril-bench-{os.getpid()}"
        self.template = (HACK / "floor/config.json").read_text()
        subprocess.run(["mount", "-t", "cgroup2", "none", CGROUPS], check=True)
        self.cgroup.mkdir()
        self.make_rootfs()
        self.floor = self.compile("floor")
        self.timer = Timer(self.compile("timer"))

    def make_rootfs(self):
        script = 'source "$0/rootfs.sh" && make_busybox_rootfs "$1"'
        subprocess.run(["bash", "-euc", script, HACK, self.rootfs], check=True)

    def compile(self, name):
        program = self.work / name
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-static", "-s",
                        "-o", program, HACK / f"floor/{name}.c"], check=True)
        return program

    def bundle(self, name, arguments):
        """A bundle of the common configuration, with a cgroup of its own."""
        directory = self.work / name
        directory.mkdir()
        text = self.template.replace("@ROOTFS@", str(self.rootfs))
        config = json.loads(text.replace("@CGROUP@", f"/{self.cgroup.name}/{name}"))
        config["process"]["args"] = arguments
        (directory / "config.json").write_text(json.dumps(config))
        return directory

    def leave(self):
        """Ends what still runs and removes the cgroups; all else goes with the namespaces."""
        (self.cgroup / "cgroup.kill").write_text("1")
        self.timer.drain()
        for directory, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(directory)


def read_words(path):
    try:
        return path.read_text().split()
    except OSError:
        return []


def subjects(bench, wanted, runtime):
    """What is there to be measured, and why the rest is not."""
    found, skipped = [], {}
    programs = {"floor": bench.floor, Path(runtime).name: runtime}
    for name in ("crun", "runc"):
        programs.setdefault(name, shutil.which(name))
    for name, program in programs.items():
        if name not in (wanted or programs):
            skipped[name] = "not among --only"
        elif not program:
            skipped[name] = "not installed"
        else:
            found.append(Floor(program, bench) if name == "floor" else Runtime(name, program, bench))
    return found, skipped


def prepared(candidates, skipped):
    """The candidates that can run a container here at all."""
    ready = []
    for candidate in candidates:
        try:
            candidate.prepare()
            candidate.run()
            ready.append(candidate)
        except Failed as failure:
            skipped[candidate.name] = str(failure)
    return ready


def measure(ready, rounds):
    """{operation: {name: [(milliseconds, KiB), ...]}}, the first rounds left out."""
    samples = {operation: {one.name: [] for one in ready} for operation in OPERATIONS}
    order = random.Random(1)
    for number in range(WARM_UP + rounds):
        for operation in OPERATIONS:
            for one in order.sample(ready, len(ready)):
                method = getattr(one, operation.replace("+", "_"))
                sample = method() if method else None
                if sample and number >= WARM_UP:
                    samples[operation][one.name].append(sample)
    return samples


def median(samples, operation, name):
    times = [milliseconds for milliseconds, _ in samples[operation].get(name, [])]
    return statistics.median(times) if times else None


def spread(samples, operation, name):
    """Median, and the tenth and ninetieth percentile, in milliseconds."""
    times = [milliseconds for milliseconds, _ in samples[operation][name]]
    if len(times) < 2:
        return "-"
    tenths = statistics.quantiles(times, n=10)
    return f"{statistics.median(times):.2f} ({tenths[0]:.2f}..{tenths[-1]:.2f})"


def peaks(samples, name):
    """The peak KiB of each operation that was measured."""
    return [max(kib for _, kib in samples[operation][name]) for operation in OPERATIONS if samples[operation][name]]


def ratio(samples, operation, name, other):
    """How many times the other's median; None if one of the two was not measured."""
    ours, theirs = median(samples, operation, name), median(samples, operation, other)
    return ours / theirs if ours and theirs else None


def print_table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join(cells).rstrip())
    print()


def report(ready, samples, skipped, ours):
    header = ["milliseconds, median (10%..90%)", *OPERATIONS, "peak KiB of each", "binary KiB"]
    rows = [header]
    for one in ready:
        times = [spread(samples, operation, one.name) for operation in OPERATIONS]
        size = f"{Path(one.program).stat().st_size / 1024:.0f}"
        rows.append([one.name, *times, " ".join(map(str, peaks(samples, one.name))), size])
    print_table(rows)
    report_ratios(ready, samples, ours)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")


def report_ratios(ready, samples, ours):
    rows = [["ratio of medians", *OPERATIONS]]
    for one in ready:
        if one.name != ours and ours in samples["run"]:
            ratios = [ratio(samples, operation, ours, one.name) for operation in OPERATIONS]
            rows.append([f"{ours} / {one.name}", *(f"{value:.2f}" if value else "-" for value in ratios)])
    if len(rows) > 1:
        print_table(rows)


def elf_facts(program):
    """(static, stripped) of a 64-bit ELF: no interpreter is asked for, no symbol table is there."""
    data = Path(program).read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return False, False
    segments, sections = struct.unpack_from("<QQ", data, 32)
    segment_size, segment_count, section_size, section_count = struct.unpack_from("<HHHH", data, 54)
    types = [struct.unpack_from("<I", data, segments + index * segment_size)[0] for index in range(segment_count)]
    tables = [struct.unpack_from("<I", data, sections + index * section_size + 4)[0] for index in range(section_count)]
    return 3 not in types, 2 not in tables


def at_most(limit, value):
    return value, f"at most {limit}", value is not None and value <= limit


def check(ready, samples, ours):
    """Prints each threshold with what was measured; whether all hold."""
    one = next((one for one in ready if one.name == ours), None)
    if one is None:
        print(f"check: {ours} was not measured")
        return False
    static, stripped = elf_facts(one.program)
    size = Path(one.program).stat().st_size // 1024
    results = [
        ("run, times crun's", *at_most(LIMITS["crun"], ratio(samples, "run", ours, "crun"))),
        ("run, times the floor's", *at_most(LIMITS["floor"], ratio(samples, "run", ours, "floor"))),
        ("peak memory, KiB", *at_most(LIMITS["memory"], max(peaks(samples, ours)))),
        ("binary, KiB", *at_most(LIMITS["size"], size)),
        ("static", static, "yes", static),
        ("stripped", stripped, "yes", stripped),
    ]
    print_check(ours, results)
    return all(holds for *_, holds in results)


def print_check(name, results):
    rows = [[f"check of {name}", "measured", "wanted", ""]]
    for what, measured, wanted, holds in results:
        if isinstance(measured, bool):
            shown = "yes" if measured else "no"
        else:
            shown = "not measured" if measured is None else f"{measured:.2f}".removesuffix(".00")
        rows.append([what, shown, wanted, "ok" if holds else "FAILED"])
    print_table(rows)


def choose_runtime(given):
    """The binary to measure: --runtime, $RUNTIME, or aril built now."""
    environment = dict(os.environ, RUNTIME=given) if given else None
    found = subprocess.run([HACK / "runtime"], env=environment, stdout=subprocess.PIPE, text=True)
    if found.returncode != 0:
        sys.exit("bench: there is no runtime to measure")
    return found.stdout.strip()


def arguments():
    parser = argparse.ArgumentParser(prog="hack/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, metavar="N", help=f"measured rounds (200), after {WARM_UP} to warm up")
    parser.add_argument("--runtime", metavar="PROGRAM", help="what to measure ($RUNTIME, or aril's release binary)")
    parser.add_argument("--only", default="", metavar="NAME,...", help="of floor, aril, crun, runc")
    parser.add_argument("--check", action="store_true", help="exit status 1 unless the project's thresholds are met")
    return parser.parse_args()


def library(*command):
    """Runs a function of hack/lib.sh, in the namespaces of this process."""
    subprocess.run(["bash", "-euo", "pipefail", "-c", 'source "$0/lib.sh" && "$@"', HACK, *command], check=True)


def in_private_namespaces(function):
    """The exit status of function() in a child with its own mount and pid namespaces.

    The child is told when this process is told to end, or ends: it removes what it made, and its pid
    namespace takes every container along.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID) != 0:
        sys.exit(f"bench: unshare: {os.strerror(ctypes.get_errno())}")
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
        library("make_own_devices")
        sys.exit(function())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's reaches the child too
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    options = arguments()
    os.environ.pop("RUST_BACKTRACE", None)  # it makes errors, even those handled, expensive
    if os.geteuid() != 0:
        sys.exit("bench: must be root")
    options.runtime = choose_runtime(options.runtime)
    sys.exit(in_private_namespaces(lambda: bench_in_directory(options)))


def bench_in_directory(options):
    directory = tempfile.mkdtemp(prefix="aril-bench.")
    try:
        # As it would be installed: a file that the linker wrote is slower to map (small page cache folios).
        options.runtime = shutil.copy(options.runtime, directory)
        work = Path(directory) / "work"
        work.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work], check=True)
        return 0 if bench_in(work, options) else 1
    except Failed as failure:
        sys.exit(f"bench: {failure}")
    finally:
        library("remove_tree", directory)


def bench_in(directory, options):
    bench = Bench(directory)
    try:
        candidates, skipped = subjects(bench, options.only.split(",") if options.only else [], options.runtime)
        ready = prepared(candidates, skipped)
        samples = measure(ready, options.rounds)
        for one in ready:
            one.finish()
    finally:
        bench.leave()
    ours = Path(options.runtime).name
    report(ready, samples, skipped, ours)
    return check(ready, samples, ours) if options.check else ours in samples["run"] or bool(options.only)


if __name__ == "__main__":
    main()

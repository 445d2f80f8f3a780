"""Runs random containers under aril, runc and crun, and compares all that is to be seen of each.

What a container's processes see, what is seen of it from outside, and what is left of it, should be the same. Where the
first runtime differs from both others, alone refuses, or alone accepts, that is an error, unless differences.txt lists it
with a reason. Each is made as small as it gets, and kept below --out: --again runs such a file once more, in all detail.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import cgroup_view  # noqa: E402
from bundle import mount, unmount_all  # noqa: E402
from configs import Configs  # noqa: E402
from container import Containers, remove_cgroups  # noqa: E402
from verdicts import Known, compared, smallest  # noqa: E402

KINDS = ("alone", "refused", "accepted", "hangs")
# How often a difference must show to be one, and not a race.
TIMES = 3
CAP_SYS_RESOURCE = 24


def show_view(view):
    """Shows the cgroup hierarchies of the view, in the mount namespace of this process; which layout it is."""
    if view != "host":
        cgroup_view.show(view)
    both = cgroup_view.filesystems() & {"cgroup", "cgroup2"}
    return "hybrid" if len(both) == 2 else "v1" if "cgroup" in both else "v2"


def base_config(runtime, work, layout):
    """The runtime's own default configuration, with the program that says what it sees."""
    subprocess.run([runtime, "spec", "--bundle", work], check=True)
    config = json.loads((work / "config.json").read_text())
    config["ociVersion"], config["hostname"] = "1.0.2", "base"
    config["process"].update(args=["/bin/facts"], terminal=False)
    config["process"]["user"]["umask"] = 0o22
    config["root"]["readonly"] = False
    config["linux"]["cgroupsPath"] = "/comparison/@id"
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "cgroup"]
    namespaces = [one for one in config["linux"]["namespaces"] if one["type"] != "cgroup"]
    config["linux"]["namespaces"] = namespaces
    return config


def command_of(peer, work):
    """The command of crun, which raises a limit where not even root may, or of another runtime."""
    program = subprocess.run(["which", peer], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if Path(program).name != "crun" or hard == resource.RLIM_INFINITY or has_capability(CAP_SYS_RESOURCE):
        return [program]
    library = work / "memlock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O", "-o", library, HERE / "memlock.c"], check=True)
    return ["env", f"LD_PRELOAD={library}", program]


def has_capability(number):
    status = Path("/proc/self/status").read_text()
    return int(status.split("CapEff:")[1].split()[0], 16) >> number & 1


def leave_out(containers, peers):
    """Leaves those out that run nothing here, as crun where both versions of cgroups have controllers."""
    for name in peers:
        if (run := containers.run(name, [])).outcome != "ran":
            print(f"{name} is left out, as it does not run the default: {run.message}")
            del containers.runtimes[name]
    if len(containers.runtimes) == 1:
        sys.exit("compare: nothing to compare with")


class Comparison:
    """All cases, and what came of them."""

    def __init__(self, containers, configs, options):
        self.containers, self.configs = containers, configs
        self.known, self.out = Known(), Path(options.out)
        self.quick, self.began = options.quick, time.monotonic()
        self.deadline = self.began + options.seconds
        self.counts, self.groups = Counter(), {}

    def differences(self, edits, case=None):
        runs = {name: self.containers.run(name, edits) for name in self.containers.runtimes}
        for name, run in runs.items():
            if case and run.outcome == "hangs":
                print(f"{case}: {name}: {run.message}", flush=True)
        return compared(runs)

    def case(self, name, edits):
        found = self.differences(edits, name)
        fresh = [one for one in found if self.known.reason(one, edits) is None]
        for _ in range(TIMES - 1):
            if any(one.kind in KINDS for one in fresh):
                again = {one.group() for one in self.differences(edits)}
                fresh = [one for one in fresh if one.group() in again]
        self.counts["cases"] += 1
        self.counts["seconds"] = round(time.monotonic() - self.began)
        if not found:
            self.counts["the same in everything"] += 1
        elif not fresh:
            self.counts["the same but for what is listed"] += 1
        for group, one in {one.group(): one for one in fresh}.items():
            is_new = group not in self.groups
            seen = self.groups.setdefault(group, {"count": 0, "kind": one.kind})
            seen.setdefault("case", name)
            seen["count"] += 1
            if is_new and one.kind in KINDS:
                self.keep(name, group, edits)

    def keep(self, name, group, edits):
        """Writes down the smallest case of a difference; whatever else differs in it is not looked at again."""
        def shows(fewer):
            return time.monotonic() < self.deadline and any(one.group() == group for one in self.differences(fewer))

        fewest = edits if self.quick else smallest(edits, shows)
        file = self.out / f"{name}-{len(self.groups)}.json"
        file.write_text(json.dumps({"difference": group, "edits": fewest}, indent=1))
        print(f"DIFFERS {group}\n        {json.dumps(fewest)[:400]}\n        {file}", flush=True)
        for one in self.differences(fewest):
            self.groups.setdefault(one.group(), {"count": 0, "kind": one.kind})

    def report(self):
        """Shows the groups; whether there is one that counts."""
        names = list(self.containers.runtimes)
        print("\n" + "\n".join(f"{count:6} listed: {reason}" for reason, count in self.known.met.most_common()))
        print(f"\n== groups ({' | '.join(['how', 'what', *names])})")
        met = {group: seen for group, seen in self.groups.items() if seen["count"]}
        for group, seen in sorted(met.items(), key=lambda one: (one[1]["kind"] not in KINDS, -one[1]["count"])):
            print(f"{seen['count']:5} {group} | {seen['case']}")
        print("\n" + "\n".join(f"{count:6} {what}" for what, count in self.counts.items()))
        return any(seen["kind"] in KINDS for seen in met.values())

    def again(self, file):
        if Path(file).exists():
            edits = json.loads(Path(file).read_text())["edits"]
        else:
            edits = self.configs.draw(random.Random(file))
        runs = {name: self.containers.run(name, edits) for name in self.containers.runtimes}
        print(json.dumps(edits))
        for name, run in runs.items():
            print(f"{name}: {run.outcome} {run.message}", *run.notes, sep="\n    ")
        for one in compared(runs):
            values = "".join(f"\n    {name}: {value}" for name, value in zip(runs, one.values))
            print(f"{one.kind}: {one.key} ({self.known.reason(one, edits) or 'not listed'}){values}")


def arguments():
    parser = argparse.ArgumentParser(prog="hack/compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=500, help="cases (500)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (1); the same has the same cases")
    parser.add_argument("--view", choices=["host", "v1", "v2"], default="host", help="of the cgroup hierarchies (host)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="ends after so long")
    parser.add_argument("--quick", action="store_true", help="what differs is not made smaller")
    parser.add_argument("--peers", default="runc,crun", help="the runtimes to compare with (runc,crun)")
    parser.add_argument("--patience", type=float, default=5, help="seconds after which a command or a program hangs (5)")
    parser.add_argument("--out", default="target/compare", help="the directory for what differs (target/compare)")
    parser.add_argument("--again", metavar="FILE", help="one case of that directory, or the name of one (host-7-41), with all that differs")
    parser.add_argument("--inside", nargs=2, metavar=("RUNTIME", "DIRECTORY"), help=argparse.SUPPRESS)
    return parser.parse_args()


def inside(options):
    runtime, work = options.inside[0], Path(options.inside[1])
    mount("comparison", work, "tmpfs", data="mode=755")
    peers = {peer: command_of(peer, work) for peer in options.peers.split(",")}
    layout = show_view(options.view)
    base = base_config(runtime, work, layout)
    containers = Containers({"aril": [runtime], **peers}, work, base, options.patience)
    leave_out(containers, peers)
    comparison = Comparison(containers, Configs(base, layout), options)
    try:
        if options.again:
            return comparison.again(options.again)
        for number in range(options.count):
            if time.monotonic() > comparison.deadline:
                break
            name = f"{options.view}-{options.seed}-{number}"
            comparison.case(name, comparison.configs.draw(random.Random(name)))
        return comparison.report()
    finally:
        containers.joined.end()
        unmount_all(work)


def main():
    options = arguments()
    if options.inside:
        sys.exit(inside(options))
    if os.geteuid() != 0:
        sys.exit("compare: must be root")
    runtime = subprocess.run([HERE.parent / "runtime"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    Path(options.out).mkdir(parents=True, exist_ok=True)
    # Not in a directory that only root may enter, as $TMPDIR may be: root of a user namespace is another user.
    work = tempfile.mkdtemp(prefix="aril-compare.", dir="/run")
    script = 'source "$0/lib.sh" && in_own_namespaces "$@"'
    command = [sys.executable, HERE, *sys.argv[1:], "--inside", runtime, work]
    process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", script, HERE.parent, *command], start_new_session=True)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        sys.exit(process.wait())
    finally:
        if process.poll() is None:
            # The namespaces end with it, and all that is in them.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        remove_cgroups(Path(work).name.rpartition(".")[2])
        os.rmdir(work)


if __name__ == "__main__":
    main()

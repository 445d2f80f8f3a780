"""Which failures of the conformance suite are expected, and whether what came is that."""

import re
from dataclasses import dataclass, field
from pathlib import Path

RUNTIMES = ("aril", "runc", "crun")
VIEWS = ("v1", "v2")
# Whose fault a failure is; what may stand before the colon of a reason.
CAUSES = {
    "suite": "the suite is wrong",
    "older": "an older specification",
    "v1 only": "the suite knows cgroup v1 alone",
    "machine": "the machine or its kernel lacks something",
    "on purpose": "decided so",
    "runtime": "the runtime is wrong",
}
# How often a race is lost.
SOMETIMES, MOSTLY = "sometimes", "mostly"
CAP_SYS_RESOURCE = 24


class Wrong(Exception):
    """Something is missing, or a file says what cannot be."""


def has_capability(number):
    status = Path("/proc/self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) >> number & 1)


def says_yes(path):
    try:
        return Path(path).read_text().strip() == "Y"
    except OSError:
        return False


def has_unified(controller):
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    files = [Path(words[1], "cgroup.controllers") for words in mounts if words[2] == "cgroup2"]
    return any(controller in file.read_text().split() for file in files)


# What a machine may have: a line of the list with has-WHAT counts only where it does, with no-WHAT only where not.
MAY_HAVE = {
    "apparmor": lambda: says_yes("/sys/module/apparmor/parameters/enabled"),
    "selinux": lambda: Path("/sys/fs/selinux/enforce").exists(),
    "sys-resource": lambda: has_capability(CAP_SYS_RESOURCE),
    "v1-hugetlb": lambda: Path("/sys/fs/cgroup/hugetlb/tasks").exists(),
    "v1-network": lambda: Path("/sys/fs/cgroup/net_cls/tasks").exists(),
    "leaf-weight": lambda: Path("/sys/fs/cgroup/blkio/blkio.leaf_weight").exists(),
    "two-interfaces": lambda: len(list(Path("/sys/class/net").iterdir())) > 1,
    "v2-cpu": lambda: has_unified("cpu"),
    "v2-pids": lambda: has_unified("pids"),
}
CONDITIONS = [f"{which}-{what}" for what in MAY_HAVE for which in ("has", "no")]


def holds(condition):
    which, _, what = condition.partition("-")
    return MAY_HAVE[what]() == (which == "has")


@dataclass
class Row:
    """One expected failure."""

    line: int
    runtimes: list
    views: list
    program: str
    failure: str
    cause: str
    reason: str
    sometimes: bool = False
    mostly: bool = False

    def covers(self, runtime, view, program):
        return runtime in self.runtimes and view in self.views and program == self.program


@dataclass
class Verdict:
    """What one program's result is worth."""

    reasons: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)
    gone: list = field(default_factory=list)

    def is_expected(self):
        return not self.unexpected and not self.gone

    def is_race(self):
        """Whether the program may pass another time."""
        return any(row.sometimes for row in self.reasons)


def read_row(number, text, programs):
    """`[RUNTIME...] [VIEW] [has-WHAT|no-WHAT] [sometimes|mostly] PROGRAM | a part of what fails | CAUSE: reason`; None if this is no such machine."""
    parts = [part.strip() for part in text.split("|")]
    cause, colon, reason = parts[-1].partition(": ")
    if len(parts) != 3 or not all(parts) or not colon or cause not in CAUSES:
        raise Wrong(f"line {number}: not [RUNTIME...] [VIEW] [has-WHAT|no-WHAT] [sometimes|mostly] PROGRAM | what fails | "
                    f"CAUSE: reason, where CAUSE is {', '.join(CAUSES)}")
    *words, program = parts[0].split()
    if unknown := [word for word in words if word not in (*RUNTIMES, *VIEWS, *CONDITIONS, SOMETIMES, MOSTLY)]:
        raise Wrong(f"line {number}: {unknown[0]} is no runtime, no view and nothing that a machine may have")
    if program not in programs:
        raise Wrong(f"line {number}: the suite has no program {program}")
    runtimes = [word for word in words if word in RUNTIMES] or list(RUNTIMES)
    if cause == "runtime" and "aril" in runtimes:
        raise Wrong(f"line {number}: aril is to be mended")
    if not all(holds(word) for word in words if word in CONDITIONS):
        return None
    views = [word for word in words if word in VIEWS] or list(VIEWS)
    return Row(number, runtimes, views, program, parts[1], cause, reason, SOMETIMES in words, MOSTLY in words)


def read_rows(path, programs):
    rows = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if text.strip() and not text.startswith("#"):
            rows.append(read_row(number, text, programs))
    return [row for row in rows if row]


def plain(text):
    """Without what differs from run to run."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    return re.sub(r"(ocitest|oci-pid)\d+", r"\1", text)


def judge(rows, where, failures):
    """`where` is runtime, view and program. Of another runtime than aril a line that is not met is nothing."""
    verdict = Verdict()
    rows = [row for row in rows if row.covers(*where)]
    for row in rows:
        if any(row.failure.lower() in failure.lower() for failure in failures):
            verdict.reasons.append(row)
        elif where[0] == "aril" and not (row.sometimes or row.mostly):
            verdict.gone.append(row)
    known = [row.failure.lower() for row in rows]
    verdict.unexpected = [failure for failure in failures if not any(part in failure.lower() for part in known)]
    return verdict

"""The inner half of hack/conformance.py: runs one validation program in namespaces that are there for it alone.

    conformance-inside.py VIEW PROGRAM SECONDS REPORT

Shows one kind of cgroup hierarchy, gives the program a /run and a directory for bundles, both new, and writes into
REPORT how it ended and what it left there: processes, mounts, files. All of it ends with the namespaces.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from cgroup_view import mounts, show


def processes():
    """All but the first of this namespace, and this one."""
    left = []
    for directory in Path("/proc").glob("[0-9]*"):
        if int(directory.name) in (1, os.getpid()):
            continue
        try:
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            state = (directory / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            left.append(f"process {command or directory.name}")
    return left


def files(directory):
    """What is in its directories, which runtimes keep for good, and what else is in it."""
    entries = list(Path(directory).iterdir())
    kept = [entry for entry in entries if is_real(entry)]
    return [entry for entry in entries if entry not in kept] + [entry for top in kept for entry in top.iterdir()]


def is_real(path):
    return path.is_dir() and not path.is_symlink()


def main():
    view, program, seconds, report = sys.argv[1:]
    show(view)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    bundles = "/run/conformance"
    os.mkdir(bundles)
    before = mounts()
    os.environ["TMPDIR"] = bundles
    try:
        status = subprocess.run([program], timeout=int(seconds), check=False).returncode
        ended = f"exit status {status}" if status >= 0 else f"signal {-status}"
    except subprocess.TimeoutExpired:
        ended = f"more than {seconds} seconds"
    left = sorted(processes())
    left += [f"mount {point}" for number, (point, _) in mounts().items() if number not in before]
    left += [f"file {path}" for path in files("/run") if path.parent != Path(bundles)]
    left += [f"bundle {entry.name}" for entry in Path(bundles).iterdir()]
    Path(report).write_text(json.dumps({"ended": ended, "left": left}))


main()

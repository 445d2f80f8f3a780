"""The cgroup hierarchies of one version alone, in the mount namespace of this process."""

import subprocess
import sys
from pathlib import Path

CGROUPS = "/sys/fs/cgroup"


def mounts():
    """Mount point and filesystem of each mount, by its number."""
    table = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words, filesystem = line.split(" - ")
        words = words.split()
        table[words[0]] = (words[4], filesystem.split()[0])
    return table


def filesystems():
    """Which there are: "cgroup" is v1, and "cgroup2" is v2."""
    return {filesystem for point, filesystem in mounts().values() if point.startswith(CGROUPS)}


def show(view):
    """Unmounts the hierarchies of the other kind than `view`: a program that reads the table of mounts finds no other."""
    other = "cgroup2" if view == "v1" else "cgroup"
    points = [point for point, filesystem in mounts().values() if filesystem == other and point.startswith(CGROUPS)]
    if view == "v1":
        for point in points:
            subprocess.run(["umount", "--lazy", point], check=True)
    elif points:
        subprocess.run(["umount", "--lazy", "--recursive", CGROUPS], check=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", CGROUPS], check=True)
    if ("cgroup" if view == "v1" else "cgroup2") not in filesystems():
        sys.exit(f"this machine has no cgroup {view}")

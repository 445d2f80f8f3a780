"""A bundle whose root filesystem has something of everything that paths of a config can meet."""

import ctypes
import json
import os
import shutil
import stat
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBC = ctypes.CDLL(None, use_errno=True)
MNT_DETACH = 2

DIRECTORIES = ["bin", "data", "data/deep", "data/deep/er", "data/closed", "dev", "empty", "etc", "home", "home/user", "links", "mnt",
               "opt", "opt/private", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"]
FILES = {"data/file": 0o644, "data/secret": 0o600, "data/deep/file": 0o640, "data/setuid": 0o4755, "etc/hosts": 0o644,
         "etc/resolv.conf": 0o644, "bin/plain": 0o644}
LINKS = {"links/absolute": "/data", "links/relative": "../data/deep", "links/chain": "absolute", "links/longer": "chain/deep",
         "links/upwards": "../../../../data", "links/file": "/data/file", "links/nowhere": "/not/there", "links/self": ".",
         "links/proc": "/proc", "links/dev": "/dev", "links/run": "/run", "var/run": "/run", "etc/mtab": "/proc/self/mounts"}
SOURCE_DIRECTORIES = ["one", "one/below", "two", "mounted"]
SOURCE_FILES = {"file": 0o644, "private": 0o600, "one/file": 0o644, "one/below/file": 0o644, "two/file": 0o666}


def mount(source, target, kind, flags=0, data=None):
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    if LIBC.mount(*texts, ctypes.c_ulong(flags), None if data is None else data.encode()):
        raise OSError(ctypes.get_errno(), f"mount {kind} on {target}")


def unmount_all(top):
    """Whatever is mounted at `top` and below it, also what a runtime has left there."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in reversed([point for point in points if point == str(top) or point.startswith(f"{top}/")]):
        LIBC.umount2(os.fsencode(point), MNT_DETACH)


class Bundle:
    """At one path for all runtimes, so that what they say can be compared; each finds it new, on a filesystem of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.rootfs, self.sources = directory / "rootfs", directory / "sources"
        self.hook_lines = directory / "hooks"
        directory.mkdir()

    def make(self, config, changes, shift):
        """Makes all of it; `changes` are of the root filesystem, and `shift` is what is added to each owner."""
        mount("bundle", self.directory, "tmpfs", data="mode=755")
        self._root_filesystem()
        self._sources()
        for change in changes:
            self._change(change)
        if shift:
            self._shift(shift)
        self.hook_lines.touch(0o666)
        self.hook_lines.chmod(0o666)
        (self.directory / "config.json").write_text(json.dumps(config))

    def remove(self):
        unmount_all(self.directory)

    def _root_filesystem(self):
        for name in ["", *DIRECTORIES]:
            (self.rootfs / name).mkdir(mode=0o755)
        for name, mode in FILES.items():
            write(self.rootfs / name, f"image {name}\n", mode)
        for name, target in LINKS.items():
            (self.rootfs / name).symlink_to(target)
        shutil.copy(shutil.which("busybox"), self.rootfs / "bin/busybox")
        for name in ["sh", "sleep", "true", "cat"]:
            (self.rootfs / "bin" / name).symlink_to("busybox")
        for name in ["bin/facts", "opt/private/facts", "usr/bin/elsewhere"]:
            shutil.copy(HERE / "facts.sh", self.rootfs / name)
            (self.rootfs / name).chmod(0o755)
        write(self.rootfs / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n", 0o644)
        write(self.rootfs / "etc/group", "root:x:0:\ntty:x:5:\nuser:x:1000:\n", 0o644)
        for name, mode in {"tmp": 0o1777, "root": 0o700, "opt/private": 0o700, "data/closed": 0o555}.items():
            (self.rootfs / name).chmod(mode)
        os.chown(self.rootfs / "home/user", 1000, 1000)
        os.chown(self.rootfs / "data/deep/file", 1000, 5)

    def _sources(self):
        for name in ["", *SOURCE_DIRECTORIES]:
            (self.sources / name).mkdir(mode=0o755)
        for name, mode in SOURCE_FILES.items():
            write(self.sources / name, f"host {name}\n", mode)
        (self.sources / "link").symlink_to("one")
        mount("mounted", self.sources / "mounted", "tmpfs", data="mode=755")
        (self.sources / "mounted/inner").mkdir(mode=0o755)
        write(self.sources / "mounted/file", "host mounted\n", 0o644)
        mount("inner", self.sources / "mounted/inner", "tmpfs", data="mode=711")

    def _change(self, change):
        path = self.rootfs / change["path"].lstrip("/")
        kind = change["change"]
        if not path.parent.is_dir():
            return  # A change before has removed it.
        if kind == "mode":
            path.chmod(change["mode"])
        elif kind == "remove" and path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif kind == "file" and not os.path.lexists(path):
            write(path, "made\n", 0o644)
        elif kind == "node" and not os.path.lexists(path):
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(*change["device"]))

    def _shift(self, shift):
        for top in (self.rootfs, self.sources):
            for base, directories, files in os.walk(top):
                for path in [base, *(os.path.join(base, name) for name in directories + files)]:
                    before = os.lstat(path)
                    if before.st_uid < shift:
                        os.lchown(path, before.st_uid + shift, before.st_gid + shift)
                        if not stat.S_ISLNK(before.st_mode):
                            os.chmod(path, stat.S_IMODE(before.st_mode))


def write(path, text, mode):
    path.write_text(text)
    path.chmod(mode)

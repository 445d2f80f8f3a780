"""One container under one runtime: what it sees, what is seen of it from outside, and what is left of it."""

import contextlib
import ctypes
import json
import os
import re
import resource
import signal
import stat
import subprocess
import time
from pathlib import Path

from bundle import Bundle
from configs import JOINED_SHIFT, apply, words

CGROUPS = Path("/sys/fs/cgroup")
PAUSE = 0.002
PR_SET_CHILD_SUBREAPER = 36
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
# What /proc/PID/status says of a process and not of the machine or the moment.
STATUS = ["Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed",
          "Mems_allowed", "SigBlk", "SigIgn", "NStgid"]
LIMITS = ["pids.max", "memory.max", "memory.high", "memory.low", "memory.swap.max", "cpu.weight", "cpu.max", "cpuset.cpus",
          "cpuset.mems", "hugetlb.2MB.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes",
          "memory.swappiness", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "devices.list", "net_cls.classid",
          "hugetlb.2MB.limit_in_bytes", "freezer.state", "cgroup.type", "cgroup.subtree_control", "cgroup.freeze", "cpu.idle",
          "cpu.cfs_burst_us", "cpu.max.burst", "cpu.rt_runtime_us", "memory.oom_control", "memory.use_hierarchy", "memory.move_charge_at_immigrate",
          "memory.kmem.tcp.limit_in_bytes", "blkio.throttle.read_bps_device", "blkio.throttle.write_iops_device", "io.max",
          "blkio.bfq.weight", "io.bfq.weight", "hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"]
SIGNALS = {"SIGCHLD": signal.SIGCHLD, "SIGPIPE": signal.SIGPIPE}


class Hung(Exception):
    """A command did not end."""


class Joined:
    """Processes in namespaces that containers can join, and the paths of those: @joined are the host's user namespace's, and
    @owned those of a user namespace that is there as well."""

    def __init__(self):
        self.paths, self.links, self.holders = {}, {}, []
        unshare = "unshare --net --ipc --uts --cgroup --pid --fork --kill-child"
        self.hold("@joined", f"exec {unshare} sleep infinity")
        self.hold("@owned", f"exec unshare --user --keep-caps sh -c 'read go; exec {unshare} --setuid 0 --setgid 0 sleep infinity'")

    def hold(self, word, script):
        holder = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE)
        self.holders.append(holder)
        if has_user := word == "@owned":
            while os.readlink(f"/proc/{holder.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
                time.sleep(PAUSE)
            for file in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{file}").write_text(f"0 {JOINED_SHIFT} 65536")
        holder.stdin.close()
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        while not (child := children.read_text().strip()) or Path(f"/proc/{child}/comm").read_text() != "sleep\n":
            time.sleep(PAUSE)
        for kind, file in [("network", "net"), *((name, name) for name in ("ipc", "uts", "cgroup", "pid", *(["user"] if has_user else [])))]:
            self.paths[f"{word}/{kind}"] = f"/proc/{child}/ns/{file}"
            self.links.setdefault(file, set()).add(os.readlink(f"/proc/{child}/ns/{file}"))

    def end(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()


class Run:
    """What came of a container: how far it got, what was said, and the facts."""

    def __init__(self):
        self.outcome, self.message, self.facts = "ran", "", {}
        # What exec processes that did not get to their end have said.
        self.notes = []

    def refuse(self, step, message):
        self.outcome = step
        self.message = message.strip().splitlines()[-1] if message.strip() else "without a word"


class Containers:
    """Makes containers with any of the runtimes, below one directory."""

    def __init__(self, runtimes, work, base, patience):
        """`runtimes` are the commands by their names, the one on trial first; what takes longer than `patience` hangs."""
        self.patience = patience
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.runtimes, self.work, self.base = runtimes, work, base
        self.bundle, self.joined = Bundle(work / "bundle"), Joined()
        self.own = {file: os.readlink(f"/proc/self/ns/{file}") for file in os.listdir("/proc/self/ns")}
        # The random end of the directory's name, so that its cgroups are told from others.
        self.token, self.count = work.name.rpartition(".")[2], 0
        self.mounts = mount_points()

    def run(self, name, edits):
        self.count += 1
        self.name, self.id = name, f"{self.token}-{self.count}"
        self.names = {"@bundle": str(self.bundle.directory), "@id": self.id, **self.joined.paths}
        config = apply(self.base, edits, self.names)
        shift = next((edit["shift"] for edit in edits if "shift" in edit), 0)
        caller = {key: value for edit in edits if "caller" in edit for key, value in edit["caller"].items()}
        run = Run()
        # crun gives the null device of this namespace to the user that it runs a process as.
        os.chown("/dev/null", 0, 0)
        try:
            self.bundle.make(config, [edit for edit in edits if "change" in edit], shift)
            before = self.files()
            try:
                self.live(run, [edit["exec"] for edit in edits if "exec" in edit], caller)
            except Hung as hung:
                run.refuse("hangs", str(hung))
                self.command(["delete", "--force", self.id], {})
            self.look_after(run, before)
        finally:
            self.bundle.remove()
        return run

    def popen(self, arguments, caller, **streams):
        command = [*self.runtimes[self.name], "--root", self.work / f"state-{self.name}", *arguments]
        directory = caller.get("directory", self.work)
        return subprocess.Popen(command, env=ENVIRONMENT, cwd=directory, start_new_session=True,
                                preexec_fn=lambda: become(caller), **streams)

    def command(self, arguments, caller, output=None):
        """A command's exit code and what it says on standard error, or standard output."""
        with open(self.work / "said", "w+b") as said:
            shown = output or subprocess.DEVNULL
            process = self.popen(arguments, caller, stdin=subprocess.DEVNULL, stdout=shown, stderr=said)
            try:
                code = process.wait(self.patience)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise Hung(f"{arguments[0]} hangs") from None
            said.seek(0)
            return code, said.read().decode(errors="replace")

    def output(self, arguments, caller):
        """A command's exit code, standard output and standard error."""
        with open(self.work / "shown", "w+b") as shown:
            code, said = self.command(arguments, caller, shown)
            shown.seek(0)
            return code, shown.read().decode(errors="replace"), said

    def piped(self, arguments, caller):
        """The same by pipes, which the process gets from some runtimes whatever the caller has."""
        process = self.popen(arguments, caller, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            shown, said = process.communicate(timeout=self.patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise Hung(f"{arguments[0]} hangs") from None
        return process.returncode, shown.decode(errors="replace"), said.decode(errors="replace")

    def live(self, run, execs, caller):
        pid_file, output = self.work / "pid", self.work / "output"
        pid_file.unlink(missing_ok=True)
        reader, writer = os.pipe()
        try:
            with open(output, "wb") as shown, open(self.work / "errors", "wb") as errors:
                create = ["create", "--bundle", self.bundle.directory, "--pid-file", pid_file, self.id]
                process = self.popen(create, caller, stdin=reader, stdout=shown, stderr=errors)
                try:
                    code = process.wait(self.patience)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    raise Hung("create hangs") from None
            if code != 0:
                run.refuse("create", (self.work / "errors").read_text(errors="replace"))
                return
            pid = int(pid_file.read_text())
            self.look(run, "created", pid)
            code, said = self.command(["start", self.id], caller)
            ended = self.wait_for_facts(pid, output)
            text = output.read_text(errors="replace")
            run.facts |= self.facts("", text)
            if code != 0 or "== end" not in text:
                run.refuse("start", said or (self.work / "errors").read_text(errors="replace") or text)
            if ended is None:
                self.look(run, "running", pid)
                for number, one in enumerate(execs):
                    self.enter(run, f"exec {number} ", one, caller)
                os.close(writer)
                writer = None
                ended = self.wait_for_end(pid)
            run.facts["exit code"] = str(ended)
            run.facts["state stopped"] = self.state()
            code, said = self.command(["delete", self.id], caller)
            if code != 0:
                run.refuse("delete", said)
                self.command(["delete", "--force", self.id], caller)
        finally:
            os.close(reader)
            if writer is not None:
                os.close(writer)
            reap()

    def enter(self, run, prefix, one, caller):
        arguments = ["exec", *one["flags"]]
        if "process" in one:
            file = self.work / "process.json"
            file.write_text(json.dumps(words(one["process"], self.names)))
            arguments += ["--process", file, self.id]
        else:
            arguments += [self.id, *one["args"]]
        code, shown, said = self.piped(arguments, caller)
        run.facts[f"{prefix}code"] = str(code)
        run.facts[f"{prefix}ran"] = "yes" if "== end" in shown else "no"
        if "== end" not in shown:
            run.notes.append(f"{prefix}{shown[-300:]} {said[-300:]}".strip())
        run.facts |= self.facts(prefix, shown)

    def wait_for_facts(self, pid, output):
        """Its exit code, if it ends instead."""
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if b"\n== end\n" in output.read_bytes():
                return None
            if (code := reaped(pid)) is not None:
                return code
            time.sleep(PAUSE)
        raise Hung("the program hangs")

    def wait_for_end(self, pid):
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if (code := reaped(pid)) is not None:
                return code
            time.sleep(PAUSE)
        raise Hung("the program does not end")

    def state(self):
        code, shown, said = self.output(["state", self.id], {})
        if code != 0:
            return "none"
        state = json.loads(shown)
        known = {key: state.get(key) for key in ("status", "bundle", "annotations")}
        return self.plain(json.dumps({**known, "pid": (state.get("pid") or 0) > 0}, sort_keys=True))

    def look(self, run, when, pid):
        run.facts[f"state {when}"] = self.state()
        # Its own busybox may have no program that says so.
        run.facts[f"scheduling {when}"] = f"{os.sched_getscheduler(pid)} nice {os.getpriority(os.PRIO_PROCESS, pid)}"
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            names = [CGROUPS / "unified", CGROUPS] if number == "0" else [CGROUPS / controllers.removeprefix("name=")]
            home = next((name / path.lstrip("/") for name in names if (name / "cgroup.procs").exists()), None)
            run.facts[f"cgroup {when} of [{controllers}]"] = self.plain(path)
            for file in LIMITS if home and self.id in path else []:
                with contextlib.suppress(OSError):
                    self.limit(run, f"cgroup {when} {file}", (home / file).read_text())

    def limit(self, run, key, text):
        if not key.endswith(" devices.list"):
            run.facts[key] = " ".join(text.split())
            return
        for line in text.splitlines():
            device, _, access = line.rpartition(" ")
            run.facts[f"{key} {device}"] = access

    def look_after(self, run, before):
        for number, line in enumerate(self.bundle.hook_lines.read_text(errors="replace").splitlines()):
            run.facts |= {f"hook {number} {key}": value for key, value in self.hook(line).items()}
        after = self.files()
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                run.facts[f"file {path}"] = after.get(path, "gone")
        if (self.work / f"state-{self.name}" / self.id).exists():
            run.facts["left state"] = "yes"
        # os.walk does not mind what others remove meanwhile.
        for base, _, _ in os.walk(CGROUPS, topdown=False):
            if self.id in base:
                run.facts["left cgroup"] = "yes"
                with contextlib.suppress(OSError):
                    os.rmdir(base)
        inside = str(self.bundle.directory)
        mounts = [point for point in mount_points() if not point.startswith(inside)]
        if mounts != self.mounts:
            run.facts["left mounts"] = " ".join(sorted(set(mounts) ^ set(self.mounts)))
            self.mounts = mounts

    def hook(self, line):
        """What a hook has been told."""
        head, brace, state = line.partition("{")
        kind, directory, head = self.plain(head).split(" ", 2)
        facts = {"kind": kind, "directory": directory, "told": head}
        with contextlib.suppress(ValueError):
            state = json.loads(brace + state)
            known = {key: json.dumps(state.get(key)) for key in ("status", "bundle", "annotations")}
            known |= {"pid": str((state.get("pid") or 0) > 0), "id": state.get("id", "")}
            facts |= {f"state {key}": self.plain(value) for key, value in known.items()}
        return facts

    def files(self):
        found = {}
        for top in (self.bundle.rootfs, self.bundle.sources):
            for base, directories, files in os.walk(top):
                for path in [os.path.join(base, name) for name in directories + files]:
                    one = os.lstat(path)
                    size = one.st_size if stat.S_ISREG(one.st_mode) else one.st_rdev
                    found[path.removeprefix(str(self.bundle.directory))] = f"{one.st_mode:o} {one.st_uid}:{one.st_gid} {size}"
        return found

    def plain(self, text):
        """Without what is another each time."""
        text = text.replace(str(self.bundle.directory), "@bundle").replace(str(self.work), "@work").replace(self.id, "@id")
        # Where another procfs is mounted, too: self and thread-self of it.
        text = re.sub(r"(/(?:thread-)?self' -> )'\d+(?:/task/\d+)?'", r"\1a process", text)
        return re.sub(r"\b(pipe|socket):\[\d+\]", r"\1", text)

    def facts(self, prefix, text):
        """What facts.sh has said."""
        sections, lines = {}, []
        for line in self.plain(text).splitlines():
            if line.startswith("== "):
                lines = sections[line[3:]] = []
            else:
                lines.append(line)
        found = mount_facts(sections.pop("mounts", []))
        for section, lines in sections.items():
            for number, line in enumerate(lines):
                for key, value in self.fact(section, number, line, prefix != "").items():
                    found[key] = f"{found[key]} and {value}" if key in found and section == "process" else value
        return {f"{prefix}{key}": value for key, value in found.items()}

    def fact(self, section, number, line, is_exec):
        key, _, value = line.partition(" ")
        if section == "status":
            key, _, value = line.partition(":")
            if key == "NStgid":
                # In how many pid namespaces it is.
                value = str(len(value.split()))
            return {f"status {key}": value.strip()} if key in STATUS else {}
        if section == "namespaces":
            if not (link := re.fullmatch(r"'/proc/self/ns/(\w+)' -> '(.*)'", line)):
                return {}
            key, value = link.groups()
            is_joined, is_hosts = value in self.joined.links.get(key, ()), self.own.get(key) == value
            return {f"namespace {key}": "joined" if is_joined else "the host's" if is_hosts else "own" if value else "unknown"}
        if section == "limits":
            return {f"limit {line[:25].strip()}": " ".join(line[25:].split())}
        if section == "cgroup":
            _, controllers, path = line.split(":", 2)
            return {f"own cgroup of [{controllers}]": path}
        if section == "paths" and "/mnt/proc/" in line:
            # The processes of a pid namespace that is joined.
            return {}
        if section == "paths":
            kind, _, value = value.partition(" ")
            return {f"path {key} {kind}": value}
        if section == "environment" and is_exec:
            # Some pass one that the container has too twice, and where it stands is their own affair.
            key, _, value = line.partition("=")
            return {f"environment {key}": value}
        if section in ("process", "settings", "descriptors"):
            # Which pid it has there is by chance.
            value = re.sub(r"^/proc/\d+", "/proc/self", value) if key == "directory" else value
            return {f"{section} {key}": value}
        return {f"{section} {number}": line}


def become(caller):
    """Makes the child what the case says of the caller."""
    os.umask(caller.get("umask", 0o22))
    if "nofile" in caller:
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(caller["nofile"]))
    if "affinity" in caller:
        os.sched_setaffinity(0, caller["affinity"])
    if "nice" in caller:
        os.nice(caller["nice"])
    if "oom_score_adj" in caller:
        Path("/proc/self/oom_score_adj").write_text(str(caller["oom_score_adj"]))
    for name in SIGNALS:
        signal.signal(SIGNALS[name], signal.SIG_IGN if name in caller.get("ignored", []) else signal.SIG_DFL)


def reaped(pid):
    """The exit code of a child that has ended, as a shell has it. Others that have ended are reaped as well: a runtime that
    is gone may have left one, and the first process of a pid namespace does not end before all others of it."""
    while True:
        try:
            one, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return "unknown"
        if not one:
            return None
        if one == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def remove_cgroups(token):
    """Those of containers whose ids have the token, when they are empty, and what other runs have left of /comparison."""
    for _ in range(50):
        found = [base for base, _, _ in os.walk(CGROUPS, topdown=False) if token in base or base.endswith("/comparison")]
        for base in found:
            with contextlib.suppress(OSError):
                os.rmdir(base)
        if not any(token in base and os.path.exists(base) for base in found):
            return
        time.sleep(0.1)


def reap():
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def mount_points():
    return sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())


def mount_facts(lines):
    """What a mount table says, without numbers that are others each time (proc_pid_mountinfo(5))."""
    rows = [line.split(" ") for line in lines if " - " in line]
    points = {row[0]: row[4] for row in rows}
    parents = {row[0]: row[1] for row in rows}

    def height(row):
        one, steps = row[0], 0
        while parents.get(one) in parents and steps < len(rows):
            one, steps = parents[one], steps + 1
        return steps

    facts, seen = {}, {}
    # Newer kernels list in the order of the ids and older ones as they lie: here from the bottom to the top.
    for row in sorted(rows, key=height):
        point, dash = row[4], row.index("-")
        number = seen[point] = seen.get(point, 0) + 1
        key = f"mount {point}" if number == 1 else f"mount {point} ({number})"
        kind, source, options = row[dash + 1:dash + 4]
        propagation = " ".join(sorted(field.split(":")[0] for field in row[6:dash])) or "private"
        facts |= {f"{key} kind": kind, f"{key} source": source, f"{key} root": row[3], f"{key} propagation": propagation,
                  f"{key} flags": ",".join(sorted(row[5].split(","))), f"{key} data": ",".join(sorted(options.split(","))),
                  f"{key} on": points.get(row[1], "outside")}
    return facts

"""Compares the seccomp filters that aril and runc install for the same containers.

    hack/compare-seccomp [COUNT [SEED]]      COUNT random profiles (20) beside those of the engines, from SEED (1) on

Each profile is given to both; the filter is read from the process (PTRACE_SECCOMP_GET_FILTER of ptrace(2), which needs
root and CONFIG_CHECKPOINT_RESTORE), and both are run, as the kernel would, for every number from 0 to 1023 with and without
x32's bit on each architecture, with arguments at, below and above those of the rules. So it is runc's own filter, with what
it puts before libseccomp's. The exit status is 1 if a call has two verdicts. Only for x86_64.
"""

import ctypes
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
AUDITS = {"x86_64": 0xc000003e, "x86": 0x40000003, "aarch64": 0xc00000b7, "none": 0}
X32_BIT = 1 << 30
# SECCOMP_RET_ERRNO with the number of the error
ENOSYS = 0x50026
# What neither a runtime nor sleep(1) needs behind its filter.
SPARE = ["chmod", "chown", "link", "symlink", "mkdir", "mknod", "personality", "ptrace", "syslog", "reboot", "socket",
         "bind", "listen", "sendto", "semget", "shmget", "msgget", "swapon", "sethostname", "io_setup", "openat2"]
ACTIONS = ["SCMP_ACT_ERRNO", "SCMP_ACT_TRAP", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"]
OPERATORS = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SECCOMP_GET_FILTER = 16, 17, 0x420c


def filter_of(pid):
    """The instructions of the one filter of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(PTRACE_ATTACH, pid, None, None):
        raise OSError(ctypes.get_errno(), "ptrace")
    try:
        os.waitpid(pid, 0x40000000)  # __WALL
        count = libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, None, None)
        if count < 0:
            raise OSError(ctypes.get_errno(), "PTRACE_SECCOMP_GET_FILTER")
        place = ctypes.create_string_buffer(count * 8)
        libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, None, place)
        if libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, ctypes.c_void_p(1), None) >= 0:
            raise SystemExit("the process has more than one filter")
    finally:
        libc.ptrace(PTRACE_DETACH, pid, None, None)
    return list(struct.iter_unpack("=HBBI", place.raw))


def execute(program, words):
    """The verdict: Documentation/networking/filter.rst."""
    at = accumulator = 0
    while True:
        code, jump_true, jump_false, operand = program[at]
        at += 1
        if code == 0x20:
            accumulator = words[operand // 4]
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x05:
            at += operand
        elif code == 0x06:
            return operand
        elif code == 0x15:
            at += jump_true if accumulator == operand else jump_false
        elif code == 0x25:
            at += jump_true if accumulator > operand else jump_false
        elif code == 0x35:
            at += jump_true if accumulator >= operand else jump_false
        elif code == 0x45:
            at += jump_true if accumulator & operand else jump_false
        else:
            raise SystemExit(f"an instruction that is not known here: {code:#x}")


class Container:
    """One container, which sleeps."""

    def __init__(self, runtime, directory, profile):
        self.command = [runtime, "--root", str(directory / "state")]
        self.bundle = directory / "bundle"
        self.id = f"compare-seccomp-{os.getpid()}"
        config = json.loads((self.bundle / "runc-spec.json").read_text())
        config["process"].update(terminal=False, args=["/bin/sleep", "1000"])
        config["linux"]["seccomp"] = profile
        config["linux"]["cgroupsPath"] = f"/{self.id}"
        (self.bundle / "config.json").write_text(json.dumps(config))

    def filter(self):
        run = [*self.command, "run", "--detach", "--bundle", str(self.bundle), self.id]
        # Through a file: the container keeps the output open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(run, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=20)
            output.seek(0)
            if done.returncode:
                return output.read()
        try:
            state = subprocess.run([*self.command, "state", self.id], stdout=subprocess.PIPE, check=True, timeout=20)
            return filter_of(json.loads(state.stdout)["pid"])
        finally:
            subprocess.run([*self.command, "delete", "--force", self.id], check=True, timeout=20)


def engines():
    """The profiles of the engines, by name."""
    for name in ["docker-plain", "containerd-seccomp"]:
        config = json.loads((ROOT / "tests/bundles" / name / "config.json").read_text())
        yield name, config["linux"]["seccomp"]
    kept = set(json.loads((ROOT / "tests/bundles/docker-plain/config.json").read_text())["process"]["capabilities"]["bounding"])
    for name in ["docker", "podman"]:
        rules = json.loads((ROOT / "tests/seccomp" / f"{name}.json").read_text())
        given = [rule for rule in rules["syscalls"]
                 if "amd64" in rule.get("arches", ["amd64"]) and "amd64" not in rule.get("withoutArches", [])
                 and kept.issuperset(rule.get("caps", [])) and kept.isdisjoint(rule.get("withoutCaps", []))]
        fields = {"names", "action", "errnoRet", "args"}
        profile = {key: rules[key] for key in ["defaultAction", "defaultErrnoRet"] if key in rules}
        profile["syscalls"] = [{key: rule[key] for key in rule if key in fields} for rule in given]
        for architectures in [ARCHITECTURES, ARCHITECTURES[:1], ARCHITECTURES[1:2], []]:
            yield f"{name}, {architectures}", {**profile, "architectures": architectures}
        for action in ["SCMP_ACT_TRAP", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"]:
            other = {**profile, "architectures": ARCHITECTURES, "defaultAction": action}
            other.pop("defaultErrnoRet", None)
            yield f"{name}, {action}", other
        new = {"clone3", "openat2", "faccessat2", "close_range", "pidfd_open", "epoll_pwait2", "rseq"}
        older = [{**rule, "names": [one for one in rule["names"] if one not in new]} for rule in profile["syscalls"]]
        older = [rule for rule in older if rule["names"]]
        yield f"{name}, older", {**profile, "architectures": ARCHITECTURES, "syscalls": older}


def condition(choose):
    operator = choose.choice(OPERATORS)
    values = [0, 1, 2, 40, 0x7e020000, 0xffffffff, 0x100000000, 0xdeadbeef00000001]
    made = {"index": choose.randrange(6), "op": f"SCMP_CMP_{operator}", "value": choose.choice(values)}
    if operator == "MASKED_EQ":
        made.update(value=choose.choice([1, 0x7e020000, 0xff00000000]))
        made.update(valueTwo=choose.choice(values) & made["value"])
    return made


def at_random(seed):
    """A profile that lets most pass, in which no two rules are about the same call."""
    choose = random.Random(seed)
    names, rules = choose.sample(SPARE, len(SPARE)), []
    while names:
        count = choose.randint(1, 3)
        rule = {"names": names[:count], "action": choose.choice(ACTIONS)}
        names = names[count:]
        if choose.random() < 0.6:
            conditions = {one["index"]: one for one in [condition(choose) for _ in range(choose.randint(1, 3))]}
            rule["args"] = list(conditions.values())
        if rule["action"] in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") and choose.random() < 0.5:
            rule["errnoRet"] = choose.randrange(1, 4096)
        rules.append(rule)
    return {"defaultAction": choose.choice(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"]),
            "architectures": choose.choice([ARCHITECTURES, ARCHITECTURES[:2], ARCHITECTURES[:1]]), "syscalls": rules}


def calls(profile):
    """`struct seccomp_data`, word by word."""
    choose = random.Random(7)
    values = {0, 1, 0xffffffff, 1 << 32, (1 << 64) - 1}
    for rule in profile["syscalls"]:
        for one in rule.get("args") or []:
            for value in [one["value"], one.get("valueTwo", 0)]:
                values |= {(value + near) % (1 << 64) for near in [-1, 0, 1, 1 << 32, -(1 << 32)]}
    values = sorted(values)
    numbers = [bit | number for bit in (0, X32_BIT) for number in range(1024)] + [0xffffffff, 4000, 0xf0005]
    for audit in AUDITS.values():
        for number in numbers:
            for _ in range(4):
                arguments = [choose.choice(values) for _ in range(6)]
                yield [number, audit, 0, 0] + [half for one in arguments for half in (one & 0xffffffff, one >> 32)]


def compare(name, profile, runtimes, directory):
    """Whether both have the same verdicts, and says what they have not."""
    ours, theirs = [Container(runtime, directory, profile).filter() for runtime in runtimes]
    if isinstance(ours, str) or isinstance(theirs, str):
        refused = [str(one).strip()[-200:] for one in (ours, theirs) if isinstance(one, str)]
        print(f"{name}: {' / '.join(refused)}\n    {json.dumps(profile)[:300]}")
        return False
    different = {}
    # runc 1.1 gives ENOSYS for new calls of the machine's own architecture only where the profile lists it.
    is_listed = ARCHITECTURES[0] in profile["architectures"]
    for words in calls(profile):
        verdicts = execute(ours, words), execute(theirs, words)
        is_meant = not is_listed and words[1] == AUDITS["x86_64"] and verdicts[0] == ENOSYS
        if verdicts[0] != verdicts[1] and not is_meant:
            different.setdefault((words[1], words[0], verdicts), words[4:])
    for (audit, number, verdicts), arguments in list(different.items())[:10]:
        print(f"    {audit:#x} {number:#x}: {verdicts[0]:#x}, runc {verdicts[1]:#x}; {[hex(one) for one in arguments]}")
    print(f"{name}: {len(ours)} instructions, runc {len(theirs)}; {len(different)} differences", flush=True)
    return not different


def main():
    if len(sys.argv) > 4 or not all(one.isdigit() for one in sys.argv[2:]):
        sys.exit(__doc__)
    count, seed = map(int, [*sys.argv[2:], 20, 1][:2] if len(sys.argv) != 3 else [sys.argv[2], 1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    profiles = list(engines()) + [(f"random {one}", at_random(one)) for one in range(seed, seed + count)]
    with tempfile.TemporaryDirectory(prefix="aril-compare-seccomp.") as place:
        # What is in a container's root filesystem is never mounted outside its own mount namespace.
        rootfs = Path(place) / "bundle/rootfs/bin"
        rootfs.mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), rootfs / "sleep")
        subprocess.run(["runc", "spec", "--bundle", str(rootfs.parent.parent)], check=True)
        (rootfs.parent.parent / "config.json").rename(rootfs.parent.parent / "runc-spec.json")
        same = [compare(name, profile, [sys.argv[1], "runc"], Path(place)) for name, profile in profiles]
    print(f"{sum(same)} profiles of {len(same)} are the same")
    sys.exit(not all(same))


main()

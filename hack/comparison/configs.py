"""Random containers. A case is a list of edits, each small and by itself, so that it can be made smaller; it is plain JSON,
so that it can be kept and run again:

    {"set": POINTER, "to": VALUE}          a property of config.json; without "to" it is removed
    {"append": POINTER, "items": [...]}    more items of a list
    {"without": KIND}                      no namespace of that kind but an appended one
    {"mount": MOUNT, "at": INDEX}          a mount before the one with that index
    {"change": KIND, "path": PATH, ...}    something else in the root filesystem (bundle.py)
    {"shift": NUMBER}                      the owners of all files, for a user namespace
    {"exec": {"flags": [...], "process": {...}}}   one more process; with "process" by a file
    {"caller": {...}}                      what the caller of the runtime is like

In texts "@bundle" stands for the bundle, "@joined" for the directory of namespaces that can be joined, and "@owned" for that
of a user namespace and those that belong to it.
"""

import copy
import json

DIRECTORIES = ["/data", "/data/deep", "/data/new", "/data/new/er", "/data/closed/new", "/tmp", "/tmp/new", "/run", "/run/lock/new",
               "/var/run/new", "/links/absolute", "/links/absolute/new", "/links/relative/er", "/links/longer", "/links/upwards/new",
               "/links/nowhere", "/links/nowhere/new", "/links/self/data", "/links/run/new", "/mnt", "/mnt/one", "/mnt/one/two",
               "/mnt/../opt/new", "/empty", "/opt/private/new", "/dev/shm", "/dev/new", "/dev/mqueue", "/links/dev/new",
               "/sys/fs/cgroup", "//data//deep/", "/data/.", "/not/../data/deep"]
FILES = ["/data/file", "/data/secret", "/data/deep/file", "/links/file", "/links/nowhere", "/etc/hosts", "/etc/resolv.conf",
         "/etc/new", "/etc/mtab", "/mnt/file", "/mnt/one/file", "/run/file", "/links/absolute/new", "/links/longer/file", "/dev/null",
         "/dev/file", "/proc/uptime", "/proc/meminfo", "/links/proc/uptime", "/data/new/file", "/bin/plain"]
HIDDEN = ["/data", "/data/file", "/data/deep", "/links/absolute", "/links/file", "/links/nowhere", "/not/there", "/proc/meminfo",
          "/proc/bus", "/proc/sys/net", "/sys/kernel", "/tmp", "/dev/null", "/dev/shm", "/mnt", "/mnt/one", "/run", "/etc/hosts", "/etc",
          "//data//file", "/data/", "/proc/uptime", "/data/../etc/hosts"]
SUBSET_FLAGS = [["ro"], ["rw"], ["nosuid"], ["nodev"], ["noexec"], ["suid"], ["dev"], ["exec"], ["sync"], ["nodiratime"],
                ["relatime"], ["noatime"], ["strictatime"]]
PROPAGATION = ["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"]
RECURSIVE = ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rrw", "rsuid", "rdev", "rexec", "rnodiratime"]
TMPFS_DATA = ["mode=755", "mode=1777", "mode=0700", "mode=1711", "size=64k", "size=1m", "nr_inodes=100", "uid=1000", "gid=5"]
CAPABILITIES = [f"CAP_{name}" for name in (
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETUID SETGID SETPCAP NET_BIND_SERVICE NET_RAW NET_ADMIN SYS_ADMIN SYS_CHROOT SYS_NICE "
    "MKNOD AUDIT_WRITE").split()]
SETS = ["bounding", "effective", "permitted", "inheritable", "ambient"]
SYSCTLS = {"net.ipv4.ip_forward": ["0", "1"], "net.ipv4.ping_group_range": ["0 0", "5 1000"], "net/core/somaxconn": ["100"],
           "net.ipv4.ip_unprivileged_port_start": ["0", "80"], "kernel.shmmax": ["1000000", "abc"], "kernel.sem": ["250 32000 100 128"],
           "kernel.shm_rmid_forced": ["1"], "fs.mqueue.msg_max": ["20"], "net.ipv4.not_there": ["1"]}
CALLS = ["unshare", "chroot", "mount", "sethostname", "mknod", "mknodat", "chown", "fchownat", "setpriority", "socket", "personality",
         "ioprio_get", "getpriority", "sched_getscheduler", "not_there"]
RLIMITS = {"RLIMIT_NOFILE": (64, 2000), "RLIMIT_NPROC": (500, 5000), "RLIMIT_CORE": (0, 4096), "RLIMIT_STACK": (1 << 20, 8 << 20),
           "RLIMIT_FSIZE": (1 << 20, 1 << 30), "RLIMIT_CPU": (20, 100), "RLIMIT_MEMLOCK": (0, 65536), "RLIMIT_SIGPENDING": (100, 1000),
           "RLIMIT_MSGQUEUE": (0, 819200), "RLIMIT_NICE": (0, 5), "RLIMIT_RTPRIO": (0, 5), "RLIMIT_DATA": (1 << 28, 1 << 33)}
ENVIRONMENT = ["PATH=/bin:/usr/bin", "PATH=/bin", "PATH=/not/there:/bin", "PATH=:/bin", "HOME=/x", "HOME=", "TERM=xterm", "A=1", "A=2",
               "B=a=b", "C=", "D= spaces ", "E=line\nbreak", "F=\u00e9\u4e2d", "LISTEN_FDS=1", "NOTIFY_SOCKET=/x", "container=oci"]
NAMESPACES = ["pid", "network", "ipc", "uts", "cgroup", "time"]
DEVICES = [("/dev/fuse", "c", 10, 229), ("/dev/new", "c", 1, 3), ("/dev/below/new", "c", 1, 5), ("/dev/null", "c", 1, 3),
           ("/dev/zero", "c", 1, 5), ("/dev/tty", "c", 5, 0), ("/dev/net/tun", "c", 10, 200), ("/dev/kmsg", "c", 1, 11),
           ("/dev/block", "b", 7, 0), ("/dev/pipe", "p", None, None), ("/data/node", "c", 1, 7), ("/links/absolute/other", "u", 1, 8)]
# Where the ids of the user namespace that can be joined begin.
JOINED_SHIFT = 200000
HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


def without(mounts_or_namespaces, key, value):
    return [one for one in mounts_or_namespaces if one.get(key) != value]


class Configs:
    """Draws cases for `layout`, which is "v1", "v2" or "hybrid"."""

    def __init__(self, base, layout):
        self.base, self.layout = base, layout
        self.kinds = {self.mount: 30, self.more_options: 6, self.no_mount: 3, self.paths: 7, self.root: 5, self.namespace: 8,
                      self.user: 7, self.capabilities: 7, self.rlimits: 4, self.environment: 5,
                      self.directory: 5, self.arguments: 5, self.names: 2, self.sysctl: 4, self.devices: 6, self.seccomp: 5,
                      self.hooks: 5, self.small: 6, self.resources: 12, self.image: 4, self.enter: 20, self.caller: 4}

    def draw(self, random):
        self.random = random
        count = random.choice([1, 2, 2, 3, 3, 4, 5, 6, 8])
        kinds = random.choices(list(self.kinds), list(self.kinds.values()), k=count)
        # At the end, since others set the whole list of namespaces.
        kinds += random.choices([[], [self.user_namespace], [self.joined_user]], [75, 20, 5])[0]
        return [edit for kind in kinds for edit in kind()]

    def chance(self, part):
        return self.random.random() < part

    def some(self, items, most):
        return self.random.sample(items, self.random.randint(0, min(most, len(items))))

    def options(self, most=4):
        flags = [flag for flags in self.some(SUBSET_FLAGS, most) for flag in flags]
        # Of two that contradict one another, runtimes take the one or the other.
        times = [flag for flag in flags if flag in ("relatime", "noatime", "strictatime")]
        pairs = [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")]
        second = [other for one, other in pairs if one in flags and other in flags]
        return [flag for flag in flags if flag not in times[1:] and flag not in second]

    def mount(self):
        random, options = self.random, self.options()
        kind = random.choices(["directory", "file", "tree", "tmpfs", "kernel", "inside"], [22, 22, 12, 26, 8, 8])[0]
        mount = {"destination": random.choice(FILES if kind == "file" else DIRECTORIES)}
        if kind == "directory":
            source = random.choice(["sources/one", "sources/two", "sources/link", "sources/mounted", "@bundle/sources/one/below"])
            mount.update(type=random.choice(["bind", "none"]), source=source)
            options.append("bind")
        elif kind == "file":
            source = random.choice(["sources/file", "sources/private", "@bundle/sources/one/file", "/dev/null"])
            mount.update(type=random.choice(["bind", "none"]), source=source)
            options.append(random.choice(["bind", "rbind"]))
        elif kind == "tree":
            mount.update(type="bind", source=random.choice(["sources/mounted", "sources/one"]))
            options += ["rbind", *self.some(RECURSIVE, 1 if self.chance(0.3) else 0)]
        elif kind == "tmpfs":
            mount.update(type="tmpfs", source=random.choice(["tmpfs", "mine"]))
            data = {one.split("=")[0]: one for one in self.some(TMPFS_DATA, 3)}
            options += [*data.values(), *(["tmpcopyup"] if self.chance(0.15) else [])]
        elif kind == "inside":
            # What an earlier mount has covered, or not.
            mount.update(type="bind", source=random.choice(["rootfs/data", "rootfs/data/deep", "rootfs/etc", "rootfs/mnt"]))
            options.append(random.choice(["bind", "rbind"]))
        else:
            mount = copy.deepcopy(random.choice([
                {"destination": "/mnt/proc", "type": "proc", "source": "proc"},
                {"destination": "/mnt/sys", "type": "sysfs", "source": "sysfs"},
                {"destination": "/mnt/queues", "type": "mqueue", "source": "mqueue"},
                {"destination": "/mnt/terminals", "type": "devpts", "source": "devpts"},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]))
            options = [one for one in options if one != "sync"]
        if self.chance(0.1):
            options.append(random.choice(PROPAGATION))
        random.shuffle(options)
        return [{"mount": {**mount, "options": options}, "at": random.choice([7, 7, 7, 7, 0, 1, 2, 3, 4])}]

    def more_options(self):
        index = self.random.randrange(len(self.base["mounts"]))
        mount = self.base["mounts"][index]
        more = self.options(2)
        if mount["destination"] in ("/dev", "/dev/shm"):
            more += self.some(["mode=700", "mode=1777", "size=1m", "gid=5"], 1)
        if mount["destination"] == "/dev/pts":
            more += self.some(["mode=0600", "ptmxmode=0600", "uid=1000", "max=3"], 1)
        if mount["type"] == "proc":
            more += self.some(["hidepid=2", "subset=pid"], 1)
        return [{"set": f"/mounts/{index}/options", "to": [*mount.get("options", []), *more]}]

    def no_mount(self):
        index = self.random.choice([index for index, mount in enumerate(self.base["mounts"]) if mount["destination"] != "/proc"])
        return [{"set": f"/mounts/{index}"}]

    def paths(self):
        where = self.random.choice(["/linux/maskedPaths", "/linux/readonlyPaths"])
        if self.chance(0.15):
            return [{"set": where}]
        return [{"append": where, "items": [self.random.choice(HIDDEN) for _ in range(self.random.choice([1, 1, 2, 3]))]}]

    def root(self):
        return [self.random.choice([{"set": "/root/readonly", "to": True}, {"set": "/root/path", "to": "@bundle/rootfs"},
                                    {"set": "/root/path", "to": "./rootfs/../rootfs/"},
                                    {"set": "/linux/rootfsPropagation", "to": self.random.choice(PROPAGATION)}])]

    def namespace(self):
        kind = self.random.choice(NAMESPACES)
        left = without(self.base["linux"]["namespaces"], "type", kind)
        choice = self.random.random()
        if choice < 0.4:
            joined = [] if kind == "time" else [{"type": kind, "path": f"@joined/{kind}"}]
            return [{"set": "/linux/namespaces", "to": [*left, *joined]}]
        return [{"set": "/linux/namespaces", "to": left if choice < 0.7 else [*left, {"type": kind}]}]

    def user_namespace(self):
        first = self.random.choice([0, 100000, 100000])
        ranges = self.random.choice([[(0, first, 65536)], [(0, first, 1000), (1000, first + 1000, 5000)], [(0, first, 1)]])
        mappings = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges]
        return [{"append": "/linux/namespaces", "items": [{"type": "user"}]}, {"set": "/linux/uidMappings", "to": mappings},
                {"set": "/linux/gidMappings", "to": mappings}, {"shift": first}]

    def joined_user(self):
        """The user namespace is another's, and so may others be that belong to it."""
        others = self.some(["network", "ipc", "uts", "cgroup", "pid"], 3)
        items = [{"type": kind, "path": f"@owned/{kind}"} for kind in ["user", *others]]
        # It has its own; who made it knows them, and says so.
        mappings = [{"containerID": 0, "hostID": JOINED_SHIFT, "size": 65536}]
        known = [{"set": f"/linux/{kind}Mappings", "to": mappings} for kind in ("uid", "gid")] if self.chance(0.8) else []
        return [*({"without": kind} for kind in others), {"append": "/linux/namespaces", "items": items}, {"shift": JOINED_SHIFT}, *known]

    def a_user(self):
        user = {"uid": self.random.choice([0, 0, 1000, 1001, 65534]), "gid": self.random.choice([0, 1000, 5])}
        if self.chance(0.5):
            user["additionalGids"] = self.some([0, 1, 5, 44, 1000, 65534], 4)
        if self.chance(0.5):
            user["umask"] = self.random.choice([0, 0o77, 0o27, 0o777])
        return user

    def user(self):
        return [{"set": "/process/user", "to": self.a_user()}]

    def some_capabilities(self):
        bounding = self.some(CAPABILITIES, 10)
        permitted = self.some(bounding, len(bounding))
        inheritable = self.some(permitted, len(permitted))
        chosen = [bounding, self.some(permitted, len(permitted)), permitted, inheritable, self.some(inheritable, len(inheritable))]
        return {name: one for name, one in zip(SETS, chosen) if one or self.chance(0.5)}

    def capabilities(self):
        return [{"set": "/process/capabilities", **({} if self.chance(0.1) else {"to": self.some_capabilities()})}]

    def some_rlimits(self):
        limits = []
        for name in self.some(sorted(RLIMITS), 3):
            hard = self.random.randint(*RLIMITS[name])
            limits.append({"type": name, "hard": hard, "soft": self.random.randint(RLIMITS[name][0], hard)})
        return limits

    def rlimits(self):
        return [{"set": "/process/rlimits", "to": self.some_rlimits()}]

    def variables(self, most):
        """One for each name: of several, aril and new versions of runc keep the last in its place."""
        return list({one.split("=")[0]: one for one in self.some(ENVIRONMENT, most)}.values())

    def environment(self):
        return [{"set": "/process/env", "to": self.variables(8)}]

    def a_directory(self):
        return self.random.choice(["/", "/data", "/data/deep", "/links/absolute", "/links/longer", "/tmp", "/home/user", "/not/there",
                                   "/data/../tmp", "/data/", "/opt/private", "/proc/self", "/links/self", "/data/file", "//tmp", "/root",
                                   "/links/nowhere/x"])

    def directory(self):
        return [{"set": "/process/cwd", "to": self.a_directory()}]

    def some_arguments(self):
        program = self.random.choice(["facts", "/bin/facts", "./bin/facts", "../bin/facts", "/opt/private/facts", "/links/self/bin/facts",
                                      "plain", "/bin/plain", "/bin", "notthere", "/not/there", "", "elsewhere"])
        return [program, *self.random.choice([[], ["", "a b", "\u00e9"], ["--", "-x"], ["x" * 3000]])]

    def arguments(self):
        return [{"set": "/process/args", "to": self.some_arguments()}]

    def names(self):
        return [self.random.choice([{"set": "/hostname", "to": self.random.choice(["a", "x" * 64, "host.example.org", "UPPER_case"])},
                                    {"set": "/hostname"}, {"set": "/annotations", "to": {"a.b": "c", "empty": ""}}])]

    def sysctl(self):
        return [{"set": "/linux/sysctl", "to": {name: self.random.choice(SYSCTLS[name]) for name in self.some(sorted(SYSCTLS), 3)}}]

    def devices(self):
        chosen, rules = [], []
        for path, kind, major, minor in self.some(DEVICES, 3):
            device = {"path": path, "type": kind}
            if major is not None:
                device.update(major=major, minor=minor)
            device.update({} if self.chance(0.4) else {"fileMode": self.random.choice([0o666, 0o600, 0o640, 0])})
            device.update({} if self.chance(0.6) else {"uid": self.random.choice([0, 1000]), "gid": self.random.choice([0, 5])})
            chosen.append(device)
            if kind in "cb" and self.chance(0.7):
                access = self.random.choice(["rwm", "rw", "r", "m"])
                rules.append({"allow": self.chance(0.8), "type": kind, "major": major, "minor": minor, "access": access})
        return [{"set": "/linux/devices", "to": chosen}, {"append": "/linux/resources/devices", "items": rules}]

    def seccomp(self):
        rules = []
        for _ in range(self.random.choice([1, 2])):
            rule = {"names": self.some(CALLS, 4) or ["mount"], "action": self.random.choice(["SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG"])}
            if rule["action"] == "SCMP_ACT_ERRNO" and self.chance(0.6):
                rule["errnoRet"] = self.random.choice([1, 2, 13, 38, 95])
            if self.chance(0.2):
                rule["args"] = [{"index": 0, "value": self.random.choice([0, 1, 1 << 27, 1 << 30]), "op": self.random.choice(
                    ["SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_GE", "SCMP_CMP_LT"])}]
            rules.append(rule)
        return [{"set": "/linux/seccomp", "to": {"defaultAction": self.random.choice(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"]),
                                                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": rules}}]

    def hooks(self):
        kind = self.random.choice(HOOKS)
        inside = kind == "startContainer"
        log = "/hooks" if inside else "@bundle/hooks"
        script = f'echo "{kind} $PWD $1 $FROM_HOOK $(busybox tr -d \'\\n\\t\')" >>{log}; exit $2'
        hook = {"path": "/bin/busybox" if inside else "@bundle/rootfs/bin/busybox", "env": ["FROM_HOOK=yes", "PATH=/bin:/usr/bin"],
                "args": ["sh", "-c", script, "hook", self.random.choice(["a", "a b"]), self.random.choice(["0", "0", "0", "3"])]}
        if self.chance(0.2):
            hook["timeout"] = 5
        seen = {"destination": "/hooks", "type": "bind", "source": "hooks", "options": ["bind"]}
        return [{"append": f"/hooks/{kind}", "items": [hook]}, *([{"mount": seen, "at": 7}] if inside else [])]

    def small(self):
        return [self.random.choice([
            {"set": "/process/noNewPrivileges", "to": False}, {"set": "/process/noNewPrivileges"},
            {"set": "/process/oomScoreAdj", "to": self.random.choice([0, 100, 1000])}, {"set": "/linux/resources"},
            {"set": "/process/capabilities"}, {"set": "/process/rlimits"}, {"set": "/process/env"}, {"set": "/linux/maskedPaths"},
            {"set": "/linux/readonlyPaths"}, {"set": "/linux/cgroupsPath"}, {"set": "/linux/cgroupsPath", "to": "comparison-@id"},
            {"set": "/linux/cgroupsPath", "to": "/comparison/@id/deep"}, {"set": "/ociVersion", "to": self.random.choice(["1.0.0", "1.0.1"])}])]

    def resources(self):
        """Those of which something is left to be read: in files of the cgroup, whatever the version."""
        many = {"pids": [{"limit": 64}, {"limit": -1}, {"limit": 1000}, {"limit": 0}],
                "memory": [{"limit": 1 << 27}, {"limit": 1 << 27, "swap": 1 << 28}, {"reservation": 1 << 26}, {"limit": -1},
                           {"limit": 1 << 27, "swap": -1}, {"limit": 1 << 27, "swappiness": 30},
                           {"disableOOMKiller": True}, {"useHierarchy": True}, {"kernelTCP": 1 << 26}, {"kernel": 1 << 26},
                           {"limit": 1 << 27, "checkBeforeUpdate": True}, {"swap": 1 << 28}, {"limit": 1 << 16}],
                "cpu": [{"shares": 2}, {"shares": 1024}, {"shares": 262144}, {"quota": 50000}, {"quota": 50000, "period": 100000},
                        {"period": 50000}, {"quota": -1}, {"cpus": "0"}, {"cpus": "0-1", "mems": "0"}, {"shares": 512, "cpus": "1"},
                        {"quota": 50000, "burst": 10000}, {"shares": 0}, {"cpus": ""}, {"mems": "0"}, {"cpus": "7-9"}],
                "blockIO": [{"weight": 300}, {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1048576}]},
                            {"throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 500}]}, {"weight": 0}],
                "rdma": [{"mlx5_1": {"hcaHandles": 3}}],
                "hugepageLimits": [[{"pageSize": "2MB", "limit": 1 << 22}]], "network": [{"classID": 0x100001}],
                "unified": [{"pids.max": "77"}, {"memory.high": "67108864"}, {"cpu.weight": "50"}, {"hugetlb.2MB.max": "4194304"}]}
        kinds = [name for name in sorted(many) if (name != "network" or self.layout != "v2") and (name != "unified" or self.layout == "v2")]
        chosen = self.random.sample(kinds, self.random.choice([1, 1, 2]))
        return [{"set": f"/linux/resources/{name}", "to": self.random.choice(many[name])} for name in chosen]

    def image(self):
        return [self.random.choice([
            {"change": "remove", "path": self.random.choice(["/dev", "/proc", "/sys", "/tmp", "/run", "/empty"])},
            {"change": "file", "path": self.random.choice(["/mnt/one", "/dev/null", "/dev/new", "/dev/console", "/dev/fd", "/dev/ptmx"])},
            {"change": "node", "path": "/dev/null", "device": self.random.choice([[1, 3], [1, 5]])},
            {"change": "mode", "path": self.random.choice(["/data", "/tmp", "/", "/bin/facts"]), "mode": self.random.choice([0o700, 0o711, 0o777])}])]

    def enter(self):
        random = self.random
        if self.chance(0.4):
            process = {"args": self.some_arguments(), "cwd": self.a_directory() if self.chance(0.4) else "/", "user": self.a_user(),
                       "env": self.variables(6), "noNewPrivileges": self.chance(0.5), "terminal": False}
            if self.chance(0.6):
                process["capabilities"] = self.some_capabilities()
            if self.chance(0.4):
                process["rlimits"] = self.some_rlimits()
            return [{"exec": {"flags": [], "process": process}}]
        flags = []
        if self.chance(0.4):
            flags += ["--user", random.choice(["0", "1000", "1000:5", "65534:65534"])]
        if self.chance(0.3):
            flags += ["--cwd", self.a_directory()]
        for one in self.variables(2):
            flags += ["--env", one]
        for one in self.some(CAPABILITIES, 2):
            flags += ["--cap", one]
        for one in self.some(["5", "44", "1000"], 2):
            flags += ["--additional-gids", one]
        if self.chance(0.2):
            flags.append("--no-new-privs")
        return [{"exec": {"flags": flags, "args": self.some_arguments()}}]

    def caller(self):
        return [{"caller": self.random.choice([{"umask": 0o77}, {"umask": 0}, {"nofile": [1000, 2000]}, {"affinity": [1]}, {"nice": 5},
                                               {"oom_score_adj": 500}, {"ignored": ["SIGCHLD", "SIGPIPE"]}, {"directory": "/"}])}]


def follow(value, pointer):
    """The parent of what `pointer` is about, with what is missing made, and the last key."""
    *above, last = pointer.lstrip("/").split("/")
    for key in above:
        value = value[int(key)] if isinstance(value, list) else value.setdefault(key, {})
    return value, int(last) if isinstance(value, list) else last


def apply(base, edits, names):
    """The config with the edits of it; `names` are what the words with @ stand for."""
    config = copy.deepcopy(base)
    removed = []
    left_out = [edit["without"] for edit in edits if "without" in edit]
    for edit in edits:
        if "set" in edit and "to" in edit:
            parent, key = follow(config, edit["set"])
            parent[key] = edit["to"]
        elif "set" in edit:
            removed.append(edit["set"])
        elif "append" in edit:
            parent, key = follow(config, edit["append"])
            parent[key] = [*(parent.get(key) or []), *edit["items"]]
    for pointer in removed:
        parent, key = follow(config, pointer)
        if isinstance(parent, list):
            parent[key] = None
        else:
            parent.pop(key, None)
    namespaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [one for one in namespaces if one["type"] not in left_out or "@owned" in one.get("path", "")]
    mounts = config["mounts"]
    for edit in edits:
        if "mount" in edit:
            mounts.insert(min(edit["at"], len(mounts)), edit["mount"])
    config["mounts"] = [mount for mount in mounts if mount]
    keep_valid(config)
    return words(config, names)


def words(value, names):
    """The value with its words for places and names filled in."""
    text = json.dumps(value)
    for word, meaning in names.items():
        text = text.replace(word, meaning)
    return json.loads(text)


def keep_valid(config):
    """Takes away what needs a namespace that another edit has taken."""
    kinds = {one["type"]: one for one in config["linux"]["namespaces"]}
    if "uts" not in kinds or "path" in kinds["uts"]:
        config.pop("hostname", None)
    if "user" not in kinds:
        config["linux"].pop("uidMappings", None)
        config["linux"].pop("gidMappings", None)
    needed = {"net": "network", "ker": "ipc", "fs.": "ipc"}
    if sysctls := config["linux"].get("sysctl"):
        config["linux"]["sysctl"] = {name: value for name, value in sysctls.items() if needed[name[:3]] in kinds}

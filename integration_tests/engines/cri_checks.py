"""Checks of the Container Runtime Interface: `cri` starts the daemon and this. Arguments name single checks."""

import os
import subprocess
import sys
import time
import traceback

import grpc
from cri_client import Client

IMAGE = "localhost/myapp:1.0"
WORK = "/root/engine-checks"
NODE = 2
PROGRAM = ["sh", "-c", 'trap "exit 0" TERM; while :; do sleep 0.2; done']
READY, RUNNING, EXITED = 0, 1, 2
BIDIRECTIONAL = 2

client = Client("/run/containerd/containerd.sock")


class Skip(Exception):
    """The check cannot be made here."""


def same(got, expected, what):
    assert got == expected, f"{what}: is {got!r}, not {expected!r}"


def soon(what, condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"not within 20 s: {what}"
        time.sleep(0.2)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Pod:
    """A pod sandbox, of the network of the node unless told otherwise, as a network of its own takes a second."""

    def __init__(self, network=NODE, **linux):
        options = {"network": network, **linux.pop("namespaces", {})}
        context = {"namespace_options": options, **linux.pop("security_context", {})}
        linux = {"cgroup_parent": "checks.slice", "security_context": context, **linux}
        self.config = {"metadata": {"name": "pod", "uid": str(time.time()), "namespace": "checks"}, "log_directory": WORK, "linux": linux}
        if network != NODE:
            self.config["hostname"] = "pod"
        self.id = client.RunPodSandbox(config=self.config).pod_sandbox_id

    def container(self, *command, name="app", start=True, security_context=None, resources=None, **config):
        linux = {"security_context": {"namespace_options": self.config["linux"]["security_context"]["namespace_options"],
                                      **(security_context or {})}, "resources": resources or {}}
        config = {"metadata": {"name": name}, "image": {"image": IMAGE}, "command": list(command or PROGRAM),
                  "log_path": name + ".log", "linux": linux, **config}
        found = Container(client.CreateContainer(pod_sandbox_id=self.id, config=config, sandbox_config=self.config).container_id, name)
        if start:
            client.StartContainer(container_id=found.id)
        return found


class Container:
    """A container of a pod."""

    def __init__(self, identifier, name):
        self.id, self.name = identifier, name

    def status(self):
        return client.ContainerStatus(container_id=self.id).status

    def exit(self):
        soon("the end", lambda: self.status().state == EXITED)
        return self.status().exit_code

    def log(self):
        """What it has written, a list of lines."""
        self.exit()
        return [line.split(" ", 3)[3] for line in read(f"{WORK}/{self.name}.log").splitlines()]

    def run(self, *command):
        """The exit code of a command inside, and what it has written."""
        answer = client.ExecSync(container_id=self.id, cmd=list(command), timeout=30)
        return answer.exit_code, answer.stdout.decode().strip(), answer.stderr.decode().strip()

    def output(self, *command):
        code, written, error = self.run(*command)
        assert code == 0, f"{command}: {code} {error}"
        return written

    def scope(self):
        return f"cri-containerd-{self.id}.scope"

    def limit(self, file):
        return read(f"/sys/fs/cgroup/checks.slice/{self.scope()}/{file}")


def refused(call, part):
    try:
        call()
    except grpc.RpcError as error:
        assert part in error.details(), f"{error.details()!r} has no {part!r}"
    else:
        raise AssertionError(f"it is not refused: {part}")


def check_version():
    same(client.Version(version="v1").runtime_name, "containerd", "name")


def check_pod_and_its_end():
    pod = Pod()
    same(client.PodSandboxStatus(pod_sandbox_id=pod.id).status.state, READY, "state")
    client.StopPodSandbox(pod_sandbox_id=pod.id)
    same(client.PodSandboxStatus(pod_sandbox_id=pod.id).status.state, 1, "state")
    client.RemovePodSandbox(pod_sandbox_id=pod.id)


def check_container_runs():
    container = Pod().container()
    same(container.status().state, RUNNING, "state")
    same(container.output("cat", "/proc/1/comm"), "sh", "program")
    client.StopContainer(container_id=container.id, timeout=20)
    same(container.exit(), 0, "exit code")
    client.RemoveContainer(container_id=container.id)


def check_exit_code_and_log():
    container = Pod().container("sh", "-c", "echo output; echo error >&2; exit 42")
    same(container.exit(), 42, "exit code")
    same(sorted(container.log()), ["error", "output"], "log")


def check_two_containers_of_a_pod():
    pod = Pod(namespaces={"pid": 0})
    first, second = pod.container(name="first"), pod.container(name="second")
    for kind in "net", "ipc", "uts", "pid":
        same(second.output("readlink", f"/proc/self/ns/{kind}"), first.output("readlink", f"/proc/self/ns/{kind}"), kind)
    assert second.output("readlink", "/proc/self/ns/mnt") != first.output("readlink", "/proc/self/ns/mnt"), "one mount namespace"


def check_pid_namespace_of_its_own():
    container = Pod().container(security_context={"namespace_options": {"network": NODE, "pid": 1}})
    same(container.output("sh", "-c", "cat /proc/1/comm"), "sh", "the first process")


def check_network_of_the_pod():
    container = Pod(network=0).container()
    assert "10.88." in container.output("ip", "-4", "addr", "show", "eth0"), "no address"
    same(container.output("hostname"), "pod", "name")
    container.output("ping", "-c", "1", "10.88.0.1")


def check_scope_of_systemd():
    container = Pod().container()
    same(output("systemctl", "show", "--value", "--property", "ActiveState", container.scope()), "active", "unit")
    assert container.limit("cgroup.procs"), "no process in it"


def check_limits():
    container = Pod().container(resources={"memory_limit_in_bytes": 268435456, "cpu_quota": 50000, "cpu_period": 100000, "cpuset_cpus": "0"})
    same(container.limit("memory.max"), "268435456", "memory.max")
    same(container.limit("cpu.max"), "50000 100000", "cpu.max")
    same(container.limit("cpuset.cpus"), "0", "cpuset.cpus")


def check_update_and_daemon_reload():
    container = Pod().container(resources={"memory_limit_in_bytes": 67108864, "cpu_quota": 50000, "cpu_period": 100000})
    client.UpdateContainerResources(container_id=container.id, linux={"memory_limit_in_bytes": 134217728, "cpu_quota": 25000, "cpu_period": 100000})
    output("systemctl", "daemon-reload")
    same(container.limit("memory.max"), "134217728", "memory.max")
    same(container.limit("cpu.max"), "25000 100000", "cpu.max")


def check_out_of_memory_is_reported():
    # Its first process lives on, so that there is time to see it.
    container = Pod().container("sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M; sleep 2; exit 5",
                                resources={"memory_limit_in_bytes": 33554432})
    same(container.exit(), 5, "exit code")
    same(container.status().reason, "OOMKilled", "reason")


def check_exec():
    container = Pod().container()
    same(container.run("sh", "-c", "echo output; echo error >&2; exit 7"), (7, "output", "error"), "code, output, error")


def check_exec_of_what_is_not_there():
    container = Pod().container()
    refused(lambda: container.run("nosuch"), "executable file not found in $PATH")


def check_exec_takes_too_long():
    container = Pod().container()
    refused(lambda: client.ExecSync(container_id=container.id, cmd=["sleep", "60"], timeout=1), "exceeded")


def check_program_is_not_there():
    pod = Pod()
    container = pod.container("nosuch", start=False)
    refused(lambda: client.StartContainer(container_id=container.id), "executable file not found in $PATH")


def check_stop_kills_after_its_time():
    container = Pod().container("sh", "-c", 'trap "" TERM; while :; do sleep 0.2; done')
    client.StopContainer(container_id=container.id, timeout=1)
    same(container.exit(), 137, "exit code")


def check_user_and_groups():
    container = Pod().container("sh", "-c", "id -u; id -g; id -G", security_context={
        "run_as_user": {"value": 1000}, "run_as_group": {"value": 1001}, "supplemental_groups": [50]})
    same(container.log(), ["1000", "1001", "1001 50"], "ids")


def check_environment_and_directory():
    container = Pod().container("sh", "-c", "echo $A; pwd", envs=[{"key": "A", "value": "B"}], working_dir="/tmp")
    same(container.log(), ["B", "/tmp"], "seen")


def check_read_only_root():
    container = Pod().container("touch", "/file", security_context={"readonly_rootfs": True})
    same(container.exit(), 1, "exit code")
    assert "Read-only" in container.log()[0], container.log()


def check_privileged():
    pod = Pod(security_context={"privileged": True})
    container = pod.container("sh", "-c", "ls /dev/vda && mount -t tmpfs x /tmp && echo mounted", security_context={"privileged": True})
    same(container.log(), ["/dev/vda", "mounted"], "seen")


def check_capabilities():
    container = Pod().container("grep", "CapEff", "/proc/self/status", security_context={
        "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]}})
    same(container.log(), ["CapEff:\t0000000000000400"], "capabilities")


def check_no_new_privileges_and_seccomp():
    container = Pod().container("grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status", security_context={
        "no_new_privs": True, "seccomp": {"profile_type": 0}})
    same(container.log(), ["NoNewPrivs:\t1", "Seccomp:\t2"], "flags")


def check_masked_and_read_only_paths():
    container = Pod().container("sh", "-c", "wc -c </etc/data; echo x >/etc/group", security_context={
        "masked_paths": ["/etc/data"], "readonly_paths": ["/etc/group"]})
    lines = container.log()
    same(lines[0], "0", "the masked file")
    assert "Read-only" in lines[1], lines


def check_mounts():
    os.makedirs(WORK + "/volume", exist_ok=True)
    mount = {"container_path": "/data", "host_path": WORK + "/volume"}
    same(Pod().container("sh", "-c", "echo line >/data/file", mounts=[mount]).exit(), 0, "exit code")
    same(read(WORK + "/volume/file"), "line", "written")
    same(Pod().container("touch", "/data/file", mounts=[{**mount, "readonly": True}]).exit(), 1, "a read-only one")


def check_bidirectional_mount():
    source = WORK + "/shared"
    os.makedirs(source, exist_ok=True)
    output("mount", "-t", "tmpfs", "shared", source)
    output("mount", "--make-shared", source)
    mount = {"container_path": "/data", "host_path": source, "propagation": BIDIRECTIONAL}
    script = "mkdir /data/sub && mount -t tmpfs later /data/sub && touch /data/sub/file"
    pod = Pod(security_context={"privileged": True})
    same(pod.container("sh", "-c", script, mounts=[mount], security_context={"privileged": True}).exit(), 0, "exit code")
    assert os.path.exists(source + "/sub/file"), "the mount did not come to the host"
    output("umount", "--recursive", source)


def check_device():
    container = Pod().container(devices=[{"container_path": "/dev/disk", "host_path": "/dev/vda", "permissions": "r"}])
    container.output("dd", "if=/dev/disk", "of=/dev/null", "count=1")
    same(container.run("dd", "if=/dev/zero", "of=/dev/disk", "count=1")[0], 1, "writing")


def check_sysctl():
    pod = Pod(network=0, sysctls=[{"key": "net.ipv4.ip_unprivileged_port_start", "value": "42"}])
    same(pod.container().output("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "42", "value")


def check_terminal():
    container = Pod().container("tty", tty=True)
    assert container.log()[0].startswith("/dev/pts/0"), container.log()


def check_stats():
    container = Pod().container(resources={"memory_limit_in_bytes": 67108864})
    assert client.ContainerStats(container_id=container.id).stats.memory.working_set_bytes.value > 0, "no memory"


def check_restart_of_the_daemon():
    container = Pod().container()
    output("systemctl", "restart", "containerd")
    soon("the daemon", lambda: output("ctr", "version"))
    same(container.output("cat", "/proc/1/comm"), "sh", "program")


def clean():
    """Removes all pods, and says what stays."""
    for pod in client.ListPodSandbox().items:
        client.StopPodSandbox(pod_sandbox_id=pod.id)
        client.RemovePodSandbox(pod_sandbox_id=pod.id)
    units = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "cri-containerd-*"]
    soon("no scope is left", lambda: output(*units) == "")
    same(output("find", "/sys/fs/cgroup", "-name", "cri-containerd-*"), "", "cgroups that are left")
    for directory in "/run/containerd/runc/k8s.io", "/run/containerd/io.containerd.runtime.v2.task/k8s.io":
        same(os.listdir(directory) if os.path.isdir(directory) else [], [], directory)
    soon("no mount is left", lambda: "/rootfs" not in read("/proc/self/mountinfo"))
    for log in os.listdir(WORK):
        if log.endswith(".log"):
            os.remove(f"{WORK}/{log}")


def main():
    names = sys.argv[1:] or sorted(name[len("check_"):] for name in globals() if name.startswith("check_"))
    for name in names:
        began, result = time.monotonic(), ""
        try:
            globals()["check_" + name]()
            clean()
            word = "ok"
        except Skip as reason:
            word, result = "skipped", f": {reason}"
        except Exception as error:
            traceback.print_exc(limit=2)
            details = error.details() if isinstance(error, grpc.RpcError) else str(error)
            word, result = "FAILED", ": " + " ".join(details.split())
            try:
                clean()
            except Exception:
                traceback.print_exc()
        print(f"{word} {name} ({(time.monotonic() - began) * 1000:.0f} ms){result}", flush=True)


main()

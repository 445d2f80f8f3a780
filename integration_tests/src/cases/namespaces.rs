//! Namespaces: new, joined by path, or the host's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::{called_by, wait_until};
use crate::config;
use crate::container::Container;
use crate::leftovers::mountinfo_around;

cases!("namespaces":
    each_new_one_differs, each_absent_one_is_the_hosts, pid_absent_is_the_hosts, network_is_joined,
    ipc_is_joined, uts_is_joined, pid_is_joined, cgroup_is_joined, all_are_joined,
    a_path_of_another_kind, a_path_that_is_missing, a_path_that_is_no_namespace, wrong_paths_are_named, loopback_is_up,
    network_has_only_loopback, user_with_mappings, user_with_many_mappings, user_devices, user_devices_of_another_number,
    user_files_are_mapped, user_without_root, user_of_the_program, user_alone, user_joined, user_owns_the_rest, user_with_clocks, hostname, domainname,
    hostname_in_a_joined_namespace, pid_is_one, host_names_are_untouched, no_mount_namespace,
    own_ones_are_joined, hostname_in_its_own, domainname_in_its_own, sysctl_of_its_own_network,
    sysctl_of_its_own_ipc, devices_for_its_own_network, mounts_in_its_own, cgroups_in_its_own,
    user_of_its_own,
);

fn inode(pid: impl std::fmt::Display, kind: &str) -> anyhow::Result<String> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.display().to_string())
}

fn each_new_one_differs(container: &mut Container) -> Test {
    container.start_idle()?;
    let pid = container.pid()?;
    for kind in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        ensure!(inode(pid, kind)? != inode("self", kind)?, "{kind} is the host's");
    }
    same!(inode(pid, "user")?, inode("self", "user")?);
    Ok(())
}

fn each_absent_one_is_the_hosts(container: &mut Container) -> Test {
    for kind in ["network", "ipc", "uts", "cgroup"] {
        config::namespace(&mut container.config, kind, None);
    }
    container.remove("/hostname");
    container.start_idle()?;
    let pid = container.pid()?;
    for kind in ["net", "ipc", "uts", "cgroup"] {
        same!(inode(pid, kind)?, inode("self", kind)?);
    }
    Ok(())
}

fn pid_absent_is_the_hosts(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    container.start_idle()?;
    same!(inode(container.pid()?, "pid")?, inode("self", "pid")?);
    container.delete_force()
}

/// A process in namespaces of its own, to be joined; gone when dropped.
pub(super) struct Other(Child);

impl Other {
    /// `flags` are those of unshare(1).
    pub(super) fn new(flags: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new("unshare");
        command.args(flags).args(["--fork", "--kill-child", "sleep", "100"]);
        let other = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        wait_until("the other process", || Ok(other.pid().is_ok()))?;
        Ok(other)
    }

    /// The sleeping process, child of unshare.
    fn pid(&self) -> anyhow::Result<u32> {
        let own = self.0.id();
        let text = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let pid = text.split_whitespace().next().context("no child yet")?.parse()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
        ensure!(name.trim() == "sleep", "not yet");
        Ok(pid)
    }

    pub(super) fn path(&self, kind: &str) -> anyhow::Result<String> {
        Ok(format!("/proc/{}/ns/{kind}", self.pid()?))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container that joins namespaces of a process that unshare(1) made with `flags`; each is given
/// by the specification's name and the kernel's.
fn join(container: &mut Container, flags: &[&str], kinds: &[(&str, &str)]) -> Test {
    let other = Other::new(flags)?;
    for (kind, file) in kinds {
        config::namespace(&mut container.config, kind, Some(&other.path(file)?));
    }
    container.start_idle()?;
    for (_, file) in kinds {
        same!(inode(container.pid()?, file)?, inode(other.pid()?, file)?);
    }
    let script = kinds.iter().map(|(_, file)| format!("readlink /proc/self/ns/{file};"));
    let output = container.exec(&["sh", "-c", &script.collect::<String>()])?.success()?;
    for (line, (_, file)) in output.lines().iter().zip(kinds) {
        same!(*line, inode(other.pid()?, file)?);
    }
    container.delete_force()
}

fn network_is_joined(container: &mut Container) -> Test {
    join(container, &["--net"], &[("network", "net")])
}

fn ipc_is_joined(container: &mut Container) -> Test {
    join(container, &["--ipc"], &[("ipc", "ipc")])
}

fn uts_is_joined(container: &mut Container) -> Test {
    join(container, &["--uts"], &[("uts", "uts")])
}

fn pid_is_joined(container: &mut Container) -> Test {
    join(container, &["--pid"], &[("pid", "pid")])
}

fn cgroup_is_joined(container: &mut Container) -> Test {
    join(container, &["--cgroup"], &[("cgroup", "cgroup")])
}

fn all_are_joined(container: &mut Container) -> Test {
    let flags = ["--net", "--ipc", "--uts", "--pid", "--cgroup"];
    let kinds =
        [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("cgroup", "cgroup")];
    join(container, &flags, &kinds)
}

fn a_path_of_another_kind(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "network", Some("/proc/self/ns/uts"));
    container.create_refused(&[])
}

fn a_path_that_is_missing(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "network", Some("/no/such/namespace"));
    container.create_refused(&["/no/such/namespace", "no such file or directory"])
}

fn a_path_that_is_no_namespace(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "ipc", Some("/etc/passwd"));
    container.create_refused(&[])
}

fn wrong_paths_are_named(container: &mut Container) -> Test {
    for path in ["/proc/self/ns/uts", "/etc/passwd"] {
        config::namespace(&mut container.config, "network", Some(path));
        container.create_refused(&["/linux/namespaces/5", "network", path])?;
    }
    Ok(())
}

fn loopback_is_up(container: &mut Container) -> Test {
    let output = container.run_script("ip -o addr show lo; ip -o link show lo")?.success()?;
    ensure!(output.stdout.contains("LOOPBACK,UP"), "{}", output.stdout);
    ensure!(output.stdout.contains("127.0.0.1/8"), "{}", output.stdout);
    Ok(())
}

fn network_has_only_loopback(container: &mut Container) -> Test {
    let output = container.run_script("tail -n +3 /proc/net/dev | cut -d: -f1")?.success()?;
    same!(output.words(), ["lo"]);
    Ok(())
}

fn user_with_mappings(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let script =
        "cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups; id -u; id -g";
    let output = container.run_script(script)?.success()?;
    let map = ["0", "100000", "65536"];
    same!(output.words(), [&map[..], &map, &["allow", "0", "0"]].concat());
    Ok(())
}

/// The kernel takes 340 lines, of less than a page.
fn user_with_many_mappings(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let lines =
        (0..250).map(|at| json!({ "containerID": at, "hostID": 100_000 + at * 2, "size": 1 }));
    let lines: Vec<_> = lines.collect();
    container.set("/linux/uidMappings", json!(lines));
    same!(container.run_script("wc -l < /proc/self/uid_map")?.success()?.words(), ["250"]);
    Ok(())
}

fn user_devices(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let script = "stat -c '%n %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; \
                  echo x > /dev/null; head -c 2 /dev/zero | wc -c";
    let output = container.run_script(script)?.success()?;
    let expected = [
        "/dev/null 1:3",
        "/dev/zero 1:5",
        "/dev/full 1:7",
        "/dev/random 1:8",
        "/dev/urandom 1:9",
        "/dev/tty 5:0",
        "2",
    ];
    same!(output.lines(), expected);
    Ok(())
}

/// Where the host's node is bound, it must be the device that is asked for.
fn user_devices_of_another_number(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    for (path, file_type, minor) in [("/dev/zero", "c", 3), ("/dev/null", "b", 3)] {
        let device = json!({ "path": path, "type": file_type, "major": 1, "minor": minor });
        container.set("/linux/devices", json!([device]));
        container.create_refused(&[path, "another device"])?;
    }
    Ok(())
}

fn user_files_are_mapped(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.set("/root/readonly", json!(false));
    std::os::unix::fs::chown(container.rootfs(), Some(100_000), Some(100_000))?;
    let script = "touch /mine /dev/shm/mine; stat -c %u:%g /mine /dev/shm/mine /etc/passwd";
    same!(container.run_script(script)?.success()?.lines(), ["0:0", "0:0", "65534:65534"]);
    let file = fs::metadata(container.rootfs().join("mine"))?;
    same!((file.uid(), file.gid()), (100_000, 100_000));
    Ok(())
}

/// Init makes the container as root of the namespace.
fn user_without_root(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let mappings = json!([{ "containerID": 1000, "hostID": 100_000, "size": 1 }]);
    for pointer in ["/linux/uidMappings", "/linux/gidMappings"] {
        let before = container.config.pointer(pointer).cloned();
        container.set(pointer, mappings.clone());
        container.create_refused(&[pointer, "containerID 0"])?;
        container.set(pointer, json!(before));
    }
    Ok(())
}

fn user_of_the_program(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.set("/process/user", json!({ "uid": 7, "gid": 8, "additionalGids": [9] }));
    container.start_idle()?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().unwrap_or_default().to_owned()
    };
    same!([field("Uid:"), field("Gid:"), field("Groups:")], ["100007", "100008", "100009"]);
    Ok(())
}

/// With the host's network, IPC and UTS namespaces, over which its root has no power.
fn user_alone(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    for kind in ["ipc", "uts", "cgroup"] {
        config::namespace(&mut container.config, kind, None);
    }
    container.remove("/hostname");
    config::remove_mounts(&mut container.config, |path| path == "/dev/mqueue");
    let output = container.run_script("id -u; hostname other")?;
    ensure!(output.lines() == ["0"] && output.code != 0, "{output:?}");
    Ok(())
}

fn user_joined(container: &mut Container) -> Test {
    let other = Other::new(&["--user", "--map-root-user", "--net"])?;
    for (kind, file) in [("user", "user"), ("network", "net")] {
        config::namespace(&mut container.config, kind, Some(&other.path(file)?));
    }
    // The other's user namespace maps one group only, and devpts asks for another.
    container.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666"]));
    container.start_idle()?;
    for kind in ["user", "net"] {
        same!(inode(container.pid()?, kind)?, inode(other.pid()?, kind)?);
    }
    container.delete_force()
}

/// What is made with the user namespace belongs to its root: the files of the network and of ipc, too.
fn user_owns_the_rest(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    config::allow_capabilities(&mut container.config, &["CAP_NET_ADMIN"]);
    container.mount(json!({ "destination": "/mnt", "type": "sysfs", "source": "sysfs" }));
    let script = "
        stat -c '%u %g' /proc/self/net/dev /mnt/class/net/lo/mtu /dev/mqueue
        echo 1400 > /mnt/class/net/lo/mtu; cat /mnt/class/net/lo/mtu";
    let output = container.run_script(script)?.success()?;
    same!(output.words(), ["0", "0", "0", "0", "0", "0", "1400"]);
    Ok(())
}

/// A time namespace that belongs to the user namespace gets its offsets nevertheless.
fn user_with_clocks(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.push("/linux/namespaces", json!({ "type": "time" }));
    container.set("/linux/timeOffsets", json!({ "boottime": { "secs": 100_000_000 } }));
    let output = container.run_script("cut -d. -f1 /proc/uptime")?.success()?;
    let uptime: u64 = output.stdout.trim().parse()?;
    ensure!(uptime > 100_000_000, "{uptime} s");
    Ok(())
}

fn hostname(container: &mut Container) -> Test {
    same!(container.run_script("hostname")?.success()?.lines(), ["box"]);
    Ok(())
}

fn domainname(container: &mut Container) -> Test {
    container.set("/domainname", json!("example.org"));
    let output = container.run_script("cat /proc/sys/kernel/domainname")?.success()?;
    same!(output.lines(), ["example.org"]);
    Ok(())
}

fn hostname_in_a_joined_namespace(container: &mut Container) -> Test {
    let other = Other::new(&["--uts"])?;
    config::namespace(&mut container.config, "uts", Some(&other.path("uts")?));
    same!(container.run_script("hostname")?.success()?.lines(), ["box"]);
    Ok(())
}

fn pid_is_one(container: &mut Container) -> Test {
    let output = container.run_script("echo $$; ls -d /proc/[0-9]*")?.success()?;
    same!(output.lines()[..2], ["1", "/proc/1"]);
    Ok(())
}

fn host_names_are_untouched(container: &mut Container) -> Test {
    let names = || -> anyhow::Result<String> {
        let read = |name| fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        Ok(read("hostname")? + &read("domainname")?)
    };
    let before = names()?;
    config::allow_capabilities(&mut container.config, &["CAP_SYS_ADMIN"]);
    container.run_script("hostname other && hostname")?.success()?;
    same!(names()?, before);
    Ok(())
}

/// Either refused, or the mounts of the host stay as they were.
fn no_mount_namespace(container: &mut Container) -> Test {
    let before = mountinfo_around(&container.id)?;
    config::namespace(&mut container.config, "mount", None);
    let _ = container.run()?;
    same!(mountinfo_around(&container.id)?, before);
    Ok(())
}

/// A namespace that a path leads to may be the runtime's own, and is shared then as if it were not
/// listed.
fn own_ones_are_joined(container: &mut Container) -> Test {
    let kinds =
        [("uts", "uts"), ("network", "net"), ("ipc", "ipc"), ("pid", "pid"), ("cgroup", "cgroup")];
    for (kind, file) in kinds {
        let path = format!("/proc/self/ns/{file}");
        config::namespace(&mut container.config, kind, Some(&path));
    }
    container.remove("/hostname");
    config::remove_mounts(&mut container.config, |path| path == "/sys/fs/cgroup");
    container.start_idle()?;
    for (_, file) in kinds {
        same!(inode(container.pid()?, file)?, inode("self", file)?);
    }
    container.delete_force()
}

/// Runs the runtime in namespaces of its own, which are the host's then, with a container that joins
/// the `kind` among them by the path `/proc/NAME`. It is refused, since what `pointer` points to would
/// change the host: `probe` prints the same before and after.
fn its_own(container: &Container, name: [&str; 2], pointer: &str, probe: &str) -> Test {
    let [kind, path] = name;
    let path = format!("/proc/{path}");
    let mut config = container.config.clone();
    config::namespace(&mut config, kind, Some(&path));
    fs::write(container.directory.join("config.json"), config.to_string())?;
    let bundle = container.bundle();
    let create = container.command(&["create", "--bundle", &bundle, &container.id]);
    let script = "before=$(eval $0); \"$@\"; code=$?; [ \"$(eval $0)\" = \"$before\" ] || echo changed; exit $code";
    let mut host = Command::new("unshare");
    host.args(["--uts", "--net", "--ipc", "--mount", "sh", "-c", script, probe]);
    let output = container.finish_command(called_by(host, &create), Stdio::null())?;
    ensure!(output.stdout.is_empty(), "the host was {}", output.stdout);
    container.refused(&output, &["/linux/namespaces/5/path", &path, pointer])
}

fn hostname_in_its_own(container: &mut Container) -> Test {
    its_own(container, ["uts", "self/ns/uts"], "/hostname", "hostname")
}

/// By another name, and with two properties.
fn domainname_in_its_own(container: &mut Container) -> Test {
    container.remove("/hostname");
    let probe = "cat /proc/sys/kernel/domainname";
    container.set("/domainname", json!("example.org"));
    its_own(container, ["uts", "thread-self/ns/uts"], "/domainname", probe)?;
    container.remove("/domainname");
    container.set("/linux/sysctl", json!({ "kernel.domainname": "example.org" }));
    let pointer = "/linux/sysctl/kernel.domainname";
    its_own(container, ["uts", "self/ns/uts"], pointer, probe)
}

fn sysctl_of_its_own_network(container: &mut Container) -> Test {
    container.set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "77" }));
    let (pointer, probe) =
        ("/linux/sysctl/net.ipv4.ip_default_ttl", "cat /proc/sys/net/ipv4/ip_default_ttl");
    its_own(container, ["network", "self/ns/net"], pointer, probe)
}

fn sysctl_of_its_own_ipc(container: &mut Container) -> Test {
    container.set("/linux/sysctl", json!({ "kernel/shmmni": "77" }));
    let pointer = "/linux/sysctl/kernel~1shmmni";
    its_own(container, ["ipc", "self/ns/ipc"], pointer, "cat /proc/sys/kernel/shmmni")
}

fn devices_for_its_own_network(container: &mut Container) -> Test {
    container.set("/linux/netDevices", json!({ "lo": { "name": "other" } }));
    its_own(container, ["network", "self/ns/net"], "/linux/netDevices", "cat /proc/net/dev")
}

fn mounts_in_its_own(container: &mut Container) -> Test {
    its_own(container, ["mount", "self/ns/mnt"], "/root/path", "cat /proc/self/mountinfo")
}

/// The container would see all cgroups of the host.
fn cgroups_in_its_own(container: &mut Container) -> Test {
    its_own(container, ["cgroup", "self/ns/cgroup"], "/mounts/6", "true")
}

/// The kernel does not join it (setns(2)).
fn user_of_its_own(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.remove("/linux/uidMappings");
    container.remove("/linux/gidMappings");
    config::namespace(&mut container.config, "user", Some("/proc/self/ns/user"));
    container.create_refused(&["/linux/namespaces/6/path", "/proc/self/ns/user", "/process"])
}

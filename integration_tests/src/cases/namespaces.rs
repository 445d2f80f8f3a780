//! Namespaces: new, joined by path, or the host's.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{cases, same};
use crate::harness::Container;

type Test = anyhow::Result<()>;

cases!("namespaces":
    each_new_one_differs, each_absent_one_is_the_hosts, network_is_joined, ipc_uts_pid_are_joined,
    a_path_of_another_kind, loopback_is_up, user_with_mappings, user_joined, names, pid_is_one,
);

fn inode(pid: impl std::fmt::Display, kind: &str) -> anyhow::Result<String> {
    Ok(std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.display().to_string())
}

fn each_new_one_differs(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let pid = container.pid()?;
    for kind in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        ensure!(inode(pid, kind)? != inode("self", kind)?, "{kind} is the host's");
    }
    same!(inode(pid, "user")?, inode("self", "user")?);
    Ok(())
}

fn each_absent_one_is_the_hosts(container: &mut Container) -> Test {
    for kind in ["network", "ipc", "uts", "cgroup"] {
        container.namespace(kind, None);
    }
    container.config.as_object_mut().context("no object")?.remove("hostname");
    container.start_script("sleep 100")?;
    let pid = container.pid()?;
    for kind in ["net", "ipc", "uts", "cgroup"] {
        same!(inode(pid, kind)?, inode("self", kind)?);
    }
    Ok(())
}

/// A process in namespaces of its own, to be joined; gone when dropped.
struct Other(Child);

impl Other {
    fn new(flags: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new("unshare");
        command.args(flags).args(["--fork", "--kill-child", "sleep", "100"]);
        let child = command.stdout(Stdio::null()).spawn()?;
        let other = Self(child);
        for _ in 0..1000 {
            if other.pid().is_ok() {
                return Ok(other);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        other.pid().map(|_| other)
    }

    /// The sleeping process, child of unshare.
    fn pid(&self) -> anyhow::Result<u32> {
        let own = self.0.id();
        let text = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let pid = text.split_whitespace().next().context("no child yet")?.parse()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
        ensure!(name.trim() == "sleep", "not yet");
        Ok(pid)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn network_is_joined(container: &mut Container) -> Test {
    let other = Other::new(&["--net"])?;
    container.namespace("network", Some(&format!("/proc/{}/ns/net", other.pid()?)));
    container.start_script("sleep 100")?;
    same!(inode(container.pid()?, "net")?, inode(other.pid()?, "net")?);
    Ok(())
}

fn ipc_uts_pid_are_joined(container: &mut Container) -> Test {
    let other = Other::new(&["--ipc", "--uts", "--pid"])?;
    for kind in ["ipc", "uts", "pid"] {
        container.namespace(kind, Some(&format!("/proc/{}/ns/{kind}", other.pid()?)));
    }
    container.start_script("sleep 100")?;
    let pid = container.pid()?;
    for kind in ["ipc", "uts", "pid"] {
        same!(inode(pid, kind)?, inode(other.pid()?, kind)?);
    }
    Ok(())
}

fn a_path_of_another_kind(container: &mut Container) -> Test {
    container.namespace("network", Some("/proc/self/ns/uts"));
    container.create_refused(&["/linux/namespaces/5", "network"])
}

fn loopback_is_up(container: &mut Container) -> Test {
    let output = container.run_script("ip -o link show lo")?.success()?;
    ensure!(output.stdout.contains("LOOPBACK,UP"), "{}", output.stdout);
    Ok(())
}

fn map(container: &mut Container) {
    container.push("/linux/namespaces", json!({ "type": "user" }));
    let mappings = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    container.set("/linux/uidMappings", mappings.clone());
    container.set("/linux/gidMappings", mappings);
}

/// The container's root must be able to walk to the root filesystem.
fn open_to_all(container: &Container) -> Test {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(&container.directory, std::fs::Permissions::from_mode(0o755))?)
}

fn user_with_mappings(container: &mut Container) -> Test {
    map(container);
    open_to_all(container)?;
    let script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; ls -ln /dev/null; echo x > /dev/null; \
                  touch /dev/shm/mine; stat -c %u:%g /dev/shm/mine";
    let output = container.run_script(script)?.success()?;
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    same!(words[..7], ["0", "100000", "65536", "0", "100000", "65536", "0"]);
    ensure!(output.stdout.contains("1,   3"), "{}", output.stdout);
    same!(output.lines().last(), Some(&"0:0"));
    Ok(())
}

fn user_joined(container: &mut Container) -> Test {
    let other = Other::new(&["--user", "--map-root-user", "--net"])?;
    open_to_all(container)?;
    for (kind, name) in [("user", "user"), ("network", "net")] {
        container.namespace(kind, Some(&format!("/proc/{}/ns/{name}", other.pid()?)));
    }
    // The other's user namespace maps one group only, and devpts asks for another.
    container.config["mounts"][2]["options"] =
        json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666"]);
    container.start_script("sleep 100")?;
    for kind in ["user", "net"] {
        same!(inode(container.pid()?, kind)?, inode(other.pid()?, kind)?);
    }
    Ok(())
}

fn names(container: &mut Container) -> Test {
    container.set("/domainname", json!("example.org"));
    let output = container.run_script("hostname; cat /proc/sys/kernel/domainname")?.success()?;
    same!(output.lines(), ["box", "example.org"]);
    Ok(())
}

fn pid_is_one(container: &mut Container) -> Test {
    same!(container.run_script("echo $$")?.success()?.lines(), ["1"]);
    Ok(())
}

//! A hostile program in a container ([`crate::hostile`]) while the host works on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::bundles::use_config;
use super::{Test, cases, same};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;
use crate::hostile;
use crate::pty::with_socket;

cases!("hostile":
    cve_2016_9962_exec, cve_2016_9962_exec_with_terminal, cve_2016_9962_exec_without_pivot_root,
    cve_2016_9962_exec_in_a_user_namespace, cve_2016_9962_init_in_a_joined_pid_namespace,
    cve_2016_9962_init_in_a_pod_without_pivot_root, cve_2016_9962_init_in_a_pod_that_fails, nodes_of_the_host, nodes_of_the_host_for_docker,
    nodes_of_the_host_for_podman, nodes_of_the_host_in_roots_user_namespace,
    nodes_of_the_host_by_exec, nodes_of_the_host_by_exec_without_null,
    callers_secrets_by_init, callers_secrets_by_init_in_a_user_namespace,
    callers_secrets_by_init_in_a_joined_pid_namespace, callers_secrets_by_exec,
    climbing_without_pivot_root,
);

/// How often the host works on the container while it attacks.
const ROUNDS: usize = 40;

/// Puts the hostile program into the container, and a directory for its report.
pub(super) fn add_hostile(container: &mut Container) -> Test {
    let program = container.rootfs().join("hostile");
    // Another test's child would keep a file of ours open for writing until it executes something.
    let copied = Command::new("cp").arg(std::env::current_exe()?).arg(&program).status();
    ensure!(copied?.success(), "cp");
    fs::create_dir(container.rootfs().join("report"))?;
    fs::create_dir(container.directory.join("report"))?;
    fs::set_permissions(container.directory.join("report"), fs::Permissions::from_mode(0o777))?;
    let source = container.file("report");
    container.mount(json!({ "destination": "/report", "source": source, "options": ["bind"] }));
    Ok(())
}

/// Makes the hostile program the container's, with `CAP_SYS_PTRACE`: it can follow the links of
/// every process that it sees.
fn make_hostile(container: &mut Container) -> Test {
    add_hostile(container)?;
    let marker = container.victim.join("marker");
    fs::write(&marker, "of the host")?;
    let marker = marker.display().to_string();
    let args = json!(["/hostile", hostile::FLAG, "follow", "/report/lines", marker]);
    container.set("/process/args", args);
    config::allow_capabilities(&mut container.config, &["CAP_SYS_PTRACE"]);
    Ok(())
}

/// Starts the attack, does `work` while it goes on, and looks at what it got hold of.
fn attacked(container: &mut Container, flags: &[&str], work: impl Fn(&Container) -> Test) -> Test {
    container.create_with(flags)?.success()?;
    container.verb("start")?.success()?;
    container.wait_for_file("report/lines")?;
    let report = || fs::read_to_string(container.directory.join("report/lines"));
    for _ in 0..ROUNDS {
        work(container)?;
    }
    // A process that comes and goes may be missed, all of them may not.
    wait_until("a process that is attacked", || {
        work(container)?;
        Ok(report()?.contains("seen"))
    })?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    let lines = report()?;
    let reached: Vec<_> = lines.lines().filter(|line| line.starts_with("reached")).collect();
    let shown = reached.get(..reached.len().min(5));
    ensure!(reached.is_empty(), "the host was reached {} times: {shown:?}", reached.len());
    Ok(())
}

/// A program that is not gone at once.
const BRIEF: [&str; 2] = ["sleep", "0.02"];

fn exec(container: &Container) -> Test {
    container.exec(&BRIEF)?.success()?;
    Ok(())
}

/// No directory of the host is open in a process that enters the container.
fn cve_2016_9962_exec(container: &mut Container) -> Test {
    make_hostile(container)?;
    attacked(container, &[], exec)
}

fn cve_2016_9962_exec_with_terminal(container: &mut Container) -> Test {
    make_hostile(container)?;
    attacked(container, &[], |container| {
        let (output, master) = with_socket(container, |path| {
            let flags = ["--tty", "--detach", "--console-socket", path];
            container.exec_with(&flags, &BRIEF)
        })?;
        output.success()?;
        master.context("no master")?;
        Ok(())
    })
}

fn cve_2016_9962_exec_without_pivot_root(container: &mut Container) -> Test {
    make_hostile(container)?;
    attacked(container, &["--no-pivot"], exec)
}

fn cve_2016_9962_exec_in_a_user_namespace(container: &mut Container) -> Test {
    make_hostile(container)?;
    config::add_user_namespace(&mut container.config);
    attacked(container, &[], exec)
}

/// What tells that somebody has changed a file but for its content.
type Node = (u32, u32, u32, i64, i64);

/// The nodes in /dev of the host, put back as they were whatever happens. One test at a time looks at
/// them.
pub(super) struct Nodes {
    before: BTreeMap<PathBuf, Node>,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Nodes {
    pub(super) fn new() -> anyhow::Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Self { before: Self::read()?, _turn: turn })
    }

    fn read() -> anyhow::Result<BTreeMap<PathBuf, Node>> {
        let mut nodes = BTreeMap::new();
        for entry in fs::read_dir("/dev")? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() {
                let changed = (metadata.ctime(), metadata.ctime_nsec());
                let owner = (metadata.uid(), metadata.gid());
                nodes.insert(path, (metadata.mode(), owner.0, owner.1, changed.0, changed.1));
            }
        }
        Ok(nodes)
    }

    /// Those that are not what they were.
    fn changed(&self) -> anyhow::Result<Vec<&PathBuf>> {
        let now = Self::read()?;
        let changed = self.before.iter().filter(|(path, node)| now.get(*path) != Some(node));
        Ok(changed.map(|(path, _)| path).collect())
    }

    pub(super) fn unchanged(&self) -> Test {
        let changed = self.changed()?;
        ensure!(changed.is_empty(), "nodes of the host were changed: {changed:?}");
        Ok(())
    }

    /// Puts all back, so that a change after this one is noticed, too.
    pub(super) fn restore(&mut self) -> Test {
        self.changed()?.into_iter().try_for_each(|path| self.put_back(path))?;
        self.before = Self::read()?;
        Ok(())
    }

    fn put_back(&self, path: &Path) -> Test {
        let (mode, uid, gid, ..) = self.before[path];
        chown(path, Some(uid), Some(gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        for name in hostile::ATTRIBUTES {
            let _ = rustix::fs::removexattr(path, name);
        }
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for path in self.changed().unwrap_or_default() {
            let _ = self.put_back(path);
        }
    }
}

/// The capabilities with which root changes a file.
const CHANGING: [&str; 4] = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SYS_PTRACE"];
const CHANGE: [&str; 4] = ["/hostile", hostile::FLAG, "change", "/report/lines"];

/// A command with all its streams on the host's null device.
fn with_null_streams(container: &Container, args: &[&str]) -> Test {
    let mut command = container.command(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    crate::command::wait(&mut command.spawn()?)?;
    Ok(())
}

/// The attack has run to its end, and tried enough.
fn tried(container: &Container) -> Test {
    let lines = fs::read_to_string(container.directory.join("report/lines"))?;
    let count = lines.lines().filter(|line| line.starts_with("tried")).count();
    ensure!(count > 20 && lines.ends_with("done\n"), "the attack did not run: {lines}");
    // It can change what is the container's own.
    ensure!(lines.contains("chmod /report"), "nothing could be changed: {lines}");
    Ok(())
}

/// Lets the hostile program of a container try to change what it sees.
fn change(container: &mut Container) -> Test {
    add_hostile(container)?;
    container.set("/process/args", json!(CHANGE));
    config::allow_capabilities(&mut container.config, &CHANGING);
    container.save()?;
    let nodes = Nodes::new()?;
    let binary = fs::metadata(&container.runtime.binary)?;
    let bundle = container.bundle();
    with_null_streams(container, &["run", "--bundle", &bundle, &container.id])?;
    tried(container)?;
    let now = fs::metadata(&container.runtime.binary)?;
    same!((now.ctime(), now.ctime_nsec()), (binary.ctime(), binary.ctime_nsec()));
    nodes.unchanged()
}

fn nodes_of_the_host(container: &mut Container) -> Test {
    change(container)
}

fn nodes_of_the_host_for_docker(container: &mut Container) -> Test {
    let text = include_str!("../../../tests/bundles/docker-plain/config.json");
    use_config(container, text)?;
    change(container)
}

/// What Podman masks beside the others.
fn nodes_of_the_host_for_podman(container: &mut Container) -> Test {
    for path in ["/proc/interrupts", "/sys/devices/virtual/powercap", "/sys/fs/selinux"] {
        container.push("/linux/maskedPaths", json!(path));
    }
    container.set("/root/readonly", json!(false));
    change(container)
}

/// Where the container's root is the host's, bound devices have their owner.
fn nodes_of_the_host_in_roots_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let mappings = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    container.set("/linux/uidMappings", mappings.clone());
    container.set("/linux/gidMappings", mappings);
    change(container)
}

fn nodes_of_the_host_by_exec(container: &mut Container) -> Test {
    add_hostile(container)?;
    config::allow_capabilities(&mut container.config, &CHANGING);
    container.start_idle()?;
    let nodes = Nodes::new()?;
    with_null_streams(container, &[&["exec", &container.id], &CHANGE[..]].concat())?;
    tried(container)?;
    nodes.unchanged()
}

/// A container that has removed its null device does not get the host's as a standard stream.
fn nodes_of_the_host_by_exec_without_null(container: &mut Container) -> Test {
    config::allow_capabilities(&mut container.config, &CHANGING);
    container.start_script("rm /dev/null; exec sleep 100")?;
    wait_until("the attack", || Ok(container.exec(&["test", "-e", "/dev/null"])?.code != 0))?;
    let nodes = Nodes::new()?;
    let script = "chmod 0601 /proc/self/fd/0 /proc/self/fd/1; touch /proc/self/fd/2";
    with_null_streams(container, &["exec", &container.id, "sh", "-c", script])?;
    nodes.unchanged()
}

/// A variable of whoever calls the runtime.
const SECRET: &str = "SECRET_OF_THE_CALLER";

/// Calls the runtime with the secret in its environment.
fn with_secret(container: &Container, args: &[&str]) -> Test {
    let mut command = container.command(args);
    command.env(SECRET, "hidden");
    container.finish_command(command, Stdio::null())?.success()?;
    Ok(())
}

/// While it waits for `start`, init shows neither the arguments nor the environment of its runtime.
fn callers_secrets_by_init(container: &mut Container) -> Test {
    config::allow_capabilities(&mut container.config, &["CAP_SYS_PTRACE"]);
    container.save()?;
    with_secret(container, &["create", "--bundle", &container.bundle(), &container.id])?;
    // In a user namespace nobody may read the second.
    let script = "cat /proc/1/cmdline; cat /proc/1/environ 2> /dev/null || id -u";
    let text = container.exec(&["sh", "-c", script])?.success()?.stdout;
    for secret in [SECRET, container.bundle().as_str(), &container.id] {
        ensure!(!text.contains(secret), "{secret} is seen");
    }
    ensure!(text.contains("init"), "nothing is seen");
    Ok(())
}

fn callers_secrets_by_init_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    callers_secrets_by_init(container)
}

/// Makes the program read the command line and the environment of every process that it sees.
fn make_reader(container: &mut Container, argument: &str) -> Test {
    make_hostile(container)?;
    let args = json!(["/hostile", hostile::FLAG, "read", "/report/lines", argument, SECRET]);
    container.set("/process/args", args);
    Ok(())
}

/// In a pod init is seen from its birth on.
fn callers_secrets_by_init_in_a_joined_pid_namespace(container: &mut Container) -> Test {
    let bundle = container.bundle();
    make_reader(container, &bundle)?;
    attacked(container, &[], |container| {
        let path = format!("/proc/{}/ns/pid", container.pid()?);
        let mut config = container.config.clone();
        config::namespace(&mut config, "pid", Some(&path));
        fs::write(container.directory.join("config.json"), config.to_string())?;
        let other = format!("{}-2", container.id);
        with_secret(container, &["create", "--bundle", &bundle, &other])?;
        container.runtime(&["delete", "--force", &other])?.success()?;
        Ok(())
    })
}

/// In a pod: containers that are made in the pid namespace of the hostile one.
fn pod(container: &mut Container, flags: &[&str]) -> Test {
    make_hostile(container)?;
    attacked(container, &[], |container| {
        let path = format!("/proc/{}/ns/pid", container.pid()?);
        let mut config = container.config.clone();
        config::namespace(&mut config, "pid", Some(&path));
        config::set(&mut config, "/process/args", json!(BRIEF));
        fs::write(container.directory.join("config.json"), config.to_string())?;
        let (bundle, other) = (container.bundle(), format!("{}-2", container.id));
        container
            .runtime(&[&["run", "--bundle", &bundle], flags, &[&other]].concat())?
            .success()?;
        Ok(())
    })
}

/// Init is born with nothing that leads to the host.
fn cve_2016_9962_init_in_a_joined_pid_namespace(container: &mut Container) -> Test {
    pod(container, &[])
}

fn cve_2016_9962_init_in_a_pod_without_pivot_root(container: &mut Container) -> Test {
    pod(container, &["--no-pivot"])
}

fn cve_2016_9962_init_in_a_pod_that_fails(container: &mut Container) -> Test {
    make_hostile(container)?;
    attacked(container, &[], |container| {
        let path = format!("/proc/{}/ns/pid", container.pid()?);
        let mut config = container.config.clone();
        config::namespace(&mut config, "pid", Some(&path));
        config::set(&mut config, "/process/args", json!(["/no/such/program"]));
        fs::write(container.directory.join("config.json"), config.to_string())?;
        let (bundle, other) = (container.bundle(), format!("{}-2", container.id));
        let output = container.runtime(&["run", "--bundle", &bundle, &other])?;
        ensure!(output.code != 0 && output.stderr.contains("/no/such/program"), "{output:?}");
        Ok(())
    })
}

fn callers_secrets_by_exec(container: &mut Container) -> Test {
    make_reader(container, "password")?;
    attacked(container, &[], |container| {
        let flags = ["exec", "--env", "LOGIN=password", &container.id];
        with_secret(container, &[&flags[..], &BRIEF].concat())
    })
}

/// The root of the mount namespace is the container's, below which nothing is.
fn climbing_without_pivot_root(container: &mut Container) -> Test {
    add_hostile(container)?;
    let marker = container.victim.join("marker");
    fs::write(&marker, "of the host")?;
    let marker = marker.display().to_string();
    let args = json!(["/hostile", hostile::FLAG, "climb", "/report/lines", marker]);
    container.set("/process/args", args);
    config::allow_capabilities(&mut container.config, &["CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT"]);
    container.run_with(&["--no-pivot"])?.success()?;
    same!(fs::read_to_string(container.directory.join("report/lines"))?, "done\n");
    Ok(())
}

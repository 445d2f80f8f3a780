//! Each probe finds the hole that it is for: a container that is given all of them.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use serde_json::json;

use super::host::{Host, add_host, give};
use super::outcome::Outcome;
use super::{ARGUMENT, VARIABLE, attack, call, directory};
use crate::cases::Test;
use crate::cases::hostile::Nodes;
use crate::command::{called_by, wait_until};
use crate::config;
use crate::container::Container;
use crate::hostile::probes::{PROBES, Powers};

/// A process of the host, the first of a pid namespace that a container can join.
struct Helper(Child);

impl Helper {
    fn start(container: &Container) -> anyhow::Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(container.victim.join("busybox"));
        command.args(["sh", "-c", "sleep 100; :", ARGUMENT]).env(VARIABLE, "secret");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// The namespace, once it has its first process.
    fn namespace(&self) -> anyhow::Result<String> {
        let path = format!("/proc/{}/ns/pid_for_children", self.0.id());
        // Without a process it leads nowhere.
        let own = fs::read_link("/proc/self/ns/pid")?;
        wait_until("a pid namespace", || Ok(fs::read_link(&path).is_ok_and(|link| link != own)))?;
        Ok(path)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives a container every hole that a probe looks for, but for those of [`PROBES`] that are looked for
/// from outside.
fn give_all(container: &mut Container, helper: &Helper) -> Test {
    give(&mut container.config, Powers::All)?;
    config::namespace(&mut container.config, "pid", Some(&helper.namespace()?));
    let (given, target) = (container.victim.join("given"), container.victim.join("target"));
    let mount = |destination: &str, source: PathBuf| json!({ "destination": destination, "source": source, "options": ["bind"] });
    container.mount(mount("/given-too", given));
    container.mount(mount("/target", target));
    container.mount(mount("/null", PathBuf::from("/dev/null")));
    // Its mount point is made on the host.
    container.mount(json!({ "destination": "/target/new", "type": "tmpfs", "source": "tmpfs" }));
    container.set("/linux/maskedPaths", json!([]));
    container.set("/linux/readonlyPaths", json!([]));
    container.set("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]));
    for mount in container.config["mounts"].as_array_mut().into_iter().flatten() {
        if mount["type"] == "cgroup" {
            mount["options"] = json!(["nosuid", "noexec", "nodev"]);
        }
    }
    Ok(())
}

/// Each probe finds the hole that it is for: a container that is given all of them has a hit by each.
pub(super) fn everything_at_once_is_found(container: &mut Container) -> Test {
    add_host(container)?;
    let host = Host::new(container)?;
    let (nodes, helper) = (Nodes::new()?, Helper::start(container)?);
    give_all(container, &helper)?;
    container.set("/process/args", json!(attack(&host.target, |_| true)));
    container.save()?;
    let bundle = container.bundle();
    let create = ["create", "--bundle", &bundle, "--no-new-keyring", &container.id];
    call(container, &create)?;
    container.verb("start")?.success()?;
    let mut outcome = Outcome::new();
    // A descriptor of the host's root, which is kept on purpose.
    let program = format!("/proc/self/fd/3{}", container.victim.join("busybox").display());
    let mut keeper = Command::new("sh");
    keeper.args(["-c", "exec 3</ && exec \"$@\"", "sh"]);
    let exec = ["exec", "--preserve-fds", "1", &container.id, &program, "echo", "reached"];
    let exec = called_by(keeper, &container.command(&exec));
    let ran = container.finish_command(exec, Stdio::null())?.stdout;
    outcome.outside("program by a descriptor", ran.contains("reached").then_some(program));
    outcome.outside("directory by a descriptor", directory(container, "/given-too")?);
    outcome.outside("made on the host", host.made(container)?);
    let missed = |outcome: &Outcome| {
        let names = PROBES.iter().map(|probe| probe.name);
        names.filter(|name| !outcome.hits.contains_key(*name)).collect::<Vec<_>>()
    };
    let found = wait_until("each probe hits", || {
        outcome.read(container);
        let changed = nodes.unchanged().err().map(|error| error.to_string());
        outcome.outside("device of the host changed", changed);
        Ok(missed(&outcome).is_empty())
    });
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    found.with_context(|| format!("no hit by {:?}: {}", missed(&outcome), outcome.shown()))
}

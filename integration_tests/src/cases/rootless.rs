//! A runtime that is called by somebody else than the machine's root.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::{Output, called_as, called_by};
use crate::config;
use crate::container::Container;
use crate::leftovers::remove_cgroup;
use crate::skip::Skip;
use crate::view::{CGROUPS, Layout, layout};

cases!("rootless":
    values, root_of_a_user_namespace, cgroups_that_cannot_be_written, cve_2023_25809_cgroups_of_the_host,
    a_cgroup_that_was_delegated, no_more_user_namespaces,
);

fn values(container: &mut Container) -> Test {
    for value in ["auto", "true", "false"] {
        container.runtime(&["--rootless", value, "list"])?.success()?;
    }
    container.save()?;
    let bundle = container.bundle();
    let output = container.runtime(&[
        "--rootless",
        "perhaps",
        "create",
        "--bundle",
        &bundle,
        &container.id,
    ])?;
    container.refused(&output, &["perhaps"])
}

/// Without `--root`, root of a user namespace has a directory of his own, unless he is called root, as the machine's is.
fn root_of_a_user_namespace(container: &mut Container) -> Test {
    let list = |unshared: bool, user: Option<&str>| {
        let mut list = container.bare_command();
        list.arg("list");
        let mut unshare = Command::new("unshare");
        if unshared {
            unshare.args(["--user", "--map-root-user"]);
        }
        // What a runtime makes in the directory that it takes goes with the mount namespace.
        let script = r#"mount -t tmpfs tmpfs /run && exec "$0" "$@""#;
        unshare.args(["--mount", "sh", "-c", script]);
        let mut command = called_by(unshare, &list);
        // There is nothing that could be a directory of state.
        command.env("XDG_RUNTIME_DIR", "/dev/null").env_remove("USER");
        if let Some(user) = user {
            command.env("USER", user);
        }
        container.finish_command(command, Stdio::null())
    };
    list(false, None)?.success()?;
    list(true, Some("root"))?.success()?;
    for user in [None, Some("podman")] {
        ensure!(list(true, user)?.code == 1, "the state is elsewhere");
    }
    Ok(())
}

/// A user of the machine who may nothing.
pub(super) const USER: u32 = 1000;

/// Runs the container as engines of such a user do: he is root of a user namespace, which maps him alone. Before that a
/// shell of root does `first`.
fn run_as_user(container: &mut Container, first: &str, script: &str) -> anyhow::Result<Output> {
    container.script(script);
    container.save()?;
    for path in [container.bundle(), container.file("rootfs")] {
        chown(path, Some(USER), Some(USER))?;
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!(r#"{first}exec "$0" "$@""#), "setpriv"]);
    shell.args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()]);
    shell.args(["unshare", "--user", "--map-root-user", "--mount"]);
    let command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let copy = Command::new(reachable(container, command.get_program().as_ref())?);
    let copy = called_as(copy, &command);
    container.finish_command(called_by(shell, &copy), Stdio::null())
}

/// A copy of `program` in the bundle: where it is, only root may be allowed to look. Another process writes it, and once: a file
/// that is open for writing, be it in what another test has just forked, cannot be executed.
pub(super) fn reachable(container: &Container, program: &Path) -> anyhow::Result<String> {
    let name = program.file_name().context("the runtime has no name")?;
    let copy = container.file(&name.to_string_lossy());
    if !Path::new(&copy).exists() {
        let copied = Command::new("cp").arg(program).arg(&copy).status()?;
        ensure!(copied.success(), "cp {copy}: {copied}");
    }
    Ok(copy)
}

/// The default config, but for the group of terminals: the user has none but his own.
pub(super) fn without_groups(container: &mut Container) {
    container.remove("/mounts/2/options/5");
}

/// Its place in the default config.
const CGROUP_NAMESPACE: &str = "/linux/namespaces/5";

/// Whoever can make no cgroup has containers without, unless he wants them limited.
fn cgroups_that_cannot_be_written(container: &mut Container) -> Test {
    without_groups(container);
    let output = run_as_user(container, "", "echo runs; exit 3")?;
    same!((output.code, output.words()), (3, vec!["runs"]));
    container.set("/linux/resources/pids", json!({ "limit": 64 }));
    let output = run_as_user(container, "", "echo runs")?;
    container.refused(&output, &["/linux/resources/pids", "delegated"])
}

/// Without a cgroup of its own nor a namespace there is nothing to show: not the host's cgroups, in place of it.
fn cve_2023_25809_cgroups_of_the_host(container: &mut Container) -> Test {
    without_groups(container);
    container.remove(CGROUP_NAMESPACE);
    let output = run_as_user(container, "", "ls -A /sys/fs/cgroup; echo seen")?;
    same!(output.success()?.words(), ["seen"]);
    Ok(())
}

/// An error says which of the machine's settings it is.
fn no_more_user_namespaces(container: &mut Container) -> Test {
    without_groups(container);
    config::add_user_namespace(&mut container.config);
    for pointer in ["/linux/uidMappings", "/linux/gidMappings"] {
        container.set(pointer, json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
    }
    container.save()?;
    let mut unshare = Command::new("unshare");
    let script = r#"echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@""#;
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    let create = container.command(&["create", "--bundle", &container.bundle(), &container.id]);
    let output = container.finish_command(called_by(unshare, &create), Stdio::null())?;
    container.refused(&output, &["user.max_user_namespaces", "no space left on device"])
}

/// The way of systemd's `Delegate=yes`: the caller is in a cgroup of his own, and so is the one above.
fn a_cgroup_that_was_delegated(container: &mut Container) -> Test {
    own_cgroup(container, |container, first| {
        without_groups(container);
        run_as_user(container, first, "cat /proc/self/cgroup")
    })
}

/// Has `run` called from a cgroup that is delegated to the user. It does first what it is told, as root, in a shell.
pub(super) fn own_cgroup(
    container: &mut Container,
    run: impl FnOnce(&mut Container, &str) -> anyhow::Result<Output>,
) -> Test {
    if layout()? != Layout::V2 {
        return Err(Skip("only a cgroup of v2 can be delegated".to_owned()).into());
    }
    // What it is called is to be seen inside.
    container.remove(CGROUP_NAMESPACE);
    let name = format!("tests-{}-{}", container.runtime.token, container.id);
    let above = Path::new(CGROUPS).join(&name);
    fs::create_dir_all(above.join("caller"))?;
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "caller", "caller/cgroup.procs"] {
        chown(above.join(file), Some(USER), Some(USER))?;
    }
    let first = format!("echo $$ >{}/caller/cgroup.procs; ", above.display());
    let output = run(container, &first);
    remove_cgroup(&above);
    let output = output?.success()?;
    let place = format!("/{name}/{}", container.id);
    ensure!(output.stdout.trim_end().ends_with(&place), "it is in {}", output.stdout);
    Ok(())
}

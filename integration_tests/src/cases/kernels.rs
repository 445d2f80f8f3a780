//! What a kernel lacks that is too old, or what something around the runtime keeps from it: strace(1) answers for it.
//! The runtime does without, or says which system call it is and which kernel has it.

use std::fs;

use anyhow::{Context as _, ensure};
use rustix::mount::MountFlags;
use serde_json::json;

use super::faults::{need_strace, traced};
use super::mounts::{Mount, with_host_mounts};
use super::{Test, cases, same};
use crate::command::{Output, wait_until};
use crate::config;
use crate::container::Container;
use crate::leftovers::cgroups;
use crate::skip::Skip;
use crate::view::{Layout, layout};

cases!("kernels":
    run, run_in_a_user_namespace, exec, delete, without_cgroup_kill, without_mount_setattr,
    without_mount_setattr_in_a_user_namespace, without_mount_setattr_on_a_shared_mount,
);

/// The system calls that came with Linux 4.11 and later, of those that runtimes use.
const CALLS: [&str; 14] = [
    "clone3",
    "close_range",
    "faccessat2",
    "fsconfig",
    "fsmount",
    "fsopen",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "statx",
];

/// Without these a container runs all the same, whatever the runtime.
const REPLACED: [&str; 1] = ["mount_setattr"];

/// What strace(1) writes at a call that it has answered.
const INJECTED: &str = "(INJECTED)";

/// Has a kernel without each of these calls that the command makes, one after the other, do `args`, and looks at the
/// outcome.
fn without_each(
    container: &Container,
    args: &[&str],
    after: impl Fn(&Container, &Output) -> Test,
) -> Test {
    need_strace()?;
    let trace = container.file("trace");
    let output = traced(container, &["-o", &trace], args)?.success()?;
    after(container, &output)?;
    let text = fs::read_to_string(&trace)?;
    let makes = |call: &&str| text.contains(&format!(" {call}("));
    let calls: Vec<_> = CALLS.into_iter().filter(makes).collect();
    ensure!(!calls.is_empty(), "none of {CALLS:?} is made");
    for call in calls {
        without(container, (call, "ENOSYS"), args)
            .and_then(|output| after(container, &output))
            .with_context(|| format!("without {call}"))?;
    }
    Ok(())
}

/// Does `args` while a call is answered with an error: either that is nothing to the runtime, or it says what it lacks.
fn without(
    container: &Container,
    (call, answer): (&str, &str),
    args: &[&str],
) -> anyhow::Result<Output> {
    let (trace, inject) = (container.file("trace"), format!("inject={call}:error={answer}"));
    let output = traced(container, &["-o", &trace, "-e", &inject], args)?;
    ensure!(fs::read_to_string(&trace)?.contains(INJECTED), "no {call} was answered");
    let text = output.message();
    let is_told = text.contains(call) && text.contains("(Linux ");
    let may_fail = is_told && !REPLACED.contains(&call);
    ensure!(output.code == 0 || may_fail, "exit code {}: {text}", output.code);
    Ok(output)
}

fn runs(container: &mut Container) -> Test {
    container.script("echo runs");
    container.save()?;
    let args = ["run", "--bundle", &container.bundle(), &container.id];
    without_each(container, &args, |container, output| {
        if output.code == 0 {
            same!(output.words(), ["runs"]);
        }
        container.nothing_left()
    })
}

fn run(container: &mut Container) -> Test {
    runs(container)
}

fn run_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    runs(container)
}

fn exec(container: &mut Container) -> Test {
    container.start_idle()?;
    without_each(container, &["exec", &container.id, "echo", "runs"], |container, output| {
        if output.code == 0 {
            same!(output.words(), ["runs"]);
        }
        same!(container.pids()?.len(), 1);
        Ok(())
    })
}

/// What cannot be deleted with one call missing can be with all there.
fn delete(container: &mut Container) -> Test {
    container.start_idle()?;
    without_each(container, &["delete", "--force", &container.id], |container, output| {
        if output.code == 0 {
            container.nothing_left()?;
            container.create()?.success()?;
        }
        Ok(())
    })
}

/// cgroup.kill came with Linux 5.14.
fn without_cgroup_kill(container: &mut Container) -> Test {
    if layout()? != Layout::V2 {
        return Err(Skip("cgroup.kill is a file of v2".to_owned()).into());
    }
    need_strace()?;
    container.start_script("sleep 100 & exec sleep 100")?;
    wait_until("two processes", || Ok(container.pids()?.len() == 2))?;
    let home = cgroups(&container.id).pop().context("the container has no cgroup")?;
    let file = home.join("cgroup.kill").display().to_string();
    // Whoever has a descriptor of the hierarchy names it from there.
    let below = format!("{}/cgroup.kill", container.id);
    let (trace, inject) = (container.file("trace"), "inject=open,openat,openat2:error=ENOENT");
    let flags = ["-o", &trace, "-P", &file, "-P", &below, "-e", inject];
    traced(container, &flags, &["delete", "--force", &container.id])?.success()?;
    ensure!(fs::read_to_string(&trace)?.contains(INJECTED), "nothing opens {file}");
    container.nothing_left()
}

/// Runs the container without mount_setattr(2), which came with Linux 5.12, or where it is forbidden. The mounts that
/// its program sees.
fn mountinfo_without_mount_setattr(
    container: &mut Container,
    answer: &str,
) -> anyhow::Result<String> {
    need_strace()?;
    container.script("cat /proc/self/mountinfo");
    container.save()?;
    let args = ["run", "--bundle", &container.bundle(), &container.id];
    Ok(without(container, ("mount_setattr", answer), &args)?.stdout)
}

/// Options, recursive ones, and what the config hides are what they are with mount_setattr(2). A mount of the host
/// that is nosuid stays so.
fn has_its_options(container: &mut Container) -> Test {
    let flags = MountFlags::NOSUID | MountFlags::NOATIME;
    with_host_mounts(container, flags, |container, top| {
        container.mount(
            json!({ "destination": "/mnt", "source": top, "options": ["rbind", "rro", "noexec"] }),
        );
        container.mount(json!({
            "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosymfollow", "ro"]
        }));
        container.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus"]));
        container.set(
            "/linux/maskedPaths",
            json!(["/proc/keys", "/proc/fs", "/proc/irq", "/proc/uptime"]),
        );
        for answer in ["ENOSYS", "EPERM"] {
            let text = mountinfo_without_mount_setattr(container, answer)?;
            for (path, attributes) in [
                ("/mnt", &["ro", "nosuid", "noatime", "noexec"][..]),
                ("/mnt/inner", &["ro", "nosuid", "noatime"]),
                ("/tmp", &["ro", "nosymfollow"]),
                ("/proc/sys", &["ro"]),
                ("/proc/bus", &["ro"]),
                ("/proc/keys", &["ro"]),
                ("/proc/uptime", &["ro"]),
                ("/proc/irq", &["ro"]),
            ] {
                let mount = Mount::find(&text, path)?;
                for attribute in attributes {
                    ensure!(mount.has(attribute), "{answer}: {path} is not {attribute}: {text}");
                }
                ensure!(mount.propagation.is_empty(), "{answer}: {path}: {text}");
            }
            ensure!(!Mount::find(&text, "/mnt/inner")?.has("noexec"), "{text}");
        }
        Ok(())
    })
}

fn without_mount_setattr(container: &mut Container) -> Test {
    has_its_options(container)
}

fn without_mount_setattr_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    has_its_options(container)
}

/// A mount that is attached writable, and made read-only then, would be writable for the peers of what it is on.
fn without_mount_setattr_on_a_shared_mount(container: &mut Container) -> Test {
    need_strace()?;
    let outer = container.directory.join("outer");
    fs::create_dir_all(outer.join("inner"))?;
    let victim = container.victim.clone();
    container
        .mount(json!({ "destination": "/mnt", "source": outer, "options": ["bind", "shared"] }));
    container
        .mount(json!({ "destination": "/mnt/inner", "source": victim, "options": ["bind", "ro"] }));
    container.script("true");
    container.save()?;
    let args = ["run", "--bundle", &container.bundle(), &container.id];
    let inject = "inject=mount_setattr:error=ENOSYS";
    let output = traced(container, &["-o", "/dev/null", "-e", inject], &args)?;
    output.fails(1, &["mounts[8] /mnt/inner: on a shared mount: ", "mount_setattr", "(Linux 5.12"])
}

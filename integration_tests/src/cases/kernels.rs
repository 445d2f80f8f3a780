//! What a kernel lacks that is too old, or what something around the runtime keeps from it: strace(1) answers for it.
//! The runtime does without, or says which system call it is and which kernel has it.

use anyhow::{Context as _, ensure};

use super::faults::{need_strace, traced};
use super::{Test, cases, same};
use crate::command::{Output, wait_until};
use crate::config;
use crate::container::Container;
use crate::leftovers::cgroups;
use crate::skip::Skip;
use crate::view::{Layout, layout};

cases!("kernels": run, run_in_a_user_namespace, exec, delete, without_cgroup_kill);

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

/// Has a kernel without each of these calls, one after the other, do `args`, and looks at the outcome.
fn without_each(
    container: &Container,
    args: &[&str],
    after: impl Fn(&Container, &Output) -> Test,
) -> Test {
    need_strace()?;
    let trace = container.file("trace");
    for call in CALLS {
        let inject = format!("inject={call}:error=ENOSYS");
        let output = traced(container, &["-o", &trace, "-e", &inject], args)?;
        let is_told = || {
            let text = output.message();
            ensure!(
                text.contains(call) && text.contains("(Linux "),
                "exit code {}: {text}",
                output.code
            );
            Ok(())
        };
        let done = if output.code == 0 { Ok(()) } else { is_told() };
        done.and_then(|()| after(container, &output)).with_context(|| format!("without {call}"))?;
    }
    Ok(())
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
    ensure!(std::fs::read_to_string(&trace)?.contains("(INJECTED)"), "nothing opens {file}");
    container.nothing_left()
}

//! What apparmor:: and selinux:: share: a program that is confined by a label, and attempts that the label denies.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::hooks::shell;
use super::{Test, same};
use crate::command::{Output, wait_until};
use crate::config;
use crate::container::Container;
use crate::pty::with_socket;

/// What a program does that its label denies, and what it may do.
pub(super) const ATTEMPT: &str = "tr -d '\\0\\n' < /proc/self/attr/current; echo; \
    echo x 2> /dev/null > /mnt/denied && echo written && rm /mnt/denied; \
    echo x > /tmp/allowed && echo allowed";
/// The hooks that are the host's.
const HOSTS_HOOKS: [&str; 5] =
    ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

/// Makes places for [`ATTEMPT`].
pub(super) fn prepare(container: &mut Container) {
    container.set("/root/readonly", json!(false));
    let options = ["mode=1777"];
    container.mount(
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options }),
    );
    // Root of a user namespace writes there, too.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    let _ = fs::set_permissions(container.rootfs().join("mnt"), open);
}

/// [`ATTEMPT`] was made with the label `current`, and denied.
pub(super) fn denied(output: Output, current: &str) -> Test {
    same!(output.success()?.lines(), [current, "allowed"]);
    Ok(())
}

/// [`ATTEMPT`] succeeds with the label `current`, so that it is no other thing that denies it.
pub(super) fn allowed(output: Output, current: &str) -> Test {
    same!(output.success()?.lines(), [current, "written", "allowed"]);
    Ok(())
}

/// Init and a process of exec are confined.
pub(super) fn both(container: &mut Container, current: &str) -> Test {
    denied(container.run_script(ATTEMPT)?, current)?;
    container.delete_force()?;
    container.start_idle()?;
    denied(container.exec(&["sh", "-c", ATTEMPT])?, current)
}

/// The same in containers that are made in other ways, and with other things that confine.
pub(super) fn in_every_kind(container: &mut Container, current: &str) -> Test {
    let plain = container.config.clone();
    container.script(ATTEMPT);
    denied(container.run_with(&["--no-pivot"])?, current).context("--no-pivot")?;
    for no_new_privileges in [true, false] {
        container.set("/process/noNewPrivileges", json!(no_new_privileges));
        both(container, current).with_context(|| format!("{no_new_privileges}"))?;
        container.delete_force()?;
        container.set(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "names": ["mount"], "action": "SCMP_ACT_ERRNO" }] }),
        );
        both(container, current).context("with a filter")?;
        container.delete_force()?;
        container.config = plain.clone();
    }
    config::add_user_namespace(&mut container.config);
    both(container, current).context("in a user namespace")?;
    container.delete_force()
}

/// Who joins a pid namespace is made by another process.
pub(super) fn in_a_pod(container: &mut Container, current: &str) -> Test {
    container.beside(
        |_| (),
        |container, other| {
            let path = format!("/proc/{}/ns/pid", other.pid()?);
            config::namespace(&mut container.config, "pid", Some(&path));
            both(container, current)?;
            container.delete_force()
        },
    )
}

/// There is no procfs in the container then.
pub(super) fn without_a_mount_namespace(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "mount", None);
    config::remove_mounts(&mut container.config, |_| true);
    for pointer in ["/linux/maskedPaths", "/linux/readonlyPaths", "/root/readonly"] {
        container.remove(pointer);
    }
    let output =
        container.run_script("echo x 2> /dev/null > /mnt/denied && echo written; echo ran")?;
    same!(output.success()?.lines(), ["ran"]);
    Ok(())
}

pub(super) fn with_a_terminal(container: &mut Container, current: &str) -> Test {
    container.start_idle()?;
    let script = format!("{{ {ATTEMPT}; }} > /tmp/output; echo done > /tmp/ready");
    let (output, _master) = with_socket(container, |path| {
        let flags = ["--tty", "--detach", "--console-socket", path];
        container.exec_with(&flags, &["sh", "-c", &script])
    })?;
    output.success()?;
    wait_until("the attempt was made", || Ok(!seen(container, "tmp/ready")?.is_empty()))?;
    denied(container.exec(&["cat", "/tmp/output"])?, current)
}

/// What a file of the running container holds, as the host sees it; nothing where there is none.
fn seen(container: &Container, path: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{}/root/{path}", container.pid()?);
    Ok(fs::read_to_string(path).unwrap_or_default())
}

/// `exec --process` of an attempt with `value` in `property` of the process.
pub(super) fn exec_of_file(
    container: &Container,
    property: &str,
    value: Option<&str>,
) -> anyhow::Result<Output> {
    let mut process = container.config["process"].clone();
    process["args"] = json!(["sh", "-c", ATTEMPT]);
    process[property] = json!(value);
    fs::write(container.directory.join("process.json"), process.to_string())?;
    container.runtime(&["exec", "--process", &container.file("process.json"), &container.id])
}

/// Their programs are the image's.
pub(super) fn start_container_hooks(container: &mut Container, current: &str) -> Test {
    let hook = shell(&format!("{{ {ATTEMPT}; }} > /tmp/output"));
    container.set("/hooks", json!({ "startContainer": [hook] }));
    denied(container.run_script("cat /tmp/output")?, current)
}

/// Those of the host are not for the container's label to confine. They have the caller's.
pub(super) fn hooks_of_the_host(container: &mut Container) -> Test {
    for kind in HOSTS_HOOKS {
        let script = format!("cat /proc/self/attr/current > {}", container.file(kind));
        container.set(&format!("/hooks/{kind}"), json!([shell(&script)]));
    }
    container.run()?.success()?;
    let own = fs::read_to_string("/proc/self/attr/current")?;
    for kind in HOSTS_HOOKS {
        same!((kind, fs::read_to_string(container.file(kind))?), (kind, own.clone()));
    }
    Ok(())
}

/// The container is refused, or confined all the same.
fn never_unconfined(container: &mut Container) -> Test {
    container.script("echo x > /mnt/denied && echo written; echo alive");
    let output = container.run()?;
    ensure!(!output.stdout.contains("written"), "not confined: {output:?}");
    ensure!(output.code != 0 || output.stdout.contains("alive"), "{output:?}");
    container.delete_force()
}

/// A procfs that the config makes another.
pub(super) fn mounts_on_proc(container: &mut Container) -> Test {
    let fake = fake_procfs(&container.victim)?;
    for (destination, source) in [
        ("/proc", fake.clone()),
        ("/proc/self", format!("{fake}/self")),
        ("/proc/self/attr", format!("{fake}/self/attr")),
        ("/proc/thread-self/attr/apparmor/exec", format!("{fake}/self/attr/exec")),
        ("/proc/1/attr/exec", format!("{fake}/self/attr/exec")),
        ("/proc/self/attr/exec", "/proc/self/sched".to_owned()),
    ] {
        let options = ["bind"];
        let mount = json!({ "destination": destination, "source": source, "options": options });
        container.mount(mount);
        never_unconfined(container).with_context(|| destination.to_owned())?;
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}

/// A directory with the files by which a process sets its label.
fn fake_procfs(directory: &Path) -> anyhow::Result<String> {
    for process in ["self", "thread-self"] {
        fs::create_dir_all(directory.join(process).join("attr/apparmor"))?;
        for file in ["attr/exec", "attr/apparmor/exec"] {
            fs::write(directory.join(process).join(file), "")?;
        }
    }
    Ok(directory.display().to_string())
}

/// The image has a link, or files of its own, in the place of /proc.
pub(super) fn linked_proc(container: &mut Container) -> Test {
    let proc = container.rootfs().join("proc");
    fs::remove_dir(&proc)?;
    symlink("/evil", &proc)?;
    fake_procfs(&container.rootfs().join("evil"))?;
    never_unconfined(container)?;
    fs::remove_file(&proc)?;
    fake_procfs(&proc)?;
    never_unconfined(container)?;
    config::remove_mounts(&mut container.config, |path| path == "/proc");
    for pointer in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
        container.remove(pointer);
    }
    never_unconfined(container)
}

/// Runs a container that changes its own /proc by `script`, and sees whether processes of exec are confined: with the
/// container's label, and with the same by `flag`.
fn exec_after(container: &mut Container, script: &str, flag: &[&str]) -> Test {
    let capabilities = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"];
    config::allow_capabilities(&mut container.config, &capabilities);
    container.start_script(&format!("{script} && echo x > /tmp/ready; exec sleep 100"))?;
    wait_until("/proc is another", || Ok(!seen(container, "tmp/ready")?.is_empty()))?;
    for flags in [&[], flag] {
        let attempt = "echo x > /mnt/denied && echo written; echo alive";
        let output = container.exec_with(flags, &["sh", "-c", attempt])?;
        ensure!(!output.stdout.contains("written"), "not confined: {output:?}");
        ensure!(output.code != 0 || output.stdout.contains("alive"), "{output:?}");
    }
    same!(seen(container, "tmp/written")?, "");
    container.delete_force()
}

/// The container has put files of its own in the place of those by which a process sets its label.
pub(super) fn replaced_procfs(container: &mut Container, flag: &[&str]) -> Test {
    container.remove("/linux/maskedPaths");
    container.remove("/linux/readonlyPaths");
    let make = "mkdir -p /tmp/p/self/attr/apparmor && for file in exec keycreate apparmor/exec; do \
                ln -s /tmp/written /tmp/p/self/attr/$file; done; : > /tmp/written; \
                ln -s self /tmp/p/thread-self";
    exec_after(container, &format!("{make}; mount --bind /tmp/p /proc"), flag)?;
    exec_after(container, "umount /proc || mount -t tmpfs none /proc", flag)
}

/// The container leads writes to other files of procfs, which take what is written and do nothing.
pub(super) fn redirected_writes(container: &mut Container, flag: &[&str]) -> Test {
    let script = "while :; do for file in exec current apparmor/exec; do \
                  for process in /proc/[0-9]*; do \
                  mount --bind /proc/self/sched $process/attr/$file; done; done; done 2> /dev/null &";
    exec_after(container, &format!("{{ {script} }}"), flag)
}

/// A label that nothing knows is refused by create, run and exec, by its name.
pub(super) fn is_unknown(container: &mut Container, pointer: &str, label: &str) -> Test {
    container.set(pointer, Value::from(label));
    container.create_refused(&[label])?;
    let record = container.create()?.log;
    ensure!(record.contains(pointer), "{record}");
    container.refused(&container.run()?, &[label])
}

/// The same of exec.
pub(super) fn exec_is_refused(container: &mut Container, flag: &str, label: &str) -> Test {
    container.start_idle()?;
    container.exec_with(&[flag, label], &["true"])?.fails(255, &[label])?;
    same!(container.pids()?.len(), 1);
    Ok(())
}

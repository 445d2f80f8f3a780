//! SELinux: a label confines the program (`process.selinuxLabel`), and another is that of what is mounted for it
//! (`linux.mountLabel`). Most need a machine where it is on: `hack/test --vm --lsm selinux selinux::`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, labels, same};
use crate::config;
use crate::container::Container;
use crate::pty::with_socket;
use crate::skip::Skip;

cases!("selinux":
    init_and_exec, in_every_kind, in_a_pod, without_a_mount_namespace, with_a_terminal, another_label_for_exec,
    process_file_of_exec, start_container_hooks, hooks_of_the_host, is_no_label, exec_with_none, mount_label_is_none,
    new_mounts_have_the_label, a_mount_with_a_label_of_its_own, the_console_has_the_label, the_console_of_a_bound_devpts, keyrings_have_the_label,
    where_it_is_off, cve_2019_16884_mounts_on_proc, cve_2023_28642_linked_proc,
    cve_2025_52881_replaced_procfs, cve_2025_52881_redirected_writes,
);

const POINTER: &str = "/process/selinuxLabel";
const MOUNTS: &str = "/linux/mountLabel";
const LABEL: &str = "system_u:system_r:container_t:s0:c1,c2";
const OTHER: &str = "system_u:system_r:container_t:s0:c0";
const FILES: &str = "system_u:object_r:container_file_t:s0:c1,c2";
const UNKNOWN: &str = "system_u:system_r:no_such_t:s0";

fn is_on() -> bool {
    fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.starts_with('1'))
}

fn need() -> Test {
    let how = "no SELinux here: hack/test --vm --lsm selinux";
    if is_on() { Ok(()) } else { Err(Skip(how.to_owned()).into()) }
}

/// Gives the program a label, and what is mounted one that it may write to.
fn confine(container: &mut Container) -> Test {
    need()?;
    container.set(POINTER, json!(LABEL));
    container.set(MOUNTS, json!(FILES));
    labels::prepare(container);
    Ok(())
}

/// First that the attempt fails for the label alone.
fn init_and_exec(container: &mut Container) -> Test {
    confine(container)?;
    container.remove(POINTER);
    let own = fs::read_to_string("/proc/self/attr/current")?;
    labels::allowed(container.run_script(labels::ATTEMPT)?, own.trim_end_matches('\0'))?;
    container.delete_force()?;
    container.set(POINTER, json!(LABEL));
    labels::both(container, LABEL)
}

fn in_every_kind(container: &mut Container) -> Test {
    confine(container)?;
    labels::in_every_kind(container, LABEL)
}

fn in_a_pod(container: &mut Container) -> Test {
    confine(container)?;
    labels::in_a_pod(container, LABEL)
}

fn without_a_mount_namespace(container: &mut Container) -> Test {
    confine(container)?;
    container.remove(MOUNTS);
    labels::without_a_mount_namespace(container)
}

fn with_a_terminal(container: &mut Container) -> Test {
    confine(container)?;
    labels::with_a_terminal(container, LABEL)
}

fn another_label_for_exec(container: &mut Container) -> Test {
    confine(container)?;
    container.start_idle()?;
    let (flags, attempt) = (["--process-label", OTHER], ["sh", "-c", labels::ATTEMPT]);
    labels::denied(container.exec_with(&flags, &attempt)?, OTHER)?;
    labels::denied(container.exec(&attempt)?, LABEL)
}

/// A process of `--process` has the container's label, unless it names one.
fn process_file_of_exec(container: &mut Container) -> Test {
    confine(container)?;
    container.start_idle()?;
    for (named, expected) in [(None, LABEL), (Some(""), LABEL), (Some(OTHER), OTHER)] {
        let output = labels::exec_of_file(container, "selinuxLabel", named)?;
        labels::denied(output, expected).with_context(|| format!("{named:?}"))?;
    }
    Ok(())
}

fn start_container_hooks(container: &mut Container) -> Test {
    confine(container)?;
    labels::start_container_hooks(container, LABEL)
}

fn hooks_of_the_host(container: &mut Container) -> Test {
    confine(container)?;
    labels::hooks_of_the_host(container)
}

fn is_no_label(container: &mut Container) -> Test {
    need()?;
    for label in [UNKNOWN, "banana", "system_u:system_r:container_t:s9"] {
        labels::is_unknown(container, POINTER, label)?;
    }
    Ok(())
}

fn exec_with_none(container: &mut Container) -> Test {
    need()?;
    labels::exec_is_refused(container, "--process-label", UNKNOWN)
}

fn mount_label_is_none(container: &mut Container) -> Test {
    need()?;
    container.set(MOUNTS, json!(UNKNOWN));
    container.create_refused(&["linux.mountLabel", UNKNOWN])
}

/// The label of a file of the running container.
fn label_of(container: &Container, path: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{}/root{path}", container.pid()?);
    let mut label = [0; 256];
    let length = rustix::fs::getxattr(&path, "security.selinux", &mut label)
        .with_context(|| format!("getxattr {path}"))?;
    let text = String::from_utf8_lossy(label.get(..length).unwrap_or_default());
    Ok(text.trim_end_matches('\0').to_owned())
}

/// Those that are new; not those of the kernel that have labels of their own, and not what is bound.
fn new_mounts_have_the_label(container: &mut Container) -> Test {
    confine(container)?;
    fs::create_dir(container.rootfs().join("mnt/masked"))?;
    container.push("/linux/maskedPaths", json!("/mnt/masked"));
    let source = container.victim.clone();
    container.mount(json!({ "destination": "/home", "source": source, "options": ["bind"] }));
    container.start_idle()?;
    for path in ["/tmp", "/dev", "/dev/null", "/dev/pts", "/dev/shm", "/dev/mqueue", "/mnt/masked"]
    {
        same!((path, &*label_of(container, path)?), (path, FILES));
    }
    for path in ["/", "/home", "/proc", "/proc/1/status", "/sys"] {
        ensure!(label_of(container, path)? != FILES, "{path} has the label of mounts");
    }
    let script = "for place in /tmp /dev/shm /dev/mqueue; do : > $place/x && echo $place; done";
    let output = container.exec(&["sh", "-c", script])?.success()?;
    same!(output.lines(), ["/tmp", "/dev/shm", "/dev/mqueue"]);
    Ok(())
}

/// As Podman writes it: in quotes, since it has commas.
fn a_mount_with_a_label_of_its_own(container: &mut Container) -> Test {
    confine(container)?;
    let own = "system_u:object_r:container_file_t:s0:c0,c1";
    let options = json!([format!("context=\"{own}\""), "mode=755"]);
    let mount =
        json!({ "destination": "/home", "type": "tmpfs", "source": "x", "options": options });
    container.mount(mount);
    container.start_idle()?;
    same!(label_of(container, "/home")?, own);
    same!(label_of(container, "/tmp")?, FILES);
    Ok(())
}

fn the_console_has_the_label(container: &mut Container) -> Test {
    confine(container)?;
    console(container)
}

/// That of a devpts without a label for all its files is labelled by itself.
fn the_console_of_a_bound_devpts(container: &mut Container) -> Test {
    confine(container)?;
    config::remove_mounts(&mut container.config, |path| path == "/dev/pts");
    container
        .mount(json!({ "destination": "/dev/pts", "source": "/dev/pts", "options": ["bind"] }));
    console(container)
}

fn console(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("sleep 100");
    let (output, _master) =
        with_socket(container, |path| container.create_with(&["--console-socket", path]))?;
    output.success()?;
    same!(label_of(container, "/dev/console")?, FILES);
    Ok(())
}

/// keyctl(1) of the host shows the label of the session's keyring.
fn keyrings_have_the_label(container: &mut Container) -> Test {
    confine(container)?;
    for directory in ["/usr", "/lib", "/lib64"] {
        if Path::new(directory).exists() {
            let options = ["rbind", "ro"];
            container.mount(
                json!({ "destination": directory, "source": directory, "options": options }),
            );
        }
    }
    let output = container.run_script("keyctl security @s; sleep 0")?.success()?;
    same!(output.stdout.trim_end_matches(['\0', '\n']), LABEL);
    container.delete_force()?;
    container.start_idle()?;
    let output = container.exec(&["keyctl", "security", "@s"])?.success()?;
    same!(output.stdout.trim_end_matches(['\0', '\n']), LABEL);
    Ok(())
}

fn where_it_is_off(container: &mut Container) -> Test {
    if is_on() {
        return Err(Skip("SELinux is on".to_owned()).into());
    }
    container.start_idle()?;
    let output = container.exec_with(&["--process-label", LABEL], &["true"])?;
    output.fails(255, &["/selinuxLabel", LABEL, "SELinux is not enabled"])?;
    container.delete_force()?;
    for (pointer, label) in [(POINTER, LABEL), (MOUNTS, FILES)] {
        container.set(pointer, json!(label));
        container.create_refused(&[pointer, label, "SELinux is not enabled"])?;
        container.remove(pointer);
    }
    Ok(())
}

fn cve_2019_16884_mounts_on_proc(container: &mut Container) -> Test {
    confine(container)?;
    labels::mounts_on_proc(container)
}

fn cve_2023_28642_linked_proc(container: &mut Container) -> Test {
    confine(container)?;
    labels::linked_proc(container)
}

fn cve_2025_52881_replaced_procfs(container: &mut Container) -> Test {
    confine(container)?;
    labels::replaced_procfs(container, &["--process-label", LABEL])
}

fn cve_2025_52881_redirected_writes(container: &mut Container) -> Test {
    confine(container)?;
    labels::redirected_writes(container, &["--process-label", LABEL])
}

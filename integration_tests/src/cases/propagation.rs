//! Which mounts exchange events: those that the config says, and no others.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context as _, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use serde_json::json;

use super::mounts::{Mount, mountinfo, with_host_mounts};
use super::{Test, cases, same};
use crate::config;
use crate::container::Container;
use crate::skip::need_kernel;

cases!("propagation":
    of_the_root_is_not_that_of_binds, of_the_root_and_all_below, of_a_mount_is_not_that_of_the_root,
    of_the_root_leaves_binds_to_be_made_read_only, of_masks_is_their_own, of_a_cgroup_mount,
    to_the_host_takes_shared_twice, what_the_config_mounts_on_the_host_stays,
);

/// A directory of the host on /mnt, with this option.
fn bind(container: &mut Container, option: &str) -> Test {
    let source = container.directory.join("source");
    fs::create_dir_all(source.join("below"))?;
    container
        .mount(json!({ "destination": "/mnt", "source": source, "options": ["rbind", option] }));
    Ok(())
}

const OF_THE_ROOT: [&str; 4] = ["shared", "slave", "private", "unbindable"];

fn of_the_root_is_not_that_of_binds(container: &mut Container) -> Test {
    bind(container, "ro")?;
    for value in OF_THE_ROOT {
        container.set("/linux/rootfsPropagation", json!(value));
        let text = mountinfo(container).with_context(|| value.to_owned())?;
        let fields = Mount::find(&text, "/mnt")?.propagation.join(" ");
        ensure!(fields.is_empty(), "{value}: {text}");
    }
    Ok(())
}

/// With an `r` in front it is that of all mounts whose options name none.
fn of_the_root_and_all_below(container: &mut Container) -> Test {
    bind(container, "ro")?;
    container.mount(json!({ "destination": "/mnt/below", "type": "tmpfs", "source": "tmpfs" }));
    container.set("/linux/maskedPaths", json!(["/proc/keys"]));
    for (value, shown) in
        [("rshared", "shared:"), ("rslave", ""), ("rprivate", ""), ("runbindable", "unbindable")]
    {
        container.set("/linux/rootfsPropagation", json!(value));
        let text = mountinfo(container).with_context(|| value.to_owned())?;
        for path in ["/", "/proc", "/proc/keys", "/mnt", "/mnt/below"] {
            let fields = Mount::find(&text, path)?.propagation.join(" ");
            let is_shown = fields.starts_with(shown) && fields.is_empty() == shown.is_empty();
            ensure!(is_shown, "{value}: {path}: {text}");
        }
    }
    Ok(())
}

/// What its options say of a mount comes after what is said of all: binds, new filesystems, remounts and cgroups.
fn of_a_mount_is_not_that_of_the_root(container: &mut Container) -> Test {
    bind(container, "ro")?;
    let new = |at: &str, kind: &str| json!({ "destination": at, "type": kind, "source": kind });
    config::remove_mounts(&mut container.config, |path| path == "/sys/fs/cgroup");
    for mount in [new("/tmp", "tmpfs"), new("/sys/fs/cgroup", "cgroup"), new("/var", "tmpfs")] {
        container.mount(mount);
    }
    container.mount(json!({ "destination": "/var" }));
    let last = container.config["mounts"].as_array().map_or(0, Vec::len) - 1;
    for root in ["rshared", "rslave", "rprivate", "runbindable"] {
        container.set("/linux/rootfsPropagation", json!(root));
        // What is unbindable stays so as a slave of nobody (mount_namespaces(7), "Propagation type transitions").
        let slave = if root == "runbindable" { "unbindable" } else { "" };
        for (option, shown) in
            [("shared", "shared:"), ("slave", slave), ("private", ""), ("unbindable", "unbindable")]
        {
            for (at, others) in [(4, &["rbind"][..]), (3, &[]), (2, &[]), (0, &["remount"])] {
                let options = [others, &[option]].concat();
                container.set(&format!("/mounts/{}/options", last - at), json!(options));
            }
            let text = mountinfo(container).with_context(|| format!("{root}, {option}"))?;
            for path in ["/mnt", "/tmp", "/sys/fs/cgroup", "/var"] {
                let fields = Mount::find(&text, path)?.propagation.join(" ");
                let is_shown = fields.starts_with(shown) && fields.is_empty() == shown.is_empty();
                ensure!(is_shown, "{root}, {option}: {path}: {text}");
            }
        }
    }
    Ok(())
}

fn of_the_root_leaves_binds_to_be_made_read_only(container: &mut Container) -> Test {
    bind(container, "rw")?;
    container.set("/linux/readonlyPaths", json!(["/mnt/below"]));
    let recursive = OF_THE_ROOT.map(|value| format!("r{value}"));
    for value in OF_THE_ROOT.into_iter().chain(recursive.iter().map(String::as_str)) {
        container.set("/linux/rootfsPropagation", json!(value));
        let output = container.run_script("touch /mnt/x && echo made; touch /mnt/below/x")?;
        same!(output.stdout, "made\n");
        ensure!(output.stderr.contains("Read-only"), "{value}: {output:?}");
    }
    Ok(())
}

/// A mount on a shared one is shared, too; but what hides one path is no peer of what hides another.
fn of_masks_is_their_own(container: &mut Container) -> Test {
    need_kernel([5, 12], "a mount can be changed before others see it (mount_setattr(2))")?;
    container.set("/mounts/0/options", json!(["shared"]));
    let masked = ["/proc/fs", "/proc/bus", "/proc/irq", "/proc/stat", "/proc/uptime", "/proc/keys"];
    container.set("/linux/maskedPaths", json!(masked));
    container.set("/linux/readonlyPaths", json!([]));
    let text = mountinfo(container)?;
    let mut groups = HashSet::new();
    for path in ["/proc"].into_iter().chain(masked) {
        let mount = Mount::find(&text, path)?;
        let [group] = mount.propagation.as_slice() else {
            anyhow::bail!("{path}: {:?}", mount.propagation)
        };
        ensure!(group.starts_with("shared:") && groups.insert(*group), "{path}: {text}");
    }
    Ok(())
}

fn of_a_cgroup_mount(container: &mut Container) -> Test {
    container.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro", "shared", "mand"]
    }));
    let text = mountinfo(container)?;
    let mount = Mount::find(&text, "/sys/fs/cgroup")?;
    ensure!(mount.propagation.join(" ").starts_with("shared:") && mount.has("ro"), "{text}");
    Ok(())
}

/// Whether a mount that the container makes below what it has bound, with this option, comes to the host.
fn comes_to_the_host(container: &mut Container, root: &str, option: &str) -> anyhow::Result<bool> {
    with_host_mounts(container, MountFlags::empty(), |container, top| {
        mount_change(top, MountPropagationFlags::SHARED)?;
        let source = container.file("source");
        container
            .mount(json!({ "destination": "/mnt", "source": source, "options": ["bind", option] }));
        container.set("/linux/rootfsPropagation", json!(root));
        let script = "mkdir /mnt/later && mount -t tmpfs later /mnt/later && touch /mnt/later/made";
        container.run_script(script)?.success()?;
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
        let later = top.join("later");
        let has_come = later.join("made").exists();
        if has_come {
            unmount(&later, UnmountFlags::DETACH)?;
        }
        Ok(has_come)
    })
}

/// As Kubernetes' `Bidirectional` and Docker's `:rshared` need it; and by nothing less.
fn to_the_host_takes_shared_twice(container: &mut Container) -> Test {
    config::allow_capabilities(&mut container.config, &["CAP_SYS_ADMIN"]);
    for root in ["shared", "rshared", "", "slave", "rslave", "private", "rprivate", "unbindable"] {
        for option in ["shared", "rshared", "slave", "rslave", "private", "rw"] {
            let both = root.ends_with("shared") && option.ends_with("shared");
            let has_come = comes_to_the_host(container, root, option)
                .with_context(|| format!("{root:?}, {option}"))?;
            ensure!(has_come == both, "{root:?}, {option}: comes to the host: {has_come}");
        }
    }
    Ok(())
}

/// As with other runtimes: the end of a mount namespace is no unmounting that its peers hear of.
fn what_the_config_mounts_on_the_host_stays(container: &mut Container) -> Test {
    let source = container.file("source");
    let config = container.config.clone();
    for (root, size, code) in
        [("", "size=4k", 0), ("rshared", "size=4k", 0), ("rshared", "size=x", 1)]
    {
        let stays = with_host_mounts(container, MountFlags::empty(), |container, top| {
            mount_change(top, MountPropagationFlags::SHARED)?;
            let options = ["bind", "rshared"];
            container.mount(json!({ "destination": "/mnt", "source": source, "options": options }));
            container
                .mount(json!({ "destination": "/mnt/new", "type": "tmpfs", "source": "left" }));
            container.mount(json!({ "destination": "/tmp", "type": "tmpfs", "options": [size] }));
            container.set("/linux/rootfsPropagation", json!(root));
            same!(container.run_script("true")?.code, code);
            Ok(fs::read_to_string("/proc/self/mountinfo")?.contains(" - tmpfs left "))
        })?;
        ensure!(stays == (root == "rshared"), "{root:?}, {size}: stays on the host: {stays}");
        container.config.clone_from(&config);
    }
    Ok(())
}

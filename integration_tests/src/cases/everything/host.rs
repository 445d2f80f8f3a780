//! What there is of the host to be reached, and what a container is given.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use serde_json::{Value, json};

use super::{ARGUMENT, VARIABLE};
use crate::cases::hostile::add_hostile;
use crate::cases::{Test, keyrings};
use crate::config;
use crate::container::Container;
use crate::hostile::probes::{GIVEN, MASKED, NAMESPACES, Powers, Target};
use crate::mountinfo;
use crate::removal::remove_tree;

/// What is of the host, in the victim's directory.
pub(super) struct Host {
    pub(super) target: Target,
    /// What is mounted for it.
    mounts: [PathBuf; 2],
}

impl Host {
    pub(super) fn new(container: &Container) -> anyhow::Result<Self> {
        let given = container.victim.join("given");
        for name in ["given", "locked", "target", "outer/covered"] {
            fs::create_dir_all(container.victim.join(name))?;
        }
        let content = format!("marker of {}", container.id);
        let (marker, covered) = (given.join("marker"), container.victim.join("outer/covered"));
        fs::write(&marker, &content)?;
        fs::write(covered.join("secret"), &content)?;
        mount("tmpfs", &covered, "tmpfs", MountFlags::empty(), None)?;
        // The kernel locks for a user namespace what the host's own mount forbids.
        let locked = container.victim.join("locked");
        mount_bind(&given, &locked)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount(&locked, flags, c"")?;
        // A program that is the host's. Another test's child must not have it open for writing.
        let program = container.victim.join("busybox");
        let copied = Command::new("cp").arg(&container.runtime.busybox).arg(&program).status();
        ensure!(copied?.success(), "cp");
        let mut files = vec![given, marker.clone(), program, container.runtime.binary.clone()];
        for entry in fs::read_dir("/dev")? {
            files.push(entry?.path());
        }
        let number =
            |path: &PathBuf| Some(fs::metadata(path).ok()?).map(|one| [one.dev(), one.ino()]);
        let namespace =
            |name| Ok(fs::read_link(format!("/proc/self/ns/{name}"))?.display().to_string());
        let target = Target {
            marker: marker.display().to_string(),
            content,
            argument: ARGUMENT.to_owned(),
            variable: VARIABLE.to_owned(),
            key: keyrings::key(container),
            files: files.iter().filter_map(number).collect(),
            namespaces: NAMESPACES.iter().map(namespace).collect::<anyhow::Result<_>>()?,
            probes: Vec::new(),
        };
        Ok(Self { target, mounts: [covered, locked] })
    }

    /// What somebody has made where the links lead, or mounted anywhere in the victim.
    pub(super) fn made(&self, container: &Container) -> anyhow::Result<Option<String>> {
        let entry = fs::read_dir(container.victim.join("target"))?.next().transpose()?;
        let mut mounts = mountinfo::load()?.into_iter().map(|mount| mount.point);
        let mounted = mounts
            .find(|point| point.starts_with(&container.victim) && !self.mounts.contains(point));
        Ok(entry.map(|entry| entry.path()).or(mounted).map(|path| path.display().to_string()))
    }

    /// Takes away what was made where the links lead.
    pub(super) fn restore(&self, container: &Container) -> Test {
        let target = container.victim.join("target");
        remove_tree(&target)?;
        Ok(fs::create_dir(&target)?)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for point in &self.mounts {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
    }
}

/// The host's directories and what else every config of these tests has.
pub(super) fn add_host(container: &mut Container) -> Test {
    add_hostile(container)?;
    for name in ["given", "outer", "vol/proc", "vol/sys", "mnt/deep/there"] {
        fs::create_dir_all(container.rootfs().join(name))?;
    }
    fs::create_dir_all(container.directory.join("swaps"))?;
    let (locked, outer) = (container.victim.join("locked"), container.victim.join("outer"));
    container.mount(json!({ "destination": GIVEN, "source": locked,
        "options": ["bind", "ro", "nosuid", "nodev"] }));
    container.mount(json!({ "destination": "/outer", "source": outer, "options": ["rbind"] }));
    container.push("/linux/maskedPaths", json!(MASKED));
    // What masks it would hide the caller's keys, too.
    if let Some(Value::Array(masked)) = container.config.pointer_mut("/linux/maskedPaths") {
        masked.retain(|path| path != "/proc/keys");
    }
    Ok(())
}

/// The capabilities of Docker's default.
const DOCKERS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// All, in the order of their numbers (linux/capability.h).
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// All that the suite has itself: nobody can give others.
fn own_capabilities() -> anyhow::Result<Vec<&'static str>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no CapEff")?;
    let own = u64::from_str_radix(line.trim(), 16).context(line.to_owned())?;
    let numbered = ALL.iter().enumerate();
    Ok(numbered.filter(|(number, _)| own >> number & 1 == 1).map(|(_, name)| *name).collect())
}

/// Gives the program of a config its powers.
pub(super) fn give(config: &mut Value, powers: Powers) -> Test {
    let names = match powers {
        Powers::None => Vec::new(),
        Powers::Default => DOCKERS.to_vec(),
        Powers::Trace => [&DOCKERS[..], &["CAP_SYS_PTRACE"]].concat(),
        Powers::All | Powers::AllInUserNamespace => own_capabilities()?,
    };
    config::allow_capabilities(config, &names);
    if powers == Powers::AllInUserNamespace {
        config::add_user_namespace(config);
    }
    Ok(())
}

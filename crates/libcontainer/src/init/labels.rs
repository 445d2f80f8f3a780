//! Labels of security modules, by which the kernel confines what is executed next.
//!
//! A process can only set its own, by files of procfs (proc_pid_attr(5)). Whoever leads a write elsewhere has a program
//! that nothing confines (CVE-2019-16884, CVE-2019-19921, CVE-2023-28642, CVE-2025-52881). So a label is set where nothing
//! of the container can be met yet: through the host's procfs, and no mount on it, before the container's root
//! takes its place. Those who are cloned later have the same label (apparmor(7); selinux(8)), hooks too.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, ensure};
use rustix::fs::{
    Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, XattrFlags, fsetxattr, fstat, fstatfs, openat2,
};
use rustix::io::Errno;

use super::root::settled;
use crate::error::Property;
use crate::plan::{Confinement, Labels, Process};

/// The inode number of the root of a procfs (`PROC_ROOT_INO`, linux/proc_ns.h).
const PROCFS_ROOT: u64 = 1;
/// AppArmor's own file, and the one before Linux 5.8, which is of the only security module that has labels.
const APPARMOR_FILES: [&CStr; 2] = [c"thread-self/attr/apparmor/exec", c"thread-self/attr/exec"];

/// Has the next program confined by the labels of `process`.
pub(super) fn set(process: Option<&Process>) -> anyhow::Result<()> {
    let Some(Labels { apparmor, selinux }) = process.map(|process| &process.labels) else {
        return Ok(());
    };
    if let Some(profile) = apparmor {
        let text = [b"exec ", profile.as_bytes()].concat();
        write(&APPARMOR_FILES, &text, |errno| apparmor_profile(profile, errno))?;
    }
    if let Some(label) = selinux {
        let files = [c"thread-self/attr/exec"];
        write(&files, label.as_bytes(), |errno| selinux_label(label, errno))?;
    }
    Ok(())
}

/// Has the session keyring that this process makes labelled as the program, which could not use it otherwise.
pub(super) fn set_of_keys(
    process: Option<&Process>,
    confinement: &Confinement,
) -> anyhow::Result<()> {
    let label = process.and_then(|process| process.labels.selinux.as_deref());
    let Some(label) = label.filter(|_| !confinement.callers_keyring) else { return Ok(()) };
    let files = [c"thread-self/attr/keycreate"];
    write(&files, label.to_bytes(), |errno| selinux_label(label, errno))
}

/// Labels the root of a filesystem that is mounted nowhere yet.
pub(super) fn label_root(tree: impl AsFd, label: Option<&CStr>) -> anyhow::Result<()> {
    let Some(label) = label else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(tree, c".", flags, Mode::empty()).context("open")?;
    label_file(&root, label).with_context(|| mount_label(label))
}

/// Labels a terminal. One of a devpts that has one label for all has that already.
pub(super) fn label_terminal(slave: &OwnedFd, label: Option<&CStr>) -> anyhow::Result<()> {
    let Some(label) = label else { return Ok(()) };
    match label_file(slave, label) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        labelled => labelled.with_context(|| mount_label(label)),
    }
}

fn label_file(file: &OwnedFd, label: &CStr) -> Result<(), Errno> {
    fsetxattr(file, c"security.selinux", label.to_bytes_with_nul(), XattrFlags::empty())
}

fn mount_label(label: &CStr) -> Property {
    let shown = label.to_string_lossy();
    Property::new("/linux/mountLabel", format!("linux.mountLabel {shown:?}: setxattr"))
}

/// Writes `text` to the first of `files` that this kernel has. An error is about `property`, which is told why the kernel
/// has not taken it.
fn write(
    files: &[&CStr],
    text: &[u8],
    property: impl Fn(Option<Errno>) -> Property,
) -> anyhow::Result<()> {
    let file = open(files).with_context(|| property(None))?;
    let written = rustix::io::write(file, text);
    let length = written.context("write").with_context(|| property(written.err()))?;
    ensure!(length == text.len(), "only {length} of {} bytes of a label were taken", text.len());
    Ok(())
}

fn open(files: &[&CStr]) -> anyhow::Result<OwnedFd> {
    let procfs = hosts_procfs().context("/proc of the host")?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let open = |file: &&CStr| settled(|| openat2(&procfs, *file, flags, Mode::empty(), resolve));
    let found = files.iter().map(open).find(|opened| !matches!(opened, Err(Errno::NOENT)));
    found.unwrap_or(Err(Errno::NOENT)).with_context(|| {
        format!("{:?} of /proc: openat2", files.last().copied().unwrap_or_default())
    })
}

/// A procfs, and the root of it.
fn hosts_procfs() -> anyhow::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let procfs = rustix::fs::open(c"/proc", flags, Mode::empty()).context("open")?;
    let is_procfs = fstatfs(&procfs).context("fstatfs")?.f_type == PROC_SUPER_MAGIC;
    let is_root = fstat(&procfs).context("fstat")?.st_ino == PROCFS_ROOT;
    ensure!(is_procfs && is_root, "is no procfs");
    Ok(procfs)
}

/// The beginning is runc's.
fn apparmor_profile(profile: &CStr, errno: Option<Errno>) -> Property {
    let hint = match errno {
        Some(Errno::NOENT) => {
            " (the profile is not loaded: load it with apparmor_parser -r FILE, or leave it out)"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            " (whoever calls the runtime is confined, and may not change to it)"
        }
        _ => "",
    };
    let shown = profile.to_string_lossy();
    let text = format!("apparmor failed to apply profile: process.apparmorProfile {shown:?}{hint}");
    Property::new("/process/apparmorProfile", text)
}

fn selinux_label(label: &CStr, errno: Option<Errno>) -> Property {
    let hint = match errno {
        Some(Errno::INVAL) => {
            " (the policy that is loaded knows no such label: write one of its own, or load another)"
        }
        Some(Errno::ACCESS | Errno::PERM) => " (the policy does not let the runtime set it)",
        _ => "",
    };
    let text = format!("process.selinuxLabel {:?}{hint}", label.to_string_lossy());
    Property::new("/process/selinuxLabel", text)
}

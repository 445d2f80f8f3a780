//! Labels of security modules, by which the kernel confines what is executed next.
//!
//! A process can only set its own, by files of procfs (proc_pid_attr(5)). Whoever leads a write elsewhere has a program
//! that nothing confines (CVE-2019-16884, CVE-2019-19921, CVE-2023-28642, CVE-2025-52881). So a label is set where nothing
//! of the container can be met yet: through the host's procfs, and no mount on it, before the container's root
//! takes its place. Those who are cloned later have the same label (apparmor(7); selinux(8)), hooks too.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, ensure};
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, openat2};
use rustix::io::Errno;

use super::root::settled;
use crate::error::Property;
use crate::plan::{Labels, Process};

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
        write(&APPARMOR_FILES, &text).map_err(|error| explain_apparmor(error, profile))?;
    }
    if let Some(label) = selinux {
        let written = write(&[c"thread-self/attr/exec"], label.as_bytes());
        written.map_err(|error| explain_selinux(error, label))?;
    }
    Ok(())
}

/// Writes `text` to the first of `files` that this kernel has.
fn write(files: &[&CStr], text: &[u8]) -> anyhow::Result<()> {
    let procfs = hosts_procfs().context("/proc of the host")?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let open = |file: &&CStr| settled(|| openat2(&procfs, *file, flags, Mode::empty(), resolve));
    let found = files.iter().map(open).find(|opened| !matches!(opened, Err(Errno::NOENT)));
    let file = found.unwrap_or(Err(Errno::NOENT));
    let file = file.with_context(|| format!("open {:?} of /proc", files.last()))?;
    let length = rustix::io::write(file, text).context("write")?;
    ensure!(length == text.len(), "only {length} of {} bytes were taken", text.len());
    Ok(())
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
fn explain_apparmor(error: anyhow::Error, profile: &CStr) -> anyhow::Error {
    let hint = match error.downcast_ref() {
        Some(&Errno::NOENT) => {
            " (the profile is not loaded: load it with apparmor_parser -r FILE, or leave it out)"
        }
        Some(&(Errno::ACCESS | Errno::PERM)) => {
            " (whoever calls the runtime is confined, and may not change to it)"
        }
        _ => "",
    };
    let shown = profile.to_string_lossy();
    let text = format!("apparmor failed to apply profile: process.apparmorProfile {shown:?}{hint}");
    error.context(Property::new("/process/apparmorProfile", text))
}

fn explain_selinux(error: anyhow::Error, label: &CStr) -> anyhow::Error {
    let hint = match error.downcast_ref() {
        Some(&Errno::INVAL) => " (the policy that is loaded knows no such label)",
        Some(&(Errno::ACCESS | Errno::PERM)) => " (the policy does not let the runtime set it)",
        _ => "",
    };
    let text = format!("process.selinuxLabel {:?}{hint}", label.to_string_lossy());
    error.context(Property::new("/process/selinuxLabel", text))
}

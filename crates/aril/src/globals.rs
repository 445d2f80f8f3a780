//! What the global flags come to.

use std::path::{Path, PathBuf};

use anyhow::bail;
use libcontainer::Context;

use crate::arguments::Globals;
use crate::log;

/// The context of every verb. The caller has passed `inherited` descriptors from 3 on.
pub(crate) fn context(globals: &Globals, inherited: u32) -> anyhow::Result<Context> {
    let root = globals.root.clone().unwrap_or_else(default_root);
    if root == Path::new("/") {
        bail!("--root / is not a directory for state; choose another");
    }
    let root = std::path::absolute(&root)?;
    Ok(Context { root, inherited, warn: log::warn })
}

/// runc's rule, with aril's name: a user without privilege, and root of a user namespace who is
/// not called root, has a directory of his own.
fn default_root() -> PathBuf {
    let own = || std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let is_root = rustix::process::geteuid().is_root();
    match own() {
        Some(directory) if !is_root => Path::new(&directory).join("aril"),
        _ => PathBuf::from("/run/aril"),
    }
}

/// Refuses what would be ignored: cgroups that somebody else is to manage.
pub(crate) fn refuse_other_managers(globals: &Globals) -> anyhow::Result<()> {
    if globals.systemd_cgroup {
        bail!("--systemd-cgroup is not supported yet; without it aril manages cgroups itself");
    }
    match globals.cgroup_manager.as_deref() {
        None | Some("cgroupfs") => {}
        Some(other) => bail!("--cgroup-manager {other} is not supported yet; cgroupfs is"),
    }
    match globals.rootless.as_str() {
        "true" | "false" | "auto" => Ok(()),
        other => bail!("--rootless {other:?}: write true, false or auto"),
    }
}

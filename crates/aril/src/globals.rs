//! What the global flags come to.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcontainer::host::in_user_namespace;
use libcontainer::{Context, request};

use crate::arguments::Globals;
use crate::log;

/// Where the machine's root has his containers' state.
const MACHINES_ROOT: &str = "/run/aril";

/// The context of every verb. The caller has passed `inherited` descriptors from 3 on.
pub(crate) fn context(globals: &Globals, inherited: u32) -> anyhow::Result<Context> {
    let root = match &globals.root {
        Some(root) => root.clone(),
        None => default_root()?,
    };
    if root == Path::new("/") {
        bail!("--root / is not a directory for state; choose another");
    }
    let root = std::path::absolute(&root)?;
    Ok(Context { root, inherited, warn: log::warn })
}

/// runc's rule, with aril's name: a user without privilege, and root of a user namespace who is
/// not called root, has a directory of his own.
fn default_root() -> anyhow::Result<PathBuf> {
    let Some(directory) = own_directory() else { return Ok(PathBuf::from(MACHINES_ROOT)) };
    let is_called_root = || std::env::var_os("USER").is_some_and(|user| user == "root");
    let is_machines =
        rustix::process::geteuid().is_root() && (is_called_root() || !in_user_namespace()?);
    Ok(if is_machines { PathBuf::from(MACHINES_ROOT) } else { directory.join("aril") })
}

/// Who is to manage the cgroup of a new container.
pub(crate) fn cgroup_manager(globals: &Globals) -> anyhow::Result<request::CgroupManager> {
    check_rootless(globals)?;
    match (globals.cgroup_manager.as_deref(), globals.systemd_cgroup) {
        (None | Some("systemd"), true) | (Some("systemd"), false) => {
            Ok(request::CgroupManager::Systemd(bus()?))
        }
        (None | Some("cgroupfs"), false) => Ok(request::CgroupManager::Files),
        (Some("disabled"), false) => Ok(request::CgroupManager::Nobody),
        (Some(other @ ("cgroupfs" | "disabled")), true) => {
            bail!("--systemd-cgroup and --cgroup-manager {other} exclude each other")
        }
        (Some(other), _) => {
            bail!("--cgroup-manager {other}: write cgroupfs, systemd or disabled")
        }
    }
}

/// Root's is the machine's systemd, any other user's his own. sd-bus's rule for where its bus is.
fn bus() -> anyhow::Result<request::Bus> {
    let euid = rustix::process::geteuid();
    let (variable, usual) = match euid.is_root() {
        true => ("DBUS_SYSTEM_BUS_ADDRESS", Some(PathBuf::from("/run/dbus/system_bus_socket"))),
        false => ("DBUS_SESSION_BUS_ADDRESS", own_directory().map(|path| path.join("bus"))),
    };
    let user = (!euid.is_root()).then_some(euid.as_raw());
    let socket = match std::env::var(variable) {
        Ok(address) if !address.is_empty() => socket_of(&address).with_context(|| {
            format!("{variable}={address:?}: only unix:path=PATH is understood")
        })?,
        _ => usual.with_context(|| {
            format!("--systemd-cgroup: set {variable} or XDG_RUNTIME_DIR, so that systemd is found")
        })?,
    };
    Ok(request::Bus { socket, user })
}

/// The first address that is a path. None that is right has a character that would be escaped.
fn socket_of(addresses: &str) -> Option<PathBuf> {
    let paths = addresses.split(';').filter_map(|address| address.strip_prefix("unix:path="));
    let path = paths.map(|rest| rest.split(',').next().unwrap_or(rest)).next()?;
    (path.starts_with('/') && !path.contains('%')).then(|| PathBuf::from(path))
}

fn own_directory() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Refuses a value that would be ignored.
fn check_rootless(globals: &Globals) -> anyhow::Result<()> {
    match globals.rootless.as_str() {
        "true" | "false" | "auto" => Ok(()),
        other => bail!("--rootless {other:?}: write true, false or auto"),
    }
}

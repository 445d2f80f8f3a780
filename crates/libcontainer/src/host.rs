//! What this machine is: the only module that asks.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use caps::{CapSet, CapsHashSet};
use libcgroups::{Layout, Location, MountLine};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

/// Where cgroup hierarchies are mounted by convention (file-hierarchy(7)).
const USUAL_CGROUPS: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` (linux/magic.h).
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// `Y` where the kernel has AppArmor, and was not told to leave it off.
const APPARMOR_ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// The filesystem of SELinux, which is mounted when its policy is loaded.
const SELINUX: &str = "/sys/fs/selinux";
/// `SELINUX_MAGIC` (linux/magic.h).
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;

/// `CAP_SYS_ADMIN` (linux/capability.h).
const SYS_ADMIN: u32 = 21;

/// Facts of the machine and of the runtime process that the plan depends on. Tests build one by
/// hand.
#[derive(Clone, Debug)]
pub struct Host {
    /// Effective uid of the runtime.
    pub euid: u32,
    /// Whether the runtime is in a user namespace other than the initial one.
    pub in_user_namespace: bool,
    /// The cgroup hierarchies.
    pub cgroups: Layout,
    /// The runtime's permitted capabilities: bit n is capability n (capabilities(7)).
    pub permitted: u64,
    /// Where the filesystem for resource control is mounted; looked for where it is needed.
    pub resctrl: Option<PathBuf>,
    /// The security modules by whose labels a program can be confined.
    pub security_modules: SecurityModules,
}

/// Security modules that are on (Documentation/admin-guide/LSM of the kernel).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecurityModules {
    /// AppArmor.
    pub apparmor: bool,
    /// SELinux.
    pub selinux: bool,
}

impl SecurityModules {
    fn probe() -> Self {
        let magic = rustix::fs::statfs(SELINUX).map(|filesystem| filesystem.f_type as u64);
        Self {
            apparmor: std::fs::read(APPARMOR_ENABLED).is_ok_and(|text| text.starts_with(b"Y")),
            selinux: magic == Ok(SELINUX_MAGIC),
        }
    }
}

impl Host {
    /// Asks the kernel.
    ///
    /// # Errors
    /// A file in /proc that cannot be read.
    pub fn probe() -> anyhow::Result<Self> {
        let permitted = caps::read(None, CapSet::Permitted).context("capget")?;
        Ok(Self {
            euid: rustix::process::geteuid().as_raw(),
            in_user_namespace: in_user_namespace()?,
            cgroups: probe_cgroups()?,
            permitted: bits(&permitted),
            resctrl: None,
            security_modules: SecurityModules::default(),
        })
    }

    /// Whether this is neither the machine's root nor somebody with his rights: the kernel gives nobody else device nodes,
    /// rules for devices, or cgroups that were not delegated.
    #[must_use]
    pub const fn is_rootless(&self) -> bool {
        self.in_user_namespace || (self.euid != 0 && !self.is_administrator())
    }

    /// Whether the runtime may enter mount namespaces, and come back (setns(2)).
    pub(crate) const fn is_administrator(&self) -> bool {
        self.has(SYS_ADMIN)
    }

    /// Whether the runtime may have this capability.
    pub(crate) const fn has(&self, capability: u32) -> bool {
        self.permitted & (1 << capability) != 0
    }

    /// The same, and which security modules are on where a label is asked for: what needs none costs no call.
    #[must_use]
    pub fn asked_for_labels(self, asks: bool) -> Self {
        let known = self.security_modules;
        Self { security_modules: if asks { SecurityModules::probe() } else { known }, ..self }
    }

    /// The same, and where resctrl is mounted, where it is asked for. In a table that cannot be read it is nowhere.
    #[must_use]
    pub fn asked_for_resctrl(self, asks: bool) -> Self {
        let table =
            if asks { read("/proc/self/mountinfo").unwrap_or_default() } else { Vec::new() };
        let mounts = MountLine::parse_all(&table).unwrap_or_default();
        Self { resctrl: resctrl_in(&mounts), ..self }
    }

    /// The same, with those cgroup hierarchies alone in which the cgroup at `location` can be made.
    #[must_use]
    pub(crate) fn that_can_make(self, location: &Location) -> Self {
        Self { cgroups: self.cgroups.that_can_have(location, can_write), ..self }
    }

    /// The capabilities that a process can be given: what the runtime has, or everything in a
    /// user namespace of the container's own (user_namespaces(7)).
    pub(crate) fn capabilities(&self, own_user_namespace: bool) -> u64 {
        if own_user_namespace { bits(&caps::all()) } else { self.permitted }
    }
}

/// The last one counts, which may be on top of another.
fn resctrl_in(mounts: &[MountLine<'_>]) -> Option<PathBuf> {
    let mount = mounts.iter().rev().find(|mount| mount.fstype == "resctrl")?;
    Some(mount.mount_point.clone())
}

fn bits(set: &CapsHashSet) -> u64 {
    set.iter().fold(0, |bits, one| bits | one.bitmask())
}

/// Whether this process may write to `path`, or to the nearest directory above it that is there.
fn can_write(path: &Path) -> bool {
    path.ancestors()
        .map(|path| rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS))
        .find(|answer| *answer != Err(Errno::NOENT))
        .is_some_and(|answer| answer.is_ok())
}

/// Whether this process is in another user namespace than the initial one, which maps every id to itself
/// (user_namespaces(7)).
///
/// # Errors
/// /proc/self/uid_map cannot be read.
pub fn in_user_namespace() -> anyhow::Result<bool> {
    let map = read("/proc/self/uid_map")?;
    Ok(!String::from_utf8_lossy(&map).split_whitespace().eq(["0", "0", "4294967295"]))
}

/// On a machine with cgroup2 alone the mount table, the longest file of all, need not be read.
fn probe_cgroups() -> anyhow::Result<Layout> {
    let own = read("/proc/self/cgroup")?;
    let usual = Path::new(USUAL_CGROUPS);
    let magic = rustix::fs::statfs(usual).map(|filesystem| filesystem.f_type as u64);
    if magic == Ok(CGROUP2_MAGIC) {
        return Ok(Layout::unified(usual, own));
    }
    Ok(Layout::parse(read("/proc/self/mountinfo")?, own)?)
}

fn read(path: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {path}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use libcgroups::MountLine;

    use super::{Host, resctrl_in};

    #[test]
    fn this_machine_can_be_asked() {
        let host = Host::probe().unwrap();
        assert_eq!(host.euid, rustix::process::geteuid().as_raw());
        assert_eq!(host.capabilities(false), host.permitted);
        assert!(host.capabilities(true) & 1 != 0);
    }

    #[test]
    fn resctrl_is_where_it_is_mounted() {
        let table = b"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 20 0:30 / /sys/fs/resctrl rw,relatime - resctrl resctrl rw\n";
        let mounts = MountLine::parse_all(table).unwrap();
        assert_eq!(resctrl_in(&mounts).as_deref(), Some(Path::new("/sys/fs/resctrl")));
        assert_eq!(resctrl_in(&mounts[..1]), None);
    }
}

//! What this machine is: the only module that asks.

use std::path::Path;

use anyhow::Context as _;
use libcgroups::Layout;

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
    /// The capabilities that can be given at all: the runtime's own permitted set (bit n is
    /// capability n).
    pub bounding: u64,
}

impl Host {
    /// Asks the kernel.
    ///
    /// # Errors
    /// A file in /proc that cannot be read.
    pub fn probe() -> anyhow::Result<Self> {
        let permitted = caps::read(None, caps::CapSet::Permitted).context("capget")?;
        Ok(Self {
            euid: rustix::process::geteuid().as_raw(),
            in_user_namespace: in_user_namespace()?,
            cgroups: probe_cgroups()?,
            bounding: permitted.iter().fold(0, |bits, one| bits | one.bitmask()),
        })
    }
}

/// The initial user namespace maps every id to itself (user_namespaces(7)).
fn in_user_namespace() -> anyhow::Result<bool> {
    let map = read("/proc/self/uid_map")?;
    let numbers: Vec<&str> = map.split_whitespace().collect();
    Ok(numbers != ["0", "0", "4294967295"])
}

/// On a machine with cgroup2 alone the mount table need not be read.
fn probe_cgroups() -> anyhow::Result<Layout> {
    let own = read("/proc/self/cgroup")?;
    let usual = Path::new("/sys/fs/cgroup");
    let magic = rustix::fs::statfs(usual).map(|filesystem| filesystem.f_type as u64);
    if magic == Ok(CGROUP2_SUPER_MAGIC) {
        return Ok(Layout::unified(usual, &own));
    }
    Ok(Layout::parse(&read("/proc/self/mountinfo")?, &own)?)
}

/// linux/magic.h.
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {path}"))
}

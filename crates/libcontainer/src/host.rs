//! What this machine is: the only module that asks.

use libcgroups::Layout;

/// Facts of the machine and of the runtime process that the plan depends on. Tests build one by
/// hand.
#[derive(Clone, Debug)]
pub struct Host {
    /// Effective uid of the runtime.
    pub euid: u32,
    /// Effective gid of the runtime.
    pub egid: u32,
    /// Whether the runtime is in a user namespace other than the initial one.
    pub in_user_namespace: bool,
    /// The cgroup hierarchies.
    pub cgroups: Layout,
    /// The capabilities that can be given at all: the runtime's own bounding set (bit n is
    /// capability n).
    pub bounding: u64,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux is enabled.
    pub selinux: bool,
}

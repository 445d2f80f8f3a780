//! The kinds of namespace a container has (namespaces(7)), and sets of them.

use libsyscall::clone::Flags;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

/// One kind of namespace. The order is the order in which namespaces are joined: the user
/// namespace first, since it decides what may be joined at all, the pid namespace late, since only
/// children enter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `CLONE_NEWUSER`, user_namespaces(7).
    User,
    /// `CLONE_NEWIPC`, ipc_namespaces(7).
    Ipc,
    /// `CLONE_NEWUTS`, uts_namespaces(7).
    Uts,
    /// `CLONE_NEWNET`, network_namespaces(7).
    Network,
    /// `CLONE_NEWPID`, pid_namespaces(7).
    Pid,
    /// `CLONE_NEWTIME`, time_namespaces(7).
    Time,
    /// `CLONE_NEWCGROUP`, cgroup_namespaces(7).
    Cgroup,
    /// `CLONE_NEWNS`, mount_namespaces(7).
    Mount,
}

impl Kind {
    /// Every kind, in the order of joining.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Ipc,
        Self::Uts,
        Self::Network,
        Self::Pid,
        Self::Time,
        Self::Cgroup,
        Self::Mount,
    ];

    /// The name in config.json (runtime-spec, config-linux.md, "Namespaces").
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Network => "network",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::Cgroup => "cgroup",
            Self::Mount => "mount",
        }
    }

    /// The name of the link in `/proc/PID/ns` that shows what the process itself is in.
    #[must_use]
    pub const fn proc_name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Mount => "mnt",
            other => other.name(),
        }
    }

    /// The `CLONE_NEW*` flag, as clone3(2) takes it.
    #[must_use]
    pub const fn flag(self) -> Flags {
        match self {
            Self::User => Flags::NEWUSER,
            Self::Ipc => Flags::NEWIPC,
            Self::Uts => Flags::NEWUTS,
            Self::Network => Flags::NEWNET,
            Self::Pid => Flags::NEWPID,
            Self::Time => Flags::NEWTIME,
            Self::Cgroup => Flags::NEWCGROUP,
            Self::Mount => Flags::NEWNS,
        }
    }
}

/// A set of kinds. It is saved as a list of their names.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Kind>", into = "Vec<Kind>")]
pub struct KindSet(u8);

impl KindSet {
    /// The set of nothing.
    pub const EMPTY: Self = Self(0);

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// This set with `kind`.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// This set without `kind`.
    #[must_use]
    pub const fn without(self, kind: Kind) -> Self {
        Self(self.0 & !(1 << kind as u8))
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in the set, in the order of joining.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }

    /// The flags of all kinds in the set, as clone3(2) takes them.
    #[must_use]
    pub fn clone_flags(self) -> Flags {
        self.iter().map(Kind::flag).fold(Flags::NONE, Flags::union)
    }

    /// The flags of all kinds in the set, as unshare(2) and setns(2) take them.
    #[must_use]
    pub fn flags(self) -> CloneFlags {
        // nix lacks CLONE_NEWTIME.
        CloneFlags::from_bits_retain(self.clone_flags().bits() as i32)
    }
}

impl From<Vec<Kind>> for KindSet {
    fn from(kinds: Vec<Kind>) -> Self {
        kinds.into_iter().collect()
    }
}

impl From<KindSet> for Vec<Kind> {
    fn from(kinds: KindSet) -> Self {
        kinds.iter().collect()
    }
}

impl FromIterator<Kind> for KindSet {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Self {
        kinds.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl std::fmt::Debug for KindSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use nix::sched::CloneFlags;

    use super::{Kind, KindSet};

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: KindSet = [Kind::Mount, Kind::Pid].into_iter().collect();
        assert!(set.contains(Kind::Pid) && set.contains(Kind::Mount) && !set.contains(Kind::User));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Kind::Pid, Kind::Mount]);
        assert_eq!(set.clone_flags(), Kind::Pid.flag().union(Kind::Mount.flag()));
        assert_eq!(set.flags(), CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS);
        assert!(set.without(Kind::Pid).without(Kind::Mount).is_empty());
    }
}

//! How many clones it takes to make init: a pure table.

use crate::{Kind, KindSet, Namespaces};

/// How init comes into being. Both ways end with one child of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spawn {
    /// The runtime clones init.
    Direct {
        /// Namespaces made by the clone itself.
        clone: KindSet,
        /// Existing namespaces that init enters, on files opened before.
        init_joins: KindSet,
        /// Namespaces that init makes when it is in its cgroup.
        init_unshares: KindSet,
    },
    /// The runtime clones a joiner, which enters and makes what only children see, then clones
    /// init as its own sibling and ends.
    Staged {
        /// Existing namespaces that the joiner enters.
        joiner_joins: KindSet,
        /// Namespaces that the joiner makes, which only its children enter.
        joiner_unshares: KindSet,
        /// Namespaces made by the joiner's clone of init.
        clone: KindSet,
        /// Namespaces that init makes when it is in its cgroup.
        init_unshares: KindSet,
    },
}

/// Decides for `namespaces`.
///
/// A joiner is needed when a namespace can only be entered by children (a joined pid namespace, a
/// new or joined time namespace), when privilege changes on the way (a joined user namespace), and
/// when others are joined beside a new user namespace, whose root has no right to join them.
///
/// The cgroup namespace is always left to init: its root is the cgroup of the process that makes
/// it, and clone3(2) makes namespaces before it moves the child to its cgroup.
#[must_use]
pub fn decide(namespaces: &Namespaces) -> Spawn {
    let joins: KindSet = namespaces.joined.iter().map(|joined| joined.kind).collect();
    let own = namespaces.new.without(Kind::Cgroup).without(Kind::Time);
    let init_unshares = only(namespaces.new, Kind::Cgroup);
    let staged = joins.contains(Kind::Pid)
        || joins.contains(Kind::User)
        || namespaces.has(Kind::Time)
        || (namespaces.new.contains(Kind::User) && !joins.is_empty());
    if staged {
        Spawn::Staged {
            joiner_joins: joins,
            joiner_unshares: only(namespaces.new, Kind::Time),
            clone: own,
            init_unshares,
        }
    } else {
        Spawn::Direct { clone: own, init_joins: joins, init_unshares }
    }
}

/// `kind` alone, if it is in `set`.
fn only(set: KindSet, kind: Kind) -> KindSet {
    set.iter().filter(|candidate| *candidate == kind).collect()
}

impl Spawn {
    /// What init joins itself.
    #[must_use]
    pub const fn init_joins(&self) -> KindSet {
        match self {
            Self::Direct { init_joins, .. } => *init_joins,
            Self::Staged { .. } => KindSet::EMPTY,
        }
    }

    /// What init makes itself.
    #[must_use]
    pub const fn init_unshares(&self) -> KindSet {
        match self {
            Self::Direct { init_unshares, .. } | Self::Staged { init_unshares, .. } => {
                *init_unshares
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Spawn, decide};
    use crate::Kind::{Cgroup, Ipc, Mount, Network, Pid, Time, User, Uts};
    use crate::{Joined, Kind, KindSet, Namespaces};

    fn namespaces(new: &[Kind], joined: &[Kind]) -> Namespaces {
        let path = || "/proc/1/ns/x".into();
        Namespaces {
            new: new.iter().copied().collect(),
            joined: joined
                .iter()
                .map(|kind| Joined { kind: *kind, path: path(), index: 0, changed_by: Vec::new() })
                .collect(),
            ..Namespaces::default()
        }
    }

    fn set(kinds: &[Kind]) -> KindSet {
        kinds.iter().copied().collect()
    }

    #[track_caller]
    fn direct(new: &[Kind], joined: &[Kind], clone: &[Kind], unshares: &[Kind]) {
        let expected = Spawn::Direct {
            clone: set(clone),
            init_joins: set(joined),
            init_unshares: set(unshares),
        };
        assert_eq!(decide(&namespaces(new, joined)), expected);
    }

    #[track_caller]
    fn staged(new: &[Kind], joined: &[Kind], joiner_unshares: &[Kind], clone: &[Kind]) {
        let expected = Spawn::Staged {
            joiner_joins: set(joined),
            joiner_unshares: set(joiner_unshares),
            clone: set(clone),
            init_unshares: KindSet::EMPTY,
        };
        assert_eq!(decide(&namespaces(new, joined)), expected);
    }

    #[test]
    fn nothing_is_direct() {
        direct(&[], &[], &[], &[]);
    }

    #[test]
    fn the_default_config_is_direct_and_init_makes_the_cgroup_namespace() {
        let clone = [Pid, Network, Ipc, Uts, Mount];
        direct(&[Pid, Network, Ipc, Uts, Mount, Cgroup], &[], &clone, &[Cgroup]);
    }

    #[test]
    fn a_joined_network_is_entered_by_init() {
        direct(&[Pid, Mount], &[Network], &[Pid, Mount], &[]);
    }

    #[test]
    fn a_new_user_namespace_alone_is_direct() {
        direct(&[User, Pid, Mount], &[], &[User, Pid, Mount], &[]);
    }

    #[test]
    fn a_new_user_namespace_beside_a_joined_one_is_staged() {
        staged(&[User, Pid, Mount], &[Network], &[], &[User, Pid, Mount]);
    }

    #[test]
    fn a_joined_user_namespace_is_staged() {
        staged(&[Pid, Mount], &[User], &[], &[Pid, Mount]);
    }

    #[test]
    fn a_joined_pid_namespace_is_staged() {
        staged(&[Mount], &[Pid], &[], &[Mount]);
    }

    #[test]
    fn a_new_time_namespace_is_staged() {
        staged(&[Time, Mount], &[], &[Time], &[Mount]);
    }

    #[test]
    fn a_joined_time_namespace_is_staged() {
        staged(&[Mount], &[Time], &[], &[Mount]);
    }
}

//! How many clones it takes to make init: a pure table.

use crate::{Kind, KindSet, Namespaces};

/// How init comes into being: always as a child of the runtime.
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
        /// Namespaces that a holder makes before anything is opened: the user namespace, and the mount
        /// namespace in which mounts are looked up.
        beforehand: KindSet,
        /// Namespaces that the joiner enters: existing ones, and of those made beforehand the
        /// container's.
        joiner_joins: KindSet,
        /// Namespaces that the joiner makes, which only its children enter.
        joiner_unshares: KindSet,
        /// Namespaces made by the joiner's clone of init.
        clone: KindSet,
        /// Namespaces that init makes when it is in its cgroup.
        init_unshares: KindSet,
    },
    /// Others are in init's pid namespace already, and see it from its birth. The runtime clones a
    /// joiner, which enters and makes all namespaces but that one, when it is in its cgroup. It
    /// clones a maker, which makes the container, lets go of everything that is the host's, and
    /// clones init into the pid namespace. All are siblings.
    Watched {
        /// As in [`Staged`](Self::Staged).
        beforehand: KindSet,
        /// Namespaces that the joiner enters.
        joiner_joins: KindSet,
        /// Namespaces that the joiner makes.
        joiner_unshares: KindSet,
    },
}

/// Decides for `namespaces`.
///
/// A joiner is needed when a namespace can only be entered by children (a joined pid namespace, a
/// new or joined time namespace), and when privilege changes on the way (a user namespace).
///
/// In a pid namespace that is joined, as in a pod, whoever has `CAP_SYS_PTRACE` may follow the links of
/// init's /proc/PID: so init comes into being when there is nothing left in it that leads to the host.
///
/// A new user namespace is made beforehand and gets its ids then: whatever is made after that in it, the
/// network with its files in /proc too, belongs to its root. With any user namespace a mount namespace is
/// made in it beforehand, since there the kernel locks the mounts of the host; it is the container's
/// unless that joins one.
///
/// The cgroup namespace is always left to init: its root is the cgroup of the process that makes
/// it, and clone3(2) makes namespaces before it moves the child to its cgroup.
#[must_use]
pub fn decide(namespaces: &Namespaces) -> Spawn {
    let joins: KindSet = namespaces.joined.iter().map(|joined| joined.kind).collect();
    let own = namespaces.new.without(Kind::Cgroup).without(Kind::Time);
    let init_unshares = only(namespaces.new, Kind::Cgroup);
    let beforehand = beforehand(namespaces);
    let made: KindSet = beforehand.iter().filter(|kind| namespaces.new.contains(*kind)).collect();
    let joiner_joins = made.iter().fold(joins, KindSet::with);
    if joins.contains(Kind::Pid) {
        let joiner_joins = joiner_joins.without(Kind::Pid);
        let joiner_unshares = made.iter().fold(namespaces.new, KindSet::without);
        Spawn::Watched { beforehand, joiner_joins, joiner_unshares }
    } else if namespaces.has(Kind::User) || namespaces.has(Kind::Time) {
        Spawn::Staged {
            beforehand,
            joiner_joins,
            joiner_unshares: only(namespaces.new, Kind::Time),
            clone: made.iter().fold(own, KindSet::without),
            init_unshares,
        }
    } else {
        Spawn::Direct { clone: own, init_joins: joins, init_unshares }
    }
}

/// What a holder makes.
fn beforehand(namespaces: &Namespaces) -> KindSet {
    let user = only(namespaces.new, Kind::User);
    let locks_mounts = namespaces.has(Kind::User) && namespaces.has(Kind::Mount);
    if locks_mounts { user.with(Kind::Mount) } else { user }
}

/// `kind` alone, if it is in `set`.
fn only(set: KindSet, kind: Kind) -> KindSet {
    set.iter().filter(|candidate| *candidate == kind).collect()
}

impl Spawn {
    /// What a holder makes before anything is opened.
    #[must_use]
    pub const fn beforehand(&self) -> KindSet {
        match self {
            Self::Direct { .. } => KindSet::EMPTY,
            Self::Staged { beforehand, .. } | Self::Watched { beforehand, .. } => *beforehand,
        }
    }

    /// What is made by the clone of init.
    #[must_use]
    pub const fn clone_makes(&self) -> KindSet {
        match self {
            Self::Direct { clone, .. } | Self::Staged { clone, .. } => *clone,
            Self::Watched { .. } => KindSet::EMPTY,
        }
    }

    /// What init joins itself.
    #[must_use]
    pub const fn init_joins(&self) -> KindSet {
        match self {
            Self::Direct { init_joins, .. } => *init_joins,
            Self::Staged { .. } | Self::Watched { .. } => KindSet::EMPTY,
        }
    }

    /// What init makes itself.
    #[must_use]
    pub const fn init_unshares(&self) -> KindSet {
        match self {
            Self::Direct { init_unshares, .. } | Self::Staged { init_unshares, .. } => {
                *init_unshares
            }
            Self::Watched { .. } => KindSet::EMPTY,
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

    /// What is staged, without the cgroup namespace.
    #[derive(Clone, Copy, Default)]
    struct Staged<'a> {
        beforehand: &'a [Kind],
        joiner_joins: &'a [Kind],
        joiner_unshares: &'a [Kind],
        clone: &'a [Kind],
    }

    #[track_caller]
    fn staged(new: &[Kind], joined: &[Kind], expected: Staged<'_>) {
        let Staged { beforehand, joiner_joins, joiner_unshares, clone } = expected;
        let expected = Spawn::Staged {
            beforehand: set(beforehand),
            joiner_joins: set(joiner_joins),
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
    fn a_new_user_namespace_is_made_beforehand_with_its_mount_namespace() {
        let made = Staged {
            beforehand: &[User, Mount],
            joiner_joins: &[User, Mount],
            clone: &[Pid, Network],
            ..Staged::default()
        };
        staged(&[User, Pid, Network, Mount], &[], made);
    }

    #[test]
    fn a_new_user_namespace_without_mounts_is_made_beforehand_alone() {
        let made = Staged {
            beforehand: &[User],
            joiner_joins: &[User],
            clone: &[Pid],
            ..Staged::default()
        };
        staged(&[User, Pid], &[], made);
    }

    #[test]
    fn a_joined_network_beside_a_new_user_namespace_is_entered_by_the_joiner() {
        let made = Staged {
            beforehand: &[User, Mount],
            joiner_joins: &[User, Network, Mount],
            clone: &[Pid],
            ..Staged::default()
        };
        staged(&[User, Pid, Mount], &[Network], made);
    }

    #[test]
    fn the_mount_namespace_of_a_joined_user_namespace_is_made_beforehand() {
        let made = Staged {
            beforehand: &[Mount],
            joiner_joins: &[User, Mount],
            clone: &[Pid],
            ..Staged::default()
        };
        staged(&[Pid, Mount], &[User], made);
    }

    #[test]
    fn beside_a_joined_mount_namespace_another_is_made_to_look_mounts_up() {
        let made = Staged {
            beforehand: &[User, Mount],
            joiner_joins: &[User, Mount],
            clone: &[Pid],
            ..Staged::default()
        };
        staged(&[User, Pid], &[Mount], made);
    }

    #[track_caller]
    fn watched(new: &[Kind], joined: &[Kind], joins: &[Kind], unshares: &[Kind]) {
        let namespaces = namespaces(new, joined);
        let Spawn::Watched { joiner_joins, joiner_unshares, .. } = decide(&namespaces) else {
            panic!("{:?}", decide(&namespaces));
        };
        assert_eq!((joiner_joins, joiner_unshares), (set(joins), set(unshares)));
    }

    #[test]
    fn in_a_joined_pid_namespace_init_is_watched() {
        watched(&[Mount, Cgroup, Time], &[Pid], &[], &[Mount, Cgroup, Time]);
        watched(&[Mount], &[Pid, Network], &[Network], &[Mount]);
        watched(&[User, Mount, Uts], &[Pid], &[User, Mount], &[Uts]);
        watched(&[Mount], &[User, Pid], &[User, Mount], &[]);
    }

    #[test]
    fn a_new_time_namespace_is_staged() {
        let made = Staged { joiner_unshares: &[Time], clone: &[Mount], ..Staged::default() };
        staged(&[Time, Mount], &[], made);
    }

    #[test]
    fn a_joined_time_namespace_is_staged() {
        let made = Staged { joiner_joins: &[Time], clone: &[Mount], ..Staged::default() };
        staged(&[Mount], &[Time], made);
    }
}

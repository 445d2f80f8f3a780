//! A mount on its way into the container, and what is changed of it: its options, its propagation.
//!
//! mount_setattr(2) changes a mount while it is detached. A kernel before 5.12 has no such call, nor has a
//! container whose seccomp profile is older than the call. Then a change is left until the mount is attached, and
//! mount(2) makes it ([`Remounter`]). Nobody sees the mount in between: it is attached in a mount namespace that
//! init alone is in, and no program of the container runs yet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use libsyscall::mount::{MountAttributes, attribute, set_attributes};
use rustix::io::Errno;

use super::attach;
use super::remount::Remounter;
use crate::plan::{Attributes, Propagation};

/// What is changed of a mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(super) attributes: Attributes,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`, or zero.
    pub(super) propagation: u64,
    /// Whether what is mounted below is changed, too.
    pub(super) recursive: bool,
    /// What an error says of it.
    what: &'static str,
}

/// On a shared mount.
const SHARED: Change = Change::propagation(Propagation { flag: MS_SHARED, recursive: false });
/// mount(2).
const MS_SHARED: u64 = 1 << 20;

impl Change {
    /// Makes it read-only.
    pub(crate) const fn readonly(recursive: bool) -> Self {
        let attributes = Attributes { set: attribute::RDONLY, clear: 0 };
        Self { attributes, propagation: 0, recursive, what: "make read-only: mount_setattr" }
    }

    /// Sets and clears attributes.
    pub(crate) const fn attributes(attributes: Attributes, recursive: bool) -> Self {
        let what = match attributes.clear {
            0 => "attributes: mount_setattr",
            _ => {
                "attributes: mount_setattr (EPERM: a user namespace must not lift what the host has set on \
                 this mount; leave out the options that would)"
            }
        };
        Self { attributes, propagation: 0, recursive, what }
    }

    /// Sets how mount events are carried.
    pub(crate) const fn propagation(propagation: Propagation) -> Self {
        let Propagation { flag, recursive } = propagation;
        let attributes = Attributes { set: 0, clear: 0 };
        Self { attributes, propagation: flag, recursive, what: "propagation: mount_setattr" }
    }

    /// Makes a single mount read-only, and sets how mount events are carried.
    pub(crate) const fn readonly_with(propagation: u64) -> Self {
        let attributes = Attributes { set: attribute::RDONLY, clear: 0 };
        Self { attributes, propagation, recursive: false, what: "mount_setattr" }
    }

    const fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.propagation == 0
    }

    fn set(&self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        let Attributes { set, clear } = self.attributes;
        let propagation = self.propagation;
        let attributes = MountAttributes { set, clear, propagation, user_namespace: None };
        set_attributes(mount, &attributes, self.recursive)
    }
}

/// Whether mount_setattr(2) may be what is missing: a seccomp profile that does not know a call answers
/// `EPERM`, too.
const fn may_be_missing(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM)
}

/// Changes a mount that is attached.
pub(crate) fn change_attached(
    mount: impl AsFd,
    change: Change,
    remounter: Option<&Remounter>,
) -> anyhow::Result<()> {
    if change.is_empty() {
        return Ok(());
    }
    match (change.set(mount.as_fd()), remounter) {
        (Err(errno), Some(remounter)) if may_be_missing(errno) => {
            remounter.change(mount.as_fd(), &change).context(change.what)
        }
        (result, _) => result.context(change.what),
    }
}

/// A mount on its way into the container.
#[derive(Debug)]
pub(crate) struct Tree {
    file: OwnedFd,
    is_attached: bool,
    /// What could not be changed while it was detached, in order, and how the kernel answered.
    left: Vec<(Change, Errno)>,
}

impl Tree {
    /// A mount that is nowhere yet.
    pub(crate) const fn detached(file: OwnedFd) -> Self {
        Self { file, is_attached: false, left: Vec::new() }
    }

    /// A mount that is in its place.
    pub(crate) const fn attached(file: OwnedFd) -> Self {
        Self { file, is_attached: true, left: Vec::new() }
    }

    /// Changes it, or, while it is detached and the kernel cannot, when it is attached.
    pub(crate) fn change(
        &mut self,
        change: Change,
        remounter: Option<&Remounter>,
    ) -> anyhow::Result<()> {
        if self.is_attached {
            return change_attached(&self.file, change, remounter);
        }
        if change.is_empty() {
            return Ok(());
        }
        // One after the other: a later change may take back a part of an earlier one.
        let errno = match self.left.last() {
            Some((_, errno)) => *errno,
            None => match change.set(self.file.as_fd()) {
                Err(errno) if may_be_missing(errno) => errno,
                result => return result.context(change.what),
            },
        };
        self.left.push((change, errno));
        Ok(())
    }

    /// Whether something of it is still to be changed.
    pub(crate) const fn is_unfinished(&self) -> bool {
        !self.left.is_empty()
    }

    /// Attaches it on `place`, and changes what is left. `called` names the step in an error.
    pub(crate) fn attach(
        &mut self,
        place: impl AsFd,
        remounter: Option<&Remounter>,
        called: impl FnOnce(&Self) -> String,
    ) -> anyhow::Result<()> {
        let Some((change, errno)) = self.left.first() else {
            self.is_attached = true;
            return attach(&self.file, place).with_context(|| called(self));
        };
        // Without a remounter it is not for want of the call: the root filesystem could be changed.
        let remounter = remounter.ok_or(*errno).context(change.what)?;
        let is_shared = remounter.is_shared(place.as_fd()).context(change.what)?;
        if is_shared && !self.may_be_shown() {
            return Err(*errno).with_context(|| format!("on a shared mount: {}", change.what));
        }
        attach(&self.file, place).with_context(|| called(self))?;
        self.is_attached = true;
        // What is attached on a shared mount is shared, whatever it was before.
        let shared = is_shared.then_some((SHARED, Errno::NOSYS));
        self.left.drain(..).chain(shared).try_for_each(|(change, _)| {
            remounter.change(self.file.as_fd(), &change).context(change.what)
        })
    }

    /// Whether peers of the mount that it is attached on may have it as it is: not, if it is to be read-only, or if
    /// what is below it is of other peers.
    fn may_be_shown(&self) -> bool {
        self.left.iter().all(|(change, _)| !change.recursive && change.attributes.is_empty())
    }

    /// Its root.
    pub(crate) fn into_file(self) -> OwnedFd {
        self.file
    }

    /// Its root, once more.
    pub(crate) fn clone_file(&self) -> anyhow::Result<OwnedFd> {
        self.file.try_clone().context("dup")
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

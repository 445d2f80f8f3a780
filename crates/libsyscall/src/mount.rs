//! mount_setattr(2) (Linux 5.12).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Result, check};

/// `MOUNT_ATTR_*` (linux/mount.h).
pub mod attribute {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Ignore set-user-ID, set-group-ID and file capabilities.
    pub const NOSUID: u64 = 0x2;
    /// No access to device nodes.
    pub const NODEV: u64 = 0x4;
    /// No programs.
    pub const NOEXEC: u64 = 0x8;
    /// The field of the access-time settings, which is cleared as a whole.
    pub const ATIME: u64 = 0x70;
    /// Access times relative to modification (the zero of the field).
    pub const RELATIME: u64 = 0;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// Every access time.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// No symbolic links are followed.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Changes of one mount or a tree of mounts.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountAttributes<'a> {
    /// [`attribute`] bits to set.
    pub set: u64,
    /// [`attribute`] bits to clear, first.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`; zero leaves it.
    pub propagation: u64,
    /// Maps ids by this user namespace (`MOUNT_ATTR_IDMAP`).
    pub user_namespace: Option<BorrowedFd<'a>>,
}

/// `MOUNT_ATTR_IDMAP` (linux/mount.h).
const IDMAP: u64 = 0x10_0000;

/// `struct mount_attr` (linux/mount.h).
#[repr(C)]
pub(crate) struct KernelAttributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) user_namespace: u64,
}

/// Changes the mount at `mount`, a descriptor of its root, with everything below it if `recursive`.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: &MountAttributes<'_>,
    recursive: bool,
) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let MountAttributes { set, clear, propagation, user_namespace } = *attributes;
    let attributes = KernelAttributes {
        set: set | user_namespace.map_or(0, |_| IDMAP),
        clear,
        propagation,
        // Without one no descriptor's number: zero would be one.
        user_namespace: user_namespace.map_or(u64::MAX, |file| file.as_raw_fd() as u64),
    };
    // SAFETY: the path is an empty C string, `attributes` is a mount_attr of the size given; both
    // are only read.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<KernelAttributes>(),
        )
    })?;
    Ok(())
}

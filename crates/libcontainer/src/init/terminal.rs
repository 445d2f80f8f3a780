//! The container's terminal: a pty of its own devpts, on /dev/console and the standard streams.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context as _, ensure};
use rustix::fs::{FileType, Gid, OFlags, Uid, fchown, fstatfs};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcsetwinsize};

use super::devices::is_character_device;
use super::labels;
use super::root::{Root, Target};
use crate::mount::{attach, file_type};
use crate::plan::{ContainerPath, Terminal};

/// `DEVPTS_SUPER_MAGIC` (linux/magic.h).
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// A pty pair.
pub(crate) struct Pty {
    /// The side of whoever shows the terminal.
    master: OwnedFd,
    /// The side of the program.
    slave: OwnedFd,
}

impl Pty {
    /// Opens a pair from the container's devpts. What is opened is checked on the descriptor: an
    /// image can put any file there (CVE-2025-52565).
    pub(crate) fn open(root: &Root, terminal: Terminal) -> anyhow::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let master = root
            .open(c"/dev/pts/ptmx", flags)
            .context("open /dev/pts/ptmx: openat2 (a terminal needs a devpts mount on /dev/pts)")?;
        let devpts = fstatfs(&master).context("fstatfs")?.f_type as u64 == DEVPTS_MAGIC;
        ensure!(
            devpts && is_character_device(&master, 5, 2),
            "/dev/pts/ptmx is not a pty master of a devpts"
        );
        rustix::pty::unlockpt(&master).context("unlock the pty: TIOCSPTLCK")?;
        let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer).context("TIOCGPTPEER")?;
        if let Some((rows, columns)) = terminal.size {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&slave, size).context("set the window size: TIOCSWINSZ")?;
        }
        Ok(Self { master, slave })
    }

    /// The master and the slave.
    pub(crate) fn into_halves(self) -> (OwnedFd, OwnedFd) {
        (self.master, self.slave)
    }

    /// Binds the terminal, labelled with `label`, on /dev/console, never through a link (CVE-2026-88264).
    pub(crate) fn mount_console(&self, root: &Root, label: Option<&CStr>) -> anyhow::Result<()> {
        labels::label_terminal(&self.slave, label)?;
        let path = ContainerPath::new("/dev/console").context("NUL in a path")?;
        let place = root.ensure_without_links(&path, Target::File).context("/dev/console")?;
        let kind = file_type(&place)?;
        ensure!(
            matches!(kind, FileType::RegularFile | FileType::CharacterDevice),
            "/dev/console is neither a regular file nor a character device"
        );
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&self.slave, c"", flags).context("/dev/console: open_tree")?;
        attach(&tree, &place).context("/dev/console: move_mount")
    }
}

/// Makes the slave of a pty the standard streams, owned by `uid`.
pub(crate) fn become_streams(slave: &OwnedFd, uid: u32) -> anyhow::Result<()> {
    own(slave, uid).context("own the terminal: fchown")?;
    rustix::stdio::dup2_stdin(slave).context("dup2")?;
    rustix::stdio::dup2_stdout(slave).context("dup2")?;
    rustix::stdio::dup2_stderr(slave).context("dup2")
}

/// Without a terminal of its own the program has the runtime's standard streams: /dev/null of the
/// host becomes the container's, and the rest is given to the program's user, who could not
/// reopen it through /proc/self/fd otherwise.
pub(crate) fn adopt_streams(root: &Root, uid: u32) -> anyhow::Result<()> {
    reopen_null(root)?;
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if is_character_device(stream, 1, 3) {
            continue;
        }
        let same = rustix::fs::fstat(stream).is_ok_and(|stat| stat.st_uid == uid);
        if same {
            continue;
        }
        own(stream, uid).context("own the standard streams: fchown")?;
    }
    Ok(())
}

/// A file on a read-only or remote filesystem, or of an unmapped owner, stays as it is.
fn own(stream: impl AsFd, uid: u32) -> Result<(), Errno> {
    match fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>) {
        Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::BADF) => Ok(()),
        result => result,
    }
}

/// What is opened as /dev/null is checked on the descriptor (CVE-2026-88265).
fn reopen_null(root: &Root) -> anyhow::Result<()> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    if !streams.iter().any(|stream| is_character_device(stream, 1, 3)) {
        return Ok(());
    }
    // The host's own is not kept: with it a program could change the mode of the node.
    let handle = root.open(c"/dev/null", OFlags::PATH).context(
        "open /dev/null of the container, which is to take the place of the host's as a standard stream: openat2",
    )?;
    ensure!(
        is_character_device(&handle, 1, 3),
        "/dev/null of the container is not the null device"
    );
    let null = root.open(c"/dev/null", OFlags::RDWR).context("open /dev/null: openat2")?;
    ensure!(is_character_device(&null, 1, 3), "/dev/null of the container is not the null device");
    for stream in streams {
        if is_character_device(stream, 1, 3) {
            match stream.as_fd().as_raw_fd() {
                0 => rustix::stdio::dup2_stdin(&null),
                1 => rustix::stdio::dup2_stdout(&null),
                _ => rustix::stdio::dup2_stderr(&null),
            }
            .context("dup2")?;
        }
    }
    Ok(())
}

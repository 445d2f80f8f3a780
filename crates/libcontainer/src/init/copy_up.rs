//! `tmpcopyup`: what the image has at a destination is copied into the new tmpfs.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context as _;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fchown, fstat, mkdirat,
    mknodat, openat, readlinkat, statat, symlinkat,
};

use crate::plan::FromBelow;

/// How deep a tree may be: far more than any image has, and no danger to the stack.
const DEEPEST: usize = 128;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies the tree below `from` to the empty directory `to`: types, permissions, owners, links. Of the
/// directory itself only the owner, as far as `wanted`: its permissions it has already.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd, wanted: FromBelow) -> anyhow::Result<()> {
    let from = openat(from, c".", DIRECTORY, Mode::empty()).context("tmpcopyup: open")?;
    let to = openat(to, c".", DIRECTORY, Mode::empty()).context("tmpcopyup: open")?;
    copy_content(from.as_fd(), to.as_fd(), 0).context("tmpcopyup")?;
    let (user, group) = owner(&fstat(&from).context("tmpcopyup: fstat")?);
    let (user, group) = (user.filter(|_| wanted.user), group.filter(|_| wanted.group));
    fchown(&to, user, group).context("tmpcopyup: chown")
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> anyhow::Result<()> {
    copy_content(from, to, depth)?;
    own_and_permit(to, &fstat(from).context("fstat")?)
}

fn copy_content(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> anyhow::Result<()> {
    anyhow::ensure!(depth < DEEPEST, "more than {DEEPEST} directories deep");
    for entry in Dir::read_from(from).context("read a directory")? {
        let entry = entry.context("read a directory")?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, depth).with_context(|| format!("{name:?}"))?;
        }
    }
    Ok(())
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    depth: usize,
) -> anyhow::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).context("stat")?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU).context("mkdir")?;
            let inner_from = openat(from, name, DIRECTORY, Mode::empty()).context("open")?;
            let inner_to = openat(to, name, DIRECTORY, Mode::empty()).context("open")?;
            copy_directory(inner_from.as_fd(), inner_to.as_fd(), depth + 1)
        }
        FileType::RegularFile => copy_file(from, to, name, &stat),
        FileType::Symlink => {
            let target = readlinkat(from, name, Vec::new()).context("readlink")?;
            symlinkat(target, to, name).context("symlink")?;
            let (uid, gid) = owner(&stat);
            chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).context("chown")
        }
        file_type => {
            mknodat(to, name, file_type, mode, stat.st_rdev).context("mknod")?;
            let (uid, gid) = owner(&stat);
            chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).context("chown")
        }
    }
}

fn copy_file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    stat: &Stat,
) -> anyhow::Result<()> {
    let reading = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(from, name, reading, Mode::empty()).context("open")?;
    let writing = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let copy = openat(to, name, writing, Mode::RUSR | Mode::WUSR).context("open")?;
    let (mut source, mut target) = (std::fs::File::from(source), std::fs::File::from(copy));
    std::io::copy(&mut source, &mut target).context("copy")?;
    own_and_permit(target.as_fd(), stat)
}

fn own_and_permit(fd: BorrowedFd<'_>, stat: &Stat) -> anyhow::Result<()> {
    let (uid, gid) = owner(stat);
    fchown(fd, uid, gid).context("chown")?;
    fchmod(fd, Mode::from_raw_mode(stat.st_mode)).context("chmod")
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

//! The cgroups below one. A container may have made any number of them, to any depth, with paths that
//! are too long for any call: so they are gone through by descriptor, of which at most three are open.

use std::ffi::{CStr, CString};
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::Error;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// On the way through a tree of cgroups.
struct Walk {
    /// The cgroup in which it is.
    current: OwnedFd,
    /// For each level from the top to the current one the children that are still to come.
    levels: Vec<Vec<CString>>,
    /// How the current one and those above it are called, but for the top.
    names: Vec<CString>,
}

/// What a walk has come to.
enum Step {
    /// The current cgroup is a new one.
    Entered,
    /// All below this child of the current one has been seen.
    Left(CString),
}

impl Walk {
    /// Begins in `top`; nothing if that is not there.
    fn begin(top: &Path) -> Result<Option<Self>, Error> {
        let opened = rustix::fs::open(top, DIRECTORY, Mode::empty())
            .and_then(|current| Ok((children(current.as_fd())?, current)));
        match opened {
            Ok((below, current)) => {
                Ok(Some(Self { current, levels: vec![below], names: Vec::new() }))
            }
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => Err(Error::call("open", top)(errno)),
        }
    }

    /// Goes one step on; nothing after the last.
    fn step(&mut self) -> Result<Option<Step>, Errno> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.pop() else {
                self.levels.pop();
                let Some(name) = self.names.pop() else { break };
                // A cgroup never moves to another parent (kernfs_rename refuses it).
                self.current = rustix::fs::openat(&self.current, c"..", DIRECTORY, Mode::empty())?;
                return Ok(Some(Step::Left(name)));
            };
            match enter(self.current.as_fd(), &name) {
                Ok((child, below)) => {
                    self.current = child;
                    self.names.push(name);
                    self.levels.push(below);
                    return Ok(Some(Step::Entered));
                }
                // Gone meanwhile, or something is mounted on it.
                Err(Errno::NOENT | Errno::NODEV | Errno::XDEV) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(None)
    }

    /// How far below the top it is.
    const fn depth(&self) -> usize {
        self.names.len()
    }
}

/// Opens a child of `above`, never what is mounted on it, and lists what is below.
fn enter(above: BorrowedFd<'_>, name: &CStr) -> Result<(OwnedFd, Vec<CString>), Errno> {
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let child = rustix::fs::openat2(above, name, DIRECTORY, Mode::empty(), resolve)?;
    let below = children(child.as_fd())?;
    Ok((child, below))
}

/// The names of the cgroups in `cgroup`.
fn children(cgroup: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    // Its own name, its "." and the ".." of each child.
    if rustix::fs::fstat(cgroup)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(cgroup)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Does `visit` in `top` and every cgroup below it, those above first.
fn visit(
    top: &Path,
    mut visit: impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Error> {
    let Some(mut walk) = Walk::begin(top)? else { return Ok(()) };
    let failed = |errno| Error::call("read", top)(errno);
    visit(walk.current.as_fd()).map_err(failed)?;
    while let Some(step) = walk.step().map_err(failed)? {
        if matches!(step, Step::Entered) {
            visit(walk.current.as_fd()).map_err(failed)?;
        }
    }
    Ok(())
}

/// The processes in `top` and below it.
pub(crate) fn pids(top: &Path) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    visit(top, |cgroup| {
        pids.extend(processes(cgroup)?);
        Ok(())
    })?;
    Ok(pids)
}

/// The cgroup in which `process` is, if that is `top` or below it.
pub(crate) fn find(top: &Path, process: i32) -> Result<Option<OwnedFd>, Error> {
    let mut found = None;
    visit(top, |cgroup| {
        if processes(cgroup)?.contains(&process) {
            found = Some(rustix::io::fcntl_dupfd_cloexec(cgroup, 0)?);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The processes in `cgroup` itself.
fn processes(cgroup: BorrowedFd<'_>) -> Result<Vec<i32>, Errno> {
    let text = match read(cgroup, c"cgroup.procs") {
        // Gone meanwhile; or a threaded one, which lists its processes above.
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => String::new(),
        text => text?,
    };
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Writes `value` to the file `name` of `top` and of every cgroup below it, whatever one of them
/// says to it.
pub(crate) fn write(top: &Path, name: &CStr, value: &str) -> Result<(), Error> {
    visit(top, |cgroup| {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let _ = rustix::fs::openat(cgroup, name, flags, Mode::empty())
            .and_then(|file| retry_on_intr(|| rustix::io::write(&file, value.as_bytes())));
        Ok(())
    })
}

/// What could not be removed.
#[derive(Debug)]
pub(crate) struct Left {
    /// How many cgroups.
    pub count: usize,
    /// What the first of them is called.
    pub name: CString,
    /// How far below the top it is.
    pub depth: usize,
    /// Why it could not.
    pub errno: Errno,
}

/// Removes every cgroup below `top`, and says what could not be.
pub(crate) fn remove_below(top: &Path) -> Result<Option<Left>, Error> {
    let Some(mut walk) = Walk::begin(top)? else { return Ok(None) };
    let mut left: Option<Left> = None;
    while let Some(step) = walk.step().map_err(Error::call("open", top))? {
        let Step::Left(name) = step else { continue };
        match rustix::fs::unlinkat(&walk.current, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                let depth = walk.depth() + 1;
                left.get_or_insert(Left { count: 0, name, depth, errno }).count += 1;
            }
        }
    }
    Ok(left)
}

/// Reads a file of `cgroup` whole, as text.
fn read(cgroup: BorrowedFd<'_>, name: &CStr) -> Result<String, Errno> {
    let file = rustix::fs::openat(cgroup, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .read_to_end(&mut bytes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

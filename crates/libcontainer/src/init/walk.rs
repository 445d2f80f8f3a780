//! A path that the container does not have whole, gone one component at a time.
//!
//! The kernel says only that something is missing. What is to be made then is found by its rules and two
//! more: a link that leads to what is missing leads there all the same, and a `..` takes back the missing
//! component before it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat, readlinkat};
use rustix::io::Errno;

use super::root::{Links, PATH};
use crate::mount::file_type;

/// How many symbolic links are followed, as the kernel does (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Where a path leads.
pub(super) enum End {
    /// To a file that is there.
    There(OwnedFd),
    /// To what is missing.
    Missing {
        /// The last directory on the way that is there, if it is not the root.
        directory: Option<OwnedFd>,
        /// What is missing in it: one in the other.
        names: Vec<OsString>,
    },
}

/// Goes along `path` from `root` on, and never out of it: a `..` goes back to the directory by which this
/// one was reached, wherever another process moves it meanwhile.
pub(super) fn walk(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<End, Errno> {
    let mut walker = Walker { root, directories: Vec::new(), missing: Vec::new(), followed: 0 };
    let mut ahead = VecDeque::new();
    put_ahead(&mut ahead, path);
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            walker.go_back();
        } else if !walker.missing.is_empty() {
            walker.missing.push(name);
        } else {
            match walker.open(&name)? {
                None => walker.missing.push(name),
                Some(Step::Directory(directory)) => walker.directories.push(directory),
                Some(Step::Link(_)) if links == Links::Refused => return Err(Errno::LOOP),
                Some(Step::Link(target)) => put_ahead(&mut ahead, walker.follow(&target)?),
                Some(Step::File(file)) if ahead.is_empty() => return Ok(End::There(file)),
                Some(Step::File(_)) => return Err(Errno::NOTDIR),
            }
        }
    }
    let Walker { mut directories, missing: names, .. } = walker;
    match directories.pop() {
        Some(directory) if names.is_empty() => Ok(End::There(directory)),
        None if names.is_empty() => rustix::io::fcntl_dupfd_cloexec(root, 0).map(End::There),
        directory => Ok(End::Missing { directory, names }),
    }
}

/// A component that is there.
enum Step {
    Directory(OwnedFd),
    /// What the link holds.
    Link(OsString),
    File(OwnedFd),
}

struct Walker<'a> {
    root: BorrowedFd<'a>,
    /// Those below the root, each reached from the one before.
    directories: Vec<OwnedFd>,
    /// What is missing in the last of them.
    missing: Vec<OsString>,
    /// How many links there have been.
    followed: usize,
}

impl Walker<'_> {
    /// Takes one component back. Of the root that is the root.
    fn go_back(&mut self) {
        if self.missing.pop().is_none() {
            self.directories.pop();
        }
    }

    fn open(&self, name: &OsStr) -> Result<Option<Step>, Errno> {
        let here = self.directories.last().map_or(self.root, |directory| directory.as_fd());
        let file = match openat(here, name, PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        Ok(Some(match file_type(&file)? {
            FileType::Directory => Step::Directory(file),
            FileType::Symlink => Step::Link(read_link(&file)?),
            _ => Step::File(file),
        }))
    }

    /// The path to go on with.
    fn follow<'a>(&mut self, target: &'a OsStr) -> Result<&'a Path, Errno> {
        self.followed += 1;
        if self.followed > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        let target = Path::new(target);
        if target.is_absolute() {
            self.directories.clear();
        }
        Ok(target)
    }
}

/// What a link holds. What one of procfs holds need not be where it leads: the kernel refuses those, too.
fn read_link(link: &OwnedFd) -> Result<OsString, Errno> {
    if fstatfs(link)?.f_type == PROC_SUPER_MAGIC {
        return Err(Errno::LOOP);
    }
    Ok(OsString::from_vec(readlinkat(link, c"", Vec::new())?.into_bytes()))
}

/// Puts the components of `path` before those that are ahead.
fn put_ahead(ahead: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        if let Component::Normal(_) | Component::ParentDir = component {
            ahead.push_front(component.as_os_str().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::Path;

    use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
    use rustix::io::Errno;

    use super::{End, Links, walk};
    use crate::init::root::settled;

    /// The components of the paths that are tried.
    const NAMES: [&str; 9] = ["a", "b", "file", "up", "root", "loop", "nowhere", "missing", ".."];

    fn make_tree(top: &Path) {
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/file"), "").unwrap();
        fs::write(top.join("a/b/file"), "").unwrap();
        for (name, target) in [
            ("a/up", "../../.."),
            ("a/b/up", "../b/.."),
            ("a/root", "/a"),
            ("b", "a/b"),
            ("a/b/root", "/"),
            ("loop", "loop"),
            ("a/nowhere", "/missing/x"),
            ("nowhere", "a/b/missing/.."),
        ] {
            symlink(target, top.join(name)).unwrap();
        }
    }

    /// What the kernel says of a path, and what is found by hand: the inode, or the error.
    fn both(root: &OwnedFd, path: &str) -> [Result<u64, Errno>; 2] {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let kernel = settled(|| openat2(root, path, OFlags::PATH, Mode::empty(), resolve));
        let by_hand = match walk(root.as_fd(), Path::new(path), Links::Followed) {
            Ok(End::There(file)) => Ok(file),
            Ok(End::Missing { .. }) => Err(Errno::NOENT),
            Err(errno) => Err(errno),
        };
        [kernel, by_hand].map(|found| Ok(fstat(found?)?.st_ino))
    }

    /// Only a path that the kernel does not find may be another one by hand: behind what is missing.
    #[test]
    fn what_the_kernel_finds_is_found_by_hand() {
        let top = std::env::temp_dir().join(format!("aril-walk-{}", std::process::id()));
        make_tree(&top);
        let root: OwnedFd = fs::File::open(&top).unwrap().into();
        let (mut found, mut all) = (0, vec![String::new()]);
        for _ in 0..4 {
            let longer = |path: &String| NAMES.map(|name| format!("{path}/{name}"));
            all = all.iter().flat_map(longer).collect();
            for path in &all {
                let [kernel, by_hand] = both(&root, path);
                assert!(
                    kernel == by_hand || kernel == Err(Errno::NOENT),
                    "{path} {kernel:?} {by_hand:?}"
                );
                found += usize::from(kernel.is_ok());
            }
        }
        assert!(found > 150, "{found}");
        // Nothing is ever found outside.
        let own = fs::metadata(&top).unwrap().ino();
        assert_eq!(both(&root, "/a/b/../../../../missing/../.."), [Err(Errno::NOENT), Ok(own)]);
        fs::remove_dir_all(&top).unwrap();
    }
}

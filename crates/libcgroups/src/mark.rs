//! Whose a cgroup is. Its path can be given to another container, so the directory itself is marked,
//! in the one hierarchy whose processes are read and killed.

use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The attributes that hold a mark, the first that the kernel lets be set (xattr(7)): for the trusted
/// one `CAP_SYS_ADMIN` in the initial user namespace is needed, so no delegated cgroup can have a
/// forged one.
const NAMES: [&str; 2] = ["trusted.aril.container", "user.aril.container"];

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 16;

/// Longest mark that is read, in bytes.
const LONGEST: usize = 4096;

/// What tells a container's cgroup from another's at the same path. The state keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Random, in hexadecimal: the first word of the attribute.
    token: String,
    /// The marked directory's inode number, when it is made: no cgroup gets that of another, since
    /// it is the kernel's 64-bit id of the cgroup (kernfs, Linux 5.5).
    inode: Option<u64>,
}

/// Whose mark a cgroup has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The token of its mark.
    token: String,
    /// Its container's id, as the mark says.
    pub id: String,
}

/// Who takes a cgroup.
#[derive(Clone, Copy, Debug)]
pub struct Taker<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Whose mark it may have, being the mark of a container that lives no more.
    pub from: Option<&'a Bearer>,
}

/// Whose a cgroup is, as far as a container can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The container's own: made or taken for it, and for no other since.
    Own,
    /// It has no mark, or is not there.
    Unknown,
    /// It has the mark of another container.
    Another,
}

impl Mark {
    /// A mark that no other container has.
    ///
    /// # Errors
    /// Those of getrandom(2).
    pub fn new() -> Result<Self, Error> {
        let mut bytes = [0; TOKEN_BYTES];
        let flags = rustix::rand::GetRandomFlags::empty();
        // As many bytes as these come at once or not at all (getrandom(2), "Notes").
        rustix::rand::getrandom(&mut bytes, flags)
            .map_err(Error::call("getrandom", Path::new("")))?;
        let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { token, inode: None })
    }

    /// Whether it is this one that `bearer` has.
    #[must_use]
    pub fn is_of(&self, bearer: &Bearer) -> bool {
        self.token == bearer.token
    }

    /// Marks `directory` as that of `taker`. Where the kernel refuses marks, a new directory is known
    /// by its inode number alone; one that was there, and so may be another's too, is refused.
    pub(crate) fn put(
        &mut self,
        taker: Taker<'_>,
        directory: &Path,
        new: bool,
    ) -> Result<(), Error> {
        let stat = rustix::fs::stat(directory).map_err(Error::call("stat", directory))?;
        self.inode = Some(stat.st_ino);
        // Of two that take it at once, one does.
        if !new && read(directory)?.as_ref() != taker.from {
            return Err(Error::Taken { path: directory.to_owned() });
        }
        let replaces = !new && taker.from.is_some();
        let flags = if replaces { XattrFlags::empty() } else { XattrFlags::CREATE };
        let value = format!("{} {}", self.token, taker.id);
        for name in NAMES {
            match rustix::fs::setxattr(directory, name, value.as_bytes(), flags) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => return Err(Error::Taken { path: directory.to_owned() }),
                Err(Errno::NOENT) => return Err(Error::call("setxattr", directory)(Errno::NOENT)),
                Err(_) => {}
            }
        }
        if new { Ok(()) } else { Err(Error::NoMark { path: directory.to_owned() }) }
    }

    /// Takes the mark away again, if it is this one.
    pub(crate) fn withdraw(&self, directory: &Path) {
        if let Ok(Some(bearer)) = read(directory)
            && self.is_of(&bearer)
        {
            for name in NAMES {
                let _ = rustix::fs::removexattr(directory, name);
            }
        }
    }

    /// Whose the cgroup `directory` is.
    pub(crate) fn owner(&self, directory: &Path) -> Result<Owner, Error> {
        let inode = match rustix::fs::stat(directory) {
            Ok(stat) => stat.st_ino,
            Err(Errno::NOENT) => return Ok(Owner::Unknown),
            Err(errno) => return Err(Error::call("stat", directory)(errno)),
        };
        Ok(self.judge(read(directory)?.as_ref(), inode))
    }

    /// A mark that is gone has been taken away by whoever may (root of the host, or of a container
    /// without a user namespace): the directory is the container's all the same.
    fn judge(&self, bearer: Option<&Bearer>, inode: u64) -> Owner {
        match bearer {
            Some(bearer) if self.is_of(bearer) => Owner::Own,
            Some(_) => Owner::Another,
            None if self.inode == Some(inode) => Owner::Own,
            None => Owner::Unknown,
        }
    }
}

/// The mark of `directory`; nothing when it has none, or is not there.
pub(crate) fn read(directory: &Path) -> Result<Option<Bearer>, Error> {
    let mut buffer = [0; LONGEST];
    for name in NAMES {
        match rustix::fs::getxattr(directory, name, &mut buffer[..]) {
            Ok(length) => return Ok(Some(Bearer::parse(buffer.get(..length).unwrap_or_default()))),
            // None of this name, or not readable by this user, or not known to this kernel.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
            Err(Errno::RANGE) => return Ok(Some(Bearer::parse(b""))),
            Err(errno) => return Err(Error::call("getxattr", directory)(errno)),
        }
    }
    Ok(None)
}

impl Bearer {
    fn parse(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let (token, id) = text.split_once(' ').unwrap_or((&text, ""));
        Self { token: token.to_owned(), id: id.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bearer, Mark, Owner, Taker};

    #[test]
    fn no_two_marks_are_the_same() {
        let marks = [Mark::new().unwrap(), Mark::new().unwrap()];
        assert_ne!(marks[0].token, marks[1].token);
        assert_eq!(marks[0].token.len(), 32);
    }

    #[test]
    fn whose_it_is() {
        let made = Mark { token: "ab".to_owned(), inode: Some(7) };
        let intent = Mark { inode: None, ..made.clone() };
        for (mark, value, inode, owner) in [
            (&made, Some("ab c1"), 7, Owner::Own),
            (&made, Some("ab"), 7, Owner::Own),
            (&made, Some("cd c1"), 7, Owner::Another),
            (&made, Some(""), 7, Owner::Another),
            (&made, None, 7, Owner::Own),
            (&made, None, 8, Owner::Unknown),
            (&intent, Some("ab c1"), 7, Owner::Own),
            (&intent, Some("cd c1"), 7, Owner::Another),
            (&intent, None, 7, Owner::Unknown),
        ] {
            let bearer = value.map(|value| Bearer::parse(value.as_bytes()));
            assert_eq!(mark.judge(bearer.as_ref(), inode), owner, "{mark:?} {value:?} {inode}");
        }
    }

    /// A file system without these attributes, or none of them: no mark, and no error.
    #[test]
    fn what_is_not_there_has_no_owner() {
        let mark = Mark::new().unwrap();
        let directory = std::path::Path::new("/proc/self/no/such");
        assert_eq!(mark.owner(directory).unwrap(), Owner::Unknown);
        assert_eq!(mark.owner("/proc/self".as_ref()).unwrap(), Owner::Unknown);
    }

    #[test]
    fn where_marks_are_refused_only_what_is_new_is_known() {
        let proc = std::path::Path::new("/proc/self");
        let mut mark = Mark::new().unwrap();
        let taker = Taker { id: "c1", from: None };
        assert!(mark.put(taker, proc, false).is_err());
        mark.put(taker, proc, true).unwrap();
        assert_eq!(mark.owner(proc).unwrap(), Owner::Own);
    }
}

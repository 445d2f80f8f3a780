//! Ids and clocks of new namespaces, written to files in /proc.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::{Error, IdMapping, TimeOffset};

/// Id mappings of a user namespace, and the words of an error for each.
#[derive(Debug)]
pub(crate) struct Mappings<'a> {
    /// Of users.
    pub uids: &'a [IdMapping],
    /// Of groups.
    pub gids: &'a [IdMapping],
    /// What is done when the users' are written.
    pub uid_step: &'static str,
    /// What is done when the groups' are written.
    pub gid_step: &'static str,
}

impl Mappings<'_> {
    /// Writes them to the new user namespace of process `pid`.
    ///
    /// # Errors
    /// Those of writing /proc/PID/uid_map and gid_map (user_namespaces(7)): `EPERM` without the right
    /// to the host ids, `EINVAL` for overlapping ranges or more than 340 of them.
    pub(crate) fn write(&self, pid: i32) -> Result<(), Error> {
        write_file(&format!("/proc/{pid}/gid_map"), &lines(self.gids), self.gid_step)?;
        write_file(&format!("/proc/{pid}/uid_map"), &lines(self.uids), self.uid_step)
    }
}

/// The offsets of a time namespace that is to be made, and the file that takes them.
#[derive(Debug)]
pub(crate) struct TimeOffsets(Option<(OwnedFd, String)>);

impl TimeOffsets {
    /// Opens the file of this process while its owner is still root of the host: it is not dumpable
    /// (proc_pid(5)).
    pub(crate) fn open(offsets: &[TimeOffset]) -> Result<Self, Error> {
        if offsets.is_empty() {
            return Ok(Self(None));
        }
        let mut text = String::new();
        for offset in offsets {
            let TimeOffset { clock, seconds, nanoseconds } = offset;
            let _ = writeln!(text, "{} {seconds} {nanoseconds}", clock.name());
        }
        let file = open_to_write("/proc/self/timens_offsets").map_err(Error::call(TIME_STEP))?;
        Ok(Self(Some((file, text))))
    }

    /// Writes them to the time namespace that this process has just made for its children.
    pub(crate) fn write(self) -> Result<(), Error> {
        let Some((file, text)) = self.0 else { return Ok(()) };
        rustix::io::write(&file, text.as_bytes()).map_err(Error::call(TIME_STEP))?;
        Ok(())
    }
}

const TIME_STEP: &str = "set clocks: write /proc/self/timens_offsets";

/// The text of a map file: one line a range. It must be written with one write(2).
fn lines(mappings: &[IdMapping]) -> String {
    let mut text = String::with_capacity(mappings.len() * 24);
    for IdMapping { container, host, size } in mappings {
        let _ = writeln!(text, "{container} {host} {size}");
    }
    text
}

fn write_file(path: &str, text: &str, step: &'static str) -> Result<(), Error> {
    let file = open_to_write(path).map_err(Error::call(step))?;
    rustix::io::write(&file, text.as_bytes()).map_err(Error::call(step))?;
    Ok(())
}

fn open_to_write(path: &str) -> Result<OwnedFd, Errno> {
    open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::{IdMapping, lines};

    #[test]
    fn one_line_a_range() {
        let mapping = |container, host, size| IdMapping { container, host, size };
        let text = lines(&[mapping(0, 1000, 1), mapping(1, 100_000, 65_535)]);
        assert_eq!(text, "0 1000 1\n1 100000 65535\n");
    }
}

//! Ids and clocks of new namespaces, written to files in /proc.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::own_files::open_own_file;
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

/// What has ids.
#[derive(Clone, Copy, Debug)]
enum Ids {
    Users,
    Groups,
}

impl Mappings<'_> {
    /// Writes them to the new user namespace of process `pid`. Whoever has not the right to the host ids has them written by
    /// newuidmap(1) and newgidmap(1), which look into /etc/subuid and /etc/subgid, unless he maps himself alone.
    ///
    /// # Errors
    /// Those of writing /proc/PID/uid_map and gid_map (user_namespaces(7)): `EINVAL` for overlapping ranges or more than 340
    /// of them. [`Error::Mapper`] where one of the programs is missing or refuses.
    pub(crate) fn write(&self, pid: i32) -> Result<(), Error> {
        Ids::Groups.map(pid, self.gids, self.gid_step)?;
        Ids::Users.map(pid, self.uids, self.uid_step)
    }
}

impl Ids {
    fn map(self, pid: i32, mappings: &[IdMapping], step: &'static str) -> Result<(), Error> {
        let file = match self {
            Self::Users => "uid_map",
            Self::Groups => "gid_map",
        };
        let path = format!("/proc/{pid}/{file}");
        match write_file(&path, &lines(mappings), step) {
            Err(Error::Call { errno: Errno::PERM, .. }) if self.takes_promise(mappings) => {
                write_file(&format!("/proc/{pid}/setgroups"), "deny", SETGROUPS_STEP)?;
                write_file(&path, &lines(mappings), step)
            }
            Err(Error::Call { errno: Errno::PERM, .. }) => self.map_by_program(pid, mappings, step),
            written => written,
        }
    }

    /// Whether that is the one id that every process may map, its own: of groups only with the promise that nobody in the
    /// namespace leaves one.
    fn takes_promise(self, mappings: &[IdMapping]) -> bool {
        let own = rustix::process::getegid().as_raw();
        matches!((self, mappings), (Self::Groups, [one]) if one.host == own && one.size == 1)
    }

    fn map_by_program(
        self,
        pid: i32,
        mappings: &[IdMapping],
        step: &'static str,
    ) -> Result<(), Error> {
        let (program, allowed) = match self {
            Self::Users => ("newuidmap", "/etc/subuid"),
            Self::Groups => ("newgidmap", "/etc/subgid"),
        };
        let numbers = mappings.iter().flat_map(|one| [one.container, one.host, one.size]);
        let mut command = Command::new(program);
        command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
        let failed = |message: String, fix: String| {
            let about = step.split_once(": ").map_or(step, |(about, _)| about);
            Err(Error::Mapper { about, program, message, fix })
        };
        match command.stdin(Stdio::null()).stdout(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
                let said = said.strip_prefix(&format!("{program}: ")).unwrap_or(&said);
                let said = if said.is_empty() { &output.status.to_string() } else { said };
                let fix =
                    format!("map what {allowed} allows you, or add a line for your name there");
                failed(said.to_owned(), fix)
            }
            Err(error) => {
                let fix = "install it (package uidmap), or map your own id alone".to_owned();
                failed(error.to_string(), fix)
            }
        }
    }
}

/// The offsets of a time namespace that is to be made, and the file that takes them.
#[derive(Debug)]
pub(crate) struct TimeOffsets(Option<(OwnedFd, String)>);

impl TimeOffsets {
    /// Opens the file of this process while its owner is still a user of the host.
    pub(crate) fn open(offsets: &[TimeOffset]) -> Result<Self, Error> {
        if offsets.is_empty() {
            return Ok(Self(None));
        }
        let mut text = String::new();
        for offset in offsets {
            let TimeOffset { clock, seconds, nanoseconds } = offset;
            let _ = writeln!(text, "{} {seconds} {nanoseconds}", clock.name());
        }
        let file = open_own_file(c"/proc/self/timens_offsets");
        let file = file.map_err(Error::call(TIME_STEP))?;
        Ok(Self(Some((file, text))))
    }

    /// Writes them to the time namespace that this process has just made for its children.
    pub(crate) fn write(self) -> Result<(), Error> {
        let Some((file, text)) = self.0 else { return Ok(()) };
        rustix::io::write(&file, text.as_bytes()).map_err(Error::call(TIME_STEP))?;
        Ok(())
    }
}

const SETGROUPS_STEP: &str = "deny changes of groups: write /proc/PID/setgroups";

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

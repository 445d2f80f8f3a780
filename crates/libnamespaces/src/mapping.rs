//! Ids and clocks of new namespaces, written to files in /proc.

use std::fmt::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};

use libsyscall::clone::{Cloned, Flags, clone3, exit_now};
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::{Error, IdMapping, TimeOffset};

/// Writes the id mappings, of users and of groups, of the new user namespace of process `pid`.
///
/// # Errors
/// Those of writing /proc/PID/uid_map and gid_map (user_namespaces(7)): `EPERM` without the right
/// to the host ids, `EINVAL` for overlapping ranges or more than 340 of them.
pub fn write_id_mappings(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<(), Error> {
    let gid_step = "map group ids: write /proc/PID/gid_map";
    write_file(&format!("/proc/{pid}/gid_map"), &lines(gids), gid_step)?;
    let uid_step = "map user ids: write /proc/PID/uid_map";
    write_file(&format!("/proc/{pid}/uid_map"), &lines(uids), uid_step)
}

/// Makes a user namespace with these mappings that nobody is in: for an idmapped mount.
///
/// # Errors
/// Those of clone3(2) and of [`write_id_mappings`]. Nothing is left behind then.
pub fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Error> {
    let step = "make a user namespace for an idmapped mount";
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(Error::call(step))?;
    match clone3(Flags::NEWUSER, None).map_err(Error::call(step))? {
        Cloned::Child(_) => {
            drop(writer);
            // Until the other side has what it wants, or is dead.
            let _ = rustix::io::read(&reader, &mut [0; 1]);
            exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            let file = write_id_mappings(pid, uids, gids).and_then(|()| {
                let path = format!("/proc/{pid}/ns/user");
                open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(Error::call(step))
            });
            drop(writer);
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
                .map_err(Error::call(step))?;
            file
        }
    }
}

/// Writes the offsets of the time namespace that the caller has just made for its children.
pub(crate) fn write_time_offsets(offsets: &[TimeOffset]) -> Result<(), Error> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for offset in offsets {
        let TimeOffset { clock, seconds, nanoseconds } = offset;
        let _ = writeln!(text, "{} {seconds} {nanoseconds}", clock.name());
    }
    write_file("/proc/self/timens_offsets", &text, "set clocks: write /proc/self/timens_offsets")
}

/// The text of a map file: one line a range. It must be written with one write(2).
fn lines(mappings: &[IdMapping]) -> String {
    let mut text = String::with_capacity(mappings.len() * 24);
    for IdMapping { container, host, size } in mappings {
        let _ = writeln!(text, "{container} {host} {size}");
    }
    text
}

fn write_file(path: &str, text: &str, step: &'static str) -> Result<(), Error> {
    let file =
        open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(Error::call(step))?;
    rustix::io::write(&file, text.as_bytes()).map_err(Error::call(step))?;
    Ok(())
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

//! Finding and executing the program.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;

use anyhow::{Context as _, bail};
use libsyscall::clone::exit_now;
use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags, accessat, stat};
use rustix::io::Errno;

use super::root::{Root, unresolved};
use crate::error::Property;
use crate::plan::Process;
use crate::protocol::Failure;
use crate::wording::{escaped, plain};

/// The most of /etc/passwd that is read for a home directory, in bytes.
const LARGEST_PASSWD: usize = 1 << 20;

/// The exit code of a container whose program the kernel does not execute: runc's and crun's.
const REFUSED: i32 = 255;

/// What is to be executed.
pub(super) struct Program {
    /// The path of its file.
    pub path: CString,
    /// Its environment.
    pub env: Vec<CString>,
}

/// Enters the working directory. It is resolved below the root and without magic links, so that no
/// descriptor of init's own can be meant (CVE-2024-21626).
pub(crate) fn enter_directory(process: &Process, root: &Root) -> anyhow::Result<()> {
    let entered = root.find(&process.cwd).and_then(rustix::process::fchdir);
    entered.map_err(unresolved).with_context(|| {
        Property::new("/process/cwd", format!("process.cwd {}: chdir", process.cwd))
    })
}

/// The program's path, found as execvp(3) would, with the rights of the program's user. The words
/// are runc's: engines turn them into exit codes 126 and 127.
pub(crate) fn find(process: &Process) -> anyhow::Result<CString> {
    let Some(name) = process.args.first() else { bail!("process.args is empty") };
    let shown = name.to_string_lossy();
    if name.to_bytes().contains(&b'/') {
        return match executable(name) {
            Ok(()) => Ok(name.clone()),
            Err(errno @ (Errno::NOENT | Errno::NOTDIR)) => {
                Err(errno).with_context(|| format!("exec: {shown:?}: stat {shown}"))
            }
            // The second half is for Docker before 23, which knows no other words for exit code 126.
            Err(Errno::ISDIR) => bail!("exec: {shown:?}: is a directory: permission denied"),
            Err(errno) => Err(errno).with_context(|| format!("exec: {shown:?}")),
        };
    }
    let path = variable(&process.env, b"PATH").unwrap_or_default();
    let candidates = path.split(|byte| *byte == b':').map(|directory| candidate(directory, name));
    for candidate in candidates.flatten() {
        if executable(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    bail!("exec: {shown:?}: executable file not found in $PATH")
}

fn candidate(directory: &[u8], name: &CStr) -> Option<CString> {
    let directory = if directory.is_empty() { b"." } else { directory };
    CString::new([directory, b"/", name.to_bytes()].concat()).ok()
}

/// The question is that of execve(2): with the effective user and capabilities.
fn executable(path: &CStr) -> Result<(), Errno> {
    if FileType::from_raw_mode(stat(path)?.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// The last value of an environment variable, as the program would see it.
fn variable<'a>(env: &'a [CString], name: &[u8]) -> Option<&'a [u8]> {
    env.iter().find_map(|entry| entry.to_bytes().strip_prefix(name)?.strip_prefix(b"="))
}

/// `env` with the HOME of the user where the config has none.
pub(crate) fn environment(process: &Process, root: &Root) -> Vec<CString> {
    let mut env = process.env.clone();
    if process.needs_home {
        let home = home_of(process.uid, root).unwrap_or_else(|| b"/".to_vec());
        let home = CString::new([b"HOME=", home.as_slice()].concat());
        match env.iter_mut().find(|entry| entry.to_bytes() == b"HOME=") {
            Some(entry) => home.into_iter().for_each(|home| *entry = home),
            None => env.extend(home),
        }
    }
    env
}

/// The home directory of `uid` in the container's /etc/passwd (passwd(5)).
fn home_of(uid: u32, root: &Root) -> Option<Vec<u8>> {
    // A fifo or device must not hold init up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = root.open(c"/etc/passwd", flags).ok()?;
    let status = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    let limit = std::io::Read::take(std::fs::File::from(file), LARGEST_PASSWD as u64);
    std::io::copy(&mut { limit }, &mut text).ok()?;
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let number: u32 = std::str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
        (number == uid).then(|| fields.get(5).map(|home| home.to_vec()))?
    })
}

/// Becomes the program.
pub(crate) fn execute(
    path: &CStr,
    args: &[CString],
    env: &[CString],
) -> anyhow::Result<Infallible> {
    match nix::unistd::execve(path, args, env) {
        Ok(never) => Ok(never),
        Err(errno) => {
            let shown = OsStr::from_bytes(path.to_bytes()).display();
            let errno = Errno::from_raw_os_error(errno as i32);
            Err(errno).with_context(|| format!("exec: \"{shown}\"{}", hint(errno)))
        }
    }
}

/// Ends a container that `start` has started, and whose program the kernel does not execute. That is the program's
/// failure: it is told where the program's words go, so that engines show it with them, and ends as one.
pub(crate) fn refuse(failure: &Failure) -> ! {
    let words = format!("aril: {}\n", escaped(&plain(&failure.text)));
    // Whoever has closed it does not want to know.
    let _ = rustix::io::write(rustix::stdio::stderr(), words.as_bytes());
    exit_now(REFUSED)
}

/// What an errno of execve(2) usually means.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOEXEC => " (wrong architecture, or a script without #! line)",
        Errno::NOENT => " (its interpreter, in the #! line or the ELF header, is missing)",
        Errno::TOOBIG => " (arguments and environment are too long)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::{candidate, variable};

    #[test]
    fn the_first_of_two_variables_counts_as_in_getenv() {
        let env = [c"PATHX=0".to_owned(), c"PATH=/a".to_owned(), c"PATH=/b".to_owned()];
        assert_eq!(variable(&env, b"PATH"), Some(&b"/a"[..]));
        assert_eq!(variable(&env, b"HOME"), None);
    }

    #[test]
    fn an_empty_directory_of_the_path_is_the_working_directory() {
        assert_eq!(candidate(b"", c"sh").unwrap().as_c_str(), c"./sh");
        assert_eq!(candidate(b"/bin", c"sh").unwrap().as_c_str(), c"/bin/sh");
    }
}

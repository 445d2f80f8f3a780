//! What others read of a process in /proc/PID/cmdline and /proc/PID/environ: the pages in which
//! execve(2) has put the arguments and the environment.

use std::ptr;

use crate::clone::ClonedChild;
use crate::{Errno, Result};

unsafe extern "C" {
    /// The first argument, where the kernel has put it (program_invocation_name(3)).
    static program_invocation_name: *mut u8;
}

/// `AT_EXECFN` (linux/auxvec.h), which the libc crate leaves out: the address of the file's name.
const FILE_NAME: libc::c_ulong = 31;

/// Where the arguments and the environment of this program are.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine {
    first: *mut u8,
    /// Bytes, at least one.
    length: usize,
}

impl CommandLine {
    /// Finds them: first the arguments, then the environment, which ends where the name of the file
    /// begins (fs/exec.c, `do_execveat_common`).
    ///
    /// # Errors
    /// `ENODATA` if the kernel has not said where that is (getauxval(3)).
    pub fn find() -> Result<Self> {
        // SAFETY: the C library sets it before main, and nothing changes it.
        let first = unsafe { program_invocation_name };
        // SAFETY: the call takes no pointer.
        let end = unsafe { libc::getauxval(FILE_NAME) } as usize;
        let length = end.checked_sub(first.addr()).filter(|length| *length > 0);
        match length {
            Some(length) if !first.is_null() => Ok(Self { first, length }),
            _ => Err(Errno::NODATA),
        }
    }
}

impl ClonedChild {
    /// Says `name` in the place of the caller's arguments, and nothing in that of its environment.
    ///
    /// `std::env` knows no more than that afterwards. So only a cloned child has this call: what it
    /// overwrites is its copy.
    pub fn forget_command_line(&self, place: CommandLine, name: &[u8]) {
        let CommandLine { first, length } = place;
        // SAFETY: so many bytes are on this process's own stack, above all frames, and writable. It
        // has one thread (`clone3`), and `std::env` copies what it reads: nobody borrows them. The
        // last byte is zero as before, so whatever points into them still points to a C string.
        unsafe { ptr::write_bytes(first, 0, length) };
        // SAFETY: the same; before the last byte there is room for so much of `name`.
        unsafe { ptr::copy_nonoverlapping(name.as_ptr(), first, name.len().min(length - 1)) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::CommandLine;

    #[test]
    fn arguments_and_environment_are_found() {
        let arguments = std::env::args_os().map(|argument| argument.into_encoded_bytes());
        let arguments = arguments.map(|argument| [argument.as_slice(), b"\0"].concat());
        let variables = std::env::vars_os()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
        let arguments = arguments.collect::<Vec<_>>().concat();
        let variables: Vec<_> = variables.collect();
        let CommandLine { first, length } = CommandLine::find().unwrap();
        assert_eq!(length, arguments.len() + variables.concat().len());
        // SAFETY: the place is that long, and nobody writes to it.
        let place = unsafe { std::slice::from_raw_parts(first, length) };
        assert!(place.starts_with(&arguments));
        for variable in variables {
            assert!(place.windows(variable.len()).any(|bytes| bytes == variable));
        }
    }
}

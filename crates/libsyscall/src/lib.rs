//! The system calls that nix and rustix lack: the only crate of aril where `unsafe` compiles.
//!
//! Every wrapper is one call with the kernel's own arguments turned into types; none of them
//! decides anything. Each `unsafe` block holds one call and says why it is sound. Errors are
//! [`Errno`]s: the caller knows what it was doing and says so.
#![allow(unsafe_code)]

pub mod bpf;
pub mod clone;
pub mod command_line;
pub mod descriptors;
#[cfg(target_arch = "x86_64")]
pub mod entry;
pub mod ioprio;
pub mod keyring;
pub mod memory_policy;
pub mod mount;
pub mod namespace;
pub mod packet;
pub mod pidfd;
pub mod scheduler;
pub mod seccomp;
pub mod signal;
pub mod unotify;

pub use rustix::io::Errno;

/// What every wrapper returns.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the `-1` of a C call into the thread's errno.
fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result == -1 {
        let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        return Err(Errno::from_raw_os_error(code));
    }
    Ok(result)
}

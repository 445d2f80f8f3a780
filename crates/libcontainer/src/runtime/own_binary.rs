//! Keeps the runtime's binary on the host out of the containers' reach (CVE-2019-5736).
//!
//! Init and exec processes are, until they execute their program, processes of this binary. A
//! container can open it through `/proc/PID/exe`, or execute it with `#!/proc/self/exe`, and write
//! to it once it no longer runs. So whatever is to become a container process executes from a
//! place that nobody can write to: a detached read-only mount of the binary or, where mounting is
//! not allowed, a sealed copy in memory.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use anyhow::{Context as _, bail};
use libsyscall::mount::{MountAttributes, attribute, set_attributes};
use nix::fcntl::AtFlags;
use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

/// The binary that this process executes (proc(5)).
const OWN: &std::ffi::CStr = c"/proc/self/exe";
/// What keeps a file in memory as it is.
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// Returns in a process that executes from a read-only place; the first time it executes itself
/// from there, with the arguments and the environment that it has.
///
/// # Errors
/// `/proc` is missing, or neither a mount nor a sealed copy can be made.
pub fn protect() -> anyhow::Result<()> {
    if is_protected().context("look at the runtime's own binary")? {
        // Executed by descriptor, a process is called by that number.
        return prctl::set_name("aril")
            .map_err(Errno::from_raw_os_error)
            .context("set the name of the process: prctl");
    }
    let binary = match read_only_mount() {
        Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => {
            sealed_copy().context("copy the runtime's own binary to memory")?
        }
        result => result.context("mount the runtime's own binary read-only")?,
    };
    let texts = |texts: &mut dyn Iterator<Item = OsString>| {
        texts.map(|text| CString::new(text.into_vec())).collect::<Result<Vec<_>, _>>()
    };
    let arguments = texts(&mut std::env::args_os())?;
    let environment = texts(&mut std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }))?;
    let flags = AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(&binary, c"", &arguments, &environment, flags) {
        Ok(never) => match never {},
        Err(errno) => bail!("execute the runtime's own binary: execveat: {}", errno.desc()),
    }
}

/// Whether the binary's mount or filesystem is read-only, or the binary a sealed file.
fn is_protected() -> Result<bool, Errno> {
    if rustix::fs::statvfs(OWN)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let own = rustix::fs::open(OWN, flags, rustix::fs::Mode::empty())?;
    Ok(fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SEALS)))
}

/// A mount that belongs to no namespace and that only this process and its children can name.
fn read_only_mount() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, OWN, flags)?;
    let readonly = MountAttributes { set: attribute::RDONLY, ..MountAttributes::default() };
    set_attributes(tree.as_fd(), &readonly, false)?;
    Ok(tree)
}

fn sealed_copy() -> anyhow::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy: std::fs::File =
        rustix::fs::memfd_create(c"aril", flags).context("memfd_create")?.into();
    let mut own = std::fs::File::open("/proc/self/exe").context("open")?;
    std::io::copy(&mut own, &mut copy).context("copy")?;
    fcntl_add_seals(&copy, SEALS).context("seal: fcntl")?;
    Ok(copy.into())
}

//! bpf(2): programs that decide on devices in a cgroup v2.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{Errno, Result, check};

/// `BPF_PROG_LOAD` (linux/bpf.h).
const PROGRAM_LOAD: i32 = 5;
/// `BPF_PROG_ATTACH`.
const PROGRAM_ATTACH: i32 = 8;
/// `BPF_PROG_GET_FD_BY_ID`.
const PROGRAM_BY_ID: i32 = 13;
/// `BPF_PROG_QUERY`.
const PROGRAM_QUERY: i32 = 16;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`, an attach type.
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: programs of the cgroups below run too, and all must allow.
const ALLOW_MULTI: u32 = 1 << 1;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    /// The kernel reads as many bytes as are passed, and no field ends in the padding.
    unused: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ById {
    program: u32,
    next: u32,
    flags: u32,
}

/// How often a program is given to the verifier, which gives up with `EAGAIN` where a signal has come meanwhile
/// (`do_check` in kernel/bpf/verifier.c).
const ATTEMPTS: usize = 100;

/// Loads a device program, each instruction as the 8 bytes of a `struct bpf_insn`.
///
/// # Errors
/// Those of bpf(2): `EINVAL` or `EACCES` when the verifier refuses it, `EPERM` without `CAP_BPF`, `EAGAIN` where
/// signals come without end.
pub fn load_device_program(instructions: &[u64]) -> Result<OwnedFd> {
    let attributes = Load {
        program_type: TYPE_CGROUP_DEVICE,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        // The program calls no helper that asks for a licence.
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    let load = || {
        // SAFETY: the attributes are the head of a bpf_attr of the size given; the instructions and
        // the licence they point to live across the call and are only read.
        check(unsafe {
            libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, &raw const attributes, size_of::<Load>())
        })
    };
    let mut results = std::iter::repeat_with(load).take(ATTEMPTS);
    let fd = results.find(|result| *result != Err(Errno::AGAIN)).unwrap_or(Err(Errno::AGAIN))?;
    // SAFETY: the call has returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a device program to the cgroup v2 directory `cgroup`, where it stays as long as the
/// cgroup.
///
/// # Errors
/// Those of bpf(2).
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let attributes = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the attributes are the head of a bpf_attr of the size given and only read.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_ATTACH, &raw const attributes, size_of::<Attach>())
    })?;
    Ok(())
}

/// The numbers of the device programs that are attached to the cgroup v2 directory `cgroup` itself, 64 at most.
///
/// # Errors
/// Those of bpf(2): `ENOSPC` if there are more, `EPERM` without `CAP_NET_ADMIN` or `CAP_SYS_ADMIN`.
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>> {
    let mut programs = [0_u32; 64];
    let mut attributes = Query {
        target: cgroup.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        programs: programs.as_mut_ptr() as u64,
        count: programs.len() as u32,
        unused: 0,
    };
    // SAFETY: the attributes are the head of a bpf_attr of the size given, into which the kernel writes the
    // count; the array that they point to has the room that they say, and lives across the call.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_QUERY, &raw mut attributes, size_of::<Query>())
    })?;
    let count = attributes.count as usize;
    Ok(programs.get(..count).unwrap_or(&programs).to_vec())
}

/// The program with this number, whoever has loaded it.
///
/// # Errors
/// Those of bpf(2): `ENOENT` if there is none, or not any more.
pub fn program_by_id(program: u32) -> Result<OwnedFd> {
    let attributes = ById { program, next: 0, flags: 0 };
    // SAFETY: the attributes are the head of a bpf_attr of the size given and only read.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_BY_ID, &raw const attributes, size_of::<ById>())
    })?;
    // SAFETY: the call has returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

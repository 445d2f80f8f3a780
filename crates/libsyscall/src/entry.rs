//! The program's entry point: from a read-only mount of itself, before anything else.
//!
//! Executing again costs little more than the kernel's part of execve(2) as long as the C library
//! has not started; afterwards it costs that start twice, which is several times as much. So this
//! is what the kernel enters (`--entry` in the build script of the program), and it goes on to the
//! C library's `_start`. Nothing of the C library works yet here, not even `memcpy`: there are
//! system calls and nothing else. What fails is left for the program, which looks at where it
//! executes from before it relies on that (`libcontainer::protect_own_binary`).

use std::arch::{asm, global_asm};
use std::mem::MaybeUninit;

use crate::mount::{KernelAttributes, attribute};

// What the kernel enters, with the argument count at the top of the stack, which is aligned to 16
// bytes, and in `rdx` what `_start` passes on to atexit(3) (System V ABI, AMD64 supplement, 3.4.1).

global_asm!(
    ".globl aril_entry",
    "aril_entry:",
    "push rdx",
    "push rdx",
    "lea rdi, [rsp + 16]",
    "call {execute}",
    "pop rdx",
    "pop rdx",
    "jmp _start",
    execute = sym execute_read_only,
);

/// The size of struct statfs (asm-generic/statfs.h) in words.
const STATFS_WORDS: usize = 15;
/// Its member `f_flags`, which the libc crate leaves out.
const STATFS_FLAGS: usize = 10;

/// Executes the program again from a read-only mount, unless it is on one. Returns if it is, or if
/// that fails.
extern "C" fn execute_read_only(stack: *const usize) {
    let own = c"/proc/self/exe".as_ptr() as usize;
    let mut filesystem = MaybeUninit::<[u64; STATFS_WORDS]>::uninit();
    // SAFETY: `own` is a C string, `filesystem` has room for a struct statfs.
    let asked = unsafe { call(libc::SYS_statfs, [own, filesystem.as_mut_ptr() as usize, 0, 0, 0]) };
    if asked != 0 {
        return;
    }
    // SAFETY: the kernel has filled it in.
    let filesystem = unsafe { filesystem.assume_init_ref() };
    if filesystem[STATFS_FLAGS] & libc::ST_RDONLY != 0 {
        return;
    }
    let here = libc::AT_FDCWD as isize as usize;
    let flags = libc::OPEN_TREE_CLONE as usize | libc::OPEN_TREE_CLOEXEC as usize;
    // SAFETY: `own` is a C string.
    let tree = unsafe { call(libc::SYS_open_tree, [here, own, flags, 0, 0]) };
    if tree < 0 {
        return;
    }
    let readonly =
        KernelAttributes { set: attribute::RDONLY, clear: 0, propagation: 0, user_namespace: 0 };
    let (tree, empty, flags) = (tree as usize, c"".as_ptr() as usize, libc::AT_EMPTY_PATH as usize);
    let (attributes, size) = (&raw const readonly as usize, size_of::<KernelAttributes>());
    // SAFETY: `empty` is a C string, `attributes` a struct mount_attr of `size` bytes.
    let set = unsafe { call(libc::SYS_mount_setattr, [tree, empty, flags, attributes, size]) };
    if set != 0 {
        return;
    }
    // SAFETY: the kernel put the argument count there.
    let count = unsafe { stack.read() };
    let arguments = stack.wrapping_add(1);
    // A null pointer ends the arguments; then come those to the environment.
    let environment = arguments.wrapping_add(count + 1);
    // SAFETY: both are the arrays of C strings that the kernel made.
    unsafe {
        call(libc::SYS_execveat, [tree, empty, arguments as usize, environment as usize, flags])
    };
}

/// A system call: its result, or an error number negated.
///
/// # Safety
/// That of the system call.
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let [first, second, third, fourth, fifth] = arguments;
    let result: isize;
    // SAFETY: the convention of the `syscall` instruction (syscall(2)); the caller answers for the
    // call itself.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

//! OCI seccomp profiles compiled to classic BPF, with no C library and no system call.
//!
//! [`compile`] is a pure function from `linux.seccomp` of config.json to the program and the
//! flags for seccomp(2). The way there, one module each:
//!
//! 1. `profile` checks the profile, every violation with its JSON pointer, and makes the rules
//!    plain: actions become the kernel's return values, operators become comparisons.
//! 2. `section` finds what one architecture does with each of its system call numbers:
//!    `architecture` and `names` know the numbers, `precedence` which of several rules counts.
//! 3. `argument` and `search` express this as a decision graph (`graph`) of tests on 32-bit
//!    words, in which equal parts exist once.
//! 4. `assembler` lays the graph out as instructions.
//!
//! The verdicts are those of runc with libseccomp, down to its peculiarities where a profile can
//! depend on them; `tests/verdicts` compares the two. See [`compile`] for what that means.

mod architecture;
mod argument;
mod assembler;
mod filter;
mod graph;
mod names;
mod numbers;
mod precedence;
mod profile;
mod search;
mod section;
mod unknown;

use libviolation::Violation;
use oci_spec::runtime::LinuxSeccomp;

pub use architecture::Architecture;
pub use filter::{Filter, Instruction, NotAProgram, flag};
pub use profile::{ACTIONS, FLAGS, OPERATORS};
pub use unknown::{UnknownName, unknown_names};

/// `BPF_MAXINSNS` of linux/bpf_common.h: the longest program that seccomp(2) accepts.
pub const MAXIMUM_INSTRUCTIONS: usize = 4096;

/// Compiles `profile`, the value of `linux.seccomp`, for a kernel of the architecture `native`.
///
/// What the runtime-spec leaves open is as runc and libseccomp have it:
///
/// - The filter covers the profile's architectures and `native`, listed or not. A call of another
///   architecture (or of x32, where only x86_64 is listed) kills the thread.
/// - A name that an architecture does not have is skipped there: profiles are written for many
///   kernels and machines. [`unknown_names`] tells of those that were to be denied.
/// - A rule with the default action is skipped. Of the rules of one system call, the first without
///   arguments beats all others. Of several with arguments that hold at once, the one with the most
///   restrictive action counts, as among several filters (seccomp(2)); of equals, the first. Here
///   libseccomp prefers by the arguments' numbers, and loses some rules; aril loses none.
/// - Where a rule tests one argument more than once, one of its tests is enough (runc's "old
///   behaviour"); otherwise all must hold.
/// - On 32-bit architectures and x32 only the low half of an argument is compared.
/// - socketcall(2) and ipc(2), where an architecture has them, follow the rules of the calls that
///   they multiplex; of the first argument only which call it is can be told.
/// - Unless the default action lets calls pass (to the kernel, or to a tracer), numbers above the
///   newest system call that the profile names get `ENOSYS`: a program that probes for a newer call
///   falls back on an older one, which it would not do for `EPERM`. On x86_64 alone, -1 is no such
///   number: a tracer sets it to skip a call, and it gets the default action.
/// - A profile without `flags` gets `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
///
/// # Errors
/// Every violation of the spec, and every rule that cannot be expressed: never a filter that
/// drops a part of the profile.
pub fn compile(profile: &LinuxSeccomp, native: Architecture) -> Result<Filter, Vec<Violation>> {
    let profile = profile::check(profile, native)?;
    let mut graph = graph::Graph::default();
    let root = section::program(&mut graph, &profile);
    let instructions = assembler::assemble(&graph, root).map_err(|error| vec![error.into()])?;
    Ok(Filter::new(&instructions, profile.flags))
}

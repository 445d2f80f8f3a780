//! The limits of whoever calls (getrlimit(2)): two of them would end the runtime in the middle of its
//! work.

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Signal, getrlimit};

/// The least stack, in bytes: several times what the deepest config takes.
const LEAST_STACK: u64 = 1 << 20;

/// Makes a file that becomes too large an error instead of a signal, and checks that the stack is
/// large enough.
///
/// # Errors
/// It is not.
pub fn accept() -> anyhow::Result<()> {
    libsyscall::signal::ignore(Signal::XFSZ.as_raw()).context("ignore SIGXFSZ: sigaction")?;
    let stack = getrlimit(Resource::Stack).current;
    ensure!(
        stack.is_none_or(|stack| stack >= LEAST_STACK),
        "the caller's limit of the stack is {} bytes, which is too small to work with: set it to \
         {LEAST_STACK} or more (ulimit -s {}); process.rlimits has the container's own",
        stack.unwrap_or_default(),
        LEAST_STACK / 1024
    );
    Ok(())
}

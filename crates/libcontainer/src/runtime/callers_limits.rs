//! What is inherited from whoever calls (execve(2)) and would end the runtime in the middle of its work, or mislead it.

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Signal, getrlimit};

/// The least stack, in bytes: several times what the deepest config takes.
const LEAST_STACK: u64 = 1 << 20;

/// Makes a file that becomes too large an error instead of a signal, makes children wait to be asked how they ended, and
/// checks that the stack is large enough.
///
/// # Errors
/// It is not.
pub fn accept() -> anyhow::Result<()> {
    libsyscall::signal::ignore(Signal::XFSZ.as_raw()).context("ignore SIGXFSZ: sigaction")?;
    // Ignored, children are not waited for (waitpid(2), "Notes"): their exit codes would be lost.
    libsyscall::signal::heed(Signal::CHILD.as_raw()).context("heed SIGCHLD: sigaction")?;
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

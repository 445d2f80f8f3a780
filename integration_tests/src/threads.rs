//! A program whose first thread ends while another goes on: `integration_tests --threads FILE`.
//!
//! Like the hostile program it is this same binary, copied into a root filesystem. The first thread makes FILE and
//! then calls getpriority(2), for which its container has a filter that ends the thread that calls it.

use std::time::Duration;

use anyhow::Context as _;

/// The flag that makes of this binary the program.
pub(crate) const FLAG: &str = "--threads";

/// Loses its first thread.
///
/// # Errors
/// FILE cannot be written, or the thread lives on.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let file = arguments.first().context("--threads FILE")?;
    std::thread::spawn(|| std::thread::sleep(Duration::from_secs(100)));
    std::fs::write(file, "made")?;
    let _ = rustix::process::getpriority_process(None);
    anyhow::bail!("the thread lives on")
}

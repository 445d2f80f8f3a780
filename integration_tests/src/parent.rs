//! A caller whose children the containers become, as they become an engine's: `integration_tests --parent SCRIPT`.
//!
//! It runs the shell's SCRIPT, then waits for the container that this has left, and prints how that ended.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

use crate::command::Output;
use crate::container::Container;
use crate::leftovers::MARK;

/// The flag that makes of this binary the caller.
pub(crate) const FLAG: &str = "--parent";

/// Does it.
///
/// # Errors
/// The script fails, or leaves no container.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    let script = arguments.first().context("--parent SCRIPT")?;
    ensure!(Command::new("sh").args(["-c", script]).status()?.success(), "the script fails");
    let (_, status) = wait(WaitOptions::empty())?.context("nothing is left")?;
    println!("{:?} {:?}", status.exit_status(), status.terminating_signal());
    Ok(())
}

/// Has it run `script`, which leaves `container`.
pub(crate) fn output(container: &Container, script: &str) -> anyhow::Result<Output> {
    let mut parent = Command::new(std::env::current_exe()?);
    parent.env(MARK, &container.id).args([FLAG, script]);
    container.finish_command(parent, Stdio::null())
}

/// A command as its script has it.
pub(crate) fn words(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|word| format!("'{}' ", word.to_string_lossy())).collect()
}

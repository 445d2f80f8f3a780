//! `run`: create, start, and in the foreground wait and delete.

use anyhow::Context as _;

use crate::Result;
use crate::request::{self, Context};
use crate::runtime::end::{poststart, remove_reaped};
use crate::runtime::{Console, Waits, bring_up, prepare};
use crate::wait::Signals;

/// Makes a container and runs its program. In the foreground the program's exit code, or 128 and
/// the signal that ended it; detached, zero as soon as it runs.
///
/// # Errors
/// Those of `create` and `start`. Nothing is left behind.
pub fn run(context: &Context, request: &request::Run) -> Result<u8> {
    let detach = request.create.console.detach;
    let prepared = prepare::container(context, &request.create)?;
    if !detach && !request.no_subreaper {
        prctl::set_child_subreaper(true)
            .map_err(rustix::io::Errno::from_raw_os_error)
            .context("become a child subreaper: prctl")?;
    }
    let mut console = Console::open(&request.create.console)?;
    // From here on a signal undoes what has been made, and when the program runs, it is the program's.
    let signals = Signals::block()?;
    let waiting = bring_up(context, &request.create, &prepared, Waits::OnChannel, &signals)?;
    let container = waiting.finish(context.warn, |ready| {
        ready.show(&mut console, prepared.plan.terminal())?;
        ready.start()
    })?;
    poststart(context, container.directory, &container.state, Some(&signals))?;
    let code = console.wait(&container.child, &signals)?;
    if !detach && !request.keep {
        remove_reaped(context, &container.state, Some(&signals))?;
    }
    Ok(code)
}

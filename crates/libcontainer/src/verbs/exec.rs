//! `exec`: another process in a container that exists.

use anyhow::Context as _;

use crate::request::{self, Context};
use crate::runtime::{Console, join, prepare};
use crate::state::{self, Status};
use crate::wait::Signals;
use crate::{Error, ErrorKind, Result};

/// Runs a process in a container. In the foreground its exit code, or 128 and the signal that
/// ended it; detached, zero as soon as it runs.
///
/// # Errors
/// The container is stopped or paused, or the process cannot be started.
pub fn exec(context: &Context, request: &request::Exec) -> Result<u8> {
    let (directory, state) = state::load(context, &request.id)?;
    check(state.status(&directory), request)?;
    let plan = prepare::process(context, request, &state)?;
    let mut console = Console::open(&request.console)?;
    // From here on a signal ends what has been made, and when the program runs, it is the program's.
    let signals = Signals::block()?;
    let mut ready = join(&plan, &state, request, &signals)?;
    ready
        .show(&mut console, plan.process.terminal)
        .and_then(|()| ready.start())
        .context("exec failed")?;
    Ok(console.wait(&ready.pending.keep_process()?, &signals)?)
}

fn check(status: Status, request: &request::Exec) -> Result<()> {
    let text = match status {
        Status::Created | Status::Running => return Ok(()),
        Status::Paused if request.ignore_paused => return Ok(()),
        Status::Paused => "cannot exec in a paused container (use --ignore-paused to override)",
        Status::Stopped => "cannot exec in a stopped container: container not running",
        Status::Creating => "cannot exec in a container that is being created",
    };
    Err(Error::new(ErrorKind::Status, text))
}

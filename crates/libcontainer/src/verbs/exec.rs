//! `exec`: another process in a container that exists.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::error::Reported;
use crate::request::{self, Context};
use crate::runtime::{Console, join, prepare};
use crate::state::{self, State, Status};
use crate::wait::{self, Interrupted, Signals};
use crate::{Error, ErrorKind, Result};

/// Runs a process in a container. In the foreground its exit code, or 128 and the signal that
/// ended it; detached, zero as soon as it runs.
///
/// # Errors
/// The container is stopped or paused, or the process cannot be started.
pub fn exec(context: &Context, request: &request::Exec) -> Result<u8> {
    let (directory, state) = state::load(context, &request.id)?;
    let now = state.now(&directory)?;
    check(now.status, request)?;
    let plan = prepare::process(context, request, &state)?;
    let mut console = Console::open(&request.console)?;
    // From here on a signal ends what has been made, and when the program runs, it is the program's.
    let signals = Signals::block()?;
    let started = join(&plan, &state, now, request, &signals).and_then(|mut ready| {
        ready.show(&mut console, plan.process.terminal).context("exec failed")?;
        ready.start().context("exec failed")?;
        Ok(ready.pending.keep_process()?)
    });
    let process = started.or_else(|error| Err(explain(error, &state)?))?;
    Ok(console.wait(&process, &signals)?)
}

/// How long the end of a killed container may take to be seen.
const END: Duration = Duration::from_secs(1);

/// What ended without a word may have been killed with the container, whose init is the last to end then.
fn explain(error: Error, state: &State) -> Result<Error> {
    let has_said_why = error.source.is::<Reported>() || error.source.is::<Interrupted>();
    let Some(init) = state.init.filter(|_| !has_said_why) else { return Ok(error) };
    let has_ended = match init.living()? {
        Some(pidfd) => {
            wait::until_readable(pidfd.as_fd(), Some(Instant::now() + END)).context("poll")?
        }
        None => true,
    };
    Ok(if has_ended { Error::not_running() } else { error })
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

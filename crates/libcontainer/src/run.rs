//! `run`: create, start, and in the foreground wait and delete.

use anyhow::Context as _;

use crate::create::{Waits, bring_up, prepare};
use crate::delete::destroy;
use crate::protocol::Reply;
use crate::request::{self, Context};
use crate::start::poststart;
use crate::state::{self, State};
use crate::supervise::Foreground;
use crate::{Error, ErrorKind, Result, console, serve};

/// Makes a container and runs its program. In the foreground the program's exit code, or 128 and
/// the signal that ended it; detached, zero as soon as it runs.
///
/// # Errors
/// Those of `create` and `start`. Nothing is left behind.
pub fn run(context: &Context, request: &request::Run) -> Result<u8> {
    let prepared = prepare(context, &request.create)?;
    let terminal = prepared.terminal();
    if terminal.is_some() && request.detach && request.create.console_socket.is_none() {
        return Err(Error::new(
            ErrorKind::Status,
            "cannot allocate tty if runc will detach without setting console socket",
        ));
    }
    if !request.detach && !request.no_subreaper {
        prctl::set_child_subreaper(true)
            .map_err(rustix::io::Errno::from_raw_os_error)
            .context("become a child subreaper: prctl")?;
    }
    let mut foreground = if request.detach { None } else { Some(Foreground::new()?) };
    let waiting = bring_up(context, &request.create, &prepared, Waits::OnChannel)?;
    let (directory, child, state) = waiting.finish(context.warn, |channel, master| {
        match (master, &prepared.console, &mut foreground) {
            (Some(master), Some(socket), _) => console::send(socket, &master)?,
            (Some(master), None, Some(foreground)) => {
                let sized = terminal.is_some_and(|terminal| terminal.size.is_some());
                foreground.show(master, sized)?;
            }
            _ => {}
        }
        channel.send(&Reply::Start, &[]).context("init is gone")?;
        serve::wait_for_program(channel)
    })?;
    poststart(context, directory, &state)?;
    let Some(foreground) = foreground else { return Ok(0) };
    let code = foreground.wait(&child)?;
    if !request.keep {
        remove(context, &state)?;
    }
    Ok(code)
}

/// Somebody may have deleted it meanwhile.
fn remove(context: &Context, state: &State) -> Result<()> {
    match state::load(context, &state.id) {
        Err(Error { kind: ErrorKind::NotFound, .. }) => Ok(()),
        Ok((directory, state)) => destroy(directory, &state, context.warn),
        Err(error) => Err(error),
    }
}

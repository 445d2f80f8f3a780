//! `start`.

use anyhow::Context as _;

use crate::protocol::{Event, Reply, Stage};
use crate::request::Context;
use crate::runtime::end::{destroy, poststart};
use crate::start_socket::{already_running, connect};
use crate::state::{self, START_SOCKET, State, Status};
use crate::{Error, ErrorKind, Result};

/// Runs the program of a created container (runtime-spec, runtime.md, "Start").
///
/// # Errors
/// The container is not in the status `created`, has no `process`, or a hook or the program
/// failed. After a failed hook the container is gone, as the spec's lifecycle says.
pub fn start(context: &Context, id: &str) -> Result<()> {
    let (directory, state) = state::load_to_change(context, id)?;
    check(&state, state.status(&directory))?;
    let channel = connect(&directory)?;
    // Whoever removes the socket is the one that starts: there is no second start.
    if !directory.unlink(START_SOCKET)? {
        return Err(already_running());
    }
    channel.send(&Reply::Start, &[]).context("init is gone")?;
    match channel.receive().context("hear from init")? {
        None => poststart(context, directory, &state, None),
        Some((Event::Failed(failure), _)) => {
            if failure.stage == Stage::StartHooks {
                destroy(directory, &state, None, context.warn)?;
            }
            Err(anyhow::Error::new(failure.reported()).into())
        }
        Some((event, _)) => Err(anyhow::anyhow!("init sent {event:?} when started").into()),
    }
}

fn check(state: &State, status: Status) -> Result<()> {
    match status {
        Status::Created if state.process.is_none() => Err(Error::new(
            ErrorKind::Status,
            "cannot start a container without a program: process property must not be empty in \
             config.json",
        )),
        Status::Created => Ok(()),
        Status::Stopped => {
            Err(Error::new(ErrorKind::Status, "cannot start a container that has stopped"))
        }
        Status::Running => Err(already_running()),
        status => Err(Error::new(
            ErrorKind::Status,
            format!("cannot start a container in the {} state", status.word()),
        )),
    }
}

//! `start`.

use std::os::fd::AsFd as _;
use std::time::Instant;

use anyhow::{Context as _, anyhow};

use crate::notify_socket::{ServiceManager, has_room};
use crate::protocol::{Event, Reply, Stage};
use crate::request::{self, Context};
use crate::runtime::death;
use crate::runtime::end::{DEATH, destroy, poststart};
use crate::start_socket::{already_running, connect};
use crate::state::{self, InitProcess, START_SOCKET, State, Status};
use crate::{Error, ErrorKind, Result, wait};

/// Runs the program of a created container (runtime-spec, runtime.md, "Start").
///
/// # Errors
/// The container is not in the status `created`, has no `process`, or it failed before its program was
/// executed, and is dead then. After a failed hook it is gone, as the spec's lifecycle says. A program that the
/// kernel does not execute is none: the container says why on its standard error, and ends.
pub fn start(context: &Context, request: &request::Start) -> Result<()> {
    let (directory, state) = state::load_to_change(context, &request.id)?;
    check(&state, state.status(&directory)?)?;
    let init = state.init.ok_or_else(Error::not_running)?;
    let channel = connect(&directory)?;
    let readiness = match &request.notify {
        Some(address) if has_room(&directory)? => {
            Some(ServiceManager::connect(address)?.listen(&directory)?)
        }
        Some(_) => {
            (context.warn)(
                "NOTIFY_SOCKET is set, and was not when the container was created: nobody is told",
            );
            None
        }
        None => None,
    };
    // Without its socket a container counts as started. Who ended between the two would leave one that nobody can start.
    wait::undisturbed(|| {
        if !directory.unlink(START_SOCKET)? {
            return Err(already_running());
        }
        Ok(channel.send(&Reply::Start, &[]).context("init is gone")?)
    })??;
    match channel.receive().context("hear from init")? {
        None => {
            if let Some(signal) = init.killed_before_program() {
                return Err(death::before_program(death::INIT, signal, &state.cgroup).into());
            }
            poststart(context, directory, &state, None)?;
            let Some(readiness) = readiness else { return Ok(()) };
            let pidfd = init.living()?;
            Ok(readiness.wait(pidfd.as_ref().map(|pidfd| pidfd.as_fd()), init.pid, None)?)
        }
        Some((Event::Failed(failure), _)) => {
            if failure.stage == Stage::StartHooks {
                destroy(directory, &state, None, context.warn)?;
            } else {
                wait_for_end(init)?;
            }
            Err(anyhow::Error::new(failure.reported()).into())
        }
        Some((event, _)) => Err(anyhow!("init sent {event:?} when started").into()),
    }
}

/// Whoever hears of the failure finds the container stopped.
fn wait_for_end(init: InitProcess) -> anyhow::Result<()> {
    if let Some(pidfd) = init.living()? {
        wait::until_readable(pidfd.as_fd(), Some(Instant::now() + DEATH)).context("poll")?;
    }
    Ok(())
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

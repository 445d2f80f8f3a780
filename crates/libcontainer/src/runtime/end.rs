//! The end of a container, and the hooks that belong to it.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, pidfd_send_signal};

use crate::request::Context;
use crate::state::{self, LockedDirectory, State, Status};
use crate::{Error, ErrorKind, Result, hooks, wait};

/// How long a killed process may take to die before that is an error.
const DEATH: Duration = Duration::from_secs(10);

/// Ends and removes the container, then runs its poststop hooks, whose failures are only warned
/// about (runtime-spec, runtime.md, "Lifecycle", steps 12 and 13).
pub(crate) fn destroy(directory: LockedDirectory, state: &State, warn: fn(&str)) -> Result<()> {
    kill_all(state)?;
    libcgroups::manager(&state.cgroup).remove()?;
    directory.remove()?;
    let document = state.hook_document(Status::Stopped, 0);
    hooks::run_all(&state.hooks.poststop, &document, Some(&state.bundle), warn);
    Ok(())
}

/// Kills init, and waits for its end; and everything in the container's cgroup.
pub(crate) fn kill_all(state: &State) -> Result<()> {
    let manager = libcgroups::manager(&state.cgroup);
    if let Some(init) = state.init
        && let Ok(pidfd) = init.open()
    {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        manager.kill()?;
        if !wait::until_readable(pidfd.as_fd(), Some(Instant::now() + DEATH)).context("poll")? {
            let text = format!("the container's init (pid {}) does not die of SIGKILL", init.pid);
            return Err(Error::new(ErrorKind::System, text));
        }
    } else {
        manager.kill()?;
    }
    Ok(())
}

/// Runs the poststart hooks, which may ask for the container; a failure stops it and takes it away.
pub(crate) fn poststart(
    context: &Context,
    directory: LockedDirectory,
    state: &State,
) -> Result<()> {
    drop(directory);
    if state.hooks.poststart.is_empty() {
        return Ok(());
    }
    let pid = state.init.map_or(0, |init| init.pid);
    let document = state.hook_document(Status::Running, pid);
    hooks::run(&state.hooks.poststart, &document, Some(&state.bundle)).or_else(|failed| {
        destroy_by_id(context, &state.id)?;
        Err(failed.into())
    })
}

/// Ends and removes a container that somebody may have deleted meanwhile.
pub(crate) fn destroy_by_id(context: &Context, id: &str) -> Result<()> {
    match state::load_to_change(context, id) {
        Err(Error { kind: ErrorKind::NotFound, .. }) => Ok(()),
        Ok((directory, state)) => destroy(directory, &state, context.warn),
        Err(error) => Err(error),
    }
}

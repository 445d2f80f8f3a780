//! `delete`, and the end of every container.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, pidfd_send_signal};

use crate::request::Context;
use crate::state::{State, StateDirectory, Status};
use crate::{Error, ErrorKind, Result, hooks, wait};

/// How long a killed process may take to die before that is an error.
const DEATH: Duration = Duration::from_secs(10);

/// Removes a container (runtime-spec, runtime.md, "Delete"): a stopped one, as runc a created one,
/// and with `force` any, also what a killed runtime has left. With `force` an unknown id is fine.
///
/// # Errors
/// The status forbids it, or something cannot be removed.
pub fn delete(context: &Context, id: &str, force: bool) -> Result<()> {
    let directory = match StateDirectory::open(context, id) {
        Err(Error { kind: ErrorKind::NotFound, .. }) if force => return Ok(()),
        result => result?,
    };
    let state = match directory.load() {
        Ok(Some(state)) => state,
        // Its maker was killed before it made anything.
        Ok(None) if force => return Ok(directory.remove()?),
        Ok(None) => return Err(Error::not_found()),
        Err(damaged) if force => {
            let text = "what it says is lost: look for processes and cgroups of the container";
            (context.warn)(&format!("{damaged:#}; {text}"));
            return Ok(directory.remove()?);
        }
        Err(damaged) => return Err(damaged.into()),
    };
    let status = state.status(&directory);
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        let word = status.word();
        let text = format!("cannot delete container {id} that is not stopped: {word}");
        return Err(Error::new(ErrorKind::Status, text));
    }
    destroy(directory, &state, context.warn)
}

/// Ends and removes the container, then runs its poststop hooks, whose failures are only warned
/// about (runtime-spec, runtime.md, "Lifecycle", steps 12 and 13).
pub(crate) fn destroy(directory: StateDirectory, state: &State, warn: fn(&str)) -> Result<()> {
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
    manager.remove()?;
    directory.remove()?;
    let document = state.hook_document(Status::Stopped, 0);
    hooks::run_all(&state.hooks.poststop, &document, Some(&state.bundle), warn);
    Ok(())
}

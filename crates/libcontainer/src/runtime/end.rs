//! The end of a container, and the hooks that belong to it.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use libcgroups::Owner;
use rustix::process::{Signal, pidfd_send_signal};

use super::resctrl;
use crate::hooks::{self, Setting};
use crate::request::Context;
use crate::state::{self, LockedDirectory, State, Status};
use crate::wait::{self, Signals};
use crate::{Error, ErrorKind, Result};

/// How long a killed process may take to die before that is an error.
pub(crate) const DEATH: Duration = Duration::from_secs(10);

/// Ends and removes the container, then runs its poststop hooks, whose failures are only warned
/// about (runtime-spec, runtime.md, "Lifecycle", steps 12 and 13).
pub(crate) fn destroy(
    directory: LockedDirectory,
    state: &State,
    signals: Option<&Signals>,
    warn: fn(&str),
) -> Result<()> {
    let manager = libcgroups::manager(&state.cgroup);
    let left = match kill_all(state)? {
        Owner::Own => manager.remove().map(|()| None)?,
        Owner::Unknown if manager.remove_empty()? => None,
        Owner::Unknown => Some("it is in use, and nothing marks it as this container's"),
        Owner::Another => Some("it has the mark of another container"),
    };
    if let Some(why) = left {
        warn(&format!("container {}: the cgroup of its path is left: {why}", state.id));
    }
    if let Some(group) = &state.resource_group
        && !resctrl::remove(group)?
    {
        let shown = group.directory.display();
        warn(&format!("container {}: {shown} is left: it is in use by others", state.id));
    }
    directory.remove()?;
    poststop(state, signals, warn);
    Ok(())
}

/// Runs the hooks that come when nothing of the container is left.
pub(crate) fn poststop(state: &State, signals: Option<&Signals>, warn: fn(&str)) {
    let document = state.hook_document(Status::Stopped, 0);
    let setting =
        Setting { state: &document, directory: Some(&state.bundle), signals, confine: None };
    hooks::run_all(&state.hooks.poststop, setting, warn);
}

/// Kills init, and waits for its end; and everything in the container's cgroup, if it is its own.
pub(crate) fn kill_all(state: &State) -> Result<Owner> {
    let owner = state.cgroup_owner()?;
    let kill_others = || match owner {
        Owner::Own => libcgroups::manager(&state.cgroup).kill(),
        Owner::Unknown | Owner::Another => Ok(()),
    };
    let living = match state.init {
        Some(init) => init.living()?.map(|pidfd| (init, pidfd)),
        None => None,
    };
    if let Some((init, pidfd)) = living {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        kill_others()?;
        if !wait::until_readable(pidfd.as_fd(), Some(Instant::now() + DEATH)).context("poll")? {
            let text = format!("the container's init (pid {}) does not die of SIGKILL", init.pid);
            return Err(Error::new(ErrorKind::System, text));
        }
    } else {
        kill_others()?;
    }
    Ok(owner)
}

/// Runs the poststart hooks, which may ask for the container; a failure stops it and takes it away.
pub(crate) fn poststart(
    context: &Context,
    directory: LockedDirectory,
    state: &State,
    signals: Option<&Signals>,
) -> Result<()> {
    drop(directory);
    if state.hooks.poststart.is_empty() {
        return Ok(());
    }
    let pid = state.init.map_or(0, |init| init.pid);
    let document = state.hook_document(Status::Running, pid);
    let setting =
        Setting { state: &document, directory: Some(&state.bundle), signals, confine: None };
    hooks::run(&state.hooks.poststart, setting).or_else(|failed| {
        take_away(context, state, signals)?;
        Err(failed.into())
    })
}

/// Removes the container of `known`, whose init has been reaped.
pub(crate) fn remove_reaped(
    context: &Context,
    known: &State,
    signals: Option<&Signals>,
) -> Result<()> {
    match still_there(context, known)? {
        Some((directory, mut state)) => {
            // Nobody needs to look for it any more.
            state.init = None;
            destroy(directory, &state, signals, context.warn)
        }
        None => Ok(()),
    }
}

/// Ends and removes the container of `known`, whose command could not do what it was to do.
pub(crate) fn take_away(context: &Context, known: &State, signals: Option<&Signals>) -> Result<()> {
    match still_there(context, known)? {
        Some((directory, state)) => destroy(directory, &state, signals, context.warn),
        None => Ok(()),
    }
}

/// The container of `known`, unless somebody has deleted it meanwhile; its id may be that of another one since.
fn still_there(context: &Context, known: &State) -> Result<Option<(LockedDirectory, State)>> {
    match state::load_to_change(context, &known.id) {
        Err(Error { kind: ErrorKind::NotFound, .. }) => Ok(None),
        loaded => loaded.map(|found| Some(found).filter(|(_, state)| state.is_of(known))),
    }
}

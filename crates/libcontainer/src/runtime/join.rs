//! Brings a process into a container that exists: open, spawn, serve.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use libcgroups::{Entry, Location, Owner};
use libnamespaces::{Forked, Joiner, Kind, NamespaceFiles};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::agent::Agent;
use super::pending::Pending;
use super::ready::Ready;
use super::resctrl;
use super::serve::{self, Line};
use crate::error::{Details, Property};
use crate::init::{self, Exec};
use crate::plan::Joining;
use crate::protocol::Event;
use crate::request;
use crate::state::{InitProcess, Now, State, StateDocument};
use crate::wait::Signals;
use crate::{Error, ErrorKind, Result};

/// Spawns the process in all the namespaces of the container, which is what `now` says, and in its cgroup,
/// and serves it until it is ready. In it this does not return.
///
/// # Errors
/// The container has ended, what the machine refused, or the signal that came. Nothing is left
/// behind.
pub(crate) fn join<'a>(
    plan: &'a Joining,
    state: &State,
    now: Now,
    request: &request::Exec,
    signals: &'a Signals,
) -> Result<Ready<'a>> {
    let target = state.init.ok_or_else(Error::not_running)?;
    if state.cgroup_owner()? == Owner::Another {
        let text = "exec failed: the container's cgroup is another container's by now";
        return Err(Error::new(ErrorKind::Status, text));
    }
    let init = now.init.ok_or_else(Error::not_running)?;
    // One that is missing is told before there is anything to undo.
    let listener = plan.confinement.listener.as_ref();
    let document = || StateDocument::new(state, now.status);
    let agent = listener.map(|listener| Agent::connect(listener, document())).transpose();
    let agent = agent.context("exec failed")?;
    let mut entry = Entry::open(&plan.cgroup)?;
    let kinds = plan.namespaces;
    let root = if kinds.contains(Kind::Mount) { None } else { Some(open_root(target)?) };
    let namespaces = NamespaceFiles::of_process(init, kinds);
    let (runtime_end, init_end) = libchannel::pair().map_err(anyhow::Error::new)?;
    // From here on the process is a copy of this one: nothing in the container may read its memory.
    init::become_non_dumpable()?;
    // Before the fork, since the joiner may be born in the container's cgroup already.
    init::run_on(plan.process.affinity.initial, "initial")?;
    let forked = match Joiner::fork(entry.at_clone()) {
        // The container manages its cgroup itself, as systemd does: its processes are below.
        Err(error)
            if error.errno() == Some(Errno::BUSY) && entry.follow(&plan.cgroup, target.pid)? =>
        {
            Joiner::fork(entry.at_clone())
        }
        forked => forked,
    };
    let explained = |error| explain_no_way(explain_no_room(error, &plan.cgroup), &plan.cgroup);
    let forked = forked.map_err(|error| explained(error.into())).context("exec failed")?;
    let expected = match forked {
        Forked::Runtime(expected) => expected,
        Forked::Joiner(joiner) => {
            let exec = Exec {
                plan,
                cgroup_entry: &entry,
                namespaces: &namespaces,
                root,
                channel: init_end,
            };
            init::run_exec(&exec, joiner)
        }
    };
    // The process's end is its own now, or its death would not be heard.
    drop(init_end);
    let line =
        Line { channel: runtime_end, signals, cgroup: &plan.cgroup, who: "the process of exec" };
    let children = serve::children(expected, &line).map_err(explained).context("exec failed")?;
    let pending = Pending::of_process(children.process);
    Ok(get_ready(plan, pending, line, agent, request).context("exec failed")?)
}

/// How many processes exec takes for a moment: the joiner is born in the container's cgroup, so that what it clones is.
const PROCESSES_OF_EXEC: u64 = 2;

/// Says why the kernel has refused exec a process, where the container has as many as it may have.
fn explain_no_room(error: anyhow::Error, cgroup: &Location) -> anyhow::Error {
    let is_refused = Details::of(&error).errno == Some(Errno::AGAIN.raw_os_error());
    let is_full = |room| room < PROCESSES_OF_EXEC;
    if is_refused && libcgroups::manager(cgroup).room().is_some_and(is_full) {
        let text = "linux.resources.pids.limit leaves the container no room for the two processes that exec takes for a \
                    moment; end one of its own, or raise the limit (update --pids-limit)";
        return error.context(Property::new("/linux/resources/pids/limit", text));
    }
    error
}

/// Says why the kernel lets nobody into the container's cgroup who is not of the user's systemd: he would have to be allowed
/// to move processes between all that is above both (Control Group v2, "Delegation Containment").
fn explain_no_way(error: anyhow::Error, cgroup: &Location) -> anyhow::Error {
    let is_refused = Details::of(&error).errno == Some(Errno::ACCESS.raw_os_error());
    if is_refused && cgroup.unit().is_some_and(|unit| unit.user().is_some()) {
        return error.context(
            "only a process of the user's own systemd can enter the container's cgroup; call exec from there, as engines \
             do: systemd-run --user --scope COMMAND",
        );
    }
    error
}

/// Serves the process until it is ready; then its pid file says that there is one.
fn get_ready<'a>(
    plan: &'a Joining,
    mut pending: Pending,
    line: Line<'a>,
    agent: Option<Agent<'_>>,
    request: &request::Exec,
) -> anyhow::Result<Ready<'a>> {
    if let Some(group) = &plan.resource_group {
        resctrl::enter(group, pending.child()?.pid)?;
    }
    let terminal = plan.process.terminal.map(|_| Event::Terminal);
    let listener = agent.is_some().then_some(Event::Listener);
    let events = terminal.into_iter().chain(listener).chain([Event::Ready]).collect();
    let master = serve::serve(events, &line, &mut pending, None, agent)?;
    pending.write_pid_file(request.pid_file.as_deref())?;
    Ok(Ready { pending, line, master })
}

/// The root of a container without a mount namespace is no more than that of its init.
fn open_root(init: InitProcess) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", init.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty())
        .with_context(|| format!("open the container's root {path}"))?;
    // The pid was init's all the time if it is now.
    if init.living()?.is_some() { Ok(root) } else { Err(Error::not_running()) }
}

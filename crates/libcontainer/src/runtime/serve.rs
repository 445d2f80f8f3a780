//! Answers init's requests until everything is done but the program.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, bail};
use libcgroups::Location;
use libnamespaces::{Child, Children, Expected, MovedDevices};

use super::agent::{Agent, Due};
use super::pending::Pending;
use super::{cgroup, death};
use crate::error::Property;
use crate::hooks::{self, Setting};
use crate::plan::Plan;
use crate::protocol::{Event, NOT_STARTED, Reply, RuntimeEnd};
use crate::state::{self, State, Status};
use crate::wait::Signals;

/// A container that is being made: only its init asks for network devices and hooks.
pub(crate) struct Making<'a> {
    /// What it is to be.
    pub plan: &'a Plan,
    /// What hooks are told, and what becomes known of it on the way.
    pub state: &'a mut State,
    /// The pid of its first process: init, or the joiner that clones it.
    pub first: i32,
}

/// What is said with init or an exec process, unless a signal comes that asks the runtime to end: a
/// container may keep either from answering.
pub(crate) struct Line<'a> {
    /// The runtime's end.
    pub channel: RuntimeEnd,
    /// The signals of whoever called.
    pub signals: &'a Signals,
    /// The cgroup that it is in.
    pub cgroup: &'a Location,
    /// What an error calls it.
    pub who: &'static str,
}

impl Line<'_> {
    /// Waits for an event; nothing when the other side has ended.
    fn hear(&self, due: Option<Due<'_>>) -> anyhow::Result<Option<(Event, Vec<OwnedFd>)>> {
        let deadline = due.map(|due| due.at);
        match (self.signals.until_readable(self.channel.as_fd(), deadline)?, due) {
            (false, Some(due)) => Err(due.missed()),
            _ => self.channel.receive().with_context(|| format!("hear from {}", self.who)),
        }
    }

    /// The next event, which should be `expected`; a failure or an early death is an error.
    fn next(
        &self,
        pending: &Pending,
        expected: &Event,
        due: Option<Due<'_>>,
    ) -> anyhow::Result<(Event, Vec<OwnedFd>)> {
        match self.hear(due)? {
            Some((Event::Failed(failure), _)) => Err(failure.reported().into()),
            Some((event, _)) if event != *expected => {
                let who = self.who;
                bail!("{who} sent {event:?} where {expected:?} was due; this is a defect of aril")
            }
            Some(event) => Ok(event),
            None => Err(death::before_ready(pending, self, expected)),
        }
    }

    /// Waits for the program of `child` to be executed: then its end of the channel closes with everything
    /// else that is close-on-exec.
    ///
    /// # Errors
    /// What it failed of at the last moment, or how it died.
    pub(crate) fn wait_for_program(&self, child: &Child) -> anyhow::Result<()> {
        self.wait_for_silence()?;
        let killed = state::child_killed_before_program(child.pid);
        killed.map_or(Ok(()), |signal| Err(death::before_program(self.who, signal, self.cgroup)))
    }

    /// Waits until nothing more can be heard.
    fn wait_for_silence(&self) -> anyhow::Result<()> {
        match self.hear(None)? {
            None => Ok(()),
            Some((Event::Failed(failure), _)) => Err(failure.reported().into()),
            Some((event, _)) => {
                bail!("{} sent {event:?} after it was started; this is a defect of aril", self.who)
            }
        }
    }

    /// Says it.
    pub(crate) fn say(&self, reply: Reply) -> anyhow::Result<()> {
        self.channel.send(&reply, &[]).context("the process is gone")
    }
}

/// The processes that the joiner clones. What it met it says where init would.
///
/// # Errors
/// That, or the signal that came. None of the processes is left.
pub(crate) fn children(expected: Expected, line: &Line<'_>) -> anyhow::Result<Children> {
    if let Err(interrupted) = line.signals.until_readable(expected.as_fd(), None) {
        expected.abandon();
        return Err(interrupted);
    }
    expected.children().or_else(|lost| {
        line.wait_for_silence()?;
        Err(anyhow::Error::new(lost).context(NOT_STARTED))
    })
}

/// Serves `events`, in their order; `Ready`, the last of a whole conversation, is left unanswered. The
/// master of the terminal, if there is one.
///
/// # Errors
/// What the process or a hook failed of, how the process died, or the signal that came.
pub(crate) fn serve(
    events: Vec<Event>,
    line: &Line<'_>,
    pending: &mut Pending,
    mut making: Option<&mut Making<'_>>,
    mut agent: Option<Agent<'_>>,
) -> anyhow::Result<Option<OwnedFd>> {
    let mut master = None;
    let mut due = None;
    for expected in events {
        let (event, mut descriptors) = line.next(pending, &expected, due)?;
        match (event, &mut making) {
            (Event::Cgroup, Some(making)) => {
                let bus = descriptors.pop().context("init sent no connection")?;
                cgroup::make_around(pending, making, bus)?;
            }
            (Event::NamespacesReady, Some(making)) => {
                move_network_devices(making.plan, pending)?;
                run_hooks(making, pending.child()?.pid, line.signals)?;
            }
            (Event::Terminal, _) => master = descriptors.pop(),
            (Event::Listener, _) => {
                let filter = descriptors.pop().context("init sent no listener")?;
                let agent = agent.take().context("there is no agent for the listener")?;
                due = Some(agent.send(filter, pending.child()?.pid)?);
            }
            _ => return Ok(master),
        }
        line.say(Reply::Proceed)?;
    }
    Ok(master)
}

fn move_network_devices(plan: &Plan, pending: &mut Pending) -> anyhow::Result<()> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    let moved = MovedDevices::to_process(&plan.net_devices, pending.child()?.pid)
        .context(Property::new("/linux/netDevices", "linux.netDevices"))?;
    pending.own_network_devices(moved);
    Ok(())
}

fn run_hooks(making: &Making<'_>, pid: i32, signals: &Signals) -> anyhow::Result<()> {
    let Making { plan, state, .. } = making;
    let document = state.hook_document(Status::Creating, pid);
    let (directory, signals) = (Some(plan.bundle.as_path()), Some(signals));
    let setting = Setting { state: &document, directory, signals, confine: None };
    hooks::run(&plan.hooks.prestart, setting)?;
    hooks::run(&plan.hooks.create_runtime, setting)
}

//! Answers init's requests until everything is done but the program.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, anyhow, bail};
use libnamespaces::{Child, MovedDevices, Namespaces, write_id_mappings};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::cgroup;
use super::pending::Pending;
use crate::hooks::{self, Setting};
use crate::plan::Plan;
use crate::protocol::{Event, Failure, Reply, RuntimeEnd, Stage};
use crate::state::{State, Status};
use crate::wait::Signals;

/// A container that is being made: only its init asks for ids, network devices and hooks.
pub(crate) struct Making<'a> {
    /// What it is to be.
    pub plan: &'a Plan,
    /// What hooks are told, and what becomes known of it on the way.
    pub state: &'a mut State,
}

/// What is said with init or an exec process, unless a signal comes that asks the runtime to end: a
/// container may keep either from answering.
pub(crate) struct Line<'a> {
    /// The runtime's end.
    pub channel: RuntimeEnd,
    /// The signals of whoever called.
    pub signals: &'a Signals,
}

impl Line<'_> {
    /// Waits for an event; nothing when the other side has ended.
    fn hear(&self) -> anyhow::Result<Option<(Event, Vec<OwnedFd>)>> {
        self.signals.until_readable(self.channel.as_fd(), None)?;
        self.channel.receive().context("hear from init")
    }

    /// The next event; a failure or an early death is an error.
    fn next(&self, child: &Child) -> anyhow::Result<(Event, Vec<OwnedFd>)> {
        match self.hear()? {
            Some((Event::Failed(failure), _)) => Err(render(&failure)),
            Some(event) => Ok(event),
            None => Err(death(child)),
        }
    }

    /// Waits for the program to be executed: then init's end of the channel closes with everything
    /// else that is close-on-exec.
    ///
    /// # Errors
    /// What init failed of at the last moment.
    pub(crate) fn wait_for_program(&self) -> anyhow::Result<()> {
        match self.hear()? {
            None => Ok(()),
            Some((Event::Failed(failure), _)) => Err(render(&failure)),
            Some((event, _)) => {
                bail!("init sent {event:?} after it was started; this is a defect of aril")
            }
        }
    }

    /// Says it.
    pub(crate) fn say(&self, reply: Reply) -> anyhow::Result<()> {
        self.channel.send(&reply, &[]).context("the process is gone")
    }
}

/// Serves `events`, in their order, up to and including `Ready`, which is left unanswered. The
/// master of the terminal, if there is one.
///
/// # Errors
/// What the process or a hook failed of, how the process died, or the signal that came.
pub(crate) fn serve(
    events: Vec<Event>,
    line: &Line<'_>,
    pending: &mut Pending,
    mut making: Option<Making<'_>>,
) -> anyhow::Result<Option<OwnedFd>> {
    let mut master = None;
    for expected in events {
        let (event, mut descriptors) = line.next(pending.child()?)?;
        if event != expected {
            bail!("init sent {event:?} where {expected:?} was due; this is a defect of aril");
        }
        match (event, &mut making) {
            (Event::Cgroup, Some(making)) => {
                let bus = descriptors.pop().context("init sent no connection")?;
                cgroup::make_around(pending, making.plan, making.state, bus)?;
            }
            (Event::MapIds, Some(making)) => map_ids(pending.child()?, &making.plan.namespaces)?,
            (Event::NamespacesReady, Some(making)) => {
                move_network_devices(making.plan, pending)?;
                run_hooks(making, pending.child()?.pid, line.signals)?;
            }
            (Event::Terminal, _) => master = descriptors.pop(),
            _ => return Ok(master),
        }
        line.say(Reply::Proceed)?;
    }
    Ok(master)
}

fn map_ids(child: &Child, namespaces: &Namespaces) -> anyhow::Result<()> {
    write_id_mappings(child.pid, &namespaces.uid_mappings, &namespaces.gid_mappings)
        .context("linux.uidMappings and linux.gidMappings")
}

fn move_network_devices(plan: &Plan, pending: &mut Pending) -> anyhow::Result<()> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    let moved = MovedDevices::to_process(&plan.net_devices, pending.child()?.pid)
        .context("linux.netDevices")?;
    pending.own_network_devices(moved);
    Ok(())
}

fn run_hooks(making: &Making<'_>, pid: i32, signals: &Signals) -> anyhow::Result<()> {
    let Making { plan, state } = making;
    let document = state.hook_document(Status::Creating, pid);
    let (directory, signals) = (Some(plan.bundle.as_path()), Some(signals));
    let setting = Setting { state: &document, directory, signals, confine: None };
    hooks::run(&plan.hooks.prestart, setting)?;
    hooks::run(&plan.hooks.create_runtime, setting)
}

/// Init's failure in runc's words, which engines match on.
pub(crate) fn render(failure: &Failure) -> anyhow::Error {
    let Failure { stage, text, .. } = failure;
    match stage {
        Stage::Program => anyhow!("unable to start container process: {text}"),
        Stage::Mounts | Stage::Devices => {
            anyhow!("unable to start container process: error during container init: {text}")
        }
        stage => anyhow!(
            "unable to start container process: error during container init: {}: {text}",
            stage.describe()
        ),
    }
}

/// How init died that did not say why.
fn death(child: &Child) -> anyhow::Error {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let how = match waitid(WaitId::PidFd(child.pidfd.as_fd()), options) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(9)) => {
                "was killed by signal 9; is the memory limit (linux.resources.memory) \
                 too low to start a process?"
                    .to_owned()
            }
            (None, signal) => format!("was killed by signal {}", signal.unwrap_or(0)),
        },
        _ => "ended".to_owned(),
    };
    anyhow!("unable to start container process: init {how} before it was ready")
}

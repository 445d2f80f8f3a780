//! Answers init's requests until everything is done but the program.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, anyhow, bail};
use libnamespaces::{Child, MovedDevices, Namespaces, write_id_mappings};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::pending::Pending;
use crate::hooks;
use crate::plan::Plan;
use crate::protocol::{Event, Failure, Reply, RuntimeEnd, Stage};
use crate::state::{State, Status};

/// A container that is being made: only its init asks for ids, network devices and hooks.
pub(crate) struct Making<'a> {
    /// What it is to be.
    pub plan: &'a Plan,
    /// What hooks are told.
    pub state: &'a State,
}

/// Serves `events`, in their order, up to and including `Ready`, which is left unanswered. The
/// master of the terminal, if there is one.
///
/// # Errors
/// What the process or a hook failed of, or how the process died.
pub(crate) fn serve(
    events: Vec<Event>,
    channel: &RuntimeEnd,
    pending: &mut Pending,
    making: Option<&Making<'_>>,
) -> anyhow::Result<Option<OwnedFd>> {
    let mut master = None;
    for expected in events {
        let (event, mut descriptors) = next(channel, pending.child()?)?;
        if event != expected {
            bail!("init sent {event:?} where {expected:?} was due; this is a defect of aril");
        }
        match (event, making) {
            (Event::MapIds, Some(making)) => map_ids(pending.child()?, &making.plan.namespaces)?,
            (Event::NamespacesReady, Some(making)) => {
                move_network_devices(making.plan, pending)?;
                run_hooks(making, pending.child()?.pid)?;
            }
            (Event::Terminal, _) => master = descriptors.pop(),
            _ => return Ok(master),
        }
        channel.send(&Reply::Proceed, &[]).context("init is gone")?;
    }
    Ok(master)
}

/// The next event; a failure or an early death is an error.
fn next(channel: &RuntimeEnd, child: &Child) -> anyhow::Result<(Event, Vec<OwnedFd>)> {
    match channel.receive().context("hear from init")? {
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
pub(crate) fn wait_for_program(channel: &RuntimeEnd) -> anyhow::Result<()> {
    match channel.receive().context("hear from init")? {
        None => Ok(()),
        Some((Event::Failed(failure), _)) => Err(render(&failure)),
        Some((event, _)) => {
            bail!("init sent {event:?} after it was started; this is a defect of aril")
        }
    }
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

fn run_hooks(making: &Making<'_>, pid: i32) -> anyhow::Result<()> {
    let Making { plan, state } = making;
    let document = state.hook_document(Status::Creating, pid);
    hooks::run(&plan.hooks.prestart, &document, Some(&plan.bundle))?;
    hooks::run(&plan.hooks.create_runtime, &document, Some(&plan.bundle))
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

//! Brings a container up: claim, cgroup, open, spawn, serve, save.

use std::os::fd::OwnedFd;

use libcgroups::Mark;
use libnamespaces::{Child, Children, Coming, Spawn, Spawned, spawn};

use super::agent::Agent;
use super::death::INIT;
use super::pending::Pending;
use super::prepare::Prepared;
use super::ready::Ready;
use super::serve::{self, Line, Making};
use super::{cgroup, end, resctrl};
use crate::files::Files;
use crate::init::{self, Init};
use crate::plan::Plan;
use crate::protocol::{self, Event};
use crate::request::{self, Context};
use crate::state::{InitProcess, LockedDirectory, State, StateDirectory, StateDocument, Status};
use crate::wait::Signals;
use crate::{Result, notify_socket, start_socket};

/// What init waits for when it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// A connection to the start socket, after this process has ended.
    ForStart,
    /// A word on the channel.
    OnChannel,
}

/// A container whose init is ready, and everything that undoes it.
pub(crate) struct Waiting<'a> {
    ready: Ready<'a>,
    state: State,
}

/// A container that is kept.
pub(crate) struct Container {
    /// Its state directory, which nobody else has had yet.
    pub directory: LockedDirectory,
    /// What the directory holds.
    pub state: State,
    /// Its init.
    pub child: Child,
}

impl<'a> Waiting<'a> {
    /// Does `rest` with the ready init, and keeps the container; an error undoes it.
    pub(crate) fn finish(
        mut self,
        warn: fn(&str),
        rest: impl FnOnce(&mut Ready<'a>) -> anyhow::Result<()>,
    ) -> Result<Container> {
        match rest(&mut self.ready) {
            Ok(()) => {
                let (directory, child) = self.ready.pending.keep_container()?;
                Ok(Container { directory, state: self.state, child })
            }
            Err(failed) => {
                abandon(self.ready.pending, &self.state, self.ready.line.signals, warn);
                Err(failed.into())
            }
        }
    }
}

/// Undoes a container that has existed, then runs its poststop hooks (runtime-spec, runtime.md,
/// "Lifecycle": after a failure it continues with the container's destruction).
fn abandon(pending: Pending, state: &State, signals: &Signals, warn: fn(&str)) {
    drop(pending);
    end::poststop(state, Some(signals), warn);
}

/// Open and apply, up to a saved state and a ready init.
///
/// # Errors
/// The id is taken, what the machine refused, or the signal that came. Everything is undone, and
/// poststop hooks run if anything of the container has existed.
pub(crate) fn bring_up<'a>(
    context: &Context,
    request: &request::Create,
    prepared: &'a Prepared,
    waits: Waits,
    signals: &'a Signals,
) -> Result<Waiting<'a>> {
    let plan = &prepared.plan;
    let mark = Mark::new().map_err(anyhow::Error::new)?;
    let mut state = State::new(plan, prepared.owner, prepared.process.clone(), mark);
    // One that is missing is told before there is anything to undo.
    let document = || StateDocument::new(&state, Status::Creating);
    let agent = plan.listener().map(|listener| Agent::connect(listener, document())).transpose()?;
    let others = Others { waits, signals, agent };
    // The directory comes first: making it is what takes the id, for good or not at all.
    let mut pending = Pending::of_container(StateDirectory::claim(context, &plan.id)?);
    let from = cgroup::refuse_living(context, plan)?;
    // The intent is saved before anything else is made, so that `delete --force` finds whatever a
    // killed runtime leaves.
    pending.directory()?.save(&state)?;
    // The cgroup exists before the process, and every way in leads into one that does: no process is
    // ever outside of its limits. Only a unit is made around a process, whose first word asks for it.
    let made = match plan.cgroup.unit() {
        None => cgroup::make(&mut pending, plan, &mut state, from.as_ref()),
        Some(_) => Ok(()),
    };
    let made = match request.notify {
        Some(_) => made.and_then(|()| notify_socket::make_directory(pending.directory()?)),
        None => made,
    };
    let served = made.and_then(|()| apply(&mut pending, plan, &mut state, others));
    let served = served.and_then(|served| {
        // The pid file comes last: who waits for it finds a container that can be started.
        pending.write_pid_file(request.pid_file.as_deref()).map(|()| served)
    });
    match served {
        Ok(Served { line, master }) => {
            Ok(Waiting { ready: Ready { pending, line, master }, state })
        }
        Err(failed) => {
            abandon(pending, &state, signals, context.warn);
            Err(failed.into())
        }
    }
}

/// What serving init has brought.
struct Served<'a> {
    line: Line<'a>,
    master: Option<OwnedFd>,
}

/// Who else has to do with a container that is being made.
struct Others<'a> {
    /// Who starts it.
    waits: Waits,
    /// Who may interrupt it.
    signals: &'a Signals,
    /// Who is notified of its program's calls.
    agent: Option<Agent<'a>>,
}

fn apply<'a>(
    pending: &mut Pending,
    plan: &'a Plan,
    state: &mut State,
    Others { waits, signals, agent }: Others<'a>,
) -> anyhow::Result<Served<'a>> {
    if let Some(rdt) = &plan.intel_rdt {
        resctrl::make(rdt, pending.resource_groups())?;
    }
    // The socket exists before init, which inherits it; nobody is let in before init says so.
    let start = match waits {
        Waits::ForStart => Some(start_socket::listen(pending.directory()?)?),
        Waits::OnChannel => None,
    };
    // Whatever is opened is opened in the host's namespaces, before there is a process that the
    // container could look into; the cgroup is there, since a mount may show it.
    let files = Files::open(plan)?;
    let (runtime_end, init_end) = libchannel::pair()?;
    // From here on init is a copy of this process: nothing in the container may read its memory.
    init::become_non_dumpable()?;
    let entry = files.cgroup_entry.at_clone();
    let coming = match spawn(&plan.spawn, entry)? {
        Spawned::Runtime(coming) => coming,
        Spawned::New(newborn) => {
            drop(runtime_end);
            init::run(Init { plan, files, state, channel: init_end, start }, newborn)
        }
    };
    // What was opened is init's alone now; its end of the channel too, or its death would not be
    // heard.
    drop(files);
    drop(start);
    drop(init_end);
    let line = Line { channel: runtime_end, signals, cgroup: &plan.cgroup, who: INIT };
    let mut making = Making { plan, state, first: coming.pid() };
    let mut events = protocol::conversation(plan);
    let children = match coming {
        Coming::Init(process) => Children { process, maker: None },
        Coming::Joiner(expected) => {
            // What is first is the joiner's, so that what it clones is in its cgroup.
            let first = events.extract_if(.., |event| *event == Event::Cgroup).collect();
            if let Err(failed) = serve::serve(first, &line, pending, Some(&mut making), None) {
                expected.abandon();
                return Err(failed);
            }
            serve::children(expected, &line)?
        }
    };
    let pid = children.process.pid;
    pending.own_children(children);
    if matches!(plan.spawn, Spawn::Direct { .. }) {
        // Before init goes on, so that it holds from the first moment of the program. A joiner does it itself.
        init::adjust_oom_score_of(plan.process.as_ref(), pid)?;
    }
    if let Some(rdt) = &plan.intel_rdt {
        resctrl::enter(&rdt.group, pid)?;
    }
    let master = serve::serve(events, &line, pending, Some(&mut making), agent)?;
    pending.finish_maker()?;
    cgroup::limit_tightly(plan)?;
    // Ready: from now on the state names the process, for `start`, `kill` and `delete`.
    state.init = Some(InitProcess::of(pid)?);
    pending.directory()?.save(state)?;
    Ok(Served { line, master })
}

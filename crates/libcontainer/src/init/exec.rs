//! An exec process: the same end as init's, in a container that exists.
//!
//! The container sees it from the moment at which the joiner clones it, and a program there with
//! `CAP_SYS_PTRACE` may follow the links of its /proc/PID, non-dumpable or not. So all that leads to
//! the host is done in the joiner, which is outside: what is cloned has the container's root, and
//! no descriptors but the channel, the terminal and those that the program is to keep.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use libcgroups::Entry;
use libnamespaces::{Joiner, KindSet, NamespaceFiles};
use libsyscall::clone::exit_now;

use super::failure::{At as _, failure_of};
use super::root::Root;
use super::session::{
    enter_cgroup, leave_callers_cpus, leave_callers_keyring, new_session, run_on,
};
use super::terminal::Pty;
use super::{
    execute, hand_over, identity, labels, open_terminal, prepare, take_streams, take_terminal,
};
use crate::plan::Joining;
use crate::protocol::{Event, Failure, InitEnd, Stage};

/// What an exec process is given.
#[derive(Debug)]
pub(crate) struct Exec<'a> {
    /// What it is to be.
    pub plan: &'a Joining,
    /// The way into its cgroup.
    pub cgroup_entry: &'a Entry,
    /// The container's namespaces.
    pub namespaces: &'a NamespaceFiles,
    /// The container's root, where that is not its mount namespace's.
    pub root: Option<OwnedFd>,
    /// Its end of the channel.
    pub channel: InitEnd,
}

/// Runs the joiner, then in its child the exec process; a failure goes to the runtime.
pub(crate) fn run_exec(exec: &Exec<'_>, joiner: Joiner) -> ! {
    let failure = failure_of(|| {
        let master = join(exec, joiner)?;
        become_program(exec, master)
    });
    let _ = exec.channel.send(&Event::Failed(failure), &[]);
    exit_now(1)
}

/// The joiner. Returns in its child, with the terminal's master.
fn join(exec: &Exec<'_>, joiner: Joiner) -> Result<Option<OwnedFd>, Failure> {
    enter_cgroup(exec.cgroup_entry).at(Stage::Session)?;
    match exec.plan.process.affinity.last {
        Some(last) => run_on(Some(last), "final"),
        None => leave_callers_cpus(),
    }
    .at(Stage::Session)?;
    // What is cloned has it, and the host's procfs is still there.
    let process = Some(&exec.plan.process);
    labels::set_of_keys(process, &exec.plan.confinement).at(Stage::Session)?;
    labels::set(process).at(Stage::Identity)?;
    exec.namespaces.join(exec.plan.namespaces).map_err(anyhow::Error::new).at(Stage::Namespaces)?;
    leave_callers_keyring(&exec.plan.confinement).at(Stage::Session)?;
    let master = {
        let root = container_root(exec.root.as_ref()).at(Stage::Rootfs)?;
        let pty = open_terminal(Some(&exec.plan.process), &root).at(Stage::Terminal)?;
        let (master, slave) = pty.map(Pty::into_halves).unzip();
        take_streams(Some(&exec.plan.process), slave, &root).at(Stage::Streams)?;
        master
    };
    let own = [exec.channel.as_fd()];
    let kept: Vec<_> = own.into_iter().chain(master.as_ref().map(OwnedFd::as_fd)).collect();
    let close = joiner.close_all_but(3 + exec.plan.preserve_fds, &kept);
    close.context("close_range").at(Stage::Program)?;
    let cloned = joiner.clone_child(KindSet::EMPTY).map_err(anyhow::Error::new);
    cloned.at(Stage::Namespaces)?;
    Ok(master)
}

/// The exec process itself.
fn become_program(exec: &Exec<'_>, master: Option<OwnedFd>) -> Result<Infallible, Failure> {
    new_session().at(Stage::Session)?;
    hand_over(master, &exec.channel).at(Stage::Terminal)?;
    take_terminal(Some(&exec.plan.process)).at(Stage::Terminal)?;
    let root = Root::own().at(Stage::Rootfs)?;
    let (process, confinement) = (&exec.plan.process, &exec.plan.confinement);
    let program = prepare(process, confinement, &root)?;
    identity::complete_with_listener(process, confinement, &exec.channel).at(Stage::Identity)?;
    exec.channel.ask(&Event::Ready, &[]).context("the runtime is gone").at(Stage::Program)?;
    execute(process, confinement, &program)
}

/// The root of the mount namespace that was joined, or the one given, entered.
fn container_root(given: Option<&OwnedFd>) -> anyhow::Result<Root> {
    if let Some(given) = given {
        rustix::process::fchdir(given).context("fchdir to the root filesystem")?;
        rustix::process::chroot(c".").context("chroot")?;
    }
    Root::own()
}

//! What comes first: the cgroups, a session of its own, a keyring of its own.

use anyhow::Context as _;
use std::os::fd::AsFd as _;

use libcgroups::Entry;
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::failure::from_nix;
use crate::files::{Files, open_cgroups};
use crate::plan::{Confinement, NumberSet, Plan};
use crate::protocol::{Event, InitEnd};

pub(super) fn enter_session(
    plan: &Plan,
    files: &mut Files,
    channel: &InitEnd,
) -> anyhow::Result<()> {
    enter_cgroup(&files.cgroup_entry)?;
    if let Some(bus) = files.cgroup_entry.connect()? {
        channel.ask(&Event::Cgroup, &[bus.as_fd()]).context("the runtime is gone")?;
        // The cgroup exists from now on, and this process is in it, in the host's mounts still.
        files.cgroups = open_cgroups(plan)?;
    }
    new_session()?;
    if let Some(domain) = plan.personality {
        let persona = nix::sys::personality::Persona::from_bits_retain(domain as _);
        nix::sys::personality::set(persona)
            .map_err(from_nix)
            .context("linux.personality: personality")?;
    }
    Ok(())
}

/// Comes first: no process is ever outside of its limits.
pub(super) fn enter_cgroup(entry: &Entry) -> anyhow::Result<()> {
    entry.enter().context("enter the cgroup: write cgroup.procs")
}

/// Runs this process on `cpus` only, which `execCPUAffinity` has under `name`.
pub(crate) fn run_on(cpus: Option<NumberSet>, name: &str) -> anyhow::Result<()> {
    let Some(cpus) = cpus else { return Ok(()) };
    let mut set = CpuSet::new();
    cpus.numbers().for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set)
        .with_context(|| format!("process.execCPUAffinity.{name} {cpus:?}: sched_setaffinity"))
}

pub(super) fn new_session() -> anyhow::Result<()> {
    libsyscall::signal::reset().context("reset signals")?;
    rustix::process::setsid().context("setsid")?;
    Ok(())
}

/// A session keyring of its own keeps the container from the keys of whoever called the runtime. It
/// is a key of the user who asks for it, so this comes when the process is root of its user
/// namespace. A kernel without keyrings has nothing to keep.
pub(super) fn leave_callers_keyring(confinement: &Confinement) -> anyhow::Result<()> {
    if confinement.callers_keyring {
        return Ok(());
    }
    match libsyscall::keyring::new_session() {
        Ok(_) | Err(Errno::NOSYS) => Ok(()),
        Err(errno @ Errno::DQUOT) => Err(errno).context(
            "join a session keyring: keyctl: the quota of keys is used up; raise \
             /proc/sys/kernel/keys/maxkeys or use --no-new-keyring",
        ),
        Err(errno) => {
            Err(errno).context("join a session keyring (--no-new-keyring avoids it): keyctl")
        }
    }
}

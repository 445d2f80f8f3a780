//! What comes first: the cgroups, a session of its own, a keyring of its own.

use anyhow::Context as _;

use libcgroups::Entry;
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::error::Property;
use crate::plan::{Confinement, NumberSet};

/// Comes first: no process is ever outside of its limits.
pub(super) fn enter_cgroup(entry: &Entry) -> anyhow::Result<()> {
    entry.enter().context("enter the cgroup: write cgroup.procs")
}

/// Runs this process wherever its cgroup lets it (cpuset.cpus): whoever calls may be kept to some CPUs, by taskset(1) for
/// example, and that is not about the container.
pub(super) fn leave_callers_cpus() -> anyhow::Result<()> {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    match sched_setaffinity(None, &all) {
        // A cpuset that has lost all its CPUs: nothing could run there, and there is nothing to leave.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno).context("leave the caller's CPUs: sched_setaffinity"),
    }
}

/// Runs this process on `cpus` only, which `execCPUAffinity` has under `name`.
pub(crate) fn run_on(cpus: Option<NumberSet>, name: &str) -> anyhow::Result<()> {
    let Some(cpus) = cpus else { return Ok(()) };
    let mut set = CpuSet::new();
    cpus.numbers().for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set).with_context(|| {
        let text = format!("process.execCPUAffinity.{name} {cpus:?}: sched_setaffinity");
        Property::new(format!("/process/execCPUAffinity/{name}"), text)
    })
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

//! What a verb has made so far, and the undoing of it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use libcgroups::{CgroupManager, Mark, Owner, Parents};
use libnamespaces::{Child, Children, MovedDevices};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::end::DEATH;
use super::pid_file;
use super::resctrl::Made;
use crate::state::LockedDirectory;
use crate::wait;

/// A cgroup that has been made.
pub(crate) struct Cgroup {
    /// Its manager.
    pub manager: Box<dyn CgroupManager>,
    /// It is owned as long as it has this mark.
    pub mark: Mark,
    /// What has been made above it.
    pub parents: Parents,
}

/// Owns everything that is to go away if the verb fails. Dropping it undoes, in reverse order of
/// making; [`Pending::keep_container`] and [`Pending::keep_process`] keep.
pub(crate) struct Pending {
    directory: Option<LockedDirectory>,
    cgroup: Option<Cgroup>,
    resource_groups: Made,
    child: Option<Child>,
    maker: Option<OwnedFd>,
    network_devices: Option<MovedDevices>,
    pid_file: Option<PathBuf>,
}

impl Pending {
    /// A claimed id.
    pub(crate) const fn of_container(directory: LockedDirectory) -> Self {
        Self {
            directory: Some(directory),
            cgroup: None,
            resource_groups: Made::none(),
            child: None,
            maker: None,
            network_devices: None,
            pid_file: None,
        }
    }

    /// A process in a container that exists.
    pub(crate) const fn of_process(child: Child) -> Self {
        Self {
            directory: None,
            cgroup: None,
            resource_groups: Made::none(),
            child: Some(child),
            maker: None,
            network_devices: None,
            pid_file: None,
        }
    }

    /// The state directory.
    ///
    /// # Errors
    /// Only after it was given up.
    pub(crate) fn directory(&self) -> anyhow::Result<&LockedDirectory> {
        self.directory.as_ref().context("the state directory is gone")
    }

    /// From now on also the cgroup.
    pub(crate) fn own_cgroup(&mut self, cgroup: Cgroup) {
        self.cgroup = Some(cgroup);
    }

    /// The groups for resource control, whatever is made of them from now on.
    pub(crate) const fn resource_groups(&mut self) -> &mut Made {
        &mut self.resource_groups
    }

    /// From now on also the processes.
    pub(crate) fn own_children(&mut self, Children { process, maker }: Children) {
        self.child = Some(process);
        self.maker = maker;
    }

    /// The pidfd of the maker, if there is one.
    pub(crate) const fn maker(&self) -> Option<&OwnedFd> {
        self.maker.as_ref()
    }

    /// Reaps the maker, which is done.
    ///
    /// # Errors
    /// It does not end, or waitid(2) fails.
    pub(crate) fn finish_maker(&mut self) -> anyhow::Result<()> {
        if !self.maker.as_ref().is_none_or(reap) {
            bail!("the process that made the container does not end");
        }
        self.maker = None;
        Ok(())
    }

    /// From now on also the devices, which came from the host.
    pub(crate) fn own_network_devices(&mut self, devices: MovedDevices) {
        self.network_devices = Some(devices);
    }

    /// The process.
    ///
    /// # Errors
    /// There is none yet.
    pub(crate) fn child(&self) -> anyhow::Result<&Child> {
        self.child.as_ref().context("there is no process")
    }

    /// Writes the pid of the process to the file at `path`, which from now on goes away too.
    ///
    /// # Errors
    /// Those of open(2), write(2) and rename(2).
    pub(crate) fn write_pid_file(&mut self, path: Option<&Path>) -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        let pid = self.child()?.pid;
        pid_file::write(path, pid)?;
        self.pid_file = Some(path.to_owned());
        Ok(())
    }

    /// Keeps everything, and gives the container back.
    ///
    /// # Errors
    /// Only if there is none.
    pub(crate) fn keep_container(mut self) -> anyhow::Result<(LockedDirectory, Child)> {
        let directory = self.directory.take().context("the state directory is gone")?;
        Ok((directory, self.keep_process()?))
    }

    /// Keeps everything, and gives the process back.
    ///
    /// # Errors
    /// Only if there is none.
    pub(crate) fn keep_process(mut self) -> anyhow::Result<Child> {
        let child = self.child.take().context("there is no process")?;
        self.cgroup = None;
        self.resource_groups = Made::none();
        if let Some(devices) = self.network_devices.take() {
            devices.keep();
        }
        self.pid_file = None;
        Ok(child)
    }
}

impl Drop for Pending {
    /// Failures are not reported: there is a better error on its way already, and what could not
    /// be removed, `delete --force` can.
    fn drop(&mut self) {
        let child = self.child.take().map(|child| child.pidfd);
        for process in self.maker.take().into_iter().chain(child) {
            let _ = pidfd_send_signal(&process, Signal::KILL);
            reap(&process);
        }
        // The namespace lives on until they have left it.
        drop(self.network_devices.take());
        if let Some(Cgroup { manager, mark, parents }) = self.cgroup.take() {
            match manager.owner(&mark) {
                Ok(Owner::Own) => {
                    let _ = manager.kill();
                    let _ = manager.remove();
                }
                // Its home is gone: what is empty elsewhere is what was made.
                Ok(Owner::Unknown) => drop(manager.remove_empty()),
                Ok(Owner::Another) | Err(_) => {}
            }
            parents.undo();
        }
        std::mem::take(&mut self.resource_groups).undo();
        if let Some(path) = self.pid_file.take() {
            let _ = std::fs::remove_file(path);
        }
        if let Some(directory) = self.directory.take() {
            let _ = directory.remove();
        }
    }
}

/// Waits until a child has ended, and takes it from the kernel. Whether it has: one that is frozen does not die (cgroup
/// v1), but when it is thawed.
fn reap(child: &OwnedFd) -> bool {
    let deadline = Instant::now() + DEATH;
    let ended = matches!(wait::until_readable(child.as_fd(), Some(deadline)), Ok(true));
    ended && waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED).is_ok()
}

//! What a `create` has made so far, and the undoing of it.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use libcgroups::CgroupManager;
use libnamespaces::{Child, MovedDevices};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::state::StateDirectory;

/// Owns everything that is to go away if the verb fails. Dropping it undoes, in reverse order of
/// making; [`Pending::commit`] keeps.
pub(crate) struct Pending {
    directory: Option<StateDirectory>,
    cgroup: Option<Box<dyn CgroupManager>>,
    child: Option<Child>,
    network_devices: Option<MovedDevices>,
    pid_file: Option<PathBuf>,
}

impl Pending {
    /// A claimed id.
    pub(crate) const fn new(directory: StateDirectory) -> Self {
        Self {
            directory: Some(directory),
            cgroup: None,
            child: None,
            network_devices: None,
            pid_file: None,
        }
    }

    /// The state directory.
    ///
    /// # Errors
    /// Only after it was given up.
    pub(crate) fn directory(&self) -> anyhow::Result<&StateDirectory> {
        self.directory.as_ref().ok_or_else(|| anyhow::Error::msg("the state directory is gone"))
    }

    /// From now on also the cgroup of `manager`.
    pub(crate) fn own_cgroup(&mut self, manager: Box<dyn CgroupManager>) {
        self.cgroup = Some(manager);
    }

    /// From now on also the process.
    pub(crate) fn own_child(&mut self, child: Child) {
        self.child = Some(child);
    }

    /// From now on also the devices, which came from the host.
    pub(crate) fn own_network_devices(&mut self, devices: MovedDevices) {
        self.network_devices = Some(devices);
    }

    /// From now on also the file.
    pub(crate) fn own_pid_file(&mut self, path: PathBuf) {
        self.pid_file = Some(path);
    }

    /// Keeps everything and gives it back.
    ///
    /// # Errors
    /// Only if there is no process yet.
    pub(crate) fn commit(mut self) -> anyhow::Result<(StateDirectory, Child)> {
        let taken = self.directory.take().zip(self.child.take());
        let kept = taken.ok_or_else(|| anyhow::Error::msg("there is nothing to keep"))?;
        self.cgroup = None;
        if let Some(devices) = self.network_devices.take() {
            devices.keep();
        }
        self.pid_file = None;
        Ok(kept)
    }
}

impl Drop for Pending {
    /// Failures are not reported: there is a better error on its way already, and what could not
    /// be removed, `delete --force` can.
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
            let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
        // The namespace lives on until they have left it.
        drop(self.network_devices.take());
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
        if let Some(path) = self.pid_file.take() {
            let _ = std::fs::remove_file(path);
        }
        if let Some(directory) = self.directory.take() {
            let _ = directory.remove();
        }
    }
}

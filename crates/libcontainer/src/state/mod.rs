//! `state.json`, the only persisted truth about a container, and what can be derived from it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Context as _;
use libcgroups::{Location, Mark};
use libnamespaces::KindSet;
use serde::{Deserialize, Serialize};

use crate::plan::{Confinement, Hooks, Plan, ResourceGroup};

mod directory;
mod document;
mod init_process;
mod own_cgroup;
mod remains;

pub(crate) use directory::{LockedDirectory, StateDirectory, load, load_to_change};
use document::SpecState;
pub use document::StateDocument;
pub(crate) use init_process::{InitProcess, child_killed_before_program};
pub(crate) use own_cgroup::is_living;
pub(crate) use remains::Remains;

/// The socket at which a created container's init waits to be started.
pub(crate) const START_SOCKET: &str = "start.sock";

/// The version of the form of `state.json`: higher whenever a reader of the version before would
/// understand a field wrongly. A field more is no new version.
const VERSION: u32 = 1;

/// Everything that later commands need; the bundle is never read again.
///
/// What a container can be killed and removed by comes first, so that the beginning of a damaged
/// file is enough for it. Other fields may be missing: who needs one to be right says so.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// [`VERSION`] of the runtime that made it.
    pub version: u32,
    /// The container's id.
    pub id: String,
    /// The container's first process; null until it exists.
    #[serde(deserialize_with = "Option::deserialize")]
    pub init: Option<InitProcess>,
    /// What tells it and its cgroup from another container of the same id or path.
    pub mark: Option<Mark>,
    /// Its cgroups, resolved. Read by [`State::own_cgroup`]: a path may be another container's.
    pub cgroup: Location,
    /// Read by [`State::namespaces`].
    namespaces: Option<KindSet>,
    /// Read by [`State::confinement`].
    confinement: Option<Confinement>,
    /// Its groups for resource control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<ResourceGroup>,
    /// `ociVersion` of the config.
    #[serde(default)]
    pub oci_version: String,
    /// Absolute path of the bundle.
    #[serde(default)]
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem.
    #[serde(default)]
    pub rootfs: PathBuf,
    /// `annotations`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When `create` began, RFC 3339 with nanoseconds, UTC.
    #[serde(default)]
    pub created: String,
    /// Uid of the user who created it.
    #[serde(default)]
    pub owner: u32,
    /// Hooks still to come.
    #[serde(default)]
    pub hooks: Hooks,
    /// What exec processes have by default.
    pub process: Option<oci_spec::runtime::Process>,
}

/// Where a container is in its life (runtime-spec, runtime.md, "State"), with runc's `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` has begun and is not done.
    Creating,
    /// Waits for `start`.
    Created,
    /// The program runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

/// A container at one moment.
pub(crate) struct Now {
    /// Where it is in its life.
    pub status: Status,
    /// The pidfd of its first process, if that lives.
    pub init: Option<OwnedFd>,
}

impl Status {
    /// The word in `state`'s output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl State {
    /// What is known before anything exists.
    pub(crate) fn new(
        plan: &Plan,
        owner: u32,
        process: Option<oci_spec::runtime::Process>,
        mark: Mark,
    ) -> Self {
        let now = humantime::format_rfc3339_nanos(std::time::SystemTime::now());
        Self {
            version: VERSION,
            id: plan.id.clone(),
            init: None,
            mark: Some(mark),
            cgroup: plan.cgroup.clone(),
            namespaces: Some(plan.namespaces.kinds()),
            confinement: Some(plan.confinement.clone()),
            resource_group: plan.intel_rdt.as_ref().map(|rdt| rdt.group.clone()),
            oci_version: plan.oci_version.clone(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.path.clone(),
            annotations: plan.annotations.iter().cloned().collect(),
            created: now.to_string(),
            owner,
            hooks: plan.hooks.clone(),
            process,
        }
    }

    /// The kinds of namespace it does not share with the runtime.
    ///
    /// # Errors
    /// They are lost: a process that joined none would be the host's.
    pub(crate) fn namespaces(&self) -> anyhow::Result<KindSet> {
        self.namespaces
            .context("state.json: /namespaces is missing: nothing can join the container")
    }

    /// What every process of the container has.
    ///
    /// # Errors
    /// It is lost: a process without it would have more rights than the container.
    pub(crate) fn confinement(&self) -> anyhow::Result<&Confinement> {
        let known = self.confinement.as_ref();
        known.context("state.json: /confinement is missing: nothing can join the container")
    }

    /// The status now.
    ///
    /// # Errors
    /// It cannot be told. What cannot be read is no proof of anything.
    pub(crate) fn status(&self, directory: &StateDirectory) -> anyhow::Result<Status> {
        Ok(self.now(directory)?.status)
    }

    /// The status now, with the first process.
    ///
    /// # Errors
    /// [`State::status`].
    pub(crate) fn now(&self, directory: &StateDirectory) -> anyhow::Result<Now> {
        let init = match self.init {
            None => return Ok(Now { status: Status::Creating, init: None }),
            Some(init) => init.living()?,
        };
        let status = if init.is_none() {
            Status::Stopped
        } else if libcgroups::manager(&self.cgroup).is_frozen()? {
            Status::Paused
        } else if directory.has(START_SOCKET)? {
            Status::Created
        } else {
            Status::Running
        };
        Ok(Now { status, init })
    }

    /// The state document of the spec for hooks, with the status the spec says.
    pub(crate) fn hook_document(&self, status: Status, pid: i32) -> Vec<u8> {
        let mut document = StateDocument::new(self, status);
        document.pid = pid;
        serde_json::to_vec(&SpecState::from(&document)).unwrap_or_default()
    }
}

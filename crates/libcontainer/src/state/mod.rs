//! `state.json`, the only persisted truth about a container, and what can be derived from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use libcgroups::Location;
use libnamespaces::KindSet;
use libseccompiler::Filter;
use serde::{Deserialize, Serialize};

use crate::plan::{Confinement, Hooks, MemoryPolicy, Plan};

mod directory;
mod document;
mod init_process;

pub(crate) use directory::{StateDirectory, load};
use document::SpecState;
pub use document::StateDocument;
pub(crate) use init_process::InitProcess;

/// The socket at which a created container's init waits to be started.
pub(crate) const START_SOCKET: &str = "start.sock";

/// Everything that later commands need; the bundle is never read again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem.
    pub rootfs: PathBuf,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// When `create` began, RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// Uid of the user who created it.
    pub owner: u32,
    /// The container's first process; absent until it exists.
    pub init: Option<InitProcess>,
    /// Its cgroups, resolved.
    pub cgroup: Location,
    /// The kinds of namespace it does not share with the runtime.
    pub namespaces: KindSet,
    /// Hooks still to come.
    pub hooks: Hooks,
    /// What exec processes have by default.
    pub process: Option<oci_spec::runtime::Process>,
    /// The compiled seccomp filter, in hexadecimal, and its flags.
    pub seccomp: Option<(String, u32)>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// `--no-new-keyring`.
    #[serde(default)]
    pub callers_keyring: bool,
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
    ) -> Self {
        let now = humantime::format_rfc3339_nanos(std::time::SystemTime::now());
        let Confinement { seccomp, memory_policy, callers_keyring } = &plan.confinement;
        let seccomp = seccomp.as_ref();
        Self {
            oci_version: plan.oci_version.clone(),
            id: plan.id.clone(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.path.clone(),
            annotations: plan.annotations.iter().cloned().collect(),
            created: now.to_string(),
            owner,
            init: None,
            cgroup: plan.cgroup.clone(),
            namespaces: plan.namespaces.kinds(),
            hooks: plan.hooks.clone(),
            process,
            seccomp: seccomp.map(|filter| (hexadecimal(&filter.program), filter.flags)),
            memory_policy: *memory_policy,
            callers_keyring: *callers_keyring,
        }
    }

    /// What every process of the container has.
    ///
    /// # Errors
    /// The filter is damaged.
    pub(crate) fn confinement(&self) -> anyhow::Result<Confinement> {
        let filter = |(text, flags): &(String, u32)| {
            let program = from_hexadecimal(text).context("no hexadecimal number")?;
            Ok::<_, anyhow::Error>(Filter::from_bytes(program, *flags)?)
        };
        let seccomp = self.seccomp.as_ref().map(filter).transpose();
        Ok(Confinement {
            seccomp: seccomp.context("state.json: the seccomp filter is damaged")?,
            memory_policy: self.memory_policy,
            callers_keyring: self.callers_keyring,
        })
    }

    /// The status now.
    pub(crate) fn status(&self, directory: &StateDirectory) -> Status {
        let Some(init) = self.init else { return Status::Creating };
        if !init.is_alive() {
            return Status::Stopped;
        }
        if libcgroups::manager(&self.cgroup).is_frozen().unwrap_or(false) {
            return Status::Paused;
        }
        if directory.has(START_SOCKET) { Status::Created } else { Status::Running }
    }

    /// The state document of the spec for hooks, with the status the spec says.
    pub(crate) fn hook_document(&self, status: Status, pid: i32) -> Vec<u8> {
        let mut document = StateDocument::new(self, status);
        document.pid = pid;
        serde_json::to_vec(&SpecState::from(&document)).unwrap_or_default()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of [`hexadecimal`] text.
fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{from_hexadecimal, hexadecimal};

    #[test]
    fn bytes_survive_hexadecimal() {
        let bytes = [0, 1, 0x7f, 0x80, 0xff];
        assert_eq!(from_hexadecimal(&hexadecimal(&bytes)).unwrap(), bytes);
        assert!(from_hexadecimal("0g").is_none());
    }
}

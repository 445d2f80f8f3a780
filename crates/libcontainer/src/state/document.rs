//! The state that others read: runc's with its additions, and the spec's for hooks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{State, Status};
use crate::plan::VERSIONS;

/// What `state` and `list` print: runc's keys in runc's order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateDocument {
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The first process, in the runtime's pid namespace; zero when there is none.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// `annotations`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user who created it, or the uid where it has no name.
    pub owner: String,
}

impl StateDocument {
    pub(crate) fn new(state: &State, status: Status) -> Self {
        let alive = !matches!(status, Status::Stopped | Status::Creating);
        Self {
            oci_version: state.oci_version.clone(),
            id: state.id.clone(),
            pid: state.init.filter(|_| alive).map_or(0, |init| init.pid),
            status,
            bundle: state.bundle.clone(),
            rootfs: state.rootfs.clone(),
            created: state.created.clone(),
            annotations: state.annotations.clone(),
            owner: state.owner.to_string(),
        }
    }

    /// The container process state of the process `pid` (config-linux.md, "The Container Process State"): what an agent
    /// is told with the descriptor by which it is notified of the process's calls.
    ///
    /// # Errors
    /// A bundle whose path is not UTF-8.
    pub(crate) fn process_state(&self, pid: i32, metadata: &str) -> serde_json::Result<Vec<u8>> {
        let [_, newest] = VERSIONS;
        let fds = ["seccompFd"];
        let state = SpecState::from(self);
        let document = ProcessState { oci_version: newest, fds, pid, metadata, state };
        serde_json::to_vec(&document)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: SpecState<'a>,
}

/// The spec's state, without runc's additions: what hooks read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SpecState<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "is_zero")]
    pid: i32,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl<'a> From<&'a StateDocument> for SpecState<'a> {
    fn from(document: &'a StateDocument) -> Self {
        Self {
            oci_version: &document.oci_version,
            id: &document.id,
            status: document.status,
            pid: document.pid,
            bundle: &document.bundle,
            annotations: &document.annotations,
        }
    }
}

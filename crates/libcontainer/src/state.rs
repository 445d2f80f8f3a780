//! `state.json`, the only persisted truth about a container, and what can be derived from it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use libcgroups::Location;
use libnamespaces::KindSet;
use libseccompiler::Filter;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::plan::{Confinement, Hooks, MemoryPolicy, Plan, validate_id};
use crate::{Context, Error, ErrorKind, Result};

/// The file in a state directory.
const FILE: &str = "state.json";
/// Where the next version is written before it takes the file's name.
const NEXT_FILE: &str = ".state.json.next";
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
    pub init: Option<Init>,
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

/// The container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Init {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5), field 22): with the pid it
    /// names a process for ever.
    pub start_time: u64,
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

impl Init {
    /// Names the living process `pid`.
    pub(crate) fn of(pid: i32) -> anyhow::Result<Self> {
        let stat = stat(pid).with_context(|| format!("read /proc/{pid}/stat"))?;
        Ok(Self { pid, start_time: stat.starttime })
    }

    /// Whether the process still runs (a zombie does not).
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid)
            .is_ok_and(|stat| stat.starttime == self.start_time && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Its pidfd: opened first, then checked, so that it can only be this process's.
    pub(crate) fn open(self) -> Result<OwnedFd> {
        let pid = rustix::process::Pid::from_raw(self.pid).ok_or_else(Error::not_running)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .map_err(|_| Error::not_running())?;
        if self.is_alive() { Ok(pidfd) } else { Err(Error::not_running()) }
    }
}

fn stat(pid: i32) -> procfs::ProcResult<procfs::process::Stat> {
    use procfs::FromRead as _;
    procfs::process::Stat::from_file(format!("/proc/{pid}/stat"))
}

/// A container's directory below the root (`--root`).
#[derive(Debug)]
pub(crate) struct StateDirectory {
    /// Absolute path.
    pub path: PathBuf,
    fd: OwnedFd,
}

impl StateDirectory {
    /// Makes the directory of a new container: this claims the id.
    pub(crate) fn claim(context: &Context, id: &str) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o711);
        let path = context.root.join(id);
        let made = builder.create(&path).or_else(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(error);
            }
            std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&context.root)?;
            builder.create(&path)
        });
        match made {
            Ok(()) => Ok(open_directory(path)?),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::new(ErrorKind::AlreadyExists, "container with given ID already exists"))
            }
            Err(error) => Err(anyhow::Error::new(error)
                .context(format!("make the state directory {}: mkdir", path.display()))
                .into()),
        }
    }

    /// Opens the directory of an existing container.
    pub(crate) fn open(context: &Context, id: &str) -> Result<Self> {
        validate_id(id).map_err(|reason| Error::invalid_id(&reason))?;
        let path = context.root.join(id);
        match rustix::fs::open(&path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { path, fd }),
            Err(Errno::NOENT) => Err(Error::not_found()),
            Err(errno) => Err(anyhow::Error::new(errno)
                .context(format!("open the state directory {}", path.display()))
                .into()),
        }
    }

    /// Loads the state; nothing when a `create` died before its first save.
    pub(crate) fn load(&self) -> anyhow::Result<Option<State>> {
        let path = self.path.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| {
                    format!("{} is damaged; delete --force removes it", path.display())
                })
                .map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Saves the state: the old or the new is there at any moment, never half of one.
    pub(crate) fn save(&self, state: &State) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(state).context("write state.json")?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, NEXT_FILE, flags, Mode::RUSR | Mode::WUSR)
            .context("write state.json: open")?;
        std::fs::File::from(fd).write_all(&bytes).context("write state.json")?;
        rustix::fs::renameat(&self.fd, NEXT_FILE, &self.fd, FILE)
            .context("write state.json: rename")
    }

    /// Whether the file `name` is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.fd, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Removes the file `name`; whether it was there.
    pub(crate) fn unlink(&self, name: &str) -> anyhow::Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).with_context(|| format!("unlink {name}")),
        }
    }

    /// A path for bind(2) and connect(2) that is short whatever the directory's length.
    pub(crate) fn short_path(&self, name: &str) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string()).join(name)
    }

    /// Removes the directory and frees the id.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open_directory(path: PathBuf) -> anyhow::Result<StateDirectory> {
    let fd = rustix::fs::open(&path, DIRECTORY, Mode::empty())
        .with_context(|| format!("open {}", path.display()))?;
    Ok(StateDirectory { path, fd })
}

/// Loads an existing container; an unfinished `create` counts as not there.
pub(crate) fn load(context: &Context, id: &str) -> Result<(StateDirectory, State)> {
    let directory = StateDirectory::open(context, id)?;
    let state = directory.load()?.ok_or_else(Error::not_found)?;
    Ok((directory, state))
}

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
}

/// The spec's state, without runc's additions: what hooks read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpecState<'a> {
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
    use super::{Init, from_hexadecimal, hexadecimal};

    #[test]
    fn bytes_survive_hexadecimal() {
        let bytes = [0, 1, 0x7f, 0x80, 0xff];
        assert_eq!(from_hexadecimal(&hexadecimal(&bytes)).unwrap(), bytes);
        assert!(from_hexadecimal("0g").is_none());
    }

    #[test]
    fn a_process_is_named_by_pid_and_start_time() {
        let own = Init::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        assert!(!Init { start_time: own.start_time + 1, ..own }.is_alive());
    }
}

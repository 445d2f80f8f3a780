//! What the caller asks for, one struct for each verb that takes more than an id.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
pub use libcgroups::Bus;

/// What every verb is told: the global flags.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where the containers' state directories are (`--root`).
    pub root: PathBuf,
    /// How many descriptors from 3 on the caller has passed, as [`inherited`] counted them.
    pub inherited: u32,
    /// Takes a warning: something worth saying that is not an error.
    pub warn: fn(&str),
}

impl Context {
    /// Checks that the caller has passed the `count` descriptors after the standard streams which
    /// the program is to keep (`--preserve-fds`).
    pub(crate) fn check_preserved(&self, count: u32) -> anyhow::Result<()> {
        ensure!(
            count <= self.inherited,
            "--preserve-fds {count}: file descriptor {} is not open",
            u64::from(self.inherited) + 3
        );
        Ok(())
    }
}

/// How many descriptors from 3 on this process was started with, without a gap.
///
/// To be called before anything is opened: afterwards a number says no longer whose the file is,
/// and one of the runtime's own would pass for one that the container is to have (CVE-2024-21626).
#[must_use]
pub fn inherited() -> u32 {
    libsyscall::descriptors::open_from(3)
}

/// Where the terminal of a program goes, if it has one.
#[derive(Clone, Debug, Default)]
pub struct Console {
    /// Whether the verb returns as soon as the program runs (`--detach`), as `create` always does.
    pub detach: bool,
    /// Unix socket that receives the terminal's master (`--console-socket`).
    pub socket: Option<PathBuf>,
}

/// The datagram socket at which a service manager is told that a program is ready (`$NOTIFY_SOCKET`, sd_notify(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifySocket {
    /// A file.
    Path(PathBuf),
    /// A name in the abstract namespace of unix(7), without the `@` that stands for its NUL.
    Abstract(Vec<u8>),
}

impl NotifySocket {
    /// Reads the variable's value.
    ///
    /// # Errors
    /// It is neither an absolute path nor an abstract name.
    pub fn parse(value: &OsStr) -> anyhow::Result<Self> {
        match value.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => Ok(Self::Abstract(name.to_vec())),
            [b'/', ..] => Ok(Self::Path(Path::new(value).to_owned())),
            _ => bail!(
                "NOTIFY_SOCKET={value:?}: write an absolute path, or @ and an abstract name, or unset it"
            ),
        }
    }
}

/// `kill`.
#[derive(Clone, Debug)]
pub struct Kill {
    /// The container's id.
    pub id: String,
    /// What is sent.
    pub signal: Signal,
    /// Send it to every process of the container (`--all`).
    pub all: bool,
    /// Whether the verb waits until the first process has ended.
    pub wait: Wait,
}

/// A signal to send.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// By its number.
    Number(i32),
    /// That which the container's annotations ask for.
    Annotated(fn(&BTreeMap<String, String>) -> anyhow::Result<i32>),
}

/// Whether, and how long, a verb waits for the end of a container (`--wait`, `--timeout`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    #[default]
    Not,
    /// For as long as it takes.
    ForEver,
    /// So many seconds at most.
    Seconds(u64),
}

/// `start`.
#[derive(Clone, Debug)]
pub struct Start {
    /// The container's id.
    pub id: String,
    /// Who is told when the program is ready.
    pub notify: Option<NotifySocket>,
}

/// Where limits are read from: JSON as that of `linux.resources`.
#[derive(Clone, Debug)]
pub enum Resources {
    /// A file.
    File(PathBuf),
    /// Standard input.
    StandardInput,
    /// The value itself.
    Given(serde_json::Value),
}

/// `update`.
#[derive(Clone, Debug)]
pub struct Update {
    /// The container's id.
    pub id: String,
    /// The new limits.
    pub resources: Resources,
    /// The new schema of its class of service.
    pub schema: Schema,
}

/// What the processes of a class of service get of the cache and of the memory's bandwidth, as lines of the file `schemata`
/// (Documentation/filesystems/resctrl.rst of the kernel). What is absent or empty stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// As `linux.intelRdt.l3CacheSchema`.
    pub l3_cache: Option<String>,
    /// As `linux.intelRdt.memBwSchema`.
    pub memory_bandwidth: Option<String>,
}

/// Who manages the cgroup of a new container.
#[derive(Clone, Debug, Default)]
pub enum CgroupManager {
    /// The runtime.
    #[default]
    Files,
    /// This systemd.
    Systemd(Bus),
    /// Nobody: the container stays in the cgroup of whoever calls the runtime, without limits of its own.
    Nobody,
}

/// `create`, and the part of `run` that is the same.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// The container's id.
    pub id: String,
    /// The bundle's directory, as given (`--bundle`).
    pub bundle: PathBuf,
    /// Where its terminal goes.
    pub console: Console,
    /// Where the pid is written, in decimal, without a newline (`--pid-file`).
    pub pid_file: Option<PathBuf>,
    /// Unix socket that receives init's pidfd (`--pidfd-socket`).
    pub pidfd_socket: Option<PathBuf>,
    /// Change the root without pivot_root(2) (`--no-pivot`).
    pub no_pivot: bool,
    /// Keep the session keyring of the caller (`--no-new-keyring`).
    pub no_new_keyring: bool,
    /// How many file descriptors from 3 on the program keeps (`--preserve-fds`).
    pub preserve_fds: u32,
    /// Who manages the cgroup (`--systemd-cgroup`, `--cgroup-manager`).
    pub cgroup_manager: CgroupManager,
    /// Who is told when the program is ready, which has a socket of its own then.
    pub notify: Option<NotifySocket>,
    /// How many sockets the program is passed after the standard streams (sd_listen_fds(3)).
    pub listen_fds: u32,
}

/// `run`.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The same as for `create`.
    pub create: Create,
    /// Keep the stopped container (`--keep`).
    pub keep: bool,
    /// Do not become a child subreaper (`--no-subreaper`).
    pub no_subreaper: bool,
}

/// `exec`.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// The container's id.
    pub id: String,
    /// A file with the whole process (`--process`), or nothing.
    pub process: Option<PathBuf>,
    /// The program and its arguments, where no file is given.
    pub args: Vec<String>,
    /// `--cwd`.
    pub cwd: Option<String>,
    /// `--env`, added to the container's.
    pub env: Vec<String>,
    /// `--tty`.
    pub tty: bool,
    /// `--user UID[:GID]`.
    pub user: Option<(u32, Option<u32>)>,
    /// `--additional-gids`, added to the container's.
    pub additional_gids: Vec<u32>,
    /// `--cap`: names added to the bounding, effective and permitted sets.
    pub capabilities: Vec<String>,
    /// `--no-new-privs`, where given.
    pub no_new_privileges: Option<bool>,
    /// `--apparmor`.
    pub apparmor: Option<String>,
    /// `--process-label`.
    pub process_label: Option<String>,
    /// `--cgroup`: sub-cgroups below the container's, each with the v1 controllers it is meant
    /// for (none for all).
    pub cgroups: Vec<String>,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
    /// Where its terminal goes.
    pub console: Console,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// As in [`Create`].
    pub listen_fds: u32,
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::NotifySocket;

    #[test]
    fn a_notify_socket_is_a_path_or_an_abstract_name() {
        let parse = |text: &str| NotifySocket::parse(OsStr::new(text));
        assert_eq!(parse("/run/x").unwrap(), NotifySocket::Path("/run/x".into()));
        assert_eq!(parse("@x").unwrap(), NotifySocket::Abstract(b"x".to_vec()));
        for wrong in ["@", "x", "./x", "vsock:2:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

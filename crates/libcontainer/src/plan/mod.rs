//! The plan: what a container will be, decided before anything is done.
//!
//! `create` turns the spec, the host and the request into a [`Plan`] without I/O, clock or
//! environment. Init carries the plan out and derives nothing again: options are attribute sets,
//! strings are C strings, defaults are merged. Paths in the container stay [`ContainerPath`]s,
//! because only the kernel can resolve them safely, on file descriptors, at the moment of use.

use std::ffi::CString;
use std::path::PathBuf;

use libcgroups::Location;
use libnamespaces::{IdMapping, Namespaces, NetworkDevice, Spawn};
use rustix::process::Resource;
use serde::{Deserialize, Serialize};

mod capabilities;
mod cgroups;
mod check;
mod container_path;
mod create;
mod devices;
mod hooks;
mod id;
mod mappings;
mod memory_policy;
mod mount_ids;
mod mounts;
mod names;
mod namespaces;
mod net_devices;
mod number_set;
mod options;
mod personality;
mod process;
mod rlimits;
mod rootfs;
mod scheduling;
mod seccomp;
mod sysctl;
mod unsupported;
mod version;

pub use capabilities::names as capability_names;
pub(crate) use check::{Violations, token};
pub use container_path::ContainerPath;
pub use create::{Planned, create};
pub use hooks::HOOK_NAMES;
pub use id::validate_id;
pub use memory_policy::MemoryPolicy;
pub(crate) use memory_policy::{FLAGS as MEMORY_POLICY_FLAGS, MODES as MEMORY_POLICY_MODES};
pub use number_set::NumberSet;
pub use options::mount_option_names;
pub use process::exec;
pub use version::VERSIONS;

/// Everything that decides what one container will be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// `annotations`, sorted by key.
    pub annotations: Vec<(String, String)>,
    /// Which namespaces are new, joined or the runtime's.
    pub namespaces: Namespaces,
    /// `linux.netDevices`.
    pub net_devices: Vec<NetworkDevice>,
    /// How init comes into being in them.
    pub spawn: Spawn,
    /// Where in the cgroup hierarchies the container lives.
    pub cgroup: Location,
    /// What its cgroup limits.
    pub limits: libcgroups::Limits,
    /// The root filesystem.
    pub rootfs: Rootfs,
    /// `mounts`, in the order of the config.
    pub mounts: Vec<Mount>,
    /// Device nodes: the spec's default devices and `linux.devices`.
    pub devices: Vec<Device>,
    /// Whether device nodes are bind mounts of the host's (in a user namespace, where mknod(2) is
    /// not permitted).
    pub bind_devices: bool,
    /// The spec's default symbolic links in /dev, and others like them.
    pub links: Vec<Link>,
    /// `hostname`.
    pub hostname: Option<CString>,
    /// `domainname`.
    pub domainname: Option<CString>,
    /// `linux.sysctl`: the path below /proc/sys and the value.
    pub sysctl: Vec<(String, String)>,
    /// `linux.maskedPaths`.
    pub masked_paths: Vec<ContainerPath>,
    /// `linux.readonlyPaths`.
    pub readonly_paths: Vec<ContainerPath>,
    /// `linux.personality`: the domain for personality(2).
    pub personality: Option<u32>,
    /// What of `linux` every process of the container has.
    pub confinement: Confinement,
    /// The program, absent in a config without `process` (which can be created, not started).
    pub process: Option<Process>,
    /// `hooks`.
    pub hooks: Hooks,
    /// How many file descriptors from 3 on the program keeps (`--preserve-fds`).
    pub preserve_fds: u32,
}

/// `root`.
#[derive(Clone, Debug)]
pub struct Rootfs {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Whether the container's `/` ends read-only.
    pub readonly: bool,
    /// `linux.rootfsPropagation`; absent means slave, recursively, as runc does.
    pub propagation: Option<Propagation>,
    /// Whether the root is changed by moving the mount and chroot(2) instead of pivot_root(2).
    pub no_pivot: bool,
}

/// A propagation type (mount_namespaces(7)), set on a mount or on all mounts below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub flag: u64,
    /// Whether submounts are changed too (the `r` options).
    pub recursive: bool,
}

/// What becomes of a bind mount whose source is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLink {
    /// What it leads to is bound.
    Follow,
    /// It is bound itself (`src-nofollow`).
    Bind,
    /// It is made again at the destination (`copy-symlink`).
    Copy,
}

/// The user namespace that maps the ids of a mount (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountIds {
    /// Absent are those of the user namespace that is joined.
    pub mappings: Option<IdMappings>,
    /// Whether the mounts below are mapped too (`ridmap`).
    pub recursive: bool,
}

/// Mappings of users and of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMappings {
    /// Of users.
    pub uids: Vec<IdMapping>,
    /// Of groups.
    pub gids: Vec<IdMapping>,
}

/// One entry of `mounts`.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Its place in `mounts`, for messages.
    pub index: usize,
    /// Where it goes.
    pub destination: ContainerPath,
    /// What is mounted.
    pub kind: MountKind,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and everything below it (the spec's `r` options).
    pub recursive_attributes: Attributes,
    /// Propagation changes in the order of the options.
    pub propagation: Vec<Propagation>,
    /// The mapping of its ids (`idmap`, `ridmap`).
    pub ids: Option<MountIds>,
    /// Whether a symbolic link at the destination is mounted on, and not followed.
    pub onto_link: bool,
    /// Whether what the image has at the destination is copied into the new tmpfs
    /// (`tmpcopyup`).
    pub copy_up: bool,
}

/// `MOUNT_ATTR_*` bits to set and to clear (mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear; the atime bits are a field, cleared as a whole when one is set.
    pub clear: u64,
}

impl Attributes {
    /// Whether nothing is to be changed.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Absolute path in the runtime's mount namespace.
        source: PathBuf,
        /// Whether submounts come along (`rbind`).
        recursive: bool,
        /// What is done with a source that is a symbolic link.
        link: SourceLink,
    },
    /// A change of the mount that is at the destination, and of its filesystem.
    Remount {
        /// Parameters of the filesystem, in the order of the options.
        parameters: Vec<(CString, Option<CString>)>,
    },
    /// A new filesystem instance (fsopen(2)).
    Filesystem {
        /// Its type, such as `tmpfs`.
        fstype: CString,
        /// Its `source` parameter, where the config has one.
        source: Option<CString>,
        /// Parameters in the order of the options: a key alone is a flag.
        parameters: Vec<(CString, Option<CString>)>,
    },
    /// The container's view of the cgroup hierarchies (types `cgroup` and `cgroup2`), as the host
    /// has them: v1 controllers under a tmpfs, or one cgroup2.
    Cgroup,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where it goes.
    pub path: ContainerPath,
    /// What it is.
    pub kind: DeviceKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
    /// Its place in `linux.devices`; absent for the spec's default devices.
    pub index: Option<usize>,
}

/// The type of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `c` and `u`.
    Character {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// `b`.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// `p`.
    Fifo,
}

/// A symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it goes.
    pub path: ContainerPath,
    /// What it holds.
    pub target: CString,
    /// Made only if this path exists in the container when the mounts are done.
    pub only_if: Option<ContainerPath>,
    /// Whether it replaces what the image has there.
    pub replaces: bool,
}

/// On which CPUs an exec process runs (config.md, "Linux Process", `execCPUAffinity`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// CPUs of the runtime before it enters the container's cgroup; absent leaves them.
    pub initial: Option<NumberSet>,
    /// CPUs of the process in the container's cgroup; absent leaves them to the kernel.
    pub last: Option<NumberSet>,
}

/// What every process of the container has, those of `exec` too.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// `seccomp`, compiled.
    pub seccomp: Option<libseccompiler::Filter>,
    /// `memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// Whether it keeps the session keyring of whoever calls the runtime (`--no-new-keyring`).
    pub callers_keyring: bool,
}

/// `process`, decided: for init and for exec processes alike.
#[derive(Clone, Debug)]
pub struct Process {
    /// Present when the program gets a terminal.
    pub terminal: Option<Terminal>,
    /// `args`, at least one.
    pub args: Vec<CString>,
    /// `env` verbatim, order and duplicates kept.
    pub env: Vec<CString>,
    /// Whether `env` has no HOME, so that init adds the one of the user.
    pub needs_home: bool,
    /// `cwd`, absolute.
    pub cwd: ContainerPath,
    /// `user.uid`.
    pub uid: u32,
    /// `user.gid`.
    pub gid: u32,
    /// `user.additionalGids`: setgroups(2) is called also for none.
    pub additional_gids: Vec<u32>,
    /// `user.umask`; absent leaves it as it is.
    pub umask: Option<u32>,
    /// `capabilities`.
    pub capabilities: Capabilities,
    /// `rlimits`.
    pub rlimits: Vec<Rlimit>,
    /// `noNewPrivileges`.
    pub no_new_privileges: bool,
    /// `oomScoreAdj`; absent leaves it as it is.
    pub oom_score_adj: Option<i32>,
    /// `ioPriority`: the value for ioprio_set(2).
    pub io_priority: Option<u32>,
    /// `scheduler`.
    pub scheduler: Option<libsyscall::scheduler::Attributes>,
    /// `execCPUAffinity`, of which init takes no notice.
    pub affinity: Affinity,
}

/// `process.terminal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// `consoleSize`, rows and columns.
    pub size: Option<(u16, u16)>,
}

/// The five capability sets as bit sets: bit n is capability n (capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The bounding set.
    pub bounding: u64,
    /// The effective set.
    pub effective: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The ambient set.
    pub ambient: u64,
}

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: Resource,
    /// The name in the config.
    pub name: &'static str,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// `hooks`, in the order of the config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Run by the runtime, deprecated: with `create_runtime`, before it.
    pub prestart: Vec<Hook>,
    /// Run by the runtime when the namespaces exist.
    pub create_runtime: Vec<Hook>,
    /// Run in the container's namespaces before pivot_root.
    pub create_container: Vec<Hook>,
    /// Run in the container just before the program.
    pub start_container: Vec<Hook>,
    /// Run by the runtime after the program started.
    pub poststart: Vec<Hook>,
    /// Run by the runtime after delete.
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its JSON pointer, such as `/hooks/poststop/0`.
    pub pointer: String,
    /// Absolute path, in the runtime's namespaces or (startContainer) the container's.
    pub path: CString,
    /// `args`; the path alone when the config has none.
    pub args: Vec<CString>,
    /// `env`, exactly; empty when the config has none.
    pub env: Vec<CString>,
    /// Seconds after which it is killed.
    pub timeout: Option<u32>,
}

//! The plan: what a container will be, decided before anything is done.
//!
//! `create` turns the spec, the host and the request into a [`Plan`] without I/O, clock or
//! environment. Init carries the plan out and derives nothing again: options are attribute sets,
//! strings are C strings, defaults are merged. Paths in the container stay [`ContainerPath`]s,
//! because only the kernel can resolve them safely, on file descriptors, at the moment of use.

use std::ffi::CString;
use std::path::PathBuf;

use libcgroups::{DeviceAccess, Limits, Location, Property};
use libnamespaces::{Namespaces, NetworkDevice, Spawn};
use serde::{Deserialize, Serialize};

mod create;
mod exec;
mod filesystem;
mod given;
mod hooks;
mod linux;
mod notify;
mod process;
mod rules;
mod update;

pub use create::create;
pub use exec::{Joining, exec};
pub(crate) use exec::{cgroup_below, process_of_flags, with_what_it_lacks};
pub use filesystem::{
    Attributes, ContainerPath, Device, DeviceKind, FromBelow, IdMappings, Link, Mount, MountIds,
    MountKind, Parameter, Propagation, Rootfs, SourceLink, mount_option_names,
};
pub(crate) use given::Given;
pub use hooks::{HOOK_NAMES, Hook, Hooks};
pub use linux::{ClassOfService, IntelRdt, Labels, Listener, MemoryPolicy, ResourceGroup, Sysctl};
pub(crate) use linux::{
    MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, names_any as names_labels,
    names_any_of_process as process_names_labels, names_intel_rdt, reachable as reachable_cgroups,
};
pub(crate) use notify::with_notify_socket;
pub use process::{Affinity, Capabilities, Process, Rlimit, Terminal, capability_names};
pub(crate) use rules::Violations;
pub use rules::{NumberSet, VERSIONS, validate_id};
pub use update::{Limited, Update, update};

/// What was planned, and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Planned<T = Plan> {
    /// The plan.
    pub plan: T,
    /// Warnings.
    pub warnings: Vec<String>,
}

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
    /// Whether the host's mounts are cloned by the joiner: the runtime may not enter the container's mount namespace.
    pub opens_inside: bool,
    /// Where in the cgroup hierarchies the container lives.
    pub cgroup: Location,
    /// The user of the host who may manage what is below its cgroup, if not the runtime's.
    pub cgroup_owner: Option<u32>,
    /// What its cgroup limits.
    pub limits: Limits,
    /// What it limits when the container is made: so few processes that it could not be made under it.
    pub tight_limits: Limits,
    /// More properties of the cgroup's unit, where systemd manages it.
    pub unit_properties: Vec<Property>,
    /// `linux.intelRdt`.
    pub intel_rdt: Option<IntelRdt>,
    /// Which devices its processes may use.
    pub device_access: DeviceAccess,
    /// The root filesystem.
    pub rootfs: Rootfs,
    /// `mounts`, in the order of the config.
    pub mounts: Vec<Mount>,
    /// `linux.mountLabel`: the security context of filesystems that are made for the container (selinux(8)).
    pub mount_label: Option<CString>,
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
    /// `linux.sysctl`.
    pub sysctl: Vec<Sysctl>,
    /// `linux.maskedPaths`.
    pub masked_paths: Vec<ContainerPath>,
    /// `linux.readonlyPaths`.
    pub readonly_paths: Vec<ContainerPath>,
    /// What of `linux` every process of the container has.
    pub confinement: Confinement,
    /// The program, absent in a config without `process` (which can be created, not started).
    pub process: Option<Process>,
    /// `hooks`.
    pub hooks: Hooks,
    /// How many file descriptors from 3 on the program keeps (`--preserve-fds`).
    pub preserve_fds: u32,
}

impl Plan {
    /// What a new filesystem of the container's is told of its label.
    pub(crate) fn mount_context(&self) -> Option<Parameter> {
        self.mount_label.as_deref().map(Parameter::context)
    }

    /// Who is notified of the program's calls.
    pub(crate) fn listener(&self) -> Option<&Listener> {
        self.process.as_ref().and(self.confinement.listener.as_ref())
    }

    /// The terminal, if the program gets one.
    pub(crate) fn terminal(&self) -> Option<Terminal> {
        self.process.as_ref().and_then(|process| process.terminal)
    }
}

/// What every process of the container has, those of `exec` too.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confinement {
    /// `seccomp`, compiled.
    pub seccomp: Option<libseccompiler::Filter>,
    /// Who is notified by that filter: there is one if it has a listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
    /// `memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// `linux.personality`: the domain for personality(2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<u32>,
    /// Whether it keeps the session keyring of whoever calls the runtime (`--no-new-keyring`).
    pub callers_keyring: bool,
}

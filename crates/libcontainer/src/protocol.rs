//! What init and the runtime say to each other: one closed enum a direction, and the order.

use libchannel::Channel;
use serde::{Deserialize, Serialize};

use crate::error::{Details, Reported};
use crate::plan::Plan;

/// Init's end of the channel.
pub(crate) type InitEnd = Channel<Event, Reply>;
/// The runtime's end of the channel.
pub(crate) type RuntimeEnd = Channel<Reply, Event>;

/// From init (or an exec process) to the runtime. Each but `Failed` waits for a [`Reply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    /// The message carries a connection to the bus: systemd is to make the cgroup around whoever has made that.
    Cgroup,
    /// All namespaces exist: network devices may move in, and the runtime's hooks may run.
    NamespacesReady,
    /// The message carries the master of the container's terminal.
    Terminal,
    /// The message carries the listener of the seccomp filter, which holds for init already.
    Listener,
    /// Everything is done but the program.
    Ready,
    /// It is over.
    Failed(Failure),
}

/// From the runtime to init.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Go on.
    Proceed,
    /// Execute the program.
    Start,
}

/// From a maker to the init that it makes the container for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// It wants a procfs of init's pid namespace, opened.
    Procfs,
    /// The container is made. The message carries its mount namespace, its root and, if it has a terminal,
    /// the slave of that.
    Finish,
}

/// From init to its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// It is there, and has this pid in its pid namespace.
    Born(i32),
    /// The message carries the procfs.
    Procfs,
    /// The call failed, with this error number.
    Failed(i32),
}

/// How a failure begins that is not the runtime's own: runc's words, which engines match on.
pub(crate) const NOT_STARTED: &str = "unable to start container process";

/// Why init failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What init was doing.
    pub stage: Stage,
    /// JSON pointers to what in config.json it is about.
    pub pointers: Vec<String>,
    /// The system call that failed.
    pub call: Option<String>,
    /// Its error number.
    pub errno: Option<i32>,
    /// The chain of what failed, outermost first, starting with the item of the plan.
    pub text: String,
}

impl Failure {
    /// The error of whoever hears it, in runc's words, which engines match on.
    pub(crate) fn reported(self) -> Reported {
        let Self { stage, pointers, call, errno, text } = self;
        let text = match stage {
            Stage::Program => format!("{NOT_STARTED}: {text}"),
            Stage::Mounts | Stage::Devices => {
                format!("{NOT_STARTED}: error during container init: {text}")
            }
            stage => {
                let stage = stage.describe();
                format!("{NOT_STARTED}: error during container init: {stage}: {text}")
            }
        };
        Reported { text, details: Details { stage: Some(stage.name()), pointers, call, errno } }
    }
}

/// The stages of init, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// A session, a keyring, its cgroups.
    Session,
    /// Namespaces that only init can enter.
    Namespaces,
    /// The root filesystem's mount.
    Rootfs,
    /// `mounts`.
    Mounts,
    /// Device nodes and links.
    Devices,
    /// createContainer hooks.
    Hooks,
    /// pivot_root.
    Pivot,
    /// sysctl, read-only and masked paths.
    Seal,
    /// The terminal.
    Terminal,
    /// The standard streams: those of the terminal, or the runtime's.
    Streams,
    /// User, groups, capabilities, limits.
    Identity,
    /// Finding and executing the program.
    Program,
    /// startContainer hooks.
    StartHooks,
}

impl Stage {
    /// The name of the stage in the log and in docs/lifecycle.md.
    const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Namespaces => "namespaces",
            Self::Rootfs => "rootfs",
            Self::Mounts => "mounts",
            Self::Devices => "devices",
            Self::Hooks | Self::StartHooks => "hooks",
            Self::Pivot => "pivot",
            Self::Seal => "seal",
            Self::Terminal => "terminal",
            Self::Streams => "streams",
            Self::Identity => "identity",
            Self::Program => "program",
        }
    }

    /// Words for a person.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Session => "set up the session",
            Self::Namespaces => "set up the namespaces",
            Self::Rootfs => "prepare the root filesystem",
            Self::Mounts => "mount",
            Self::Devices => "make devices",
            Self::Hooks => "run createContainer hooks",
            Self::Pivot => "change the root",
            Self::Seal => "seal the container",
            Self::Terminal => "set up the terminal",
            Self::Streams => "set up the standard streams",
            Self::Identity => "take on the identity of the process",
            Self::Program => "exec",
            Self::StartHooks => "run startContainer hooks",
        }
    }
}

/// The events that init of `plan` sends, in order, if nothing fails.
pub(crate) fn conversation(plan: &Plan) -> Vec<Event> {
    let hooks = &plan.hooks;
    let wants_hooks = !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty());
    let wants_devices = !plan.net_devices.is_empty();
    let wants_terminal = plan.process.as_ref().is_some_and(|process| process.terminal.is_some());
    [
        (plan.cgroup.unit().is_some(), Event::Cgroup),
        (wants_devices || wants_hooks, Event::NamespacesReady),
        (wants_terminal, Event::Terminal),
        (plan.listener().is_some(), Event::Listener),
        (true, Event::Ready),
    ]
    .into_iter()
    .filter_map(|(wanted, event)| wanted.then_some(event))
    .collect()
}

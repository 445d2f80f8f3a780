//! Everything that the hostile program tries at once: a table of probes, each with who is safe from it.
//!
//! A probe looks for one way to what is the host's, and gives what it has reached. It is not tried
//! where docs/security.md does not promise that the way is closed ([`Probe::closed_for`]).

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{by_machine, by_process};

/// What the container's program may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Powers {
    /// Root without a capability.
    None,
    /// What Docker gives.
    Default,
    /// The same and `CAP_SYS_PTRACE`.
    Trace,
    /// All capabilities, in the user namespace of the host.
    All,
    /// All capabilities, in a user namespace of its own.
    AllInUserNamespace,
}

impl Powers {
    pub(crate) const EACH: [Self; 5] =
        [Self::None, Self::Default, Self::Trace, Self::All, Self::AllInUserNamespace];

    /// In a message.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no capability",
            Self::Default => "Docker's capabilities",
            Self::Trace => "CAP_SYS_PTRACE",
            Self::All => "all capabilities",
            Self::AllInUserNamespace => "all capabilities in a user namespace",
        }
    }

    /// Who has `CAP_SYS_ADMIN` over the host mounts whatever it likes.
    fn is_not_the_hosts(self) -> bool {
        self != Self::All
    }

    /// Who has `CAP_SYS_PTRACE` over a process reads its memory.
    fn cannot_trace(self) -> bool {
        !matches!(self, Self::Trace | Self::All)
    }
}

fn always(_: Powers) -> bool {
    true
}

/// How a probe goes about it.
#[derive(Clone, Copy)]
pub(crate) enum Attack {
    /// For each process that comes, by its number.
    Process(fn(&Target, u32) -> Vec<String>),
    /// Again and again.
    Machine(fn(&Target) -> Vec<String>),
    /// From outside, by what the runtime is called with or by what it has made.
    Outside,
}

/// One way to the host.
#[derive(Clone, Copy)]
pub(crate) struct Probe {
    pub name: &'static str,
    /// With which powers the way is closed.
    pub closed_for: fn(Powers) -> bool,
    pub attack: Attack,
}

const fn probe(name: &'static str, closed_for: fn(Powers) -> bool, attack: Attack) -> Probe {
    Probe { name, closed_for, attack }
}

/// All of them. What each looks for is said where its function is.
pub(crate) const PROBES: &[Probe] = &[
    probe("seized process", always, Attack::Process(by_process::seized)),
    probe("links of a process", always, Attack::Process(by_process::links)),
    probe("namespaces of a process", always, Attack::Process(by_process::namespaces)),
    probe("binary of a process", always, Attack::Process(by_process::binary)),
    probe("mapped files", always, Attack::Process(by_process::mapped_files)),
    probe("arguments", always, Attack::Process(by_process::arguments)),
    probe("environment", always, Attack::Process(by_process::environment)),
    probe("memory", Powers::cannot_trace, Attack::Process(by_process::memory)),
    probe("keys", always, Attack::Machine(by_machine::keys)),
    probe("metadata", always, Attack::Machine(by_machine::metadata)),
    probe("write", Powers::is_not_the_hosts, Attack::Machine(by_machine::write)),
    probe("remount", Powers::is_not_the_hosts, Attack::Machine(by_machine::remount)),
    probe("uncover", Powers::is_not_the_hosts, Attack::Machine(by_machine::uncover)),
    probe("kernel's files", Powers::is_not_the_hosts, Attack::Machine(by_machine::kernel_files)),
    probe("cgroups", Powers::is_not_the_hosts, Attack::Machine(by_machine::cgroups)),
    probe("masked file", always, Attack::Machine(by_machine::masked)),
    probe("another procfs", Powers::is_not_the_hosts, Attack::Machine(by_machine::another_procfs)),
    probe("device", Powers::is_not_the_hosts, Attack::Machine(by_machine::device)),
    probe("program by a descriptor", always, Attack::Outside),
    probe("directory by a descriptor", always, Attack::Outside),
    probe("made on the host", always, Attack::Outside),
    probe("device of the host changed", always, Attack::Outside),
];

/// The file that every config masks.
pub(crate) const MASKED: &str = "/proc/version";
/// Where the host's directory is bound, for reading alone.
pub(crate) const GIVEN: &str = "/given";
/// Where another one is, in which a mount covers what is below.
pub(crate) const COVERED: &str = "/outer/covered";
/// The namespaces that a container has of its own.
pub(crate) const NAMESPACES: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// What is to be reached. Whoever makes the container knows all of it, and tells the program: what is
/// found is the host's beyond doubt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// A file of the host, by its path there.
    pub marker: String,
    /// What is in it, and in nothing else.
    pub content: String,
    /// What is on the command line of the runtime's caller.
    pub argument: String,
    /// What is in the environment of the runtime's caller.
    pub variable: String,
    /// The description of a key in the session of the runtime's caller.
    pub key: String,
    /// Files of the host: number of the device and of the inode.
    pub files: Vec<[u64; 2]>,
    /// The host's namespaces, as the links in /proc/PID/ns are read, in the order of [`NAMESPACES`].
    pub namespaces: Vec<String>,
    /// The names of the probes to try.
    pub probes: Vec<String>,
}

impl Target {
    /// As an argument for the program in the container.
    pub(crate) fn to_argument(&self) -> String {
        json!([
            self.marker,
            self.content,
            self.argument,
            self.variable,
            self.key,
            self.files,
            self.namespaces,
            self.probes
        ])
        .to_string()
    }

    /// Reads [`Self::to_argument`].
    ///
    /// # Errors
    /// It is no such argument.
    pub(crate) fn from_argument(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let text = |at: usize| Some(value.get(at)?.as_str()?.to_owned());
        let list = |at: usize| value.get(at)?.as_array();
        let texts = |at: usize| {
            list(at)?.iter().map(|one| Some(one.as_str()?.to_owned())).collect::<Option<Vec<_>>>()
        };
        let pair = |one: &Value| Some([one.get(0)?.as_u64()?, one.get(1)?.as_u64()?]);
        let read = || {
            Some(Self {
                marker: text(0)?,
                content: text(1)?,
                argument: text(2)?,
                variable: text(3)?,
                key: text(4)?,
                files: list(5)?.iter().map(pair).collect::<Option<_>>()?,
                namespaces: texts(6)?,
                probes: texts(7)?,
            })
        };
        read().context("not a target")
    }

    /// Whether a path leads to a file that is the host's.
    pub(crate) fn is_hosts(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).is_ok_and(|one| self.files.contains(&[one.dev(), one.ino()]))
    }

    /// Whether a file has the marker's content.
    pub(crate) fn is_marker(&self, path: &str) -> bool {
        std::fs::read(path).is_ok_and(|content| content == self.content.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{PROBES, Target};

    #[test]
    fn a_target_is_told_whole() {
        let target = Target {
            marker: "/a \"b\"".to_owned(),
            files: vec![[1, u64::MAX]],
            namespaces: vec!["mnt:[1]".to_owned()],
            ..Target::default()
        };
        let read = Target::from_argument(&target.to_argument()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{target:?}"));
        assert!(Target::from_argument("[]").is_err());
    }

    #[test]
    fn each_probe_has_a_name_of_its_own() {
        for (at, probe) in PROBES.iter().enumerate() {
            assert!(PROBES[..at].iter().all(|other| other.name != probe.name), "{}", probe.name);
        }
    }
}

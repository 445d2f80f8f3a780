//! `process.rlimits`.

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::process::Resource;

use crate::plan::Violations;

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

pub(crate) fn plan(given: &[PosixRlimit], pointer: &str, found: &mut Violations) -> Vec<Rlimit> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for (index, limit) in given.iter().enumerate() {
        let (resource, name) = resource(limit.typ());
        let (soft, hard) = (limit.soft(), limit.hard());
        if limits.iter().any(|other| other.resource == resource) {
            let rule = "a type must not be listed twice (config.md, \"POSIX process\")";
            found.add(&format!("{pointer}/{index}/type"), name, rule, "remove one of the entries");
            continue;
        }
        if soft > hard {
            let rule = "the soft limit cannot exceed the hard limit (getrlimit(2))";
            found.add(&format!("{pointer}/{index}/soft"), soft, rule, "lower it, or raise hard");
        }
        limits.push(Rlimit { resource, name, soft, hard });
    }
    limits
}

/// The resource, whose number differs between architectures, and the name.
const fn resource(name: PosixRlimitType) -> (Resource, &'static str) {
    match name {
        PosixRlimitType::RlimitCpu => (Resource::Cpu, "RLIMIT_CPU"),
        PosixRlimitType::RlimitFsize => (Resource::Fsize, "RLIMIT_FSIZE"),
        PosixRlimitType::RlimitData => (Resource::Data, "RLIMIT_DATA"),
        PosixRlimitType::RlimitStack => (Resource::Stack, "RLIMIT_STACK"),
        PosixRlimitType::RlimitCore => (Resource::Core, "RLIMIT_CORE"),
        PosixRlimitType::RlimitRss => (Resource::Rss, "RLIMIT_RSS"),
        PosixRlimitType::RlimitNproc => (Resource::Nproc, "RLIMIT_NPROC"),
        PosixRlimitType::RlimitNofile => (Resource::Nofile, "RLIMIT_NOFILE"),
        PosixRlimitType::RlimitMemlock => (Resource::Memlock, "RLIMIT_MEMLOCK"),
        PosixRlimitType::RlimitAs => (Resource::As, "RLIMIT_AS"),
        PosixRlimitType::RlimitLocks => (Resource::Locks, "RLIMIT_LOCKS"),
        PosixRlimitType::RlimitSigpending => (Resource::Sigpending, "RLIMIT_SIGPENDING"),
        PosixRlimitType::RlimitMsgqueue => (Resource::Msgqueue, "RLIMIT_MSGQUEUE"),
        PosixRlimitType::RlimitNice => (Resource::Nice, "RLIMIT_NICE"),
        PosixRlimitType::RlimitRtprio => (Resource::Rtprio, "RLIMIT_RTPRIO"),
        PosixRlimitType::RlimitRttime => (Resource::Rttime, "RLIMIT_RTTIME"),
    }
}

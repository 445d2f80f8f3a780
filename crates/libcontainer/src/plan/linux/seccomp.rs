//! `linux.seccomp`, compiled, and who is notified.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use libseccompiler::{Architecture, Filter, UnknownName, compile, unknown_names};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use serde::{Deserialize, Serialize};

use crate::plan::{Given, Violations};

/// Who is notified of the calls of `SCMP_ACT_NOTIFY`: an agent of the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// `listenerPath`: the agent's socket, on the host.
    pub path: PathBuf,
    /// `listenerMetadata`, for the agent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Whether sendmsg(2) is a call that somebody is notified of, so that the descriptor has to go another way.
    #[serde(default)]
    pub notifies_sendmsg: bool,
}

/// The longest path of a socket, without the NUL behind it (unix(7)).
const LONGEST_PATH: usize = 107;

pub(crate) fn plan(
    given: &Given<'_>,
    found: &mut Violations,
) -> (Option<Filter>, Option<Listener>) {
    let Some(seccomp) = given.linux.seccomp().as_ref() else { return (None, None) };
    let Some(native) = Architecture::native() else {
        found.not_here(
            "/linux/seccomp",
            std::env::consts::ARCH,
            "is an architecture for which aril compiles no filters",
            "leave seccomp out",
        );
        return (None, None);
    };
    for UnknownName { pointer, name } in unknown_names(seccomp) {
        let why = "is a system call that aril does not know, so it is not denied";
        found.warn(format!("/linux/seccomp{pointer} {name:?}: {why}"));
    }
    let listener = listener(seccomp, given.bundle, found);
    match compile(seccomp, native) {
        Ok(filter) => (Some(filter), listener),
        Err(violations) => {
            found.add_part(violations, "/linux/seccomp");
            (None, None)
        }
    }
}

/// Nobody where nothing is to be notified: then the path says nothing (config-linux.md, "Seccomp").
fn listener(seccomp: &LinuxSeccomp, bundle: &Path, found: &mut Violations) -> Option<Listener> {
    notifying(seccomp).next()?;
    let given = seccomp.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty())?;
    let pointer = "/linux/seccomp/listenerPath";
    let path = found.host_path(pointer, given, bundle);
    if path.as_os_str().as_bytes().len() > LONGEST_PATH {
        let rule = "is longer than the 107 bytes of a socket's path (unix(7))";
        found.add(pointer, path.display(), rule, "give the agent's socket a shorter path");
    }
    let rule_of = |call: &str| {
        notifying(seccomp).find_map(|(at, names)| {
            let name = names.iter().position(|name| name == call)?;
            Some(format!("/linux/seccomp/syscalls/{at}/names/{name}"))
        })
    };
    let (sendmsg, sendmmsg) = (rule_of("sendmsg"), rule_of("sendmmsg"));
    if let (Some(_), Some(pointer)) = (&sendmsg, sendmmsg) {
        let rule = "and sendmsg are how the agent gets the descriptor to be notified by: nobody could answer yet";
        found.add(&pointer, "sendmmsg", rule, "notify of one of the two");
    }
    Some(Listener {
        path,
        metadata: seccomp.listener_metadata().clone().unwrap_or_default(),
        notifies_sendmsg: sendmsg.is_some(),
    })
}

/// The rules with `SCMP_ACT_NOTIFY`: where they are, and their calls.
fn notifying(seccomp: &LinuxSeccomp) -> impl Iterator<Item = (usize, &[String])> {
    let rules = seccomp.syscalls().iter().flatten().enumerate();
    rules
        .filter(|(_, rule)| rule.action() == LinuxSeccompAction::ScmpActNotify)
        .map(|(at, rule)| (at, rule.names().as_slice()))
}

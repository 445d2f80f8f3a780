//! How a process of the container died that did not say why.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::anyhow;
use libcgroups::Location;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};

use super::pending::Pending;
use super::serve::Line;
use crate::protocol::{Event, NOT_STARTED};

/// What errors call the first process of a container.
pub(crate) const INIT: &str = "init";

const KILL: i32 = Signal::KILL.as_raw();
const SYSTEM_CALL: i32 = Signal::SYS.as_raw();

/// After a filter with a listener this is the first call, and if it fails, no error can be sent either.
const CANNOT_SEND: &str = ": /linux/seccomp must allow sendmsg (sendmmsg, where sendmsg has SCMP_ACT_NOTIFY), by which the \
                           agent gets what it is notified by";

/// How init died, or an exec process, before it was ready; or its maker, without whom it ends. `expected` is what was to be
/// heard next.
pub(crate) fn before_ready(pending: &Pending, line: &Line<'_>, expected: &Event) -> anyhow::Error {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let ended = |pidfd: &OwnedFd| waitid(WaitId::PidFd(pidfd.as_fd()), options).ok().flatten();
    let maker = pending.maker().and_then(ended).filter(|status| status.exit_status() != Some(0));
    let init = || pending.child().ok().and_then(|child| ended(&child.pidfd));
    let status = maker.or_else(init);
    let code = status.as_ref().and_then(|status| status.exit_status());
    let signal = status.as_ref().and_then(|status| status.terminating_signal());
    let how = match (code, signal) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    let could_not_say = code == Some(1) || signal == Some(SYSTEM_CALL);
    let hint = match expected {
        Event::Listener if could_not_say => CANNOT_SEND,
        _ => hint(signal, line.cgroup),
    };
    anyhow!("{NOT_STARTED}: {} {how} before it was ready{hint}", line.who)
}

/// That `signal` killed `who` when it was ready, and its program was not executed yet.
pub(crate) fn before_program(who: &str, signal: i32, cgroup: &Location) -> anyhow::Error {
    let hint = hint(Some(signal), cgroup);
    anyhow!(
        "{NOT_STARTED}: {who} was killed by signal {signal} before its program was executed{hint}"
    )
}

/// What is known of why.
fn hint(signal: Option<i32>, cgroup: &Location) -> &'static str {
    match signal {
        Some(KILL) if libcgroups::manager(cgroup).oom_kills() > 0 => {
            ": the memory limit (/linux/resources/memory) is too low to start a process"
        }
        Some(SYSTEM_CALL) => ": /linux/seccomp must allow capset, prctl and execve",
        _ => "",
    }
}

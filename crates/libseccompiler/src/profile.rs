//! Checks a profile and makes its rules plain.

use std::fmt::Display;

use libviolation::{Class, Violation};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};

use crate::Architecture;
use crate::argument::{Condition, Operator};
use crate::filter::flag;
use crate::names::Name;

/// The spec's names of the actions.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The spec's names of the operators.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// The spec's names of the flags.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// `SECCOMP_RET_*` of linux/seccomp.h, the upper half of a filter's return value.
pub(crate) mod verdict {
    pub(crate) const KILL_PROCESS: u32 = 0x8000_0000;
    pub(crate) const KILL_THREAD: u32 = 0;
    pub(crate) const TRAP: u32 = 0x0003_0000;
    pub(crate) const ERRNO: u32 = 0x0005_0000;
    pub(crate) const USER_NOTIF: u32 = 0x7fc0_0000;
    pub(crate) const TRACE: u32 = 0x7ff0_0000;
    pub(crate) const LOG: u32 = 0x7ffc_0000;
    pub(crate) const ALLOW: u32 = 0x7fff_0000;
}

/// The errno of `SCMP_ACT_ERRNO` and `SCMP_ACT_TRACE` where the profile has none.
const EPERM: u32 = 1;
/// `MAX_ERRNO` of linux/err.h: what is more, the kernel would cut to it.
const LARGEST_ERRNO: u32 = 4095;
/// `SECCOMP_RET_DATA` of linux/seccomp.h.
const LARGEST_DATA: u32 = 0xffff;
/// A system call has as many arguments.
const ARGUMENTS: usize = 6;

/// A profile whose every part is understood.
#[derive(Debug)]
pub(crate) struct Profile<'a> {
    /// What the filter covers, the machine's own first, each once.
    pub architectures: Vec<Architecture>,
    /// The return value for what no rule names.
    pub default: u32,
    /// Whether the default lets calls pass: to the kernel or to a tracer.
    pub is_permissive: bool,
    /// In the profile's order.
    pub rules: Vec<Rule<'a>>,
    /// The bits of [`flag`].
    pub flags: u32,
}

/// An element of `syscalls`.
#[derive(Debug)]
pub(crate) struct Rule<'a> {
    pub names: Vec<Name<'a>>,
    /// The return value.
    pub action: u32,
    /// The conditions under which it counts: those of any one element. A rule without arguments
    /// has one element without conditions.
    pub alternatives: Vec<Vec<Condition>>,
}

/// Checks `profile` whole.
pub(crate) fn check(
    profile: &LinuxSeccomp,
    native: Architecture,
) -> Result<Profile<'_>, Vec<Violation>> {
    let mut found = Violations(Vec::new());
    let default_action = profile.default_action();
    let errno = profile.default_errno_ret();
    let default = found.return_value(default_action, "/defaultErrnoRet", errno);
    if default_action == LinuxSeccompAction::ScmpActNotify {
        found.add("/defaultAction", default_action, NOTIFY_ALL, "name the calls to be notified of");
    }
    let architectures = architectures(profile, native);
    let given = profile.syscalls().as_deref().unwrap_or_default();
    let rules = given.iter().enumerate().map(|(at, rule)| found.rule(at, rule)).collect();
    let is_notify = |rule: &LinuxSyscall| rule.action() == LinuxSeccompAction::ScmpActNotify;
    let notifying = given.iter().position(is_notify);
    found.listener(profile, notifying);
    let flags = flags(profile.flags().as_deref(), notifying.is_some());
    let is_permissive = is_permissive(default_action);
    if found.0.is_empty() {
        Ok(Profile { architectures, default, is_permissive, rules, flags })
    } else {
        Err(found.0)
    }
}

/// Whether the action lets a call pass: to the kernel or to a tracer.
pub(crate) const fn is_permissive(action: LinuxSeccompAction) -> bool {
    matches!(
        action,
        LinuxSeccompAction::ScmpActAllow
            | LinuxSeccompAction::ScmpActLog
            | LinuxSeccompAction::ScmpActTrace
    )
}

const NOTIFY_ALL: &str = "would stop the container's own start, which nobody can answer for \
                          (seccomp_unotify(2))";

fn flags(given: Option<&[LinuxSeccompFilterFlag]>, notifies: bool) -> u32 {
    let Some(given) = given else { return flag::SPEC_ALLOW | listener_flags(notifies) };
    let flags = given.iter().fold(0, |bits, one| {
        bits | match one {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => flag::LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => flag::TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => flag::WAIT_KILLABLE_RECV,
        }
    });
    match (notifies, flags & flag::TSYNC != 0) {
        (true, true) => flags | listener_flags(true) | flag::TSYNC_ESRCH,
        (true, false) => flags | listener_flags(true),
        // It is about receiving notifications: without any the kernel refuses it (EINVAL).
        (false, _) => flags & !flag::WAIT_KILLABLE_RECV,
    }
}

const fn listener_flags(notifies: bool) -> u32 {
    if notifies { flag::NEW_LISTENER } else { 0 }
}

/// Those that the profile covers, the machine's own first.
fn architectures(profile: &LinuxSeccomp, native: Architecture) -> Vec<Architecture> {
    let mut architectures = vec![native];
    for named in profile.architectures().iter().flatten() {
        let architecture = Architecture::from_spec(*named, native);
        if !architectures.contains(&architecture) {
            architectures.push(architecture);
        }
    }
    architectures
}

/// What is wrong so far.
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, pointer: impl Into<String>, value: impl Display, rule: &str, fix: &str) {
        self.0.push(Violation::new(Class::Specification, pointer, value, rule, fix));
    }

    /// The filter's return value for an action, with the errno at that pointer.
    fn return_value(
        &mut self,
        action: LinuxSeccompAction,
        pointer: &str,
        errno: Option<u32>,
    ) -> u32 {
        let (base, largest) = match action {
            LinuxSeccompAction::ScmpActErrno => (verdict::ERRNO, Some(LARGEST_ERRNO)),
            LinuxSeccompAction::ScmpActTrace => (verdict::TRACE, Some(LARGEST_DATA)),
            LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
                (verdict::KILL_THREAD, None)
            }
            LinuxSeccompAction::ScmpActKillProcess => (verdict::KILL_PROCESS, None),
            LinuxSeccompAction::ScmpActTrap => (verdict::TRAP, None),
            LinuxSeccompAction::ScmpActNotify => (verdict::USER_NOTIF, None),
            LinuxSeccompAction::ScmpActLog => (verdict::LOG, None),
            LinuxSeccompAction::ScmpActAllow => (verdict::ALLOW, None),
        };
        match (errno, largest) {
            (None, None) => base,
            (None, Some(_)) => base | EPERM,
            (Some(errno), Some(largest)) if errno <= largest => base | errno,
            (Some(errno), Some(_)) => {
                let rule = "is larger than any errno the kernel returns (4095; 65535 for a tracer)";
                self.add(pointer, errno, rule, "write a smaller number");
                base
            }
            (Some(errno), None) => {
                let rule =
                    "belongs to an action that returns no errno (config-linux.md, \"Seccomp\")";
                self.add(pointer, errno, rule, "leave it out, or use SCMP_ACT_ERRNO");
                base
            }
        }
    }

    /// `notifying` is the first rule with `SCMP_ACT_NOTIFY`, if there is one.
    fn listener(&mut self, profile: &LinuxSeccomp, notifying: Option<usize>) {
        let rule = "needs listenerPath (config-linux.md, \"Seccomp\")";
        let fix = "add the path of the agent's socket";
        let has_path =
            profile.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty());
        if has_path {
            return;
        }
        if let Some(at) = notifying {
            let pointer = format!("/syscalls/{at}/action");
            self.add(pointer, LinuxSeccompAction::ScmpActNotify, rule, fix);
        }
        if let Some(metadata) = profile.listener_metadata().as_ref().filter(|text| !text.is_empty())
        {
            self.add("/listenerMetadata", metadata, rule, fix);
        }
    }

    fn rule<'a>(&mut self, at: usize, rule: &'a LinuxSyscall) -> Rule<'a> {
        let names = rule.names();
        if names.is_empty() {
            let text = "must contain at least one entry (config-linux.md, \"Seccomp\")";
            self.add(format!("/syscalls/{at}/names"), "[]", text, "name a system call");
        }
        let pointer = format!("/syscalls/{at}/errnoRet");
        let action = self.return_value(rule.action(), &pointer, rule.errno_ret());
        let arguments = rule.args().as_deref().unwrap_or_default();
        let conditions: Vec<Condition> = arguments
            .iter()
            .enumerate()
            .filter_map(|(index, argument)| {
                self.condition(argument, &format!("/syscalls/{at}/args/{index}"))
            })
            .collect();
        let names = names.iter().map(|name| Name::new(name)).collect();
        Rule { names, action, alternatives: alternatives(conditions) }
    }

    fn condition(&mut self, argument: &LinuxSeccompArg, pointer: &str) -> Option<Condition> {
        let value = argument.value();
        let index = u8::try_from(argument.index()).ok().filter(|at| usize::from(*at) < ARGUMENTS);
        let Some(index) = index else {
            let rule = "is no argument: a system call has six (seccomp(2))";
            let pointer = format!("{pointer}/index");
            self.add(pointer, argument.index(), rule, "write a number from 0 to 5");
            return None;
        };
        let operator = match argument.op() {
            LinuxSeccompOperator::ScmpCmpNe => Operator::NotEqual(value),
            LinuxSeccompOperator::ScmpCmpLt => Operator::Less(value),
            LinuxSeccompOperator::ScmpCmpLe => Operator::LessOrEqual(value),
            LinuxSeccompOperator::ScmpCmpEq => Operator::Equal(value),
            LinuxSeccompOperator::ScmpCmpGe => Operator::GreaterOrEqual(value),
            LinuxSeccompOperator::ScmpCmpGt => Operator::Greater(value),
            LinuxSeccompOperator::ScmpCmpMaskedEq => Operator::MaskedEqual {
                mask: value,
                value: argument.value_two().unwrap_or_default(),
            },
        };
        Some(Condition { argument: index, operator })
    }
}

/// One list of all the conditions, or, where two are of one argument, a list of each: the profiles
/// of Docker and others rely on runc doing so.
fn alternatives(conditions: Vec<Condition>) -> Vec<Vec<Condition>> {
    let is_repeated = conditions
        .iter()
        .enumerate()
        .any(|(at, one)| conditions[..at].iter().any(|other| other.argument == one.argument));
    if is_repeated {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check_json(profile: Value) -> Result<u32, Vec<String>> {
        let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
        match check(&profile, Architecture::X86_64) {
            Ok(profile) => Ok(profile.flags),
            Err(violations) => Err(violations.into_iter().map(|one| one.pointer).collect()),
        }
    }

    fn pointers(profile: Value) -> Vec<String> {
        check_json(profile).err().unwrap_or_default()
    }

    #[test]
    fn everything_wrong_is_found_at_once() {
        let argument = json!({ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" });
        let profile = json!({
            "defaultAction": "SCMP_ACT_NOTIFY",
            "defaultErrnoRet": 1,
            "listenerMetadata": "for nobody",
            "syscalls": [
                { "names": [], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 },
                { "names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536 },
                { "names": ["read"], "action": "SCMP_ACT_LOG", "errnoRet": 1, "args": [argument] },
                { "names": ["read"], "action": "SCMP_ACT_NOTIFY" }
            ]
        });
        let expected = [
            "/defaultErrnoRet",
            "/defaultAction",
            "/syscalls/0/names",
            "/syscalls/0/errnoRet",
            "/syscalls/1/errnoRet",
            "/syscalls/2/errnoRet",
            "/syscalls/2/args/0/index",
            "/syscalls/3/action",
            "/listenerMetadata",
        ];
        assert_eq!(pointers(profile), expected);
    }

    #[test]
    fn the_largest_values_are_right() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 4095,
            "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65535 }]
        });
        assert_eq!(check_json(profile), Ok(flag::SPEC_ALLOW));
    }

    #[test]
    fn flags() {
        let with = |flags: &[&str], action: &str| {
            check_json(json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "flags": flags,
                "listenerPath": "/run/agent.socket",
                "syscalls": [{ "names": ["read"], "action": action }]
            }))
        };
        let tsync = "SECCOMP_FILTER_FLAG_TSYNC";
        let killable = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
        assert_eq!(with(&[], "SCMP_ACT_LOG"), Ok(0));
        assert_eq!(with(&[tsync], "SCMP_ACT_LOG"), Ok(flag::TSYNC));
        assert_eq!(with(&[killable], "SCMP_ACT_LOG"), Ok(0));
        let notified = flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV;
        assert_eq!(with(&[killable], "SCMP_ACT_NOTIFY"), Ok(notified));
        let synchronous = flag::NEW_LISTENER | flag::TSYNC | flag::TSYNC_ESRCH;
        assert_eq!(with(&[tsync], "SCMP_ACT_NOTIFY"), Ok(synchronous));
    }
}

//! `process`, for init and for exec processes.

use std::path::Path;

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit,
    Process as SpecProcess, Scheduler,
};

use super::{Process, Rlimit, Terminal, Violations, capabilities};
use crate::Violation;
use crate::host::Host;

/// Names of resource limits as the kernel numbers them (getrlimit(2)).
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// Plans a process that joins a container.
///
/// # Errors
/// Every violation; pointers start at the process itself.
pub fn exec(process: &SpecProcess, host: &Host) -> Result<(Process, Vec<String>), Vec<Violation>> {
    let mut found = Violations::default();
    let planned = plan(process, host, "", &mut found);
    if found.all.is_empty() { Ok((planned, found.warnings)) } else { Err(found.all) }
}

pub(crate) fn plan(
    process: &SpecProcess,
    host: &Host,
    pointer: &str,
    found: &mut Violations,
) -> Process {
    let at = |name: &str| format!("{pointer}/{name}");
    let args = process.args().as_deref().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        let rule = "needs at least one entry, the program (config.md, \"Process\")";
        found.add(&at("args"), format!("{args:?}"), rule, "name the program");
    }
    refuse_unsupported(process, pointer, found);
    let env = process.env().as_deref().unwrap_or_default();
    let has_home =
        env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty()));
    let user = process.user();
    if let Some(mask) = user.umask().filter(|mask| *mask > 0o777) {
        let rule = "a umask has nine bits";
        found.add(&at("user/umask"), mask, rule, "write it in decimal: 18 is 022");
    }
    Process {
        terminal: terminal(process),
        args: found.c_strings(&at("args"), args),
        env: found.c_strings(&at("env"), env),
        needs_home: !has_home,
        cwd: cwd(process.cwd(), &at("cwd"), found),
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask(),
        capabilities: capabilities::plan(
            process.capabilities().as_ref(),
            host.bounding,
            pointer,
            found,
        ),
        rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default(), &at("rlimits"), found),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: oom_score_adj(process, &at("oomScoreAdj"), found),
        seccomp: None,
        io_priority: process
            .io_priority()
            .as_ref()
            .map(|given| io_priority(given, &at("ioPriority/priority"), found)),
        scheduler: process
            .scheduler()
            .as_ref()
            .map(|given| scheduler(given, &at("scheduler"), found)),
    }
}

/// An LSM that is not applied is a hole, so a label is an error until it is.
fn refuse_unsupported(process: &SpecProcess, pointer: &str, found: &mut Violations) {
    let labels = [
        ("apparmorProfile", process.apparmor_profile()),
        ("selinuxLabel", process.selinux_label()),
    ];
    for (name, label) in labels {
        if let Some(label) = label.as_deref().filter(|label| !label.is_empty()) {
            found.not_yet(&format!("{pointer}/{name}"), label);
        }
    }
    if process.exec_cpu_affinity().is_some() {
        found.not_yet(&format!("{pointer}/execCPUAffinity"), "");
    }
}

fn terminal(process: &SpecProcess) -> Option<Terminal> {
    let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let size = process.console_size().filter(|size| size.height() != 0 || size.width() != 0);
    let size = size.map(|size| (short(size.height()), short(size.width())));
    process.terminal().unwrap_or(false).then_some(Terminal { size })
}

fn cwd(path: &Path, pointer: &str, found: &mut Violations) -> super::ContainerPath {
    found.absolute(pointer, path, "config.md, \"Process\"")
}

fn rlimits(given: &[PosixRlimit], pointer: &str, found: &mut Violations) -> Vec<Rlimit> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for (index, limit) in given.iter().enumerate() {
        let resource = limit.typ() as u32;
        let name = RLIMITS.get(resource as usize).copied().unwrap_or_default();
        let (soft, hard) = (limit.soft(), limit.hard());
        if limits.iter().any(|other| other.resource == resource) {
            let rule = "a type must not be listed twice (config.md, \"POSIX process\")";
            found.add(&format!("{pointer}/{index}/type"), name, rule, "remove one of the entries");
        }
        if soft > hard {
            let rule = "the soft limit cannot exceed the hard limit";
            found.add(&format!("{pointer}/{index}/soft"), soft, rule, "lower it, or raise hard");
        }
        limits.push(Rlimit { resource, name, soft, hard });
    }
    limits
}

fn oom_score_adj(process: &SpecProcess, pointer: &str, found: &mut Violations) -> Option<i32> {
    let score = process.oom_score_adj()?;
    if !(-1000..=1000).contains(&score) {
        let rule = "is between -1000 and 1000 (proc_pid_oom_score_adj(5))";
        found.add(pointer, score, rule, "write such a number");
    }
    Some(score)
}

/// The class above bit 13, the level below (ioprio_set(2)).
fn io_priority(given: &LinuxIOPriority, pointer: &str, found: &mut Violations) -> u32 {
    let class = match given.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level =
        u32::try_from(given.priority()).ok().filter(|level| *level <= 7).unwrap_or_else(|| {
            found.add(
                pointer,
                given.priority(),
                "is between 0 and 7 (ioprio_set(2))",
                "write such a number",
            );
            0
        });
    class << 13 | level
}

fn scheduler(
    given: &Scheduler,
    pointer: &str,
    found: &mut Violations,
) -> libsyscall::scheduler::Attributes {
    let policy = match given.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    let priority = given.priority().unwrap_or(0);
    if priority < 0 {
        let rule = "a static priority is not negative";
        found.add(&format!("{pointer}/priority"), priority, rule, "write 1 to 99 for FIFO and RR");
    }
    libsyscall::scheduler::Attributes {
        policy,
        flags: given.flags().iter().flatten().map(flag).fold(0, |bits, bit| bits | bit),
        nice: given.nice().unwrap_or(0),
        priority: u32::try_from(priority).unwrap_or(0),
        runtime: given.runtime().unwrap_or(0),
        deadline: given.deadline().unwrap_or(0),
        period: given.period().unwrap_or(0),
        ..libsyscall::scheduler::Attributes::default()
    }
}

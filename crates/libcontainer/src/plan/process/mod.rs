//! `process`, for init and for exec processes.

use std::ffi::CString;
use std::path::Path;

use libnamespaces::Namespaces;
use oci_spec::runtime::{Process as SpecProcess, User};

use crate::host::Host;
use crate::plan::linux::{labels, mappings};
use crate::plan::rules::unsupported;
use crate::plan::{ContainerPath, Labels, Violations};
use crate::request::Console;

mod capabilities;
mod rlimits;
mod scheduling;

pub use capabilities::{Capabilities, names as capability_names};
pub use rlimits::Rlimit;
pub use scheduling::Affinity;

/// `process`, decided: for init and for exec processes alike.
#[derive(Clone, Debug)]
pub struct Process {
    /// Present when the program gets a terminal.
    pub terminal: Option<Terminal>,
    /// `args`, at least one.
    pub args: Vec<CString>,
    /// `env`, of each variable the last entry.
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
    /// `apparmorProfile` and `selinuxLabel`.
    pub labels: Labels,
}

impl Process {
    /// The process, told that it is passed `count` sockets (sd_listen_fds(3)). What is meant for the process that was
    /// called is meant for the program, whose pid is 1 in a pid namespace of its own: engines count on that number.
    pub(crate) fn with_sockets(mut self, count: u32) -> Self {
        if count > 0 {
            self = self.with_variable(&format!("LISTEN_FDS={count}"));
            self = self.with_variable("LISTEN_PID=1");
        }
        self
    }

    /// The process with one variable more, in place of one of that name.
    pub(crate) fn with_variable(mut self, variable: &str) -> Self {
        self.env.extend(CString::new(variable));
        self.env = last_of_each(self.env);
        self
    }
}

/// `process.terminal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// `consoleSize`, rows and columns.
    pub size: Option<(u16, u16)>,
}

/// The most additional groups (`NGROUPS_MAX`, setgroups(2)).
const MOST_GROUPS: usize = 65536;
/// The id that means "leave it" to setresuid(2) and its like: with it the program would stay root.
const NO_ID: u32 = u32::MAX;

/// A terminal needs somebody who shows it: the runtime in the foreground, or the other side of the
/// console socket, which is for nothing else.
pub(crate) fn check_console(
    planned: Option<&Process>,
    console: &Console,
    pointer: &str,
    found: &mut Violations,
) {
    let terminal = planned.is_some_and(|process| process.terminal.is_some());
    let pointer = format!("{pointer}/terminal");
    if console.socket.is_some() && !terminal {
        let rule = "cannot use console socket if runc will not detach or allocate tty: there is no \
                    terminal to send";
        found.add(&pointer, "false", rule, "set it, or leave --console-socket out");
    }
    if console.socket.is_none() && terminal && console.detach {
        let rule = "cannot allocate tty if runc will detach without setting console socket";
        found.add(&pointer, "true", rule, "give --console-socket, or set it to false");
    }
}

/// Plans `process`, which `pointer` points to, for a container that may have a user namespace of its own.
pub(crate) fn plan(
    process: &SpecProcess,
    host: &Host,
    own_user_namespace: bool,
    pointer: &str,
    found: &mut Violations,
) -> Process {
    let at = |name: &str| format!("{pointer}/{name}");
    unsupported::refuse_of_process(process, pointer, found);
    let given = process.capabilities().as_ref();
    let available = host.capabilities(own_user_namespace);
    let user = process.user();
    check_user(user, &at("user"), found);
    Process {
        terminal: terminal(process, &at("consoleSize"), found),
        args: args(process, &at("args"), found),
        env: env(process, &at("env"), found),
        needs_home: needs_home(process),
        cwd: cwd(process.cwd(), &at("cwd"), found),
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask(),
        capabilities: capabilities::plan(given, available, &at("capabilities"), found),
        rlimits: rlimits::plan(
            process.rlimits().as_deref().unwrap_or_default(),
            &at("rlimits"),
            found,
        ),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: oom_score_adj(process, &at("oomScoreAdj"), found),
        io_priority: process
            .io_priority()
            .as_ref()
            .map(|given| scheduling::io_priority(given, &at("ioPriority"), found)),
        scheduler: process
            .scheduler()
            .as_ref()
            .map(|given| scheduling::scheduler(given, &at("scheduler"), found)),
        affinity: scheduling::affinity(process, &at("execCPUAffinity"), found),
        labels: labels::of_process(process, host, pointer, found),
    }
}

fn args(process: &SpecProcess, pointer: &str, found: &mut Violations) -> Vec<CString> {
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        let rule = "needs at least one entry, the program (config.md, \"Process\")";
        found.add(pointer, "[]", rule, "name the program");
    }
    found.c_strings(pointer, args)
}

/// An entry without a name or `=` is no variable (environ(7)), and programs disagree about it.
fn env(process: &SpecProcess, pointer: &str, found: &mut Violations) -> Vec<CString> {
    let env = process.env().as_deref().unwrap_or_default();
    for (index, entry) in env.iter().enumerate() {
        if entry.find('=').is_none_or(|at| at == 0) {
            let rule = "has the form NAME=value (config.md, \"Process\")";
            found.add(&format!("{pointer}/{index}"), entry, rule, "write it so");
        }
    }
    last_of_each(found.c_strings(pointer, env))
}

/// Of two entries for one variable the last counts, as in a shell; getenv(3) finds the first, so that goes.
fn last_of_each(env: Vec<CString>) -> Vec<CString> {
    let name =
        |entry: &CString| entry.to_bytes().split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<_> = env.into_iter().rev().filter(|entry| seen.insert(name(entry))).collect();
    kept.reverse();
    kept
}

fn needs_home(process: &SpecProcess) -> bool {
    let mut env = process.env().iter().flatten().rev();
    env.find_map(|entry| entry.strip_prefix("HOME=")).is_none_or(str::is_empty)
}

fn cwd(path: &Path, pointer: &str, found: &mut Violations) -> ContainerPath {
    found.absolute(pointer, path, "config.md, \"Process\"")
}

/// The size says nothing without a terminal (config.md, "Process"); engines send zeros for none.
fn terminal(process: &SpecProcess, pointer: &str, found: &mut Violations) -> Option<Terminal> {
    if !process.terminal().unwrap_or(false) {
        return None;
    }
    let size = process.console_size().filter(|size| (size.height(), size.width()) != (0, 0));
    let mut cells = |name: &str, cells: u64| {
        u16::try_from(cells).unwrap_or_else(|_| {
            let rule = "a terminal has at most 65535 rows and columns (ioctl_tty(2))";
            found.add(&format!("{pointer}/{name}"), cells, rule, "write the real size");
            0
        })
    };
    let size = size.map(|size| (cells("height", size.height()), cells("width", size.width())));
    Some(Terminal { size })
}

fn check_user(user: &User, pointer: &str, found: &mut Violations) {
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    let ids = [("uid".to_owned(), user.uid()), ("gid".to_owned(), user.gid())];
    let named = groups.iter().enumerate();
    let named = named.map(|(index, gid)| (format!("additionalGids/{index}"), *gid));
    for (name, id) in ids.into_iter().chain(named).filter(|(_, id)| *id == NO_ID) {
        let rule = "is no id: it means \"unchanged\" (setresuid(2))";
        found.add(&format!("{pointer}/{name}"), id, rule, "write the id the program runs with");
    }
    if groups.len() > MOST_GROUPS {
        let rule = "a process has at most 65536 groups (setgroups(2))";
        let shown = format!("{} entries", groups.len());
        found.add(&format!("{pointer}/additionalGids"), shown, rule, "leave some out");
    }
    if let Some(mask) = user.umask().filter(|mask| *mask > 0o777) {
        let rule = "a umask has nine bits (umask(2))";
        found.add(&format!("{pointer}/umask"), mask, rule, "write it in decimal: 18 is 022");
    }
}

/// In a new user namespace the process can only have ids that are mapped.
pub(crate) fn check_mapped(process: &Process, namespaces: &Namespaces, found: &mut Violations) {
    let pointer = "/process/user";
    let mut check = |name: &str, ids: &[u32], mappings| {
        for id in ids.iter().filter(|id| !mappings::maps(mappings, **id)) {
            let rule = "is not an id of the container's user namespace";
            found.add(&format!("{pointer}/{name}"), id, rule, "map it, or write a mapped one");
        }
    };
    check("uid", &[process.uid], &namespaces.uid_mappings);
    check("gid", &[process.gid], &namespaces.gid_mappings);
    check("additionalGids", &process.additional_gids, &namespaces.gid_mappings);
}

fn oom_score_adj(process: &SpecProcess, pointer: &str, found: &mut Violations) -> Option<i32> {
    let score = process.oom_score_adj()?;
    if !(-1000..=1000).contains(&score) {
        let rule = "is between -1000 and 1000 (proc_pid_oom_score_adj(5))";
        found.add(pointer, score, rule, "write such a number");
    }
    Some(score)
}

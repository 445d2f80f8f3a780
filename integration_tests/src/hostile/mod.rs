//! The hostile program: what runs in a container and looks for a way out of it.
//!
//! This same binary, which is static, copied into a root filesystem: `integration_tests --hostile
//! ATTACK REPORT ...`. It writes what it got hold of to the file REPORT, a line each. The attacks:
//!
//! - `follow REPORT MARKER` follows, until it is killed, the links of every process that comes. MARKER
//!   is the path of a file of the host that no config gives to the container.
//! - `read REPORT ARGUMENT VARIABLE` looks, until it is killed, for ARGUMENT in the command line and for
//!   VARIABLE in the environment of every process that comes.
//! - `climb REPORT MARKER` tries once to leave a root that is no more than the process's.
//! - `everything REPORT TARGET` tries all probes of a target until it is killed ([`probes`]).
//! - `change REPORT` tries once to change every file that is mounted, a device or a stream of its own.

mod by_machine;
mod by_process;
pub(crate) mod probes;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, setxattr, utimensat};
use rustix::process::{chdir, chroot, fchdir};

use crate::mountinfo;
use probes::{Attack, PROBES, Target};

/// The flag that makes of this binary the hostile program.
pub(crate) const FLAG: &str = "--hostile";
/// The extended attributes that it gives to a file.
pub(crate) const ATTRIBUTES: [&str; 2] = ["trusted.hostile", "security.hostile"];
/// The highest descriptor of another process that is tried.
const LAST_DESCRIPTOR: u32 = 15;

/// Attacks.
///
/// # Errors
/// The report cannot be written, or there is no /proc.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (attack, report, rest) = match arguments {
        [attack, report, rest @ ..] => (attack, report, rest),
        _ => anyhow::bail!("{FLAG} ATTACK REPORT"),
    };
    let mut report = Report::open(report)?;
    match (attack.as_str(), rest) {
        ("follow", [marker]) => watch(&mut report, |pid, report| follow(pid, marker, report)),
        ("read", [argument, variable]) => {
            watch(&mut report, |pid, report| read(pid, [argument, variable], report))
        }
        ("climb", [marker]) => climb(marker, &mut report),
        ("everything", [target]) => everything(&Target::from_argument(target)?, &mut report),
        ("change", []) => change_all(&mut report),
        _ => anyhow::bail!("no attack {attack}"),
    }
}

/// Attacks every process that comes, for ever.
fn watch(
    report: &mut Report,
    attack: impl Fn(u32, &mut Report) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let own = std::process::id();
    report.line("attacking")?;
    loop {
        let last = last_pid()?;
        // What comes next is looked for before it is there; threads have taken numbers too.
        let near = last.saturating_sub(16).max(1)..=last + 2;
        for pid in near.filter(|pid| *pid != own) {
            if Path::new(&format!("/proc/{pid}")).exists() {
                attack(pid, report)?;
            }
        }
    }
}

/// The pid given last in this pid namespace (proc_loadavg(5), the last field).
fn last_pid() -> anyhow::Result<u32> {
    let text = fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
    let last = text.split_whitespace().next_back().context("/proc/loadavg is empty")?;
    Ok(last.parse()?)
}

/// Follows every link of a process to where the marker would be.
fn follow(pid: u32, marker: &str, report: &mut Report) -> anyhow::Result<()> {
    let process = format!("/proc/{pid}");
    let descriptors = (0..=LAST_DESCRIPTOR).map(|fd| format!("{process}/fd/{fd}"));
    for link in ["root", "cwd"].iter().map(|name| format!("{process}/{name}")).chain(descriptors) {
        let Ok(target) = fs::read_link(&link) else { continue };
        report.seen(pid)?;
        let way = format!("{link}{}{marker}", "/..".repeat(12));
        if File::open(&way).is_ok() || File::open(format!("{link}{marker}")).is_ok() {
            report.line(&format!("reached {link} {}", target.display()))?;
        }
    }
    let binary = format!("{process}/exe");
    let opened = OpenOptions::new().write(true).open(&binary).map(drop);
    if opened.or_else(|_| fs::set_permissions(&binary, Permissions::from_mode(0o755))).is_ok() {
        report.line(&format!("reached {binary} for writing"))?;
    }
    Ok(())
}

/// Looks for an argument and a variable of whoever called the runtime.
fn read(pid: u32, secrets: [&str; 2], report: &mut Report) -> anyhow::Result<()> {
    for (name, secret) in ["cmdline", "environ"].iter().zip(secrets) {
        let Ok(text) = fs::read(format!("/proc/{pid}/{name}")) else { continue };
        report.seen(pid)?;
        if String::from_utf8_lossy(&text).contains(secret) {
            report.line(&format!("reached {pid} {name}"))?;
        }
    }
    Ok(())
}

/// How often processes are looked for between two looks at the machine.
const PROCESS_ROUNDS: usize = 2000;

/// Tries every probe of the target, for ever. A line says that one is tried, and each that it has hit.
fn everything(target: &Target, report: &mut Report) -> anyhow::Result<()> {
    let own = std::process::id();
    let chosen =
        || PROBES.iter().filter(|probe| target.probes.iter().any(|name| name == probe.name));
    report.line("attacking")?;
    // The machine is looked at again once it has been: by then a container is about to be entered.
    loop {
        for probe in chosen() {
            let Attack::Machine(attack) = probe.attack else { continue };
            report.outcome(probe.name, &attack(target))?;
        }
        for _ in 0..PROCESS_ROUNDS {
            // Somebody renames /proc, so that it is not there now and then.
            let Ok(last) = last_pid() else { continue };
            for pid in last.saturating_sub(16).max(1)..=last + 2 {
                if pid == own || !Path::new(&format!("/proc/{pid}/stat")).exists() {
                    continue;
                }
                for probe in chosen() {
                    let Attack::Process(attack) = probe.attack else { continue };
                    report.outcome(probe.name, &attack(target, pid))?;
                }
            }
        }
    }
}

/// Takes a directory as its root while it is outside of that, and climbs (chroot(2), "Notes").
fn climb(marker: &str, report: &mut Report) -> anyhow::Result<()> {
    let outside = File::open("/")?;
    fs::create_dir("/report/below")?;
    chroot("/report/below").context("chroot")?;
    fchdir(&outside)?;
    for _ in 0..64 {
        chdir("..")?;
    }
    chroot(".").context("chroot")?;
    if File::open(marker).is_ok() {
        report.line("reached the host by chroot")?;
    }
    report.line("done")
}

/// Tries to change everything that may be the host's.
fn change_all(report: &mut Report) -> anyhow::Result<()> {
    let mounts = mountinfo::load()?.into_iter().map(|mount| mount.point);
    let devices = fs::read_dir("/dev")?.filter_map(|entry| Some(entry.ok()?.path()));
    let streams = (0..=2).map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}")));
    let first = ["exe", "fd/0", "fd/1", "fd/2"].map(|name| Path::new("/proc/1").join(name));
    for path in mounts.chain(devices).chain(streams).chain(first) {
        report.line(&format!("tried {}", path.display()))?;
        for (call, outcome) in change(&path) {
            if outcome.is_ok() {
                report.line(&format!("{call} {}", path.display()))?;
            }
        }
    }
    report.line("done")
}

/// Every change of a file that leaves its content as it is.
fn change(path: &Path) -> Vec<(&'static str, std::io::Result<()>)> {
    let time = Timespec { tv_sec: 77, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let attribute = |name| setxattr(path, name, b"hostile", XattrFlags::empty());
    let [first, second] = ATTRIBUTES.map(attribute);
    vec![
        ("chmod", fs::set_permissions(path, Permissions::from_mode(0o601))),
        ("chown", chown(path, Some(65_533), Some(65_533))),
        ("utimensat", utimensat(CWD, path, &times, AtFlags::empty()).map_err(Into::into)),
        ("setxattr", first.map_err(Into::into)),
        ("setxattr", second.map_err(Into::into)),
    ]
}

struct Report {
    file: File,
    seen: BTreeSet<u32>,
    /// The probes that were tried.
    tried: BTreeSet<&'static str>,
}

impl Report {
    fn open(path: &str) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self {
            file: file.with_context(|| path.to_owned())?,
            seen: BTreeSet::new(),
            tried: BTreeSet::new(),
        })
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.file.write_all(format!("{line}\n").as_bytes())?)
    }

    /// A process whose links can be read: without one the attack shows nothing.
    fn seen(&mut self, pid: u32) -> anyhow::Result<()> {
        if self.seen.insert(pid) { self.line(&format!("seen {pid}")) } else { Ok(()) }
    }

    /// What a probe has reached.
    fn outcome(&mut self, probe: &'static str, reached: &[String]) -> anyhow::Result<()> {
        if self.tried.insert(probe) {
            self.line(&format!("tried {probe}"))?;
        }
        reached.iter().try_for_each(|what| self.line(&format!("hit {probe}: {what}")))
    }
}

//! The hostile program: what runs in a container and looks for a way out of it.
//!
//! This same binary, which is static, copied into a root filesystem:
//! `integration_tests --hostile MARKER REPORT`. It attacks until it is killed and writes what it got
//! hold of to the file REPORT, a line each. MARKER is the path of a file of the host that no config
//! gives to the container.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

/// The flag that makes of this binary the hostile program.
pub(crate) const FLAG: &str = "--hostile";
/// The highest descriptor of another process that is tried.
const LAST_DESCRIPTOR: u32 = 15;

/// Attacks for ever.
///
/// # Errors
/// The report cannot be written, or there is no /proc.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [marker, report] = arguments else { anyhow::bail!("{FLAG} MARKER REPORT") };
    let mut report = Report::open(report)?;
    let own = std::process::id();
    report.line("attacking")?;
    loop {
        let last = last_pid()?;
        // What comes next is looked for before it is there; threads have taken numbers too.
        let near = last.saturating_sub(16).max(1)..=last + 2;
        for pid in near.filter(|pid| *pid != own) {
            if Path::new(&format!("/proc/{pid}")).exists() {
                follow(pid, marker, &mut report)?;
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
    if OpenOptions::new().write(true).open(format!("{process}/exe")).is_ok() {
        report.line(&format!("reached {process}/exe for writing"))?;
    }
    Ok(())
}

struct Report {
    file: File,
    seen: BTreeSet<u32>,
}

impl Report {
    fn open(path: &str) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: file.with_context(|| path.to_owned())?, seen: BTreeSet::new() })
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.file.write_all(format!("{line}\n").as_bytes())?)
    }

    /// A process whose links can be read: without one the attack shows nothing.
    fn seen(&mut self, pid: u32) -> anyhow::Result<()> {
        if self.seen.insert(pid) { self.line(&format!("seen {pid}")) } else { Ok(()) }
    }
}

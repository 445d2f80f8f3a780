//! What is asked of the machine's systemd.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::view::{Layout, layout};

/// sd_booted(3).
pub(crate) fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Over the bus, as systemd's own socket does not know a process of another pid namespace.
pub(crate) fn systemctl(args: &[&str]) -> anyhow::Result<String> {
    ask(Command::new("systemctl").env("SYSTEMCTL_FORCE_BUS", "1").args(args))
}

/// A call on the machine's bus, and what it gives.
pub(crate) fn busctl(call: &str) -> anyhow::Result<String> {
    ask(Command::new("busctl").arg("call").args(call.split_whitespace()))
}

/// What `command` prints.
pub(crate) fn ask(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {stderr}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A slice that wants all controllers, beside the cgroups that the tests make: where no unit does, systemd takes them
/// from what is there and not a unit, at any time.
pub(crate) struct KeptControllers(Option<String>);

impl KeptControllers {
    /// Makes it, for as long as this lives, with `token` in its name.
    pub(crate) fn new(token: &str) -> anyhow::Result<Self> {
        if !is_booted() || layout()? != Layout::V2 {
            return Ok(Self(None));
        }
        let name = format!("{}container_tests_{token}.slice", around()?);
        let call = format!(
            "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit \
             ssa(sv)a(sa(sv)) {name} fail 3 CPUWeight t 100 IOWeight t 100 AllowedCPUs ay 1 1 0"
        );
        let kept = Self(Some(name.clone()));
        busctl(&call)?;
        // The call has only asked for it: this waits until it is there.
        systemctl(&["start", &name])?;
        Ok(kept)
    }
}

impl Drop for KeptControllers {
    fn drop(&mut self) {
        let _ = self.0.as_ref().map(|name| systemctl(&["stop", name]));
    }
}

/// What the name of a slice beside the suite's own cgroup begins with: the containers have theirs there, too.
fn around() -> anyhow::Result<String> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).context("no cgroup of v2")?;
    let slice = Path::new(own).parent().and_then(Path::file_name).unwrap_or_default();
    let slice = slice.to_string_lossy();
    Ok(slice.strip_suffix(".slice").map_or_else(String::new, |slices| format!("{slices}-")))
}

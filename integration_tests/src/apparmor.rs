//! AppArmor profiles of a test, which are the machine's own: each has the test's id in its name, and goes with it.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::ensure;

use crate::skip::Skip;

/// Whether the machine has AppArmor, and it is on.
pub(crate) fn is_on() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.starts_with('Y'))
}

/// A loaded profile.
#[derive(Debug)]
pub(crate) struct Profile {
    pub name: String,
    text: String,
}

impl Profile {
    /// Loads a profile that allows everything but what `denied` says.
    ///
    /// # Errors
    /// A [`Skip`] where AppArmor is off.
    pub(crate) fn load(name: &str, denied: &str) -> anyhow::Result<Self> {
        if !is_on() {
            return Err(Skip("no AppArmor here: hack/test --vm".to_owned()).into());
        }
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
             file, capability, network, signal, ptrace, mount, umount, pivot_root, unix, dbus,\n\
             {denied}\n}}\n"
        );
        let profile = Self { name: name.to_owned(), text };
        profile.parse("--replace")?;
        Ok(profile)
    }

    /// What /proc/self/attr/current says in it.
    pub(crate) fn current(&self) -> String {
        format!("{} (enforce)", self.name)
    }

    fn parse(&self, what: &str) -> anyhow::Result<()> {
        let mut command = Command::new("apparmor_parser");
        command.args([what, "--skip-cache", "--quiet"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut parser = command.spawn()?;
        parser.stdin.take().map(|mut stdin| stdin.write_all(self.text.as_bytes())).transpose()?;
        let output = parser.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "apparmor_parser {what}: {said}");
        Ok(())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = self.parse("--remove");
    }
}

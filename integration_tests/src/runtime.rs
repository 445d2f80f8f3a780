//! The runtime under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::isolation::token;

/// The runtime under test, and what the tests need beside it.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub binary: PathBuf,
    pub busybox: PathBuf,
    pub applets: Vec<String>,
    /// What all names of this suite contain that others of the machine could have, too.
    pub token: String,
}

impl Runtime {
    /// `$RUNTIME`, a path or a name; otherwise the aril that was built beside this program.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let name = std::env::var_os("RUNTIME");
        let path = name.map_or_else(beside, |name| Ok(name.into()))?;
        let binary = find_program(&path).with_context(|| {
            let fix = "set RUNTIME to the runtime's binary, or build aril: cargo build --workspace";
            format!("no {path:?}: {fix}")
        })?;
        let busybox = find_program(Path::new("busybox"))
            .context("install busybox-static: root filesystems are made of it")?;
        let list = Command::new(&busybox).arg("--list").output()?;
        let applets = String::from_utf8(list.stdout)?.lines().map(str::to_owned).collect();
        Ok(Self { binary, busybox, applets, token: token() })
    }

    /// Builds aril beside this program, if it is the runtime under test: Cargo does not, for the
    /// tests of another package.
    pub(crate) fn build() -> anyhow::Result<()> {
        if std::env::var_os("RUNTIME").is_some() {
            return Ok(());
        }
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "aril"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        let status = command.status().with_context(|| format!("{command:?}"))?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    }
}

/// Where Cargo puts aril, next to this program.
fn beside() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("aril"))
}

/// A program by its path, or by its name as the shell finds it.
fn find_program(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).map(|directory| directory.join(name));
    let by_path = name.components().count() > 1;
    let candidates = by_path.then(|| name.to_owned()).into_iter().chain(directories);
    candidates.filter(|path| path.is_file()).find_map(|path| fs::canonicalize(path).ok())
}

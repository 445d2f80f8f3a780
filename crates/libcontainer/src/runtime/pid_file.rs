//! The pid file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// How many names are tried for the file beside.
const NAMES: u32 = 100;

/// Decimal, without a newline (containerd parses it as it is), complete at once. The directory may be
/// one that others write to, so nothing is written through a name that somebody had before.
///
/// # Errors
/// Those of open(2), write(2) and rename(2). The pid file is not there then, and nothing beside it.
pub(super) fn write(path: &Path, pid: i32) -> anyhow::Result<()> {
    write_beside(path, pid).with_context(|| format!("write the pid file {}", path.display()))
}

fn write_beside(path: &Path, pid: i32) -> anyhow::Result<()> {
    let (beside, mut file) = make_beside(path)?;
    let written =
        file.write_all(pid.to_string().as_bytes()).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        error.into()
    })
}

/// A new file in the directory of `path`.
fn make_beside(path: &Path) -> anyhow::Result<(PathBuf, File)> {
    let name = path.file_name().context("it names no file")?;
    for number in 0..NAMES {
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}.{number}", std::process::id()));
        let beside = path.with_file_name(beside);
        // O_EXCL follows no link either (open(2)).
        match File::create_new(&beside) {
            Ok(file) => return Ok((beside, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("{NAMES} names beside it are taken")
}

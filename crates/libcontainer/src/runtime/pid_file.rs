//! The pid file.

use std::path::Path;

use anyhow::Context as _;

/// Decimal, without a newline (containerd parses it as it is), complete at once.
pub(super) fn write(path: &Path, pid: i32) -> anyhow::Result<()> {
    let context = || format!("write the pid file {}", path.display());
    let name = path.file_name().with_context(context)?;
    let mut next = std::ffi::OsString::from(".");
    next.push(name);
    next.push(format!(".{}", std::process::id()));
    let next = path.with_file_name(next);
    std::fs::write(&next, pid.to_string()).with_context(context)?;
    std::fs::rename(&next, path).with_context(context)
}

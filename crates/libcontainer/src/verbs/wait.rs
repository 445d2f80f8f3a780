//! `wait`.

use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use anyhow::Context as _;

use crate::request::Context;
use crate::wait::{exit_code, until_readable};
use crate::{Error, ErrorKind, Result, state};

/// Waits until the container's first process has ended: its exit code, or 128 and the signal that ended it.
///
/// # Errors
/// No such container; or it had ended before and its parent has been told how, which is told once; or this kernel
/// tells nobody else.
pub fn wait(context: &Context, id: &str) -> Result<u8> {
    let (_, state) = state::load(context, id)?;
    let init = state.init.ok_or_else(Error::not_running)?;
    let pidfd = init.pidfd()?.ok_or_else(|| {
        let text = "container not running: it ended before this wait, and only its parent was told its exit code";
        Error::new(ErrorKind::Status, text)
    })?;
    until_readable(pidfd.as_fd(), None).context("poll a pidfd")?;
    let status = init.wait_status(pidfd.as_fd())?.ok_or_else(|| {
        let text = "the container has ended, but only its parent is told its exit code: others need CAP_SYS_PTRACE, \
                    and Linux 6.15 if the parent is faster";
        Error::new(ErrorKind::System, text)
    })?;
    let status = ExitStatus::from_raw(status);
    Ok(exit_code(status.code(), status.signal()))
}

//! How init ends when it does not become the program: a [`Failure`] that names its stage.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use crate::error::Details;
use crate::protocol::{Failure, Stage};

/// Runs `body`, which leaves by execve(2) or fails.
pub(super) fn failure_of(body: impl FnOnce() -> Result<Infallible, Failure>) -> Failure {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(never)) => match never {},
        Ok(Err(failure)) => failure,
        Err(_) => failure(
            Stage::Program,
            &anyhow::Error::msg("the process panicked; this is a defect of aril"),
        ),
    }
}

/// Names the stage of a failure.
pub(super) trait At<T> {
    fn at(self, stage: Stage) -> Result<T, Failure>;
}

impl<T> At<T> for anyhow::Result<T> {
    fn at(self, stage: Stage) -> Result<T, Failure> {
        self.map_err(|error| failure(stage, &error))
    }
}

/// The longest text of a failure that is sent, in bytes.
const LONGEST_TEXT: usize = 8 * 1024;

fn failure(stage: Stage, error: &anyhow::Error) -> Failure {
    let Details { pointers, call, errno, .. } = Details::of(error);
    let mut text = format!("{error:#}");
    let end = (0..=LONGEST_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    Failure { stage, pointers, call, errno, text }
}

/// nix's error number as the one that all others use.
pub(super) fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

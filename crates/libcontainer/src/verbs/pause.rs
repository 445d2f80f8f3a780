//! `pause` and `resume`.

use crate::request::Context;
use crate::state::{self, Status};
use crate::{Error, ErrorKind, Result};

/// Stops every process of the container where it is.
///
/// # Errors
/// The container neither runs nor waits to be started.
pub fn pause(context: &Context, id: &str) -> Result<()> {
    let (directory, state) = state::load_to_change(context, id)?;
    match state.status(&directory)? {
        Status::Running | Status::Created => Ok(state.require_own_cgroup()?.freeze()?),
        status => {
            let text = format!("container not running or created: {}", status.word());
            Err(Error::new(ErrorKind::Status, text))
        }
    }
}

/// Lets a paused container go on.
///
/// # Errors
/// It is not paused.
pub fn resume(context: &Context, id: &str) -> Result<()> {
    let (directory, state) = state::load_to_change(context, id)?;
    match state.status(&directory)? {
        Status::Paused => Ok(state.require_own_cgroup()?.thaw()?),
        _ => Err(Error::new(ErrorKind::Status, "container not paused")),
    }
}

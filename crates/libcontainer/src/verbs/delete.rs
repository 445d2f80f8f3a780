//! `delete`, and the end of every container.

use crate::request::Context;
use crate::runtime::end::{destroy, kill_all};
use crate::state::{self, Remains, StateDirectory, Status};
use crate::{Error, ErrorKind, Result};

/// Removes a container (runtime-spec, runtime.md, "Delete"): a stopped one, as runc a created one,
/// and with `force` any, also what a killed runtime has left. With `force` an unknown id is fine.
///
/// # Errors
/// The status forbids it, or something cannot be removed.
pub fn delete(context: &Context, id: &str, force: bool) -> Result<()> {
    if force {
        return delete_by_force(context, id);
    }
    let (directory, state) = state::load_to_change(context, id)?;
    match state.status(&directory)? {
        Status::Stopped | Status::Created => destroy(directory, &state, None, context.warn),
        status => {
            let word = status.word();
            let text = format!("cannot delete container {id} that is not stopped: {word}");
            Err(Error::new(ErrorKind::Status, text))
        }
    }
}

/// Whatever is known of the container ends and goes; an error says what was not known.
fn delete_by_force(context: &Context, id: &str) -> Result<()> {
    let directory = match StateDirectory::open(context, id) {
        Err(Error { kind: ErrorKind::NotFound, .. }) => return Ok(()),
        result => result?,
    };
    let directory = match directory.try_lock()? {
        Ok(locked) => locked,
        Err(busy) => {
            // Who is at work waits for init: without it there is nothing left to do.
            if let Some(remains) = busy.load_remains()? {
                kill_all(&remains.state)?;
            }
            busy.lock()?
        }
    };
    // Its maker was killed before it made anything, or undid it.
    let Some(Remains { state, lost }) = directory.load_remains()? else {
        return Ok(directory.remove()?);
    };
    destroy(directory, &state, None, context.warn)?;
    if lost.is_empty() {
        return Ok(());
    }
    let text = format!(
        "container {id} is removed as far as its state.json could be read; it did not say {}",
        lost.join("; ")
    );
    Err(Error::new(ErrorKind::System, text))
}

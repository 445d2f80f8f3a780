//! `delete`, and the end of every container.

use crate::request::Context;
use crate::runtime::end::destroy;
use crate::state::{StateDirectory, Status};
use crate::{Error, ErrorKind, Result};

/// Removes a container (runtime-spec, runtime.md, "Delete"): a stopped one, as runc a created one,
/// and with `force` any, also what a killed runtime has left. With `force` an unknown id is fine.
///
/// # Errors
/// The status forbids it, or something cannot be removed.
pub fn delete(context: &Context, id: &str, force: bool) -> Result<()> {
    let directory = match StateDirectory::open(context, id) {
        Err(Error { kind: ErrorKind::NotFound, .. }) if force => return Ok(()),
        result => result?,
    };
    let state = match directory.load() {
        Ok(Some(state)) => state,
        // Its maker was killed before it made anything.
        Ok(None) if force => return Ok(directory.remove()?),
        Ok(None) => return Err(Error::not_found()),
        Err(damaged) if force => {
            let text = "what it says is lost: look for processes and cgroups of the container";
            (context.warn)(&format!("{damaged:#}; {text}"));
            return Ok(directory.remove()?);
        }
        Err(damaged) => return Err(damaged.into()),
    };
    let status = state.status(&directory);
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        let word = status.word();
        let text = format!("cannot delete container {id} that is not stopped: {word}");
        return Err(Error::new(ErrorKind::Status, text));
    }
    destroy(directory, &state, context.warn)
}

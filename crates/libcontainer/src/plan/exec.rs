//! `plan::exec`: a process that joins a container, or every reason why not.

use libnamespaces::{Kind, KindSet};
use oci_spec::runtime::Process as SpecProcess;

use super::{Process, Violations, process};
use crate::Violation;
use crate::host::Host;

/// Plans a process that joins a container, which has `namespaces` of its own.
///
/// # Errors
/// Every violation; pointers start at the process itself.
pub fn exec(
    given: &SpecProcess,
    host: &Host,
    namespaces: KindSet,
) -> Result<(Process, Vec<String>), Vec<Violation>> {
    let mut found = Violations::default();
    let available = host.capabilities(namespaces.contains(Kind::User));
    let planned = process::plan(given, available, "", &mut found);
    found.finish(planned)
}

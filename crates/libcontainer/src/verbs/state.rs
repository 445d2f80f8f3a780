//! `state`, `list` and `ps`: what is known about containers.

use anyhow::Context as _;

use crate::Result;
use crate::request::Context;
use crate::state::{self, StateDirectory, StateDocument};

/// The state of one container (runtime-spec, runtime.md, "Query State").
///
/// # Errors
/// No such container.
pub fn state(context: &Context, id: &str) -> Result<StateDocument> {
    let (directory, state) = state::load(context, id)?;
    let mut document = StateDocument::new(&state, state.status(&directory)?);
    name_owners(std::slice::from_mut(&mut document));
    Ok(document)
}

/// All containers below the root, sorted by id. One that cannot be read is warned about.
///
/// # Errors
/// The root cannot be read.
pub fn list(context: &Context) -> Result<Vec<StateDocument>> {
    let entries = match std::fs::read_dir(&context.root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.with_context(|| format!("read {}", context.root.display()))?,
    };
    let mut documents = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", context.root.display()))?;
        let id = entry.file_name().to_string_lossy().into_owned();
        let loaded = StateDirectory::open(context, &id).and_then(|directory| document(&directory));
        match loaded {
            Ok(Some(document)) => documents.push(document),
            Ok(None) => {
                (context.warn)(&format!("container {id}: no state; delete --force removes it"))
            }
            Err(error) => (context.warn)(&format!("container {id}: {error}")),
        }
    }
    documents.sort_by(|left, right| left.id.cmp(&right.id));
    name_owners(&mut documents);
    Ok(documents)
}

/// What is known of the container of a directory.
fn document(directory: &StateDirectory) -> Result<Option<StateDocument>> {
    let Some(state) = directory.load()? else { return Ok(None) };
    Ok(Some(StateDocument::new(&state, state.status(directory)?)))
}

/// The pids of the container's processes, in the runtime's pid namespace.
///
/// # Errors
/// No such container, or it has no cgroup, or that cannot be read.
pub fn ps(context: &Context, id: &str) -> Result<Vec<i32>> {
    let (_, state) = state::load(context, id)?;
    state.require_a_cgroup()?;
    let cgroup = state.own_cgroup()?;
    Ok(cgroup.map_or_else(|| Ok(Vec::new()), |cgroup| cgroup.pids())?)
}

/// Puts names for the uids in `owner`, where /etc/passwd has them.
fn name_owners(documents: &mut [StateDocument]) {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let passwd = String::from_utf8_lossy(&passwd);
    for document in documents {
        let name = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == document.owner).then(|| name.to_owned())
        });
        if let Some(name) = name {
            document.owner = name;
        }
    }
}

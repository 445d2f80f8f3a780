//! Parse, probe and plan: all that can be said of a request before anything is done.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use oci_spec::runtime::Process as SpecProcess;

use crate::host::Host;
use crate::notify_socket::notify_directory;
use crate::plan::{self, Joining, Plan, Planned, validate_id};
use crate::request::{self, Context};
use crate::state::State;
use crate::{Error, Result, spec};

/// A container that has been planned.
pub(crate) struct Prepared {
    /// What will be.
    pub plan: Plan,
    /// `process` of the config: what exec processes start from.
    pub process: Option<SpecProcess>,
    /// Uid of the caller.
    pub owner: u32,
}

/// Prepares a container.
///
/// # Errors
/// The id, the descriptors to keep, or everything that the config gets wrong.
pub(crate) fn container(context: &Context, request: &request::Create) -> Result<Prepared> {
    validate_id(&request.id).map_err(|reason| Error::invalid_id(&reason))?;
    context.check_preserved(request.preserve_fds.saturating_add(request.listen_fds))?;
    let bundle = absolute_bundle(&request.bundle)?;
    let loaded = spec::load(&bundle)?;
    warn(context, &loaded.warnings);
    let host = Host::probe()?;
    let owner = host.euid;
    let (spec, planned) = loaded.plan(|spec| {
        let host = host.asked_for_labels(plan::names_labels(spec));
        let host = host.asked_for_resctrl(plan::names_intel_rdt(spec));
        let host = plan::reachable_cgroups(spec, host, request);
        let planned = plan::create(spec, &host, request, &bundle)?;
        match request.notify {
            Some(_) => plan::with_notify_socket(planned, notify_directory(context, &request.id)),
            None => Ok(planned),
        }
    })?;
    warn(context, &planned.warnings);
    Ok(Prepared { plan: planned.plan, process: spec.process().clone(), owner })
}

/// Prepares a process in the container of `state`: that of the file, or the container's own with
/// what the flags change.
///
/// # Errors
/// The descriptors to keep, or everything that is wrong with the process.
pub(crate) fn process(
    context: &Context,
    request: &request::Exec,
    state: &State,
) -> Result<Joining> {
    context.check_preserved(request.preserve_fds.saturating_add(request.listen_fds))?;
    let namespaces = state.namespaces()?;
    let host = Host::probe()?;
    let plan = |given: &SpecProcess| {
        let given = plan::with_what_it_lacks(given, state.process.as_ref());
        let host = host.asked_for_labels(plan::process_names_labels(&given));
        plan::exec(&given, &host, namespaces, request)
    };
    let Planned { plan: process, warnings } = match request.process.as_deref() {
        Some(path) => {
            let loaded = spec::load_process(path).map_err(Error::of_process)?;
            warn(context, &loaded.warnings);
            loaded.plan(plan).map_err(Error::of_process)?.1
        }
        None => {
            let given = plan::process_of_flags(request, state.process.as_ref());
            warn(context, &given.warnings);
            plan(&given.plan).map_err(|found| Error::invalid(found).of_process())?
        }
    };
    warn(context, &warnings);
    Ok(Joining {
        process,
        confinement: state.confinement()?.clone(),
        resource_group: state.resource_group.clone(),
        cgroup: plan::cgroup_below(&state.cgroup, &request.cgroups)?,
        namespaces,
        preserve_fds: request.preserve_fds.saturating_add(request.listen_fds),
    })
}

fn warn(context: &Context, warnings: &[String]) {
    warnings.iter().for_each(|warning| (context.warn)(warning));
}

fn absolute_bundle(bundle: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(bundle)
        .with_context(|| format!("bundle {}", bundle.display()))
        .map_err(Error::from)
}

//! `update`.

use crate::host::Host;
use crate::request::{Context, Update};
use crate::runtime::resctrl;
use crate::state::{self, Status};
use crate::{Error, Result, plan, spec, wait};

/// Gives the container other limits: all that are asked for, or none.
///
/// # Errors
/// The container is stopped or being made, everything that is wrong with the limits, or the one that the kernel
/// refuses.
pub fn update(context: &Context, request: &Update) -> Result<()> {
    let loaded = spec::load_resources(&request.resources)?;
    let (directory, state) = state::load_to_change(context, &request.id)?;
    if !matches!(state.status(&directory)?, Status::Created | Status::Running | Status::Paused) {
        return Err(Error::not_running());
    }
    let cgroup = state.require_own_cgroup()?;
    let (host, present) = (Host::probe()?, cgroup.present());
    let group = state.resource_group.as_ref();
    let container = plan::Limited { present: &present, group };
    let plan = |resources: &_| plan::update(resources, &request.schema, &host, container);
    let warnings = loaded.warnings.clone();
    let (_, planned) = loaded.plan(plan)?;
    warnings.iter().chain(&planned.warnings).for_each(|warning| (context.warn)(warning));
    // Who ended in the middle would leave some of them.
    wait::undisturbed(|| {
        let plan::Update { limits, schema } = planned.plan;
        let before = group.map(|group| resctrl::replace(group, &schema)).transpose()?;
        cgroup.update(&limits).map_err(|error| {
            before.into_iter().for_each(resctrl::Before::restore);
            error.into()
        })
    })?
}

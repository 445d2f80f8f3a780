//! The cgroup of a container that is being made.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, ensure};
use libcgroups::{Bearer, Taker};

use super::pending::{Cgroup, Pending};
use super::serve::Making;
use crate::plan::Plan;
use crate::request::Context;
use crate::state::{State, is_living};
use crate::{Error, ErrorKind, Result};

/// A cgroup without processes, which is not refused for these, may be another container's: one that is
/// being made has none yet, and processes can be moved. Otherwise whose mark it has.
pub(crate) fn refuse_living(context: &Context, plan: &Plan) -> Result<Option<Bearer>> {
    let manager = libcgroups::manager(&plan.cgroup);
    match manager.bearer()? {
        Some(bearer) if manager.pids()?.is_empty() && is_living(context, &bearer)? => {
            Err(Error::new(
                ErrorKind::Status,
                format!(
                    "container's cgroup is that of container {:?}; choose another linux.cgroupsPath",
                    bearer.id
                ),
            ))
        }
        bearer => Ok(bearer),
    }
}

/// Makes the cgroup and sets what it limits while it is empty: some limits can only be set then,
/// and a program that starts under a limit cannot have passed it.
pub(crate) fn make(
    pending: &mut Pending,
    plan: &Plan,
    state: &mut State,
    from: Option<&Bearer>,
) -> anyhow::Result<()> {
    let manager = libcgroups::manager(&plan.cgroup);
    let mark = state.mark.as_mut().context("the container has no mark")?;
    let parents = manager.create(Taker { id: &plan.id, from }, mark)?;
    let cgroup = Cgroup { manager: libcgroups::manager(&plan.cgroup), mark: mark.clone(), parents };
    pending.own_cgroup(cgroup);
    manager.apply_limits(&plan.limits)?;
    manager.apply_devices(&plan.device_access)?;
    plan.cgroup_owner.map_or(Ok(()), |user| Ok(manager.give_to(user)?))
}

/// Limits what only makes the container no more.
pub(crate) fn limit_tightly(plan: &Plan) -> anyhow::Result<()> {
    if plan.tight_limits.is_empty() {
        return Ok(());
    }
    Ok(libcgroups::manager(&plan.cgroup).update(&plan.tight_limits)?)
}

/// Has systemd make the unit around the first process, which has made the connection `bus`, and takes its cgroup.
pub(crate) fn make_around(
    pending: &mut Pending,
    making: &mut Making<'_>,
    bus: OwnedFd,
) -> anyhow::Result<()> {
    let plan = making.plan;
    let scope = plan.cgroup.unit().context("the container has no unit")?;
    scope.start(bus, &plan.limits, &plan.unit_properties)?;
    // What the path says of the unit's cgroup is true only if the process is in it. Before it is taken: a
    // cgroup there without it is another's.
    let inside = libcgroups::manager(&plan.cgroup).pids()?.contains(&making.first);
    ensure!(inside, "systemd has made the container's unit elsewhere than linux.cgroupsPath says");
    make(pending, plan, making.state, None)
}

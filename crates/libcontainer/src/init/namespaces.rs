//! The namespaces that init itself enters or makes, and what is set in new ones.

use anyhow::Context as _;
use libnamespaces::Kind;
use nix::sched::unshare;

use super::failure::from_nix;
use crate::error::Property;
use crate::files::Files;
use crate::plan::Plan;

/// Enters and makes what is left to init.
pub(super) fn enter(plan: &Plan, files: &Files) -> anyhow::Result<()> {
    files.namespaces.join(plan.spawn.init_joins())?;
    let own = plan.spawn.init_unshares();
    if !own.is_empty() {
        unshare(own.flags()).map_err(from_nix).context("make namespaces: unshare")?;
    }
    Ok(())
}

/// Sets what the config says of those that this process is in.
pub(super) fn set_up(plan: &Plan) -> anyhow::Result<()> {
    if plan.namespaces.new.contains(Kind::Network) {
        libnamespaces::bring_loopback_up()?;
    }
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.to_bytes())
            .context(Property::new("/hostname", "hostname: sethostname"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.to_bytes())
            .context(Property::new("/domainname", "domainname: setdomainname"))?;
    }
    Ok(())
}

//! The namespaces that init itself enters or makes, and what is set in new ones.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use libnamespaces::Kind;
use nix::sched::unshare;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::failure::from_nix;
use crate::files::Files;
use crate::plan::Plan;
use crate::protocol::{Event, InitEnd};

pub(super) fn enter_namespaces(
    plan: &Plan,
    files: &Files,
    channel: &InitEnd,
) -> anyhow::Result<()> {
    if plan.namespaces.new.contains(Kind::User) {
        channel.ask(&Event::MapIds, &[]).context("the runtime is gone")?;
        libnamespaces::become_root()?;
    }
    files.namespaces.join(plan.spawn.init_joins())?;
    let own = plan.spawn.init_unshares();
    if !own.is_empty() {
        unshare(own.flags()).map_err(from_nix).context("make namespaces: unshare")?;
    }
    if plan.namespaces.new.contains(Kind::Network) {
        bring_loopback_up()?;
    }
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.to_bytes()).context("hostname: sethostname")?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.to_bytes()).context("domainname: setdomainname")?;
    }
    Ok(())
}

fn bring_loopback_up() -> anyhow::Result<()> {
    let (family, kind, flags) = (AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, kind, flags, None)
        .or_else(|_| rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None))
        .context("bring up the loopback interface: socket")?;
    libsyscall::network::bring_loopback_up(socket.as_fd())
        .context("bring up the loopback interface: SIOCSIFFLAGS")
}

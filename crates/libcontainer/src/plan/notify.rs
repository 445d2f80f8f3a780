//! `$NOTIFY_SOCKET`: the program's own socket for sd_notify(3), where runc has it.

use std::path::PathBuf;

use libnamespaces::Kind;
use libsyscall::mount::attribute::{NODEV, NOEXEC, NOSUID, RDONLY};

use super::filesystem::{FromBelow, Mount, MountKind, SourceLink};
use super::{Attributes, ContainerPath, Planned, Violations};
use crate::Violation;

/// The directory in the container.
const DIRECTORY: &str = "/run/notify";
/// What the program is told.
const VARIABLE: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

/// Adds a mount of `directory` of the host, in which the socket will be, and the variable that names the socket. The
/// mount is the last: what the config mounts on /run is below it.
///
/// # Errors
/// There is no mount namespace to mount it in.
pub(crate) fn with_notify_socket(
    mut planned: Planned,
    directory: PathBuf,
) -> Result<Planned, Vec<Violation>> {
    let plan = &mut planned.plan;
    let mut found = Violations::default();
    if !plan.namespaces.has(Kind::Mount) {
        let rule = "NOTIFY_SOCKET is set, and the program's own socket needs a mount namespace";
        let fix = "add {\"type\": \"mount\"}, or unset NOTIFY_SOCKET";
        found.add("/linux/namespaces", "no mount namespace", rule, fix);
        return Err(found.all);
    }
    let destination = found.container_path("/mounts", DIRECTORY.as_ref());
    plan.mounts.push(notify_mount(destination, directory));
    plan.process = plan.process.take().map(|process| process.with_variable(VARIABLE));
    Ok(planned)
}

fn notify_mount(destination: ContainerPath, source: PathBuf) -> Mount {
    let link = SourceLink::Bind;
    Mount {
        index: None,
        destination,
        kind: MountKind::Bind { source, inside: None, recursive: false, link },
        attributes: Attributes { set: RDONLY | NOSUID | NODEV | NOEXEC, clear: 0 },
        recursive_attributes: Attributes::default(),
        propagation: Vec::new(),
        ids: None,
        onto_link: false,
        from_below: FromBelow::default(),
    }
}

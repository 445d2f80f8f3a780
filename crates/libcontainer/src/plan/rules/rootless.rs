//! What a runtime without privilege may not do, told before it is tried.

use libnamespaces::{IdMapping, Kind};

use crate::host::Host;
use crate::plan::{Plan, Violations};

/// `CAP_SETGID` (linux/capability.h).
const SETGID: u32 = 6;

pub(crate) fn check(plan: &Plan, host: &Host, found: &mut Violations) {
    check_user_namespace(plan, host, found);
    if !host.has(SETGID) && is_one_id(&plan.namespaces.gid_mappings) {
        check_groups(plan, found);
    }
    if plan.opens_inside {
        check_mapped_mounts(plan, found);
    }
}

/// Without root only a user namespace gives the rights that a container takes.
fn check_user_namespace(plan: &Plan, host: &Host, found: &mut Violations) {
    if host.euid != 0 && !plan.namespaces.has(Kind::User) {
        let rule = "rootless container requires user namespaces";
        let fix = "add {\"type\": \"user\"} to linux.namespaces, or run as root";
        found.not_here("/linux/namespaces", format!("uid {}", host.euid), rule, fix);
    }
}

/// Such a mapping is the runtime's own group's, which nobody else has to write.
fn is_one_id(mappings: &[IdMapping]) -> bool {
    matches!(mappings, [one] if one.size == 1)
}

fn check_groups(plan: &Plan, found: &mut Violations) {
    let groups = plan.process.iter().flat_map(|process| &process.additional_gids);
    for (index, group) in groups.enumerate() {
        let rule = "the kernel lets nobody change groups where a user maps his own alone (user_namespaces(7))";
        let fix = "map a range of /etc/subgid, too, or leave the groups out";
        found.not_here(&format!("/process/user/additionalGids/{index}"), group, rule, fix);
    }
}

/// They would be of another user namespace than the runtime's.
fn check_mapped_mounts(plan: &Plan, found: &mut Violations) {
    let is_mapped = |ids: &crate::plan::MountIds| ids.mappings.is_some();
    for mount in plan.mounts.iter().filter(|mount| mount.ids.as_ref().is_some_and(is_mapped)) {
        let rule = "a mount with mappings of its own takes CAP_SYS_ADMIN (mount_setattr(2))";
        let pointer = mount.index.map_or("/mounts".to_owned(), |index| format!("/mounts/{index}"));
        found.not_here(&pointer, &mount.destination, rule, "leave them out, or run as root");
    }
}

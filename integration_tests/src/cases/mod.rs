//! The tests, by area.

use crate::suite::Case;

mod apparmor;
mod bad_input;
mod bundles;
mod bytes;
mod callers_limits;
mod capabilities;
mod cgroup_marks;
mod cgroup_trees;
mod cgroups;
mod commands;
mod descriptors;
mod destinations;
mod device_access;
mod device_nodes;
mod effects;
mod escapes;
mod everything;
mod exec;
mod exec_batches;
mod exec_cgroups;
mod exec_likeness;
pub(crate) mod faults;
mod flag_values;
mod hook_failures;
mod hooks;
mod hostile;
mod idmapped_mounts;
mod ids;
mod inside_proc;
mod interrupts;
mod json_files;
mod kernels;
mod keyrings;
mod kill;
mod labels;
mod lifecycle;
mod limits;
mod log;
mod mount_locks;
mod mount_options;
mod mount_orders;
mod mounts;
mod namespaces;
mod network_devices;
mod notify;
mod ordinary_user;
mod orphans;
mod own_binary;
mod pid_files;
mod pidfd_sockets;
mod pids;
mod pods;
mod process;
mod propagation;
mod removal;
mod renames;
mod resource_control;
mod rootfs;
mod rootless;
mod scheduling;
mod seccomp;
mod seccomp_notify;
mod selinux;
mod signal_storm;
mod slowed;
mod sources;
mod start;
mod state;
mod sysctls;
mod systemd;
mod systemd_user;
mod terminal;
mod tmpfs;
mod unified;
mod update;
mod wait;

/// What a test returns.
type Test = anyhow::Result<()>;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [
        apparmor::CASES,
        bad_input::CASES,
        bundles::CASES,
        bytes::CASES,
        callers_limits::CASES,
        capabilities::CASES,
        cgroup_marks::CASES,
        cgroup_trees::CASES,
        cgroups::CASES,
        commands::CASES,
        descriptors::CASES,
        destinations::CASES,
        device_access::CASES,
        escapes::CASES,
        device_nodes::CASES,
        effects::CASES,
        everything::CASES,
        exec::CASES,
        exec_batches::CASES,
        exec_cgroups::CASES,
        exec_likeness::CASES,
        faults::CASES,
        flag_values::CASES,
        hook_failures::CASES,
        hooks::CASES,
        hostile::CASES,
        idmapped_mounts::CASES,
        ids::CASES,
        inside_proc::CASES,
        interrupts::CASES,
        json_files::CASES,
        kernels::CASES,
        keyrings::CASES,
        kill::CASES,
        lifecycle::CASES,
        limits::CASES,
        log::CASES,
        mount_locks::CASES,
        mount_options::CASES,
        mount_orders::CASES,
        mounts::CASES,
        namespaces::CASES,
        network_devices::CASES,
        notify::CASES,
        ordinary_user::CASES,
        orphans::CASES,
        own_binary::CASES,
        pid_files::CASES,
        pidfd_sockets::CASES,
        pids::CASES,
        pods::CASES,
        process::CASES,
        propagation::CASES,
        removal::CASES,
        renames::CASES,
        resource_control::CASES,
        rootfs::CASES,
        rootless::CASES,
        scheduling::CASES,
        seccomp::CASES,
        seccomp_notify::CASES,
        selinux::CASES,
        signal_storm::CASES,
        slowed::CASES,
        sources::CASES,
        start::CASES,
        state::CASES,
        sysctls::CASES,
        systemd::CASES,
        systemd_user::CASES,
        terminal::CASES,
        tmpfs::CASES,
        unified::CASES,
        update::CASES,
        wait::CASES,
    ]
    .concat()
}

/// A list of tests, named after their functions.
macro_rules! cases {
    ($area:literal: $($name:ident),* $(,)?) => {
        pub(crate) const CASES: &[crate::suite::Case] = &[
            $(crate::suite::Case { name: concat!($area, "::", stringify!($name)), body: $name }),*
        ];
    };
}
use cases;

/// Fails unless both are equal.
macro_rules! same {
    ($left:expr, $right:expr $(,)?) => {
        // A match keeps temporaries of both sides alive to the end.
        match (&$left, &$right) {
            (left, right) => anyhow::ensure!(left == right, "{left:?} is not {right:?}"),
        }
    };
}
use same;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// What a document calls a test is one, or the beginning of some.
    #[test]
    fn documents_name_tests_that_are_there() {
        let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let mut missing = Vec::new();
        for name in ["security.md", "testing.md", "lifecycle.md", "architecture.md"] {
            let text = std::fs::read_to_string(documents.join(name)).unwrap();
            let words = text.split('`').skip(1).step_by(2);
            let areas: Vec<&str> =
                super::all().iter().filter_map(|case| case.name.split("::").next()).collect();
            for word in words
                .filter(|word| word.split_once("::").is_some_and(|(area, _)| areas.contains(&area)))
            {
                let is_there = |case: &crate::suite::Case| case.name.starts_with(word);
                if !super::all().iter().any(is_there) {
                    missing.push(format!("{name}: {word}"));
                }
            }
        }
        assert_eq!(missing, Vec::<String>::new());
    }
}

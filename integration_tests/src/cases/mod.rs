//! The tests, by area.

use crate::suite::Case;

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
mod escapes;
mod everything;
mod exec;
mod hook_failures;
mod hooks;
mod hostile;
mod idmapped_mounts;
mod ids;
mod interrupts;
mod json_files;
mod keyrings;
mod kill;
mod lifecycle;
mod log;
mod mount_options;
mod mount_orders;
mod mounts;
mod namespaces;
mod network_devices;
mod orphans;
mod pid_files;
mod process;
mod removal;
mod renames;
mod rootfs;
mod seccomp;
mod start;
mod state;
mod terminal;

/// What a test returns.
type Test = anyhow::Result<()>;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [
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
        escapes::CASES,
        everything::CASES,
        exec::CASES,
        hook_failures::CASES,
        hooks::CASES,
        hostile::CASES,
        idmapped_mounts::CASES,
        ids::CASES,
        interrupts::CASES,
        json_files::CASES,
        keyrings::CASES,
        kill::CASES,
        lifecycle::CASES,
        log::CASES,
        mount_options::CASES,
        mount_orders::CASES,
        mounts::CASES,
        namespaces::CASES,
        network_devices::CASES,
        orphans::CASES,
        pid_files::CASES,
        process::CASES,
        removal::CASES,
        renames::CASES,
        rootfs::CASES,
        seccomp::CASES,
        start::CASES,
        state::CASES,
        terminal::CASES,
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

//! The tests, by area.

use crate::Case;

mod bad_input;
mod cgroups;
mod commands;
mod escapes;
mod hooks;
mod lifecycle;
mod namespaces;
mod process;
mod rootfs;
mod terminal;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [
        bad_input::CASES,
        cgroups::CASES,
        commands::CASES,
        escapes::CASES,
        hooks::CASES,
        lifecycle::CASES,
        namespaces::CASES,
        process::CASES,
        rootfs::CASES,
        terminal::CASES,
    ]
    .concat()
}

/// A list of tests, named after their functions.
macro_rules! cases {
    ($area:literal: $($name:ident),* $(,)?) => {
        pub(crate) const CASES: &[crate::Case] = &[
            $(crate::Case { name: concat!($area, "::", stringify!($name)), body: $name }),*
        ];
    };
}
pub(crate) use cases;

/// Fails unless both are equal.
macro_rules! same {
    ($left:expr, $right:expr $(,)?) => {
        // A match keeps temporaries of both sides alive to the end.
        match (&$left, &$right) {
            (left, right) => anyhow::ensure!(left == right, "{left:?} is not {right:?}"),
        }
    };
}
pub(crate) use same;

//! Apply, outside: what the runtime does to the machine for a container or a process in one, and what
//! it waits for.

mod agent;
mod bring_up;
pub(crate) mod callers_limits;
mod cgroup;
mod console;
pub(crate) mod death;
pub(crate) mod end;
mod foreground;
mod join;
pub(crate) mod own_binary;
mod pending;
mod pid_file;
mod pidfd_socket;
pub(crate) mod prepare;
mod ready;
mod relay;
pub(crate) mod resctrl;
pub(crate) mod serve;

pub(crate) use bring_up::{Waits, bring_up};
pub(crate) use console::Console;
pub(crate) use join::join;
pub(crate) use pidfd_socket::{Kind, PidfdSocket};

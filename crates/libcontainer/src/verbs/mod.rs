//! What can be asked for, one verb a file. No verb knows another.

mod create;
mod delete;
mod exec;
mod features;
mod kill;
mod pause;
mod run;
mod start;
mod state;
mod update;
mod wait;

pub use create::create;
pub use delete::delete;
pub use exec::exec;
pub use features::features;
pub use kill::kill;
pub use pause::{pause, resume};
pub use run::run;
pub use start::start;
pub use state::{list, ps, state};
pub use update::update;
pub use wait::wait;

//! aril: an OCI runtime-spec 1.3 container runtime for Linux.
//!
//! Only this file exits, and only it logs an error, once.

mod arguments;
mod commands;
mod globals;
mod log;
mod version;

use std::process::ExitCode;

use libcontainer::Details;

fn main() -> ExitCode {
    // First of all: whatever is opened later is not the caller's.
    let inherited = libcontainer::request::inherited();
    // Before anything that takes room.
    if let Err(error) = libcontainer::accept_callers_limits() {
        return fail(&format!("{error:#}"), false);
    }
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let cli = match arguments::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let is_exec = matches!(cli.command, Some(arguments::Command::Exec(_)));
    if let Err(error) = log::open(&cli.globals) {
        return fail(&format!("{error:#}"), is_exec);
    }
    match commands::run(cli, inherited) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let details = error.downcast_ref().map(libcontainer::Error::details);
            log::error(
                &libcontainer::wording::plain(&format!("{error:#}")),
                &details.unwrap_or_default(),
            );
            failed(is_exec)
        }
    }
}

/// What fails before there is anything to say but a text.
fn fail(message: &str, is_exec: bool) -> ExitCode {
    log::error(&libcontainer::wording::plain(message), &Details::default());
    failed(is_exec)
}

/// runc's exit code for what exec could not do is 255, for everything else 1.
fn failed(is_exec: bool) -> ExitCode {
    ExitCode::from(if is_exec { 255 } else { 1 })
}

/// Help goes to standard output; what is wrong with a command line, to the log, in one line.
fn usage(error: &clap::Error, arguments: &[std::ffi::OsString]) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if let Some(globals) = arguments::globals(arguments) {
        // The error is about something else.
        let _ = log::open(&globals);
    }
    let text = error.to_string();
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = text.split("\n\n").map(words).collect::<Vec<_>>().join("; ");
    log::error(line.trim_start_matches("error: "), &Details::default());
    ExitCode::FAILURE
}

//! The log: one line for an error, in runc's schema where JSON is asked for, since containerd and
//! Podman parse it; and the same words for a person on standard error.

mod destination;

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::SystemTime;

use destination::Destination;
use libcontainer::Details;
use libcontainer::wording::{escaped, plain};
use serde_json::{Value, json};

use crate::arguments::{Globals, LogFormat};

struct Log {
    destination: Option<Destination>,
    json: bool,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log that the flags name.
pub(crate) fn open(globals: &Globals) -> anyhow::Result<()> {
    let destination = globals.log.as_deref().map(Destination::open).transpose()?;
    let debug =
        globals.debug || matches!(globals.log_level.as_deref(), Some("debug" | "warning" | "info"));
    let _ = LOG.set(Log { destination, json: globals.log_format == LogFormat::Json, debug });
    Ok(())
}

/// Logs the error that ends the program. A program that reads JSON gets the details beside the words.
pub(crate) fn error(message: &str, details: &Details) {
    let log = LOG.get();
    let message = escaped(message);
    write("error", &message, details);
    if log.is_some_and(|log| log.destination.is_some()) {
        // The error is on its way already; a closed standard error changes nothing about it.
        let _ = writeln!(std::io::stderr(), "aril: {message}");
    }
}

/// Logs a warning, with --debug: a second line in a log of Podman's would hide the error.
pub(crate) fn warn(message: &str) {
    if LOG.get().is_some_and(|log| log.debug) {
        write("warning", &escaped(&plain(message)), &Details::default());
    }
}

fn write(level: &str, message: &str, details: &Details) {
    let log = LOG.get();
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    let line = match log {
        Some(Log { json: true, .. }) => {
            let mut line = json!({ "level": level, "msg": message, "time": time.to_string() });
            add(&mut line, details);
            line.to_string()
        }
        Some(Log { destination: Some(to), .. }) if to.is_file() => {
            format!("time=\"{time}\" level={level} msg={message:?}")
        }
        Some(Log { destination: Some(_), .. }) => message.to_owned(),
        _ if level == "error" => format!("aril: {message}"),
        _ => format!("aril: {level}: {message}"),
    };
    let _ = match log.and_then(|log| log.destination.as_ref()) {
        Some(destination) => destination.write(level, &line),
        None => writeln!(std::io::stderr(), "{line}"),
    };
}

/// Adds what is known.
fn add(line: &mut Value, details: &Details) {
    let Details { stage, pointers, call, errno } = details;
    let known = [
        ("stage", stage.map(Value::from)),
        ("pointers", (!pointers.is_empty()).then(|| json!(pointers))),
        ("call", call.as_deref().map(Value::from)),
        ("errno", errno.map(Value::from)),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            line[name] = value;
        }
    }
}

//! `kill`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use libcontainer::request::Wait;
use libcontainer::{Context, request};
use nix::sys::signal::Signal;

use crate::arguments::Kill;

/// Other names of some signals (signal(7)).
const ALIASES: [(&str, Signal); 4] = [
    ("IOT", Signal::SIGABRT),
    ("CLD", Signal::SIGCHLD),
    ("POLL", Signal::SIGIO),
    ("UNUSED", Signal::SIGSYS),
];
/// `SIGRTMIN` and `SIGRTMAX` of the C library.
const FIRST_REAL_TIME: i32 = 34;
const LAST_REAL_TIME: i32 = 64;

/// The annotation that a container has of its image's signal (image-spec, conversion.md, "Annotation Fields").
const OF_THE_IMAGE: &str = "org.opencontainers.image.stopSignal";

/// Sends the signal.
pub(crate) fn run(context: &Context, kill: &Kill) -> anyhow::Result<()> {
    // An empty signal is the default, as runc takes it.
    let signal = if kill.signal.is_empty() {
        request::Signal::Annotated(default_signal)
    } else {
        let number = number(&kill.signal);
        request::Signal::Number(
            number.with_context(|| format!("unknown signal {:?}", kill.signal))?,
        )
    };
    let wait = match (kill.wait, kill.timeout) {
        (true, Some(seconds)) => Wait::Seconds(seconds),
        (true, None) => Wait::ForEver,
        (false, _) => Wait::Not,
    };
    let request = request::Kill { id: kill.id.clone(), signal, all: kill.all, wait };
    Ok(libcontainer::kill(context, &request)?)
}

/// What the image says, or SIGTERM.
fn default_signal(annotations: &BTreeMap<String, String>) -> anyhow::Result<i32> {
    let Some(name) = annotations.get(OF_THE_IMAGE).filter(|name| !name.is_empty()) else {
        return Ok(Signal::SIGTERM as i32);
    };
    number(name)
        .with_context(|| format!("annotation {OF_THE_IMAGE}: unknown signal {name:?}; name one"))
}

/// The number of a signal: itself, or a name in any case, with or without SIG, or RTMIN+n and
/// RTMAX-n.
fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=LAST_REAL_TIME).contains(&number).then_some(number);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, signal)| *signal);
    let named = alias.or_else(|| format!("SIG{name}").parse().ok());
    named.map(|signal| signal as i32).or_else(|| real_time(name))
}

fn real_time(name: &str) -> Option<i32> {
    let offset = |prefix: &str| name.strip_prefix(prefix)?.parse::<u8>().ok().map(i32::from);
    let number = match name {
        "RTMIN" => Some(FIRST_REAL_TIME),
        "RTMAX" => Some(LAST_REAL_TIME),
        _ => offset("RTMIN+")
            .map(|more| FIRST_REAL_TIME + more)
            .or_else(|| offset("RTMAX-").map(|less| LAST_REAL_TIME - less)),
    };
    number.filter(|number| (FIRST_REAL_TIME..=LAST_REAL_TIME).contains(number))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("SYS", 31),
            ("sigcld", 17),
            ("SIGPOLL", 29),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("RTMAX", 64),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", "FOO", "-1", "65", "RTMIN+40", "RTMIN+2147483647", "SIG"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}

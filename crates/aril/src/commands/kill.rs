//! `kill`.

use anyhow::bail;
use libcontainer::Context;

use crate::arguments::Kill;

/// Signals by number, from 1 (signal(7), x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Other names of some of them.
const ALIASES: [(&str, i32); 5] =
    [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31), ("RTMIN", FIRST_REAL_TIME)];
/// `SIGRTMIN` and `SIGRTMAX` of the C library.
const FIRST_REAL_TIME: i32 = 34;
const LAST_REAL_TIME: i32 = 64;

/// Sends the signal.
pub(crate) fn run(context: &Context, kill: &Kill) -> anyhow::Result<()> {
    let Some(signal) = number(&kill.signal) else { bail!("unknown signal {:?}", kill.signal) };
    Ok(libcontainer::kill(context, &kill.id, signal, kill.all)?)
}

/// The number of a signal: itself, or a name in any case, with or without SIG, or RTMIN+n and
/// RTMAX-n.
fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=LAST_REAL_TIME).contains(&number).then_some(number);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str| name.strip_prefix(prefix)?.parse::<i32>().ok();
    let real_time = offset("RTMIN+")
        .map(|more| FIRST_REAL_TIME + more)
        .or_else(|| offset("RTMAX-").map(|less| LAST_REAL_TIME - less))
        .or_else(|| (name == "RTMAX").then_some(LAST_REAL_TIME));
    NAMES
        .iter()
        .position(|known| *known == name)
        .map(|at| at as i32 + 1)
        .or_else(|| ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number))
        .or_else(|| real_time.filter(|number| (FIRST_REAL_TIME..=LAST_REAL_TIME).contains(number)))
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
            ("RTMIN+3", 37),
            ("RTMAX", 64),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", "FOO", "-1", "65", "RTMIN+40", "SIG"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}

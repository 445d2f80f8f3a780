//! The words of an error, for whoever reads them: an engine that matches on them, a person at a terminal.

/// One line, with the kernel's words as engines match them: in lower case, without the number.
#[must_use]
pub fn plain(message: &str) -> String {
    let mut text = message.replace('\n', "; ");
    while let Some((start, code)) = next_errno(&text) {
        let words = std::io::Error::from_raw_os_error(code).to_string();
        let end = start + words.len();
        let Some((phrase, _)) = words.split_once(" (os error ") else { return text };
        text.replace_range(start..end, &phrase.to_lowercase());
    }
    text
}

/// `text` without control characters, which a terminal would obey: what a container, an image or a
/// config has named may hold any.
#[must_use]
pub fn escaped(text: &str) -> String {
    let escape = |letter: char| letter.escape_default().to_string();
    text.chars().map(|one| if one.is_control() { escape(one) } else { one.to_string() }).collect()
}

/// The version of Linux that brought a system call which older kernels lack (its manual page, "History").
pub(crate) fn first_kernel(call: &str) -> Option<&'static str> {
    Some(match call {
        "statx" => "4.11",
        "pidfd_send_signal" => "5.1",
        "fsopen" | "fsconfig" | "fsmount" | "open_tree" | "move_mount" => "5.2",
        "clone3" | "pidfd_open" => "5.3",
        "openat2" => "5.6",
        "close_range" => "5.9",
        "mount_setattr" => "5.12",
        _ => return None,
    })
}

/// Where the next "Phrase (os error N)" starts, and its N.
fn next_errno(text: &str) -> Option<(usize, i32)> {
    let at = text.find(" (os error ")?;
    let rest = &text[at + " (os error ".len()..];
    let code: i32 = rest.split_once(')')?.0.parse().ok()?;
    let words = std::io::Error::from_raw_os_error(code).to_string();
    Some((text.find(&words)?, code))
}

#[cfg(test)]
mod tests {
    use super::{escaped, plain};

    #[test]
    fn a_terminal_obeys_nothing_of_it() {
        assert_eq!(escaped("a\x1b[2J\r\u{9b}b é"), "a\\u{1b}[2J\\r\\u{9b}b é");
    }

    #[test]
    fn the_kernels_words_are_gos() {
        let text =
            "open: No such file or directory (os error 2) and Permission denied (os error 13)\nx";
        assert_eq!(plain(text), "open: no such file or directory and permission denied; x");
        assert_eq!(plain("what (os error x)"), "what (os error x)");
    }
}

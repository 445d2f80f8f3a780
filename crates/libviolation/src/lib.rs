//! What a config gets wrong: one value for each broken rule, all reported together.

use std::fmt;

/// Whose rule it is that a config breaks, and so who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The specification's, the kernel's or a format's: the config is wrong everywhere.
    Specification,
    /// Nobody's: the config is right, and aril cannot do it yet.
    NotYet,
    /// This machine's: the config is right, and would be honoured elsewhere.
    Host,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Whose rule it is.
    pub class: Class,
    /// JSON pointer (RFC 6901), such as `/mounts/3/destination`.
    pub pointer: String,
    /// The offending value, quoted, and shortened where it is long.
    pub value: String,
    /// The rule: which section of the runtime-spec, and what it says.
    pub rule: String,
    /// What to write instead.
    pub fix: String,
}

impl Violation {
    /// The longest value that is shown whole, in characters.
    pub const SHOWN: usize = 80;

    /// A violation at `pointer`; `value` is quoted and shortened.
    #[must_use]
    pub fn new(
        class: Class,
        pointer: impl Into<String>,
        value: impl fmt::Display,
        rule: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (pointer, value) = (pointer.into(), Self::shown(value));
        Self { class, pointer, value, rule: rule.into(), fix: fix.into() }
    }

    /// The same of a part of a config, in the whole where `parent` points to the part.
    #[must_use]
    pub fn below(self, parent: &str) -> Self {
        Self { pointer: format!("{parent}{}", self.pointer), ..self }
    }

    /// `value` quoted, and shortened where it is long.
    #[must_use]
    pub fn shown(value: impl fmt::Display) -> String {
        let text = value.to_string();
        let mut shown: String = text.chars().take(Self::SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        format!("{shown:?}")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}; {}", self.pointer, self.value, self.rule, self.fix)
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Violation};

    #[test]
    fn a_value_is_shown_short_and_on_one_line() {
        let value = format!("a\n{}", "ä".repeat(100));
        let one = Violation::new(Class::Host, "/c", value, "rule", "fix").below("/a/b");
        let expected = format!("/a/b/c \"a\\n{}…\": rule; fix", "ä".repeat(78));
        assert_eq!(one.to_string(), expected);
    }
}

//! What a config gets wrong: one value for each broken rule, all reported together.

use std::fmt;

/// One broken rule of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer (RFC 6901) into config.json, such as `/mounts/3/destination`.
    pub pointer: String,
    /// The offending value, shortened where it is long.
    pub value: String,
    /// The rule: which section of the runtime-spec, and what it says.
    pub rule: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}; {}", self.pointer, self.value, self.rule, self.fix)
    }
}

impl Violation {
    /// The longest value that is shown whole, in characters.
    pub const SHOWN: usize = 80;

    /// A violation at `pointer`; `value` is quoted and shortened.
    #[must_use]
    pub fn new(
        pointer: impl Into<String>,
        value: impl fmt::Display,
        rule: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (pointer, value) = (pointer.into(), Self::shown(value));
        Self { pointer, value, rule: rule.into(), fix: fix.into() }
    }

    /// `value` quoted, and shortened where it is long.
    pub(crate) fn shown(value: impl fmt::Display) -> String {
        let text = value.to_string();
        let mut shown: String = text.chars().take(Self::SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        format!("{shown:?}")
    }
}

//! What is wrong with a profile.

/// One thing that is wrong with a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer} {value}: {rule}; {fix}")]
pub struct Violation {
    /// JSON pointer (RFC 6901) relative to `/linux/seccomp`, such as `/syscalls/3/args/0/index`.
    pub pointer: String,
    /// The offending value.
    pub value: String,
    /// The rule it breaks, and whose rule that is.
    pub rule: &'static str,
    /// What to write instead.
    pub fix: String,
}

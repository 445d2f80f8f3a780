//! The one error of the verbs.

use std::fmt;

/// Why a verb failed. The text is one line, in runc's wording where an engine matches on it.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What happened, from the verb's view down to the system call.
    pub source: anyhow::Error,
}

/// The kinds of failure that a caller tells apart.
#[derive(Debug)]
pub enum ErrorKind {
    /// No container of that id.
    NotFound,
    /// There is already a container of that id.
    AlreadyExists,
    /// The container's status does not allow the verb.
    Status,
    /// The config, the id or a path is not valid: every violation found.
    Invalid(Vec<Violation>),
    /// The machine said no.
    System,
}

/// What the verbs return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` with a text of its own.
    pub fn new(
        kind: ErrorKind,
        message: impl fmt::Display + fmt::Debug + Send + Sync + 'static,
    ) -> Self {
        Self { kind, source: anyhow::Error::msg(message) }
    }

    /// No container of that id: the text containerd matches on.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorKind::NotFound, "container does not exist")
    }

    /// The container's process is gone: the text containerd and CRI-O match on.
    #[must_use]
    pub fn not_running() -> Self {
        Self::new(ErrorKind::Status, "container not running")
    }

    /// The id is not one.
    #[must_use]
    pub(crate) fn invalid_id(reason: &str) -> Self {
        Self::new(ErrorKind::Invalid(Vec::new()), format!("invalid container ID format: {reason}"))
    }

    /// All that is wrong with a config.
    #[must_use]
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let text = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        Self::new(ErrorKind::Invalid(violations), format!("invalid config.json: {text}"))
    }
}

impl From<anyhow::Error> for Error {
    fn from(source: anyhow::Error) -> Self {
        Self { kind: ErrorKind::System, source }
    }
}

impl From<libcgroups::Error> for Error {
    fn from(error: libcgroups::Error) -> Self {
        anyhow::Error::new(error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#}", self.source)
    }
}

impl std::error::Error for Error {}

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

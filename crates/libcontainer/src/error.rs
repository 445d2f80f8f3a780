//! The one error of the verbs.

use std::fmt;

use libviolation::Violation;

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

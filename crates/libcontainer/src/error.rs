//! The one error of the verbs, and what a program can read of it.

use std::borrow::Cow;
use std::fmt;

use libviolation::Violation;
use rustix::io::Errno;

use crate::wording::first_kernel;

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
        Self::violated("config.json", violations)
    }

    /// The same of a process of exec, whose flags and file are no config.
    #[must_use]
    pub(crate) fn of_process(self) -> Self {
        match self.kind {
            ErrorKind::Invalid(violations) => Self::violated("process", violations),
            _ => self,
        }
    }

    fn violated(what: &str, violations: Vec<Violation>) -> Self {
        let text = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        Self::new(ErrorKind::Invalid(violations), format!("invalid {what}: {text}"))
    }
}

/// What an error says to a program that reads the log. The text says it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// What was being done in the container, by a short name (docs/lifecycle.md, "create").
    pub stage: Option<&'static str>,
    /// JSON pointers to what in config.json it is about.
    pub pointers: Vec<String>,
    /// The system call that failed.
    pub call: Option<String>,
    /// Its error number (errno(3)).
    pub errno: Option<i32>,
}

impl Error {
    /// What is known but for the text.
    #[must_use]
    pub fn details(&self) -> Details {
        if let ErrorKind::Invalid(violations) = &self.kind {
            let pointers = violations.iter().map(|one| one.pointer.clone()).collect();
            return Details { pointers, ..Details::default() };
        }
        Details::of(&self.source)
    }
}

impl Details {
    /// What is known of a failure.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let property = error.downcast_ref::<Property>().map(|one| one.pointer.to_string());
        let mut details = match error.downcast_ref::<Reported>() {
            Some(reported) => reported.details.clone(),
            None => Self::of_chain(error),
        };
        details.pointers.splice(..0, property);
        details
    }

    /// What is known of a failure that is not init's.
    fn of_chain(error: &anyhow::Error) -> Self {
        let chain: Vec<_> = error.chain().collect();
        let errno = |cause: &(dyn std::error::Error + 'static)| {
            let errno = cause.downcast_ref::<Errno>().map(|errno| errno.raw_os_error());
            let io = || cause.downcast_ref::<std::io::Error>()?.raw_os_error();
            errno.or_else(io)
        };
        let found = chain.iter().enumerate().find_map(|(at, cause)| Some((at, errno(*cause)?)));
        let call = found.and_then(|(at, _)| call_in(&chain.get(at.checked_sub(1)?)?.to_string()));
        let mut details =
            Self { stage: None, pointers: Vec::new(), call, errno: found.map(|(_, errno)| errno) };
        chain.iter().for_each(|cause| details.add(*cause));
        details
    }

    /// The errors of other crates that know more.
    fn add(&mut self, cause: &(dyn std::error::Error + 'static)) {
        if let Some(error) = cause.downcast_ref::<libcgroups::Error>() {
            self.pointers.extend(error.pointer().map(str::to_owned));
            self.errno = self.errno.or_else(|| error.errno().map(Errno::raw_os_error));
            self.call = self.call.take().or_else(|| error.system_call().map(str::to_owned));
        }
        if let Some(error) = cause.downcast_ref::<libnamespaces::Error>() {
            self.pointers.extend(error.pointer());
            self.errno = self.errno.or_else(|| error.errno().map(Errno::raw_os_error));
            self.call = self.call.take().or_else(|| call_in(error.step()?));
        }
    }
}

/// The system call in the words of what failed, which end with it: `make the mount point: mkdir`, and maybe with what it
/// was called for, or a hint in parentheses.
fn call_in(words: &str) -> Option<String> {
    let mut plain = words.to_owned();
    while let Some((before, hint)) = plain.split_once(" (") {
        let after = hint.split_once(')').map_or("", |(_, after)| after);
        plain = format!("{before}{after}");
    }
    let last = plain.rsplit(": ").next().unwrap_or(&plain);
    let call = last.split(' ').next().unwrap_or(last);
    let is_name =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    (!call.is_empty() && call.chars().all(is_name)).then(|| call.to_owned())
}

/// A failure that another process has reported.
#[derive(Debug)]
pub(crate) struct Reported {
    /// What it said, in runc's words.
    pub text: String,
    /// What it knew.
    pub details: Details,
}

impl fmt::Display for Reported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Reported {}

/// The property of config.json that a failure is about, as the context of an error.
#[derive(Debug)]
pub(crate) struct Property {
    pointer: Cow<'static, str>,
    text: Cow<'static, str>,
}

impl Property {
    /// What `pointer` points to (RFC 6901), and what the error says of it.
    pub(crate) fn new(
        pointer: impl Into<Cow<'static, str>>,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { pointer: pointer.into(), text: text.into() }
    }

    /// A failure that has no cause but this.
    pub(crate) fn into_error(self) -> anyhow::Error {
        anyhow::Error::msg("it cannot be as it is asked for").context(self)
    }
}

impl fmt::Display for Property {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
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
        write!(formatter, "{:#}", self.source)?;
        let Details { call, errno, .. } = self.details();
        let is_missing = errno == Some(Errno::NOSYS.raw_os_error());
        match call.filter(|_| is_missing).as_deref().and_then(first_kernel) {
            Some(version) => write!(
                formatter,
                " (Linux {version} has this call; a newer kernel is needed, or whatever aril runs in, such as a seccomp \
                 profile, has to allow it)"
            ),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use rustix::io::Errno;

    use super::{Details, Property, Reported, call_in};

    #[test]
    fn the_call_is_at_the_end() {
        for (words, call) in [
            ("make the mount point: mkdir", Some("mkdir")),
            ("fchdir to the root filesystem", Some("fchdir")),
            ("map ids: mount_setattr (EINVAL: its ids are mapped already)", Some("mount_setattr")),
            ("process.rlimits RLIMIT_NOFILE soft 1 hard 2: setrlimit", Some("setrlimit")),
            ("attach (not a directory: is it one?): move_mount", Some("move_mount")),
            ("exec: \"/x\": stat /x", Some("stat")),
            ("exec: \"/x\"", None),
            ("", None),
        ] {
            assert_eq!(call_in(words).as_deref(), call, "{words}");
        }
    }

    #[test]
    fn what_a_chain_says() {
        let failed = || Err::<(), _>(Errno::PERM);
        let error =
            failed().context("mount_setattr").context(Property::new("/mounts/3", "mounts[3]"));
        let expected = Details {
            stage: None,
            pointers: vec!["/mounts/3".to_owned()],
            call: Some("mount_setattr".to_owned()),
            errno: Some(1),
        };
        assert_eq!(Details::of(&error.unwrap_err()), expected);
        let limit = libcgroups::Error::Limit {
            pointer: "/linux/resources/pids/limit".to_owned(),
            value: "x".to_owned(),
            path: "pids.max".into(),
            errno: Errno::INVAL,
        };
        let details = Details::of(&anyhow::Error::new(limit));
        assert_eq!(
            (details.pointers[0].as_str(), details.errno),
            ("/linux/resources/pids/limit", Some(22))
        );
    }

    /// The property may be known only to who hears it.
    #[test]
    fn what_another_process_has_said_and_the_property_that_it_is_about() {
        let details = Details { stage: Some("namespaces"), errno: Some(11), ..Details::default() };
        let reported = Reported { text: "clone3".to_owned(), details: details.clone() };
        let error = anyhow::Error::new(reported).context(Property::new("/hostname", "hostname"));
        let pointers = vec!["/hostname".to_owned()];
        assert_eq!(Details::of(&error), Details { pointers, ..details });
    }
}

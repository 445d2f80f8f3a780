//! What a new filesystem is told.

use std::ffi::{CStr, CString};

use crate::plan::Violations;

/// The longest value that fsconfig(2) takes, in bytes.
const LONGEST_VALUE: usize = 255;

/// One parameter of a filesystem (fsconfig(2)).
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub key: CString,
    /// What is written behind `=`; a flag has no value.
    pub value: Option<CString>,
}

impl Parameter {
    /// A parameter that is there or not.
    pub(crate) fn flag(key: &CStr) -> Self {
        Self { key: key.to_owned(), value: None }
    }

    /// A parameter with a value.
    pub(crate) fn new(key: &CStr, value: &CStr) -> Self {
        Self { key: key.to_owned(), value: Some(value.to_owned()) }
    }

    /// The SELinux label of everything in a filesystem (mount(8), "context=").
    pub(crate) fn context(label: &CStr) -> Self {
        Self::new(c"context", label)
    }

    /// Whether it excludes one of these.
    pub(super) fn is_context(&self) -> bool {
        [c"context", c"defcontext"].contains(&self.key.as_c_str())
    }
}

pub(super) fn check_length(pointer: &str, text: &str, found: &mut Violations) {
    if text.len() > LONGEST_VALUE {
        let rule = "fsconfig(2) takes at most 255 bytes";
        found.add(pointer, text, rule, "use shorter paths, such as symbolic links to them");
    }
}

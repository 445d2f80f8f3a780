//! What planning looks at.

use std::path::Path;

use oci_spec::runtime::{Linux, Spec};

use crate::host::Host;
use crate::request;

/// All that planning looks at.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub spec: &'a Spec,
    /// `linux` of the spec, or one that asks for nothing.
    pub linux: &'a Linux,
    pub host: &'a Host,
    pub request: &'a request::Create,
    /// Absolute path of the bundle.
    pub bundle: &'a Path,
}

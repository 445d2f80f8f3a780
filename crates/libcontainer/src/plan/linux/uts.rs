//! `hostname` and `domainname`.

use std::ffi::CString;

use libnamespaces::{Kind, Namespaces};

use crate::plan::Violations;

/// The longest name, in bytes (`__NEW_UTS_LEN`, sethostname(2)).
const LONGEST: usize = 64;

/// A name needs a uts namespace that the host does not share. An empty one is as good as none.
pub(crate) fn plan(
    pointer: &str,
    name: Option<&str>,
    namespaces: &Namespaces,
    found: &mut Violations,
) -> Option<CString> {
    let name = name.filter(|name| !name.is_empty())?;
    if !namespaces.has(Kind::Uts) {
        let rule = "needs a uts namespace, else the host itself would be renamed";
        found.add(pointer, name, rule, "add {\"type\": \"uts\"} to linux.namespaces");
    }
    if name.len() > LONGEST {
        found.add(pointer, name, "a name has at most 64 bytes (sethostname(2))", "shorten it");
    }
    Some(found.c_string(pointer, name))
}

//! `hooks`.

use std::ffi::CString;

use oci_spec::runtime::{Hook as SpecHook, Spec};
use serde::{Deserialize, Serialize};

use super::Violations;

/// `hooks`, in the order of the config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Run by the runtime, deprecated: with `create_runtime`, before it.
    pub prestart: Vec<Hook>,
    /// Run by the runtime when the namespaces exist.
    pub create_runtime: Vec<Hook>,
    /// Run in the container's namespaces before pivot_root.
    pub create_container: Vec<Hook>,
    /// Run in the container just before the program.
    pub start_container: Vec<Hook>,
    /// Run by the runtime after the program started.
    pub poststart: Vec<Hook>,
    /// Run by the runtime after delete.
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its JSON pointer, such as `/hooks/poststop/0`.
    pub pointer: String,
    /// Absolute path, in the runtime's namespaces or (startContainer) the container's.
    pub path: CString,
    /// `args`; the path alone when the config has none.
    pub args: Vec<CString>,
    /// `env`, exactly; empty when the config has none.
    pub env: Vec<CString>,
    /// Seconds after which it is killed.
    pub timeout: Option<u32>,
}

/// The kinds of hooks, in the order they run.
pub const HOOK_NAMES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

pub(crate) fn plan(spec: &Spec, found: &mut Violations) -> Hooks {
    let Some(hooks) = spec.hooks() else { return Hooks::default() };
    let mut list = |name: &str, given: &Option<Vec<SpecHook>>| {
        let indexed = given.iter().flatten().enumerate();
        indexed
            .map(|(index, hook)| plan_one(format!("/hooks/{name}/{index}"), hook, found))
            .collect()
    };
    let [prestart, create_runtime, create_container, start_container, poststart, poststop] =
        HOOK_NAMES;
    Hooks {
        prestart: list(prestart, hooks.prestart()),
        create_runtime: list(create_runtime, hooks.create_runtime()),
        create_container: list(create_container, hooks.create_container()),
        start_container: list(start_container, hooks.start_container()),
        poststart: list(poststart, hooks.poststart()),
        poststop: list(poststop, hooks.poststop()),
    }
}

fn plan_one(pointer: String, hook: &SpecHook, found: &mut Violations) -> Hook {
    let section = "config.md, \"POSIX-platform Hooks\"";
    let path = found.absolute(&format!("{pointer}/path"), hook.path(), section);
    let path = CString::from(path.as_c_str());
    if let Some(seconds) = hook.timeout().filter(|seconds| *seconds <= 0) {
        let rule = format!("must be greater than zero ({section})");
        found.add(&format!("{pointer}/timeout"), seconds, &rule, "write seconds, or leave it out");
    }
    let args = hook.args().as_deref().filter(|args| !args.is_empty());
    Hook {
        args: match args {
            Some(args) => found.c_strings(&format!("{pointer}/args"), args),
            None => vec![path.clone()],
        },
        env: found.c_strings(&format!("{pointer}/env"), hook.env().as_deref().unwrap_or_default()),
        timeout: hook.timeout().map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
        path,
        pointer,
    }
}

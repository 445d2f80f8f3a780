//! `hooks`.

use std::ffi::CString;

use oci_spec::runtime::{Hook as SpecHook, Spec};

use super::{Hook, Hooks, Violations};

pub(crate) fn plan(spec: &Spec, found: &mut Violations) -> Hooks {
    let Some(hooks) = spec.hooks() else { return Hooks::default() };
    let mut list = |name: &str, given: &Option<Vec<SpecHook>>| {
        given
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, hook)| plan_one(format!("/hooks/{name}/{index}"), hook, found))
            .collect()
    };
    Hooks {
        prestart: list("prestart", hooks.prestart()),
        create_runtime: list("createRuntime", hooks.create_runtime()),
        create_container: list("createContainer", hooks.create_container()),
        start_container: list("startContainer", hooks.start_container()),
        poststart: list("poststart", hooks.poststart()),
        poststop: list("poststop", hooks.poststop()),
    }
}

fn plan_one(pointer: String, hook: &SpecHook, found: &mut Violations) -> Hook {
    let section = "config.md, \"POSIX-platform Hooks\"";
    let path = found.absolute(&format!("{pointer}/path"), hook.path(), section);
    let timeout = hook.timeout().and_then(|seconds| {
        u32::try_from(seconds).ok().filter(|seconds| *seconds > 0).or_else(|| {
            let rule = format!("must be greater than zero ({section})");
            found.add(
                &format!("{pointer}/timeout"),
                seconds,
                &rule,
                "write seconds, or leave it out",
            );
            None
        })
    });
    let own_name = || vec![CString::from(path.as_c_str())];
    let args = match hook.args().as_deref() {
        Some(args) if !args.is_empty() => found.c_strings(&format!("{pointer}/args"), args),
        _ => own_name(),
    };
    let env = found.c_strings(&format!("{pointer}/env"), hook.env().as_deref().unwrap_or_default());
    Hook { path: path.as_c_str().to_owned(), pointer, args, env, timeout }
}

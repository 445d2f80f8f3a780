//! `linux.resources.unified`: files of the one hierarchy of cgroup v2.

use serde_json::json;

use super::cgroups::{has, need, read, remove_parents};
use super::{Test, cases, same};
use crate::container::Container;
use crate::skip::Skip;
use crate::view::{Layout, layout};

cases!("unified":
    unknown_files_are_written, of_a_controller, a_controller_that_is_not_there, a_file_that_is_not_there,
    a_value_that_cannot_be, a_way_out, where_there_is_none,
);

fn need_v2() -> Test {
    match layout()? {
        Layout::V1 | Layout::Hybrid => Err(Skip("only where v2 is all there is".to_owned()).into()),
        Layout::V2 => Ok(()),
    }
}

/// Files that no other property is about.
fn unknown_files_are_written(container: &mut Container) -> Test {
    need_v2()?;
    let files = json!({ "cgroup.max.depth": "7", "cgroup.max.descendants": "9" });
    container.set("/linux/resources/unified", files);
    container.start_idle()?;
    same!(read(container, &["cgroup.max.depth"])?, "7");
    same!(read(container, &["cgroup.max.descendants"])?, "9");
    Ok(())
}

/// Its controller is made available to the cgroup.
fn of_a_controller(container: &mut Container) -> Test {
    need_v2()?;
    need("hugetlb")?;
    let parent = format!("tests-{}-unified", container.runtime.token);
    container.set("/linux/cgroupsPath", json!(format!("/{parent}/{}", container.id)));
    container.set("/linux/resources/unified", json!({ "hugetlb.2MB.max": "4194304" }));
    let outcome = limit_of_huge_pages(container);
    remove_parents(&parent);
    same!(outcome?, "4194304");
    Ok(())
}

fn limit_of_huge_pages(container: &mut Container) -> anyhow::Result<String> {
    container.start_idle()?;
    let limit = read(container, &["hugetlb.2MB.max"])?;
    container.delete_force()?;
    Ok(limit)
}

fn a_controller_that_is_not_there(container: &mut Container) -> Test {
    need_v2()?;
    let missing = ["misc", "rdma", "memory"].into_iter().find(|name| !has(name));
    let missing = missing.ok_or_else(|| Skip("this machine has every controller".to_owned()))?;
    let file = format!("{missing}.max");
    container.set("/linux/resources/unified", json!({ &file: "5" }));
    container.create_refused(&[&file])
}

fn a_file_that_is_not_there(container: &mut Container) -> Test {
    need_v2()?;
    container.set("/linux/resources/unified", json!({ "moon.max": "5" }));
    container.create_refused(&["moon.max"])
}

fn a_value_that_cannot_be(container: &mut Container) -> Test {
    need_v2()?;
    container.set("/linux/resources/unified", json!({ "cgroup.max.depth": "deep" }));
    container.create_refused(&["cgroup.max.depth"])
}

/// A key is a file's name, and no path.
fn a_way_out(container: &mut Container) -> Test {
    need_v2()?;
    for key in ["../cgroup.max.depth", "/cgroup.max.depth", "a/cgroup.max.depth"] {
        container.set("/linux/resources/unified", json!({ key: "7" }));
        container.create_refused(&[key])?;
    }
    Ok(())
}

fn where_there_is_none(container: &mut Container) -> Test {
    if layout()? == Layout::V2 {
        return Err(Skip("v2 is all there is".to_owned()).into());
    }
    container.set("/linux/resources/unified", json!({ "memory.high": "33554432" }));
    container.create_refused(&["unified"])
}

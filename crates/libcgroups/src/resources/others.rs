//! `pids`, `hugepageLimits`, `network`, `rdma` and `unified`.

use oci_spec::runtime::LinuxResources;

use crate::limits::{Hierarchy, PROCESSES, Table, or_max};

pub(crate) fn plan(resources: &LinuxResources, table: &mut Table<'_>) {
    pids(resources, table);
    huge_pages(resources, table);
    network(resources, table);
    rdma(resources, table);
    unified(resources, table);
}

fn pids(resources: &LinuxResources, table: &mut Table<'_>) {
    let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit) else {
        return;
    };
    let pointer = "/pids/limit";
    if limit < -1 {
        let (rule, fix) = ("a number of processes cannot be negative", "write -1 for no limit");
        table.violation(pointer, limit, rule, fix);
    } else if let Some(hierarchy) = table.hierarchy("pids", pointer) {
        table.write(hierarchy, PROCESSES, or_max(limit), pointer);
    }
}

fn huge_pages(resources: &LinuxResources, table: &mut Table<'_>) {
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let pointer = format!("/hugepageLimits/{index}");
        let size = limit.page_size();
        if !is_page_size(size) {
            let fix = "write it as in /sys/fs/cgroup, such as \"2MB\"";
            let rule = "a page size is a number and KB, MB or GB";
            table.violation(&format!("{pointer}/pageSize"), size, rule, fix);
            continue;
        }
        let Some(hierarchy) = table.hierarchy("hugetlb", &pointer) else { continue };
        let suffix = if hierarchy == Hierarchy::Unified { "max" } else { "limit_in_bytes" };
        for reservation in ["", "rsvd."] {
            let file = format!("hugetlb.{size}.{reservation}{suffix}");
            table.write(hierarchy, &file, limit.limit(), &pointer);
        }
    }
}

fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    number.is_some_and(|digits| {
        !digits.starts_with('0')
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn network(resources: &LinuxResources, table: &mut Table<'_>) {
    let Some(network) = resources.network() else { return };
    if let Some(class) = network.class_id() {
        // Zero is no class, which is what there is without the controller.
        let is_asked_for = class != 0 || table.has_legacy("net_cls");
        let pointer = "/network/classID";
        if is_asked_for && let Some(hierarchy) = table.legacy("net_cls", pointer, class) {
            table.write(hierarchy, "net_cls.classid", class, pointer);
        }
    }
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let pointer = format!("/network/priorities/{index}");
        let value = format!("{} {}", priority.name(), priority.priority());
        if let Some(hierarchy) = table.legacy("net_prio", &pointer, &value) {
            table.write(hierarchy, "net_prio.ifpriomap", value, &pointer);
        }
    }
}

fn rdma(resources: &LinuxResources, table: &mut Table<'_>) {
    let Some(devices) = resources.rdma() else { return };
    let mut devices: Vec<_> = devices.iter().collect();
    devices.sort_by_key(|(name, _)| name.as_str());
    for (name, limit) in devices {
        let pointer = format!("/rdma/{}", escape(name));
        let handles = limit.hca_handles().map(|count| format!(" hca_handle={count}"));
        let objects = limit.hca_objects().map(|count| format!(" hca_object={count}"));
        if handles.is_none() && objects.is_none() {
            let rule = "an rdma entry needs hcaHandles or hcaObjects (config-linux.md, \"RDMA\")";
            table.violation(&pointer, name, rule, "set at least one of them");
        } else if let Some(hierarchy) = table.hierarchy("rdma", &pointer) {
            let value =
                [name.clone(), handles.unwrap_or_default(), objects.unwrap_or_default()].concat();
            table.write(hierarchy, "rdma.max", value, &pointer);
        }
    }
}

fn unified(resources: &LinuxResources, table: &mut Table<'_>) {
    let Some(files) = resources.unified().as_ref().filter(|files| !files.is_empty()) else {
        return;
    };
    if !table.is_unified() {
        let rule = "unified is for cgroup v2 hosts (config-linux.md, \"Unified\")";
        table.not_here("/unified", "", rule, "use the properties of the controllers");
        return;
    }
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    for (name, value) in files {
        let pointer = format!("/unified/{}", escape(name));
        if name.contains('/') || !name.contains('.') || name.starts_with('.') || name.contains('\0')
        {
            let rule = "a key is the name of a file in the container's cgroup";
            table.violation(&pointer, name, rule, "write a name such as \"memory.high\"");
        } else {
            table.write(Hierarchy::Unified, name, value, &pointer);
        }
    }
}

/// A key as a token of a JSON pointer (RFC 6901).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use crate::layout::Layout;
    use crate::limits::Hierarchy;
    use crate::plan_limits;

    /// What is written for `rdma`, with the hierarchy, or the pointers of what is wrong.
    fn written(rdma: &str, mounts: &str) -> Result<Vec<(Hierarchy, String, String)>, Vec<String>> {
        let resources = serde_json::from_str(&format!(r#"{{"rdma":{rdma}}}"#)).unwrap();
        let layout = Layout::parse(mounts, "").unwrap();
        match plan_limits(&resources, &layout) {
            Ok(limits) => Ok(limits
                .writes()
                .iter()
                .map(|write| (write.hierarchy, write.file.clone(), write.value.clone()))
                .collect()),
            Err(violations) => Err(violations.into_iter().map(|one| one.pointer).collect()),
        }
    }

    const UNIFIED: &str = "9 0 0:9 / /c rw - cgroup2 c rw";
    const LEGACY: &str = "9 0 0:9 / /c/rdma rw - cgroup c rw,rdma";

    #[test]
    fn rdma_needs_a_number() {
        let wrong = written(r#"{"mlx5_1":{"hcaObjects":7},"a/b":{}}"#, UNIFIED);
        assert_eq!(wrong.unwrap_err(), ["/linux/resources/rdma/a~1b"]);
    }

    #[test]
    fn rdma_is_written_line_by_line_in_both() {
        let given = r#"{"rxe3":{"hcaObjects":7},"mlx5_1":{"hcaHandles":3,"hcaObjects":0}}"#;
        for (mounts, hierarchy) in
            [(UNIFIED, Hierarchy::Unified), (LEGACY, Hierarchy::Legacy("rdma"))]
        {
            let expected = ["mlx5_1 hca_handle=3 hca_object=0", "rxe3 hca_object=7"];
            let expected =
                expected.map(|value| (hierarchy, "rdma.max".to_owned(), value.to_owned()));
            assert_eq!(written(given, mounts).unwrap(), expected);
        }
    }
}

//! Processes that outlive their parent, where the container has no pid namespace whose first process
//! gets them: those of `run` in the foreground are the runtime's, a child subreaper (prctl(2)).

use super::{Test, cases, same};
use crate::config;
use crate::container::Container;

cases!("orphans":
    of_the_foreground_are_reaped, of_the_foreground_can_be_the_callers, of_a_stopped_container_die,
);

/// Leaves an orphan, and prints its parent, the parent of the program, and what became of the
/// orphan after its end.
const SCRIPT: &str = "
    orphan=$(sh -c 'sleep 0.5 >/dev/null & echo $!')
    awk '/^PPid/ { print $2 }' /proc/$orphan/status /proc/$$/status
    for attempt in $(seq 200); do
        [ -e /proc/$orphan ] || exec echo reaped
        sleep 0.02
    done
    grep State /proc/$orphan/status";

fn of_the_foreground_are_reaped(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    let output = container.run_script(SCRIPT)?.success()?;
    let lines = output.lines();
    same!(lines.len(), 3);
    same!(lines[0], lines[1]);
    same!(lines[2], "reaped");
    Ok(())
}

/// A caller that reaps by itself says `--no-subreaper`: here it is the first process of the suite's
/// pid namespace.
fn of_the_foreground_can_be_the_callers(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    container.script(SCRIPT);
    let output = container.run_with(&["--no-subreaper"])?.success()?;
    same!(output.lines()[0], "1");
    Ok(())
}

fn of_a_stopped_container_die(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    container.start_script("sleep 100 & sleep 100 & exit")?;
    container.wait_for("stopped")?;
    same!(container.pids()?.len(), 2);
    container.verb("delete")?.success()?;
    container.nothing_left()
}

// Package tap writes the Test Anything Protocol, version 13. It has the functions of github.com/mndrix/tap-go that the
// validation programs of opencontainers/runtime-tools call: Debian has no package of that module.
package tap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// T counts the test points that were written.
type T struct {
	// Writer is where they go; standard output if it is nil.
	Writer io.Writer

	written   *int
	directive string
}

// New begins at test point 1.
func New() *T {
	return &T{written: new(int)}
}

// Header begins the output. It tells the plan if how many test points will follow is known, which 0 says it is not.
func (t *T) Header(planned int) {
	t.line("TAP version 13")
	if planned > 0 {
		t.line(fmt.Sprintf("1..%d", planned))
	}
}

// AutoPlan tells the plan afterwards.
func (t *T) AutoPlan() {
	t.line(fmt.Sprintf("1..%d", *t.written))
}

// Ok writes one test point.
func (t *T) Ok(passed bool, description string) {
	verdict := "ok"
	if !passed {
		verdict = "not ok"
	}
	*t.written++
	point := fmt.Sprintf("%s %d - %s", verdict, *t.written, strings.ReplaceAll(description, "\n", " "))
	if t.directive != "" {
		point += " # " + t.directive
	}
	t.line(point)
}

// Pass writes one test point that passed.
func (t *T) Pass(description string) {
	t.Ok(true, description)
}

// Fail writes one test point that failed.
func (t *T) Fail(description string) {
	t.Ok(false, description)
}

// Skip writes so many test points that were not tried.
func (t *T) Skip(count int, reason string) {
	skipped := *t
	skipped.directive = "SKIP"
	for ; count > 0; count-- {
		skipped.Pass(reason)
	}
}

// Todo gives a T for test points that may fail. Both count as one.
func (t *T) Todo() *T {
	todo := *t
	todo.directive = "TODO"
	return &todo
}

// Diagnostic writes a remark.
func (t *T) Diagnostic(remark string) {
	for _, line := range strings.Split(strings.TrimRight(remark, "\n"), "\n") {
		t.line("# " + line)
	}
}

// Diagnosticf writes a remark.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML writes details of the last test point. They are JSON, which is YAML as well.
func (t *T) YAML(details interface{}) error {
	text, err := json.MarshalIndent(details, "  ", "  ")
	if err != nil {
		return err
	}
	t.line("  ---\n  " + string(text) + "\n  ...")
	return nil
}

func (t *T) line(text string) {
	writer := t.Writer
	if writer == nil {
		writer = os.Stdout
	}
	fmt.Fprintln(writer, text)
}

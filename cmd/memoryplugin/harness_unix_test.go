//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// withoutTerminal starts a program in a session of its own.
func withoutTerminal(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// leaveTerminal gives this process a session of its own.
func leaveTerminal() { _, _ = syscall.Setsid() }

package main

import (
	"os/exec"
	"syscall"
)

// withoutTerminal starts a program without a console.
func withoutTerminal(cmd *exec.Cmd) {
	const detachedProcess = 0x8
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: detachedProcess}
}

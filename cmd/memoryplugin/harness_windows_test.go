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

// leaveTerminal gives up the console of this process.
func leaveTerminal() { _, _, _ = syscall.NewLazyDLL("kernel32.dll").NewProc("FreeConsole").Call() }

package main_test

import "syscall"

// endWithTests has the kernel kill the process should the tests be killed, or panic, before they can.
func endWithTests(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

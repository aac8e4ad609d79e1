//go:build !linux

package main_test

import "syscall"

// endWithTests does nothing: only Linux can tie a process to another.
func endWithTests(*syscall.SysProcAttr) {}

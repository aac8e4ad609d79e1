package postgres

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

func notInstalled(binDir string) error {
	if binDir != "" {
		return fmt.Errorf("%w in %s, which should hold the programs postgres and initdb", ErrNotInstalled, binDir)
	}
	release, _ := os.ReadFile("/etc/os-release")
	command := installCommand(runtime.GOOS, string(release))
	if os.Geteuid() == 0 {
		command = strings.ReplaceAll(command, "sudo ", "")
	}
	return fmt.Errorf("%w; install it with: %s", ErrNotInstalled, command)
}

// installCommand is what installs PostgreSQL on the platform that /etc/os-release describes.
func installCommand(goos, release string) string {
	if goos == "darwin" {
		return "brew install postgresql@17"
	}
	system := parseRelease(release)
	id := system["ID"]
	if id == "ubuntu" && system["VERSION_ID"] < "24" || id == "debian" && system["VERSION_ID"] < "12" {
		// Their own packages are older than 15; the PostgreSQL project's archive has newer ones.
		return "sudo apt-get update && sudo apt-get install -y postgresql-common && sudo /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y && sudo apt-get install -y postgresql-17"
	}
	if id == "rhel" || strings.Contains(system["ID_LIKE"], "rhel") {
		return "sudo dnf install -y @postgresql:16/server"
	}
	commands := map[string]string{
		"debian": "sudo apt-get update && sudo apt-get install -y postgresql",
		"ubuntu": "sudo apt-get update && sudo apt-get install -y postgresql",
		"fedora": "sudo dnf install -y postgresql-server",
		"alpine": "sudo apk add postgresql17",
		"arch":   "sudo pacman -S --noconfirm postgresql",
		"suse":   "sudo zypper install -y postgresql-server",
	}
	for _, like := range append([]string{id}, strings.Fields(system["ID_LIKE"])...) {
		if command, ok := commands[like]; ok {
			return command
		}
	}
	return "your package manager (https://www.postgresql.org/download/)"
}

func parseRelease(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[name] = strings.Trim(value, `"'`)
	}
	return fields
}

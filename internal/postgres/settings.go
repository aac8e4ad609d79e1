package postgres

import "strconv"

// settings are the server's command line: they win over postgresql.conf, so every start of a newer Atlas has its own.
func settings(cfg ServerConfig) []string {
	list := [][2]string{
		{"listen_addresses", ""},
		{"port", socketPort},
		{"unix_socket_directories", socketArg},
		{"max_connections", strconv.Itoa(cfg.MaxConnections)},
		{"max_locks_per_transaction", "256"}, // a rebuild or a dump touches many partitions at once
		{"shared_buffers", "128MB"},
		{"random_page_cost", "1.1"},
		{"min_wal_size", "80MB"},
		{"max_wal_size", "1GB"},
		{"wal_compression", "on"},
		{"timezone", "UTC"},
		{"log_timezone", "UTC"},
		{"logging_collector", "off"}, // Atlas owns the file
		{"log_destination", "stderr"},
		// What people store never reaches the log: no statements, no parameters, no details of violated keys.
		{"log_statement", "none"},
		{"log_min_error_statement", "panic"},
		{"log_min_duration_statement", "-1"},
		{"log_parameter_max_length", "0"},
		{"log_parameter_max_length_on_error", "0"},
		{"log_error_verbosity", "terse"},
	}
	var args []string
	for _, s := range append(list, durability(cfg)...) {
		args = append(args, "-c", s[0]+"="+s[1])
	}
	return args
}

// durability is spelled out, though durable is PostgreSQL's default too: an edited postgresql.conf must not undo it.
func durability(cfg ServerConfig) [][2]string {
	const commit = "synchronous_commit" // costs nothing without fsync, and keeps commits through a killed server
	if !cfg.Throwaway {
		return [][2]string{{"fsync", "on"}, {"full_page_writes", "on"}, {commit, "on"}}
	}
	return [][2]string{
		{"fsync", "off"},
		{"full_page_writes", "off"},
		{commit, "on"},
		{"dynamic_shared_memory_type", "mmap"}, // files below Dir, so that nothing stays when Dir is removed
	}
}

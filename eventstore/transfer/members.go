package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
)

var errNotJSON = errors.New("not well-formed JSON")

// members calls f with each member of the JSON object that is the whole line, in order; values are slices of the line.
// It holds the object itself to be well-formed, and leaves each value to f: most of a line is ciphertext, over which
// encoding/json would take longer than the database does to import it.
func members(line []byte, f func(name, value []byte) error) error {
	rest := skipSpace(line)
	if len(rest) == 0 || rest[0] != '{' {
		return errNotJSON
	}
	for first := true; ; first = false {
		rest = skipSpace(rest[1:])
		if first && len(rest) > 0 && rest[0] == '}' {
			break
		}
		end := valueEnd(rest)
		name, err := memberName(rest[:end])
		if err != nil {
			return err
		}
		rest = skipSpace(rest[end:])
		if len(rest) == 0 || rest[0] != ':' {
			return errNotJSON
		}
		rest = skipSpace(rest[1:])
		end = valueEnd(rest)
		if err := f(name, rest[:end]); err != nil {
			return err
		}
		if rest = skipSpace(rest[end:]); len(rest) == 0 || rest[0] != ',' {
			break
		}
	}
	if len(rest) == 0 || rest[0] != '}' || len(skipSpace(rest[1:])) > 0 {
		return errNotJSON
	}
	return nil
}

// memberName reads the name of a member, which is seldom escaped.
func memberName(quoted []byte) ([]byte, error) {
	if len(quoted) > 2 && quoted[0] == '"' && bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	name, err := text(quoted)
	if err != nil {
		return nil, errNotJSON
	}
	return []byte(name), nil
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// valueEnd returns where the value that b starts with ends, if it is well-formed.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the object around a number
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// stringEnd returns the length of the quoted string that b starts with.
func stringEnd(b []byte) int {
	for i := 1; ; i++ {
		quote := bytes.IndexByte(b[i:], '"')
		if quote < 0 {
			return len(b)
		}
		escapes := 0
		for i += quote; b[i-1-escapes] == '\\'; escapes++ {
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

// text reads a JSON string.
func text(value []byte) (s string, err error) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", errors.New("is not a string")
	}
	for _, c := range value[1 : len(value)-1] {
		if c < ' ' || c == '\\' || c == '"' || c > '~' {
			return s, json.Unmarshal(value, &s)
		}
	}
	return string(value[1 : len(value)-1]), nil
}

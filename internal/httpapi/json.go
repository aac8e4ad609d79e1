package httpapi

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/atlas-platform/atlas/internal/fault"
)

// The bounds of a body. They are far above what any operation needs, and far below what would hurt.
const (
	maxDepth  = 32 // arrays and objects within one another
	maxNumber = 64 // characters of a number
	maxFields = 64 // broken rules that one problem names
)

// object is a JSON object in the order it was sent.
type object []member

type member struct {
	name  string
	value any
}

// parseJSON reads exactly one JSON value, more strictly than encoding/json: no name twice in one object, valid UTF-8
// only, bounded depth and numbers. Values are nil, bool, json.Number, string, []any and object. What is not such a value
// is ErrMalformedJSON; text and numbers that are JSON but that nothing here can store are returned as bad fields.
func parseJSON(data []byte) (value any, bad []fault.Field, err error) {
	if !utf8.Valid(data) {
		return nil, nil, malformed(nil, codeInvalidText, "the body must be UTF-8")
	}
	p := parser{data: data}
	p.space()
	if value, err = p.value(); err != nil {
		return nil, nil, err
	}
	p.space()
	if p.pos < len(p.data) {
		return nil, nil, malformed(nil, codeSyntax, "the body must end after one value")
	}
	return value, p.bad, nil
}

// parser is a reader of JSON text. It stops at the first thing that is not JSON.
type parser struct {
	data []byte
	pos  int
	at   pointer
	bad  []fault.Field
}

func malformed(at pointer, code, message string) error {
	return ErrMalformedJSON.At(fault.Field{Pointer: at.String(), Code: code, Message: message})
}

// syntax says where the text stops being JSON; the text itself is not repeated.
func (p *parser) syntax() error {
	return malformed(p.at, codeSyntax, "not JSON at byte "+strconv.Itoa(p.pos))
}

func (p *parser) refuse(code, message string) {
	if len(p.bad) < maxFields {
		p.bad = append(p.bad, fault.Field{Pointer: p.at.String(), Code: code, Message: message})
	}
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// peek returns the next byte; 0, which JSON text cannot hold, is the end.
func (p *parser) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

func (p *parser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.pos++
	return true
}

func (p *parser) value() (any, error) {
	switch c := p.peek(); {
	case c == '{':
		return p.object()
	case c == '[':
		return p.array()
	case c == '"':
		return p.text()
	case c == 't':
		return true, p.literal("true")
	case c == 'f':
		return false, p.literal("false")
	case c == 'n':
		return nil, p.literal("null")
	default:
		return p.number()
	}
}

func (p *parser) literal(word string) error {
	for i := range len(word) {
		if !p.take(word[i]) {
			return p.syntax()
		}
	}
	return nil
}

func (p *parser) object() (any, error) {
	if len(p.at) == maxDepth {
		return nil, malformed(p.at, codeTooDeep, "values may be nested 32 deep")
	}
	p.pos++
	members, seen := object{}, map[string]bool{}
	for p.space(); !p.take('}'); p.space() {
		if len(members) > 0 && !p.take(',') {
			return nil, p.syntax()
		}
		p.space()
		m, err := p.member(seen)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

func (p *parser) member(seen map[string]bool) (m member, err error) {
	if m.name, err = p.name(); err != nil {
		return m, err
	}
	p.at = append(p.at, m.name)
	if seen[m.name] {
		return m, malformed(p.at, codeDuplicate, "the name occurs twice in one object")
	}
	seen[m.name] = true
	p.space()
	if !p.take(':') {
		return m, p.syntax()
	}
	p.space()
	m.value, err = p.value()
	p.at = p.at[:len(p.at)-1]
	return m, err
}

func (p *parser) name() (string, error) {
	if p.peek() != '"' {
		return "", p.syntax()
	}
	return p.text()
}

func (p *parser) array() (any, error) {
	if len(p.at) == maxDepth {
		return nil, malformed(p.at, codeTooDeep, "values may be nested 32 deep")
	}
	p.pos++
	items := []any{}
	for p.space(); !p.take(']'); p.space() {
		if len(items) > 0 && !p.take(',') {
			return nil, p.syntax()
		}
		p.space()
		p.at = append(p.at, strconv.Itoa(len(items)))
		item, err := p.value()
		if err != nil {
			return nil, err
		}
		p.at = p.at[:len(p.at)-1]
		items = append(items, item)
	}
	return items, nil
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (p *parser) number() (any, error) {
	start := p.pos
	p.take('-')
	if !p.take('0') && !p.digits() {
		return nil, p.syntax()
	}
	if p.take('.') && !p.digits() {
		return nil, p.syntax()
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return nil, p.syntax()
		}
	}
	if p.pos-start > maxNumber {
		return nil, malformed(p.at, codeTooLong, "a number may have 64 characters")
	}
	n := json.Number(p.data[start:p.pos])
	if f, _ := n.Float64(); math.IsInf(f, 0) {
		p.refuse(codeOutOfRange, "the number is too large")
	}
	return n, nil
}

func (p *parser) digits() bool {
	start := p.pos
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.pos++
	}
	return p.pos > start
}

// text reads a string. Text that PostgreSQL cannot hold is refused, not mended: what is stored is what was sent.
func (p *parser) text() (string, error) {
	p.pos++
	start := p.pos
	for c := p.peek(); c != '"' && c != '\\'; c = p.peek() {
		if c < ' ' {
			return "", p.syntax()
		}
		p.pos++
	}
	out := p.data[start:p.pos:p.pos]
	storable := true
	for !p.take('"') {
		c := p.peek()
		switch {
		case c < ' ':
			return "", p.syntax()
		case c != '\\':
			out = append(out, c)
			p.pos++
			continue
		}
		r, err := p.escape()
		if err != nil {
			return "", err
		}
		storable = storable && r > 0
		out = utf8.AppendRune(out, r)
	}
	if !storable {
		p.refuse(codeInvalidText, `the text may not hold \u0000 or half a surrogate pair`)
	}
	return string(out), nil
}

// escape reads one escape sequence, or the two that make a surrogate pair. Half a pair is -1.
func (p *parser) escape() (rune, error) {
	p.pos++
	c := p.peek()
	p.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.unicode()
	default:
		p.pos--
		return 0, p.syntax()
	}
}

func (p *parser) unicode() (rune, error) {
	r, err := p.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if p.pos+1 >= len(p.data) || p.data[p.pos] != '\\' || p.data[p.pos+1] != 'u' {
		return -1, nil
	}
	before := p.pos
	p.pos += 2
	low, err := p.hex4()
	if err != nil {
		return 0, err
	}
	if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
		return pair, nil
	}
	p.pos = before // the second one stands for itself
	return -1, nil
}

func (p *parser) hex4() (rune, error) {
	if p.pos+4 > len(p.data) {
		return 0, p.syntax()
	}
	n, err := strconv.ParseUint(string(p.data[p.pos:p.pos+4]), 16, 16)
	if err != nil {
		return 0, p.syntax()
	}
	p.pos += 4
	return rune(n), nil
}

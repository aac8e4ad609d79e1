package auth

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the list is compiled in
	"encoding/base64"
	"sort"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// commonText is the list of common passwords: the sorted hashes of their folded forms, in base64. See doc.go for where it
// comes from and how it is made.
//
//go:embed common.txt
var commonText string

// commonSize is how many bytes of a hash the list keeps: a good password is taken for a common one once in 36 million.
const commonSize = 5

// commonHashes is the list, decoded when it is first needed.
var commonHashes = sync.OnceValue(func() []byte {
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(commonText, "\n", ""))
	if err != nil || len(raw)%commonSize != 0 {
		panic("auth: the list of common passwords is damaged") // it is compiled in, and a test reads it
	}
	return raw
})

// maxPadding is how much may follow or precede a common password without making it less common: "password1234".
const maxPadding = 4

// isCommon says whether a password is one that is tried first: listed, listed with a little before or after it, something
// listed or a single character over and over, or a run like abcdefghijkl.
func isCommon(text string) bool {
	folded, lower := fold(text), strings.ToLower(text)
	unit := repeated(lower)
	return listed(folded) || padded(folded) || isRun(lower) || unit != lower && (len(unit) == 1 || listed(fold(unit)))
}

// padded says whether taking a few digits or signs from the ends leaves a common password.
func padded(folded string) bool {
	sign := func(r rune) bool { return !unicode.IsLetter(r) }
	for _, trim := range []func(string) string{
		func(s string) string { return strings.TrimRightFunc(s, sign) },
		func(s string) string { return strings.TrimLeftFunc(s, sign) },
		func(s string) string { return strings.TrimFunc(s, sign) },
	} {
		if core := trim(folded); core != folded && len(folded)-len(core) <= maxPadding && listed(core) {
			return true
		}
	}
	return padding(folded)
}

// padding says whether up to four characters at the end, whatever they are, hide a listed password.
func padding(folded string) bool {
	for cut := 1; cut <= maxPadding && cut < len(folded); cut++ {
		core, rest := folded[:len(folded)-cut], folded[len(folded)-cut:]
		if !strings.ContainsFunc(rest, unicode.IsLetter) && listed(core) {
			return true
		}
	}
	return false
}

// fold gives a password the form it is listed in: lower case, without the usual substitutions within words.
func fold(text string) string {
	lower := strings.ToLower(text)
	if !strings.ContainsFunc(lower, unicode.IsLetter) {
		return lower
	}
	// A digit at the end was added to a word, one before that stands for a letter.
	core := strings.TrimRightFunc(lower, func(r rune) bool { return !unicode.IsLetter(r) })
	return strings.NewReplacer("@", "a", "4", "a", "3", "e", "1", "i", "!", "i", "0", "o", "$", "s", "5", "s", "7", "t").Replace(core) + lower[len(core):]
}

// listed says whether a folded password is on the list.
func listed(folded string) bool {
	sum := sha256.Sum256([]byte(folded))
	all := commonHashes()
	n := len(all) / commonSize
	i := sort.Search(n, func(i int) bool { return bytes.Compare(all[i*commonSize:(i+1)*commonSize], sum[:commonSize]) >= 0 })
	return i < n && bytes.Equal(all[i*commonSize:(i+1)*commonSize], sum[:commonSize])
}

// repeated returns what a text consists of several times, or the text itself.
func repeated(text string) string {
	if text == "" {
		return text
	}
	return text[:1+strings.Index(text[1:]+text, text)]
}

// isRun says whether every character is the one after (or before) its predecessor, 0 following 9.
func isRun(text string) bool {
	up, down := true, true
	before, size := utf8.DecodeRuneInString(text)
	for _, r := range text[size:] {
		up = up && (r == before+1 || before == '9' && r == '0')
		down = down && (r == before-1 || before == '0' && r == '9')
		before = r
	}
	return up || down
}

// minRemainder is how many characters a password must have beside the words of its account.
const minRemainder = 8

// isOwn says whether a password is little more than words that everybody who knows the account knows: parts of its
// address and name, and the name of the service.
func isOwn(text string, known ...string) bool {
	rest := strings.ToLower(text)
	for _, k := range append(known, "atlas") {
		words := strings.FieldsFunc(strings.ToLower(k), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		for _, word := range append([]string{strings.ToLower(k)}, words...) {
			if utf8.RuneCountInString(word) >= 3 {
				rest = strings.ReplaceAll(rest, word, "")
			}
		}
	}
	return utf8.RuneCountInString(rest) < minRemainder
}

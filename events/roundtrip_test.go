package events

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestEveryEventReadsAsItWasWritten holds for each type of the catalogue that encoding and decoding gives back what was
// there, whatever is in its fields.
func TestEveryEventReadsAsItWasWritten(t *testing.T) {
	for _, typ := range Catalog() {
		t.Run(typ.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := drawEvent(t, typ)
				enc, err := typ.Encode(want)
				if err != nil {
					t.Fatal(err)
				}
				got, err := typ.Decode(typ.Version, enc)
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Fatalf("%v (-written +read):\n%s", err, diff)
				}
			})
		})
	}
}

// TestAnErasedEventKeepsAllThatIsNotPersonal decodes without the sealed parts, as after a subject is forgotten.
func TestAnErasedEventKeepsAllThatIsNotPersonal(t *testing.T) {
	for _, typ := range Catalog() {
		t.Run(typ.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				written := drawEvent(t, typ)
				enc, err := typ.Encode(written)
				if err != nil {
					t.Fatal(err)
				}
				want := reflect.New(typ.shape.goType).Elem()
				for _, i := range typ.shape.data.fields {
					want.Field(i).Set(reflect.ValueOf(written).Field(i))
				}
				got, err := typ.Decode(typ.Version, Encoded{Data: enc.Data, Subject: enc.Subject})
				if diff := cmp.Diff(want.Interface(), got); err != nil || diff != "" {
					t.Fatalf("%v (-want +got):\n%s", err, diff)
				}
			})
		})
	}
}

// TestPersonalTextIsInNoPlainPart puts a mark into every text that is sealed or secret.
func TestPersonalTextIsInNoPlainPart(t *testing.T) {
	const mark = "personal-"
	for _, typ := range Catalog() {
		rapid.Check(t, func(t *rapid.T) {
			v := reflect.New(typ.shape.goType).Elem()
			v.Set(reflect.ValueOf(drawEvent(t, typ)))
			for _, i := range append(append([]int(nil), typ.shape.sealed.fields...), typ.shape.secret.fields...) {
				switch f := v.Field(i); {
				case f.Kind() == reflect.String:
					f.SetString(mark + f.String())
				case f.Type() == reflect.TypeFor[[]string]():
					f.Set(reflect.ValueOf([]string{mark}))
				}
			}
			enc, err := typ.Encode(v.Interface())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(enc.Data), mark) {
				t.Fatalf("%s: a personal text is in the plain part %s", typ.Name, enc.Data)
			}
		})
	}
}

// drawEvent draws an event of the type, with a subject where it needs one.
func drawEvent(t *rapid.T, typ Type) Event {
	v := reflect.New(typ.shape.goType).Elem()
	for i := range v.NumField() {
		draw(t, v.Field(i), typ.shape.goType.Field(i).Name)
	}
	if s := typ.shape.subject; s >= 0 && v.Field(s).IsZero() {
		v.Field(s).Set(reflect.ValueOf(uuid.Max))
	}
	return v.Interface()
}

// draw fills a field. A kind it does not know fails the test: teach it what the new event's field may hold.
func draw(t *rapid.T, v reflect.Value, label string) {
	switch v.Type() {
	case reflect.TypeFor[uuid.UUID]():
		id := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label)
		v.Set(reflect.ValueOf(uuid.UUID(id)))
		return
	case reflect.TypeFor[time.Time]():
		at := time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, label)).UTC()
		v.Set(reflect.ValueOf(at))
		return
	case reflect.TypeFor[json.RawMessage]():
		v.SetBytes([]byte(fmt.Sprint(rapid.Int().Draw(t, label))))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.String().Draw(t, label))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, label))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		bits := v.Type().Bits() - 1
		v.SetInt(rapid.Int64Range(-1<<bits, 1<<bits-1).Draw(t, label))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Byte().Draw(t, label)))
	case reflect.Float64:
		v.SetFloat(rapid.Float64Range(-1e300, 1e300).Draw(t, label))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, label+" is set") {
			v.Set(reflect.New(v.Type().Elem()))
			draw(t, v.Elem(), label)
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 4).Draw(t, label+" length"); n >= 0 { // -1 leaves it nil, which is not empty
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				draw(t, v.Index(i), label)
			}
		}
	case reflect.Map:
		if n := rapid.IntRange(-1, 4).Draw(t, label+" size"); n >= 0 { // likewise
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				draw(t, key, label+" key")
				draw(t, value, label)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, v.Field(i), v.Type().Field(i).Name)
		}
	default:
		t.Fatalf("%s is a %s, which draw does not know", label, v.Type())
	}
}

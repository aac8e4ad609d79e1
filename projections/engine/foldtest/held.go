package foldtest

import (
	"reflect"

	"github.com/atlas-platform/atlas/events"
)

// room is how many elements a slice of an event has beyond its end, so that an append to it in place can be seen.
const room = 2

// held is an event in the hands of folds, and what it was before.
type held struct{ event, before events.Event }

func hold(e events.Event) held {
	return held{event: roomy(reflect.ValueOf(e)).Interface(), before: roomy(reflect.ValueOf(e)).Interface()}
}

// changed says what folds did to the event, if anything.
func (h held) changed() string {
	switch {
	case !reflect.DeepEqual(h.event, h.before):
		return "changes"
	case appended(reflect.ValueOf(h.event)):
		return "appends to a slice of"
	}
	return ""
}

// roomy copies a value, and gives every slice in it room.
func roomy(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			break
		}
		if v.Kind() == reflect.Interface {
			out.Set(roomy(v.Elem()))
			break
		}
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(roomy(v.Elem()))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(roomy(v.Field(i)))
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			break
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()+room))
		for i := range v.Len() {
			out.Index(i).Set(roomy(v.Index(i)))
		}
	case reflect.Map:
		if v.IsNil() {
			break
		}
		out.Set(reflect.MakeMap(v.Type()))
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), roomy(it.Value()))
		}
	}
	return out
}

// appended says whether something stands in the room beyond the end of a slice.
func appended(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && appended(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && appended(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice:
		whole := v.Slice(0, v.Cap())
		for i := range whole.Len() {
			if i < v.Len() && appended(whole.Index(i)) || i >= v.Len() && !whole.Index(i).IsZero() {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if appended(it.Value()) {
				return true
			}
		}
	}
	return false
}
